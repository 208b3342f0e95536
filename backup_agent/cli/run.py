"""`backup-agent run`."""

import os
import sys

import click

from backup_agent import ending
from backup_agent.cli.configured import config_path, loaded, settings_option

STREAMS = 3
"""Descriptors below this are the standard streams."""


@click.command()
@settings_option
@click.option("--json", "as_json", is_flag=True, help="Log in JSON, whatever log.format says.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """Run the agent until SIGTERM.

    A second signal ends it at once. The next start goes on with whatever was under way.
    """
    if as_json:
        os.environ["BACKUP_AGENT_LOG__FORMAT"] = "json"
    loaded(context)  # faults are told here, before anything else
    path = config_path(context)
    _open_standard_streams()
    words = ["-OO", "-m", "backup_agent.supervisor", *([str(path)] if path else [])]
    if sys.stdout is not None:
        sys.stdout.flush()
    ending.hold()  # exec takes the handlers away: what comes now waits for those of the supervisor
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606  see backup_agent.supervisor.__main__


def _open_standard_streams() -> None:
    """Open what was closed of 0, 1 and 2 on nothing: else the next file has that number, the root's lock first."""
    descriptor = -1
    while descriptor < STREAMS:
        descriptor = os.open(os.devnull, os.O_RDWR)
        os.set_inheritable(descriptor, descriptor < STREAMS)
    os.close(descriptor)
