"""`backup-agent prune`."""

import click

from backup_agent.cli.asking import ask, by_option, json_option, settings_option, timeout_option


@click.command()
@click.option("--place", help="`local` or a destination; else every place.")
@click.option("--dry-run", is_flag=True, help="Answer with the plan, and delete nothing.")
@click.option("--force", is_flag=True, help="Also where max_delete_share would refuse.")
@click.option("--plan", help="The plan that was looked at; another is refused.")
@click.option("--drop-owed", metavar="DEST", help="Give up the copies owed to it, for good; needs --force.")
@by_option
@timeout_option
@settings_option
@json_option
@click.pass_context
def command(  # noqa: PLR0917  a request's fields
    context: click.Context,
    place: str | None,
    dry_run: bool,
    force: bool,
    plan: str | None,
    drop_owed: str | None,
    requested_by: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Apply retention now: print the plan with a reason an artifact, and carry out exactly that."""
    return ask(
        context,
        timeout,
        as_json=as_json,
        action="prune",
        place=place,
        dry_run=dry_run,
        force=force,
        plan=plan,
        drop_owed=drop_owed,
        requested_by=requested_by,
    )
