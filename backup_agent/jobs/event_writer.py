"""How a child process gets its tasks, and how it sends events to the supervisor: one JSON line on stdout for each."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import TypeAdapter

from backup_agent import quoting
from backup_agent.core.requests.events import ChildEvent, Progress, Result, StageBegun, TaskEnded, is_success
from backup_agent.core.requests.tasks import Task
from backup_agent.jobs.lifeline import Lifeline
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
        self.result: Result | None = None
        """The result of the task, once it is written."""
        self._done = 0
        self._total: int | None = None
        self._counted_from = (0.0, 0)
        """Monotonic time, and the bytes that were done then: a resumed upload begins with those that it finds."""

    def tell(self, event: ChildEvent) -> None:
        """Write one event."""
        if isinstance(event, Result):
            self.result = event
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
        if total != self._total or done < self._done:
            self._total, self._counted_from = total, (now, done)
        self._done = done
        if now - self._last >= PROGRESS_SECONDS:
            self._last = now
            self.tell(Progress(bytes=done, total=total, estimated_seconds=self._estimated(now)))

    def _estimated(self, now: float) -> float | None:
        """Return the seconds that the rest takes at the rate until now; None if too little is known."""
        since, before = self._counted_from
        if self._total is None or now - since < PROGRESS_SECONDS or self._done <= before:
            return None
        return round((self._total - self._done) * (now - since) / (self._done - before), 1)


T = TypeVar("T", bound=Task)


def begin(kind: type[T]) -> tuple[T, Settings, EventWriter]:
    """Start a child process for one task: return the task, its settings and its event writer.

    The task is the first line of stdin. When stdin ends later, the process ends too (`Lifeline`).
    """
    quoting.guard_stderr()
    task = kind.model_validate_json(Lifeline().next_task() or b"")
    return task, Settings.model_validate(task.settings), EventWriter()


def serve(read: TypeAdapter[T], perform: Callable[[T, Settings, EventWriter, threading.Event], None]) -> None:
    """Carry out the tasks on stdin, one after the other, until stdin ends or a task does not succeed.

    So the libraries are imported once. If a task fails, is cancelled (`cancel_on_sigterm`) or raises, the process ends,
    and the next task gets a new one: the cause may be a broken connection, an old credential or a lack of memory. While
    no task is carried out, SIGTERM ends the process.
    """
    quoting.guard_stderr()
    lifeline = Lifeline()
    given: dict[str, Any] | None = None
    while (line := lifeline.next_task()) is not None:
        task = read.validate_json(line)
        if task.settings != given:
            given, settings = task.settings, Settings.model_validate(task.settings)
        writer, cancel = EventWriter(), threading.Event()
        perform(task, settings, writer, cancel)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if cancel.is_set() or writer.result is None or not is_success(writer.result):
            return
        lifeline.task_done()
        writer.tell(TaskEnded())


def cancel_on_sigterm(cancel: threading.Event) -> None:
    """Let SIGTERM set `cancel`."""
    signal.signal(signal.SIGTERM, lambda *_: cancel.set())


def _to_stdout(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The supervisor has gone, and the lifeline is about to end this session. Wait for that: the caller would treat
        # the error as a failure of the run, and set aside a finished artifact that the next attempt can adopt.
        time.sleep(LIFELINE_SECONDS)
        raise
