"""The state of the cluster between two restarts of its servers, for `backup-agent doctor --cluster`."""

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta

from backup_agent.cli import printing
from backup_agent.cli.child_events import follow
from backup_agent.core.neo4j.cluster_state import ClusterState, Readiness, SeenServer
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.core.requests.events import ClusterStateTold, DiscoveryFailed
from backup_agent.core.requests.tasks import ClusterStateTask
from backup_agent.settings.model import Settings
from backup_agent.supervisor.children.process import Told

MODULE = "backup_agent.jobs.cluster_state"
CHILD_SECONDS = 60.0
"""Longest time of the child, which itself gives Bolt 30 s."""
POLL_SECONDS = 5.0
"""Seconds between an answer and the next question."""
WIDTH = 80

CODES = {Readiness.SETTLED: 0, Readiness.WAIT: 3, Readiness.UNKNOWN: 5}

HEAD = ("SERVER", "VERSION", "STATE", "HEALTH", "DATABASES")
VERDICTS = {
    Readiness.SETTLED: "settled: the next server may be restarted",
    Readiness.WAIT: "not settled: restart no server yet",
    Readiness.UNKNOWN: "not known whether the cluster is settled: restart no server",
}

Ask = Callable[[], ClusterState]


def show(settings: Settings, servers: int | None, wait: timedelta, *, as_json: bool) -> int:
    """Print whether the next server may be restarted, after up to `wait`. Return the exit code.

    Raise BackupError if Bolt does not answer.
    """
    task = ClusterStateTask(settings=settings.model_dump(mode="json"), servers=servers)
    found = when_settled(lambda: _asked(task, settings), wait.total_seconds())
    if as_json:
        settled = {Readiness.SETTLED: True, Readiness.WAIT: False, Readiness.UNKNOWN: None}
        printing.as_json({"settled": settled[found.readiness], **found.model_dump(mode="json")})
    else:
        width, _ = printing.terminal_size()
        printing.prose(text(found, width or WIDTH))
    return CODES[found.readiness]


def when_settled(ask: Ask, seconds: float, pause: float = POLL_SECONDS) -> ClusterState:
    """Ask until the cluster is settled, or `seconds` are over. Return the last answer, or raise its failure.

    A refused login and missing privileges end the wait: no time mends them.
    """
    end = time.monotonic() + seconds
    shown = ""
    while True:
        found = _answer(ask)
        last = time.monotonic() + pause > end
        if isinstance(found, TransientError) and not last:
            why = str(found)
        elif isinstance(found, BackupError):
            raise found
        elif last or found.readiness is not Readiness.WAIT:
            return found
        else:
            more = len(found.reasons) + found.more_reasons - 1
            why = found.reasons[0] + (f", and {printing.counted(more, 'more reason', 'more reasons')}" if more else "")
        if why != shown:
            printing.line(f"waiting: {why}", err=True)
            shown = why
        time.sleep(pause)


def text(state: ClusterState, width: int) -> Iterator[str]:
    """Yield the lines that show a state: a table of the servers, what to wait for, and the verdict last."""
    if state.servers:
        yield from printing.table_lines(HEAD, map(_row, state.servers), width=width, never_cut=(1, 2, 3, 4))
    yield from (f"wait: {reason}" for reason in state.reasons)
    if state.more_reasons:
        yield f"wait: {printing.counted(state.more_reasons, 'more reason', 'more reasons')}"
    yield from (f"unknown: {what}" for what in state.unseen)
    listed = printing.counted(state.databases, "database", "databases")
    yield f"{VERDICTS[state.readiness]} ({printing.counted(len(state.servers), 'server', 'servers')}, {listed})"


def _row(server: SeenServer) -> tuple[str, ...]:
    hosted = f"{server.hosting} of {server.requested}"
    return (server.address or server.name, server.version or "-", server.state, server.health, hosted)


def _answer(ask: Ask) -> ClusterState | BackupError:
    try:
        return ask()
    except BackupError as error:
        return error


def _asked(task: ClusterStateTask, settings: Settings) -> ClusterState:
    """Let a child ask the cluster. Raise BackupError if it has no answer."""
    try:
        with closing(follow(MODULE, task, str(settings.storage.root), CHILD_SECONDS)) as events:
            for message in events:
                match message:
                    case Told(event=ClusterStateTold(state=state)):
                        return state
                    case Told(event=DiscoveryFailed(failure=failure, permanent=permanent)):
                        kind = PermanentError if permanent else TransientError
                        raise kind(failure.reason, failure.error, failure.hint)
    except queue.Empty:
        raise TransientError(
            Reason.SOURCE_UNREACHABLE, f"the cluster gave no answer within {CHILD_SECONDS:.0f} s"
        ) from None
    raise TransientError(Reason.INTERNAL, "the process that asks the cluster ended without an answer")
