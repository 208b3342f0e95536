"""`backup-agent resume`."""

import click

from backup_agent.cli.asking import ask, by_option, json_option, settings_option, timeout_option


@click.command()
@by_option
@timeout_option
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    requested_by: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Start again what is asked for and what is due."""
    return ask(context, timeout, as_json=as_json, action="resume", requested_by=requested_by)
