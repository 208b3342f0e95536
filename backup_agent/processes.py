"""Find and end all processes of a run, also those that other programs started or another process adopted.

Every process of a run has `TAG` in its environment, so that a new supervisor finds the processes of an earlier one.
The tag names the supervisor by process id and start time, since ids are reused.
"""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

TAG = "BACKUP_AGENT_RUN"
"""`<supervisor's pid>:<its start in clock ticks>:<storage root>`, in the environment of every process of a run."""

LOCK_DESCRIPTOR = "BACKUP_AGENT_LOCK"
"""The descriptor that holds the lock of the storage root, inherited by every process of a run."""

PROC = Path("/proc")


def leave(code: int = 0) -> NoReturn:
    """End this process without waiting for its threads.

    Python would free all modules first, which takes a sixth of the processor time of a child with a small task.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def tag(supervisor: int, root: str) -> str:
    """Return the value of TAG for the runs of a supervisor."""
    return f"{supervisor}:{start_of(supervisor)}:{root}"


def start_of(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot (proc(5), field 22); None if it does not exist."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def session(leader: int) -> Iterator[int]:
    """Yield the ids of the processes of a session, except zombies."""
    for pid in _pids():
        fields = _stat(pid)
        if fields is not None and int(fields[3]) == leader and fields[0] != "Z":
            yield pid


def kill_session(leader: int, *, but: int | None = None) -> None:
    """Kill the processes of a session except `but`, also those that are forked while the session is being listed."""
    known = set() if but is None else {but}
    while found := set(session(leader)) - known:
        for pid in found:
            send(pid, signal.SIGKILL)
        known |= found


def left_behind(root: str) -> Iterator[int]:
    """Yield the ids of processes whose tag names this storage root and a supervisor that has ended."""
    for pid in _pids():
        try:
            environment = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for entry in environment:
            name, _, value = entry.decode(errors="replace").partition("=")
            if name != TAG:
                continue
            supervisor, started, place = value.split(":", 2)
            if place == root and str(start_of(int(supervisor))) != started:
                yield pid


def end_left_behind(root: str) -> int:
    """Kill the processes that an earlier supervisor of this storage root left behind; return their number."""
    ended = 0
    while pids := list(left_behind(root)):
        for pid in pids:
            send(pid, signal.SIGKILL)
        ended = max(ended, len(pids))
        for pid in pids:
            _await_end(pid)
    return ended


def reap_orphans(own: set[int]) -> int:
    """As process 1, reap adopted children and return their number. The children in `own` are reaped elsewhere."""
    reaped = 0
    for pid in _pids():
        fields = _stat(pid)
        if fields is None or fields[0] != "Z" or int(fields[1]) != os.getpid() or pid in own:
            continue
        try:
            os.waitpid(pid, os.WNOHANG)
            reaped += 1
        except ChildProcessError:
            continue
    return reaped


def _await_end(pid: int) -> None:
    """Wait until a process that is not a child has ended, at most two seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([descriptor], [], [], 2.0)
    os.close(descriptor)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the third on: state, parent, group, session (proc(5))."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()
