"""The runs under way: their child processes, their progress and their deadlines.

A child that has carried out a run of some purposes waits for the next run of its purpose for a time, because the start
of a process takes much longer than a small run. All runs at one destination use one child, one run after the other.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self, assert_never

import structlog

from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.events import Progress, Result, StageBegun
from backup_agent.supervisor.children.doctor_steps import CHECK
from backup_agent.supervisor.children.process import Child, Ended, Told

END_SECONDS = 3.0
"""Seconds between asking a run to end and killing it. A cancelled run must have ended within five seconds."""

KILL_AGAIN_SECONDS = 1.0

LOOK_SECONDS = 0.1
"""Seconds between two looks at a child that was let go, whose end sends no message."""

BACKUP_WAITS_SECONDS = 5.0
"""How long a child waits for its next backup. The next one of a request follows at once, or after a query over Bolt."""

DESTINATION_WAITS_SECONDS = 60.0
"""How long a child waits for its next task at a destination. A copy follows each backup, and a backup takes seconds to
minutes, while the client library of a destination takes 0.7 s to import."""

DESTINATION_MODULE = "backup_agent.jobs.destination"

NOTIFY = "notify"
"""The kind of the runs that send notifications."""

PAGE = "page"
"""The kind of the runs that make the status page."""


MOST_KINDS = 100
"""How many kinds of ignored lines are remembered, so that each kind is logged once."""

log = structlog.get_logger()


class Purpose(NamedTuple):
    """What a child process is for. It gets only runs of this purpose."""

    module: str
    destination: PlaceName | None
    remote: bool
    """Whether it has the credentials of destinations."""

    @classmethod
    def of(cls, module: str, destination: PlaceName | None, *, remote: bool) -> Self:
        """Return the purpose of a run. The runs of all modules at a destination share one purpose."""
        if destination is None or destination == VOLUME:
            return cls(module, None, remote)
        return cls(DESTINATION_MODULE, destination, remote=True)

    @property
    def waits_seconds(self) -> float:
        """How long a child of this purpose waits for its next run."""
        return BACKUP_WAITS_SECONDS if self.destination is None else DESTINATION_WAITS_SECONDS


@dataclass
class Waiting:
    """A child that waits for its next run. Times are monotonic seconds."""

    child: Child
    purpose: Purpose
    until: float
    """When it is let go."""


@dataclass
class Leaving:
    """A child that was let go while it waited, and has not ended yet."""

    child: Child
    kill_at: float


@dataclass
class Run:
    """A task of a child, and its progress. Times are monotonic seconds."""

    child: Child
    kind: str
    """The last part of the name of the task's module: survey, cluster, backup, copy, prune, hold or verify."""
    purpose: Purpose
    started: float
    moved: float
    """When the child last wrote an event."""
    deadline: float | None = None
    stall: float | None = None
    """Seconds after which a child without events is ended; None if it may be silent."""
    stage: str | None = None
    artifact: str | None = None
    """Key of the artifact that a copy pass sends."""
    bytes: int | None = None
    total: int | None = None
    estimated_seconds: float | None = None
    """Until the stage ends."""
    result: Result | None = None
    """The event that reports the outcome; None until it arrives."""
    ending: Reason | None = None
    """Why the child was asked to end."""
    kill_at: float | None = None
    place: PlaceName | None = None
    """The place at which a pass works; None for other runs."""
    yielding: bool = False
    """Whether a copy pass was asked to end after the artifact under way."""
    last: bool = False
    """Whether the child gets no further run, because the settings have changed."""

    @property
    def is_beside(self) -> bool:
        """Whether it is a run of the doctor, of notifications or of the status page."""
        return self.kind in (NOTIFY, PAGE) or self.kind.startswith(CHECK)

    @property
    def stalled_at(self) -> float | None:
        """When the run must be ended if it writes no event before; None once it was asked to end."""
        return None if self.stall is None or self.ending is not None else self.moved + self.stall

    @property
    def destination(self) -> PlaceName | None:
        """The destination at which a pass works; None for a run that works on the volume or at no place."""
        return self.purpose.destination


