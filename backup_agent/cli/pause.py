"""`backup-agent pause`."""

import click

from backup_agent.cli.asking import ask, by_option, json_option, settings_option, timeout_option


@click.command()
@click.option("--reason", help="Why: shown by status.")
@by_option
@timeout_option
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    reason: str | None,
    requested_by: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Start nothing from now on, over restarts too; what runs goes on."""
    return ask(context, timeout, as_json=as_json, action="pause", reason=reason, requested_by=requested_by)
