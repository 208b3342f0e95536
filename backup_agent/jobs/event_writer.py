"""How a child begins, and how it tells the supervisor what happens: one event a line on stdout."""

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
"""How long a run outlives its supervisor at the most."""


class EventWriter:
    """Writes events. Progress is told about once a second, whatever the caller does."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        """`write` takes a line; stdout where none is given."""
        self._write = write or _to_stdout
        self._lock = threading.Lock()
        self._stage = ""
        self._last = 0.0

    def tell(self, event: ChildEvent) -> None:
        """Tell one event."""
        with self._lock:
            self._write(event.model_dump_json())

    def stage(self, stage: str) -> None:
        """Tell that another stage begins."""
        if stage != self._stage:
            self._stage = stage
            self.tell(StageBegun(stage=stage))

    def progress(self, done: int, total: int | None = None) -> None:
        """Tell how many bytes of the stage are done."""
        now = time.monotonic()
        if now - self._last >= PROGRESS_SECONDS:
            self._last = now
            self.tell(Progress(bytes=done, total=total))


T = TypeVar("T", bound=Task)


def begin(kind: type[T], given: str | None = None) -> tuple[T, Settings, EventWriter]:
    """Begin a child: read its task from the first line of stdin, which is its lifeline from then on.

    A child of a run has no stdin: it is `given` its task, and ends with the session of the run.
    """
    quoting.guard_stderr()
    if given is None:
        task = kind.model_validate_json(sys.stdin.buffer.readline())
        hold_lifeline()
    else:
        task = kind.model_validate_json(given)
    return task, Settings.model_validate(task.settings), EventWriter()


def hold_lifeline() -> None:
    """End the whole session when stdin reaches its end: the supervisor is gone, and nobody would hear the result."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: a thread that holds its lock would hinder the exit
            pass
        for pid in session(os.getsid(0)):
            if pid != os.getpid():
                send(pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def cancel_on_sigterm() -> threading.Event:
    """Return an event that SIGTERM sets."""
    cancel = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancel.set())
    return cancel


def _to_stdout(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The supervisor is gone, and the lifeline is about to end this session. Whoever went on till then would take it
        # for a failure of the run, and put aside the finished artifact that the next attempt adopts.
        time.sleep(LIFELINE_SECONDS)
        raise
