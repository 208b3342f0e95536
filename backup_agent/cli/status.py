"""`backup-agent status`."""

import errno
import http.client
import os
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from backup_agent.cli import printing, status_text
from backup_agent.cli.agent_id import owner_id
from backup_agent.cli.help import DONE, FAILED, MISUSED, WARNED, WRONG_USAGE, DocumentedCommand
from backup_agent.cli.options import config_path, json_option, settings_option, utc_option
from backup_agent.core.json_reader import read_json
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.settings.page import AgentAddress, agent_address

if TYPE_CHECKING:
    from backup_agent.settings.model import Settings

PATIENCE_SECONDS = 10.0
WATCH_SECONDS = 5.0
LARGEST = 64 * 2**20
"""Largest size of a status in bytes. A thousand databases take a few MiB."""

EXIT = {"OK": 0, "DEGRADED": 3, "FAILING": 5}
"""Health -> exit code of `status --check`."""


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent status --problems",
        'backup-agent status --database "orders*"',
        "backup-agent status --check",
    ),
    exits={
        DONE: "the agent is ready; with --check: OK",
        FAILED: "the agent does not answer, or is another agent",
        MISUSED: f"{WRONG_USAGE}; the agent refuses the changed settings",
        WARNED: "the agent is not ready; with --check: DEGRADED",
        5: "with --check: FAILING",
    },
)
@click.option("--problems", is_flag=True, help="Show every problem, and nothing else.")
@click.option("--database", "database", metavar="GLOB", help="Show every database that matches, and its problems.")
@click.option("--watch", is_flag=True, help="Show the status every 5 seconds, until Ctrl-C.")
@click.option("--check", is_flag=True, help="Print the first line only, and exit with its code.")
@settings_option
@utc_option
@json_option
@click.pass_context
def command(
    context: click.Context, /, *, problems: bool, database: str | None, watch: bool, check: bool, as_json: bool
) -> int:
    """Show the health and the state of the running agent.

    The first line is the health: OK, DEGRADED or FAILING, with the problems. Then follow the problems, what the agent
    does, the databases with the most important first, the schedules and destinations. Asks the agent over HTTP.
    """
    if check and (problems or watch or database):
        raise click.UsageError("--check goes without --problems, --database and --watch")
    if watch and as_json:
        raise click.UsageError("--watch goes without --json")
    width, height = printing.terminal_size()
    shown = status_text.Shown(problems=problems, database=database, width=width, height=height)
    if watch:
        _watch(lambda: status_text.lines(_status(context), shown))
    status = _status(context)
    if as_json:
        printing.as_json(status)
    elif check:
        printing.line(status_text.first_line(status))
    else:
        printing.lines(status_text.lines(status, shown))
    if not status["settings_valid"] and not check:
        _settings(context)
    if check and "health" in status:
        return EXIT.get(status["health"]["state"], WARNED)
    return 0 if status["ready"] and not check else WARNED


def _watch(texts: Callable[[], list[str]]) -> None:
    """Show texts again and again, until the process is interrupted."""
    while True:
        try:
            shown = texts()
        except BackupError as error:
            shown = [f"backup-agent: {error.failure.error}"]
        printing.screen(shown)
        time.sleep(WATCH_SECONDS)


def _status(context: click.Context) -> Any:  # noqa: ANN401  the JSON of Status
    try:
        address = agent_address(config_path(context), os.environ)
        if address is None:
            http = _settings(context).http
            address = AgentAddress(*http.page_address, None, None)
        status = ask((address.host, address.port))
    except TransientError:
        _settings(context)
        raise
    _insist_on_own_agent(status, address)
    return status


def _settings(context: click.Context) -> "Settings":
    """Check all settings. Raise SettingsError with every fault."""
    from backup_agent.cli.configured import loaded  # noqa: PLC0415  seldom needed, and more than half of the time

    return loaded(context).settings


def _insist_on_own_agent(status: dict[str, Any], address: AgentAddress) -> None:
    """Raise PermanentError if another agent answers than that of the settings file, by its cluster or owner id."""
    ours = None if address.root is None else owner_id(address.root)
    other_cluster = address.cluster is not None and status["cluster"] != address.cluster
    other_owner = ours is not None and status.get("owner", ours) != ours
    if other_cluster or other_owner:
        owner = f", owner {status['owner']}" if "owner" in status else ""
        raise PermanentError(
            Reason.NO_AGENT,
            f"{address.host}:{address.port}: another agent answers (cluster {status['cluster']}{owner}), not that of "
            f"the settings file (cluster {address.cluster or '?'}{f', owner {ours}' if ours else ''})",
            "set http.page of each agent to a port of its own; --config names the settings file",
        )


def ask(address: tuple[str, int]) -> Any:  # noqa: ANN401  the JSON of Status
    """Return /status.json of the agent that serves at host and port. Raise TransientError if it does not answer."""
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104  listen addresses
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/status.json"
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)  # uses no proxy
    try:
        with closing(connection):
            connection.request("GET", "/status.json")
            reply = connection.getresponse()
            if reply.status != http.client.OK:
                raise _no_answer(url, f"HTTP {reply.status}")
            text = reply.read(LARGEST + 1)
            if len(text) > LARGEST:
                raise OSError(errno.EFBIG, f"the status is larger than {LARGEST} bytes")
            return read_json(text)
    except (http.client.HTTPException, OSError, ValueError) as error:
        # Only the system's message, or the kind of error, is quoted.
        raise _no_answer(url, getattr(error, "strerror", None) or type(error).__name__) from None


def _no_answer(url: str, why: str) -> TransientError:
    return TransientError(
        Reason.NO_AGENT,
        f"{url}: the agent does not answer ({why})",
        "is `backup-agent run` running in this pod? `backup-agent list` works without it",
    )
