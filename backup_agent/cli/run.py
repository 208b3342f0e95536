"""`backup-agent run`."""

import os
import sys

import click

from backup_agent import ending
from backup_agent.cli.help import DONE, FAILED, REFUSED, DocumentedCommand
from backup_agent.cli.options import config_path, settings_option

STREAMS = 3
"""Number of standard streams: descriptors 0, 1 and 2."""


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent run --config /etc/backup-agent/config.yaml",),
    exits={
        DONE: "ended by a signal",
        FAILED: "the agent could not start, or an error ended it",
        REFUSED: "storage.root belongs to another agent, or is on no volume",
    },
)
@settings_option
@click.option("--json", "as_json", is_flag=True, help="Log in JSON, whatever `log.format` says.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """Run the agent until SIGTERM.

    A second signal ends it at once. The next start continues the work that was under way.
    """
    if as_json:
        os.environ["BACKUP_AGENT_LOG__FORMAT"] = "json"
    path = config_path(context)
    _open_standard_streams()
    words = ["-OO", "-m", "backup_agent.supervisor", *([str(path)] if path else [])]
    if sys.stdout is not None:
        sys.stdout.flush()
    ending.hold()  # exec resets signal handlers: block signals until the supervisor has its own
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606  see backup_agent.supervisor.__main__


def _open_standard_streams() -> None:
    """Open closed standard streams on /dev/null; otherwise the lock file would get descriptor 0, 1 or 2."""
    descriptor = -1
    while descriptor < STREAMS:
        descriptor = os.open(os.devnull, os.O_RDWR)
        os.set_inheritable(descriptor, descriptor < STREAMS)
    os.close(descriptor)
