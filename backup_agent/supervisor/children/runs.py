"""The runs under way: their child processes, their progress and their deadlines."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import assert_never

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.events import Progress, Result, StageBegun
from backup_agent.supervisor.children.process import Child, Ended, Told

END_SECONDS = 3.0
"""Seconds between asking a run to end and killing it. A cancelled run must have ended within five seconds."""

KILL_AGAIN_SECONDS = 1.0


@dataclass
class Run:
    """A child and its progress. Times are monotonic seconds."""

    child: Child
    kind: str
    """The last part of the name of the child's module: survey, cluster, backup, copy, prune or verify."""
    started: float
    deadline: float | None = None
    stage: str | None = None
    bytes: int | None = None
    total: int | None = None
    result: Result | None = None
    """The event that reports the outcome; None until it arrives."""
    ending: Reason | None = None
    """Why the child was asked to end."""
    kill_at: float | None = None
    destination: PlaceName | None = None


class Runs:
    """All runs, by name."""

    def __init__(self, root: str, tell: Callable[[Told | Ended], None]) -> None:
        """`tell` is called with the events and the end of each child.

        Set `lock` before `spawn`: the descriptor of the root's lock, which children inherit.
        """
        self._root = root
        self._tell = tell
        self.lock = -1
        self._runs: dict[str, Run] = {}
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
        destination: PlaceName | None = None,
        remote: bool = False,
    ) -> None:
        """Start `python -m <module>` with its task; `remote` says whether the task uses a destination.

        Raise OSError if the child cannot be started.
        """
        child = Child(name, module, task, self._tell, root=self._root, keep=self.lock, remote=remote)
        kind = module.rsplit(".", 1)[-1]
        self._runs[name] = Run(child, kind, time.monotonic(), deadline=deadline, destination=destination)

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
        """Number of slots in use. Each run uses one, except the survey, which loads no large libraries."""
        return sum(run.kind != "survey" for run in self._runs.values())

    def progressed(self, name: str, event: StageBegun | Progress) -> None:
        """Note the progress of a run."""
        run = self._runs[name]
        match event:
            case StageBegun():
                run.stage, run.bytes, run.total = event.stage, None, None
            case Progress():
                run.bytes, run.total = event.bytes, event.total
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

    def enforce(self, monotonic: float, *, all_end: bool) -> None:
        """End the runs whose deadline has passed, or every run if `all_end`; kill runs that did not end in time."""
        for name, run in self:
            if run.deadline is not None and monotonic >= run.deadline:
                run.deadline = None
                self.end(name, Reason.TIMEOUT)
            if run.kill_at is not None and monotonic >= run.kill_at:
                run.kill_at = monotonic + KILL_AGAIN_SECONDS
                run.child.kill()
            if all_end:
                self.end(name, Reason.INTERRUPTED)

    def moments(self) -> list[float]:
        """Return the times at which `enforce` has something to do."""
        return [moment for _, run in self for moment in (run.deadline, run.kill_at) if moment is not None]

    def ended(self, name: str) -> Run | None:
        """Remove and return a run that has ended, and kill the rest of its session. Return None if it is unknown."""
        run = self._runs.pop(name, None)
        if run is not None:
            run.child.kill()
        return run

    def kill(self) -> None:
        """Kill all runs."""
        for _, run in self:
            run.child.kill()
