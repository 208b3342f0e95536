"""`backup-agent run`."""

import os

import click

from backup_agent.cli.configured import config_path, settings_option


@click.command(short_help="Run the agent.")
@settings_option
@click.pass_context
def command(context: click.Context) -> int:
    """Run the agent until SIGTERM.

    A second signal ends it at once. Whatever is under way then is gone on with at the next start.
    """
    from backup_agent.supervisor.start import start  # noqa: PLC0415  only this command is the agent

    return start(config_path(context), os.environ)
