"""How a child process starts, and how it sends events to the supervisor: one JSON line on stdout for each event."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from backup_agent import quoting
from backup_agent.core.requests.events import ChildEvent, Progress, StageBegun
from backup_agent.core.requests.tasks import Task
from backup_agent.processes import send, session
from backup_agent.settings.model import Settings

PROGRESS_SECONDS = 1.0
LIFELINE_SECONDS = 5.0
"""Longest time that a run outlives its supervisor."""


class EventWriter:
    """Writes events. Progress is written at most once a second."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        """`write` is called with each line; by default lines are written to stdout."""
        self._write = write or _to_stdout
        self._lock = threading.Lock()
        self._stage = ""
        self._last = 0.0

    def tell(self, event: ChildEvent) -> None:
        """Write one event."""
        with self._lock:
            self._write(event.model_dump_json())

    def stage(self, stage: str) -> None:
        """Write that a stage begins, unless it is the present stage."""
        if stage != self._stage:
            self._stage = stage
            self.tell(StageBegun(stage=stage))

    def progress(self, done: int, total: int | None = None) -> None:
        """Write how many bytes of the stage are done."""
        now = time.monotonic()
        if now - self._last >= PROGRESS_SECONDS:
            self._last = now
            self.tell(Progress(bytes=done, total=total))


T = TypeVar("T", bound=Task)


def begin(kind: type[T], given: str | None = None) -> tuple[T, Settings, EventWriter]:
    """Start a child process: return its task, its settings and its event writer.

    The task is the first line of stdin. When stdin ends later, the process ends too (`hold_lifeline`). A child of a run
    has no stdin: `given` is its task, and the child ends with the session of the run.
    """
    quoting.guard_stderr()
    if given is None:
        task = kind.model_validate_json(sys.stdin.buffer.readline())
        hold_lifeline()
    else:
        task = kind.model_validate_json(given)
    return task, Settings.model_validate(task.settings), EventWriter()


def hold_lifeline() -> None:
    """Kill the whole session at the end of stdin: the supervisor has ended, and nothing reads the result."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: a thread that holds its lock would block the exit
            pass
        for pid in session(os.getsid(0)):
            if pid != os.getpid():
                send(pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def cancel_on_sigterm() -> threading.Event:
    """Return a threading.Event that SIGTERM sets."""
    cancel = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancel.set())
    return cancel


def _to_stdout(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The supervisor has gone, and the lifeline is about to end this session. Wait for that: the caller would treat
        # the error as a failure of the run, and set aside a finished artifact that the next attempt can adopt.
        time.sleep(LIFELINE_SECONDS)
        raise