class Runs:
    """All runs, by name, and the children that wait for a run."""

    def __init__(self, root: str, tell: Callable[[Told | Ended], None]) -> None:
        """`tell` is called with the events and the end of each child.

        Set `lock` before `spawn`: the descriptor of the root's lock, which children inherit.
        """
        self._root = root
        self._tell = tell
        self.lock = -1
        self._runs: dict[str, Run] = {}
        self._waiting: list[Waiting] = []
        self._leaving: list[Leaving] = []
        self._numbers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[tuple[str, Run]]:
        return iter(list(self._runs.items()))

    def spawn(
        self,
        name: str,
        module: str,
        task: bytes,
        *,
        deadline: float | None = None,
        stall: float | None = None,
        place: PlaceName | None = None,
        remote: bool = False,
    ) -> None:
        """Let a child carry out a task of a module: one that waits for such a run, else a new process.

        `remote` says whether the task uses a destination. Raise OSError if the child cannot be started, ValueError if a
        run at the destination is under way.
        """
        purpose = Purpose.of(module, place, remote=remote)
        if purpose.destination is not None and self.at(purpose.destination) is not None:
            raise ValueError(f"a run at {place} is under way")
        child = self._given_to(purpose, name, task) or Child(
            name,
            purpose.module,
            task,
            self._tell,
            root=self._root,
            keep=self.lock,
            remote=purpose.remote,
            ignored=log_ignored,
        )
        kind, now = module.rsplit(".", 1)[-1], time.monotonic()
        self._runs[name] = Run(child, kind, purpose, now, now, deadline=deadline, stall=stall, place=place)

    def _given_to(self, purpose: Purpose, name: str, task: bytes) -> Child | None:
        """Give the task to a child that waits for such a run. Return the child, or None if no child waits."""
        for one in [one for one in self._waiting if one.purpose == purpose]:
            self._waiting.remove(one)
            if one.child.give(name, task):
                return one.child
        return None

    def at(self, place: PlaceName) -> tuple[str, Run] | None:
        """Return the run that works at a place, with its name, or None."""
        return next(((name, run) for name, run in self._runs.items() if run.place == place), None)

    @property
    def pids(self) -> set[int]:
        """The process ids of all children."""
        return {run.child.pid for run in self._runs.values()} | {child.pid for child in self._without_run}

    @property
    def _without_run(self) -> list[Child]:
        return [*(one.child for one in self._waiting), *(one.child for one in self._leaving)]

    def numbered(self, kind: str) -> str:
        """Return a new name for a run, such as `copy-1`."""
        self._numbers[kind] += 1
        return f"{kind}-{self._numbers[kind]}"

    def get(self, name: str) -> Run | None:
        """Return a run, or None if it has ended."""
        return self._runs.get(name)

    def any(self, kind: str) -> bool:
        """Return whether a run of a kind is under way."""
        return any(run.kind == kind for run in self._runs.values())

    @property
    def slots(self) -> int:
        """Number of slots in use: by backups, by the query of the cluster, and by passes over the volume.

        The survey, notifications and the status page, which load no large libraries, the doctor, and the work at
        destinations use none.
        """
        return sum(
            run.kind != "survey" and not run.is_beside and run.destination is None for run in self._runs.values()
        )

    @property
    def jvms(self) -> int:
        """Number of runs that start a JVM, one at a time."""
        return sum(run.kind in ("backup", "drill") for run in self._runs.values())

    @property
    def beside(self) -> int:
        """Number of runs of the doctor, of notifications and of the status page."""
        return sum(run.is_beside for run in self._runs.values())

    @property
    def at_destinations(self) -> int:
        """Number of runs that work at a destination."""
        return sum(run.destination is not None for run in self._runs.values())

    def progressed(self, name: str, event: StageBegun | Progress) -> None:
        """Note the progress of a run."""
        run = self._runs[name]
        match event:
            case StageBegun():
                run.stage, run.bytes, run.total, run.estimated_seconds = event.stage, None, None, None
            case Progress():
                run.bytes, run.total, run.estimated_seconds = event.bytes, event.total, event.estimated_seconds
            case _:
                assert_never(event)

    def end(self, name: str, reason: Reason) -> None:
        """Ask a run to end, and note when it must be killed."""
        run = self._runs.get(name)
        if run is None or run.ending is not None:
            return
        run.ending = reason
        run.kill_at = time.monotonic() + END_SECONDS
        run.child.ask_to_end()

    def ask_to_yield(self, name: str) -> None:
        """Ask a copy pass to end after the artifact under way.

        Nothing is sent before the pass has told of an artifact: from then on it handles the signal.
        """
        run = self._runs[name]
        if run.artifact is not None and not run.yielding:
            run.yielding = True
            run.child.ask_to_yield()

    def enforce(self, monotonic: float, *, all_end: bool) -> None:
        """End the runs whose deadline has passed or that have stalled, or every run if `all_end`.

        Kill the runs that did not end in time.
        """
        for name, run in self:
            if run.stalled_at is not None and monotonic >= run.stalled_at:
                self.end(name, Reason.STALLED)
            if run.deadline is not None and monotonic >= run.deadline:
                run.deadline = None
                self.end(name, Reason.TIMEOUT)
            if run.kill_at is not None and monotonic >= run.kill_at:
                run.kill_at = monotonic + KILL_AGAIN_SECONDS
                run.child.kill()
            if all_end:
                self.end(name, Reason.INTERRUPTED)
        self._let_go(one for one in self._waiting if monotonic >= one.until or one.child.ended)
        self._leaving = [one for one in self._leaving if not one.child.ended]
        for leaving in self._leaving:
            if monotonic >= leaving.kill_at:
                leaving.kill_at = monotonic + KILL_AGAIN_SECONDS
                leaving.child.kill()

    def moments(self) -> list[float]:
        """Return the times at which `enforce` has something to do."""
        of_runs = [
            moment for _, run in self for moment in (run.deadline, run.kill_at, run.stalled_at) if moment is not None
        ]
        leaving = [time.monotonic() + LOOK_SECONDS] if self._leaving else []
        return [*of_runs, *(one.until for one in self._waiting), *leaving]

    def ended(self, name: str) -> Run | None:
        """Remove and return a run that has ended, and kill what it left of its session. Return None if it is unknown.

        If the child waits for its next run, the child itself is not killed, unless it was asked to end.
        """
        run = self._runs.pop(name, None)
        if run is None:
            return None
        if not run.child.waits:
            run.child.kill()
            return run
        run.child.kill_leftovers()
        waiting = Waiting(run.child, run.purpose, time.monotonic() + run.purpose.waits_seconds)
        self._waiting.append(waiting)
        if run.ending is not None or run.last:
            self._let_go([waiting])
        return run

    def let_go(self) -> None:
        """End all children that wait; those that carry out a run end after it. Each has the settings of its start."""
        self._let_go(self._waiting)
        for run in self._runs.values():
            run.last = True

    def keep_for_backups(self) -> None:
        """Let the children that wait for a backup wait on, because a backup waits for its turn."""
        for one in self._waiting:
            if one.purpose.destination is None:
                one.until = time.monotonic() + one.purpose.waits_seconds

    def make_room(self, destinations: int) -> None:
        """End children that wait for a run at a destination, so that at most `destinations` such children are left."""
        waiting = [one for one in self._waiting if one.purpose.destination is not None]
        running = sum(run.purpose.destination is not None for run in self._runs.values())
        excess = len(waiting) + running - destinations
        self._let_go(waiting[: max(0, excess)])

    def _let_go(self, children: Iterable[Waiting]) -> None:
        for one in list(children):
            self._waiting.remove(one)
            one.child.let_go()
            self._leaving.append(Leaving(one.child, time.monotonic() + END_SECONDS))

    def kill(self) -> None:
        """Kill all children."""
        for run in self._runs.values():
            run.child.kill()
        for child in self._without_run:
            if not child.ended:  # otherwise its process id may belong to another process
                child.kill()


@lru_cache(MOST_KINDS)
def log_ignored(module: str, kind: str) -> None:
    """Log once that lines of a kind are ignored: events of a newer child, or output of a library (no kind)."""
    log.warning("unknown event ignored", module=module, kind=kind or "no event")
