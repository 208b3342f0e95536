"""`backup-agent hold`."""

import click

from backup_agent.cli.asking import ask, by_option, json_option, settings_option, timeout_option


@click.command()
@click.argument("artifact")
@click.option("--reason", required=True, help="Why: kept with it.")
@by_option
@timeout_option
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    artifact: str,
    reason: str,
    requested_by: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Keep an artifact, whatever the policy says, until it is released."""
    return ask(
        context, timeout, as_json=as_json, action="hold", artifact=artifact, reason=reason, requested_by=requested_by
    )
