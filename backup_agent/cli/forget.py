"""`backup-agent forget`."""

import click

from backup_agent.cli.asking import ask, by_option, json_option, settings_option, timeout_option


@click.command()
@click.argument("database")
@click.option("--reason", required=True, help="Why: kept with it.")
@by_option
@timeout_option
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    database: str,
    reason: str,
    requested_by: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Let the last backups of a database go too, because it was dropped for good. Holds still win."""
    return ask(
        context, timeout, as_json=as_json, action="forget", database=database, reason=reason, requested_by=requested_by
    )
