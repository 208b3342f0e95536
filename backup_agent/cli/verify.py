"""`backup-agent verify`."""

import click

from backup_agent.cli.asking import ask, by_option, json_option, settings_option, timeout_option


@click.command()
@click.argument("artifact", required=False)
@click.option("--place", help="`local` or a destination; else every place.")
@by_option
@timeout_option
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    artifact: str | None,
    place: str | None,
    requested_by: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Read again an artifact, or what is due, and compare it with its record."""
    return ask(
        context, timeout, as_json=as_json, action="verify", artifact=artifact, place=place, requested_by=requested_by
    )
