"""`backup-agent release`."""

import click

from backup_agent.cli.asking import ask, by_option, json_option, settings_option, timeout_option


@click.command()
@click.argument("artifact")
@by_option
@timeout_option
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    artifact: str,
    requested_by: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """End the hold on an artifact."""
    return ask(context, timeout, as_json=as_json, action="release", artifact=artifact, requested_by=requested_by)
