"""`backup-agent run`."""

import os
import sys

import click

from backup_agent.cli.configured import config_path, loaded, settings_option


@click.command()
@settings_option
@click.pass_context
def command(context: click.Context) -> int:
    """Run the agent until SIGTERM.

    A second signal ends it at once. Whatever is under way then is gone on with at the next start.
    """
    loaded(context)  # faults are told here, before anything else
    path = config_path(context)
    words = ["-OO", "-m", "backup_agent.supervisor", *([str(path)] if path else [])]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606  see backup_agent.supervisor.__main__
