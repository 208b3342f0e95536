"""The runs under way: child processes, what they told last, and when their time is up."""

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
"""How long a run may take to end by itself, once it was asked to: a cancel is promised within five seconds."""

KILL_AGAIN_SECONDS = 1.0


@dataclass
class Run:
    """A child and what is known of it. Times are monotonic seconds."""

    child: Child
    kind: str
    """survey, cluster, backup or copy: the child's module."""
    started: float
    deadline: float | None = None
    stage: str | None = None
    bytes: int | None = None
    total: int | None = None
    result: Result | None = None
    """The event that tells its outcome, once it has come."""
    ending: Reason | None = None
    """Why it was asked to end."""
    kill_at: float | None = None
    destination: PlaceName | None = None


class Runs:
    """All runs, by name."""

    def __init__(self, root: str, tell: Callable[[Told | Ended], None]) -> None:
        """`tell` gets what children say. `lock` is the descriptor of the root's lock, which they hold too."""
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
        """Start `python -m <module>` with its task; `remote` says whether that has to do with a destination."""
        child = Child(name, module, task, self._tell, root=self._root, keep=self.lock, remote=remote)
        kind = module.rsplit(".", 1)[-1]
        self._runs[name] = Run(child, kind, time.monotonic(), deadline=deadline, destination=destination)

    def numbered(self, kind: str) -> str:
        """Return a name for a run that has none of its own."""
        self._numbers[kind] += 1
        return f"{kind}-{self._numbers[kind]}"

    def get(self, name: str) -> Run | None:
        """Return a run, or None where it has ended."""
        return self._runs.get(name)

    def any(self, kind: str) -> bool:
        """Tell whether a run of a kind is under way."""
        return any(run.kind == kind for run in self._runs.values())

    @property
    def slots(self) -> int:
        """How many slots are taken: all runs but the survey take one, so that no heavy library stands beside a JVM."""
        return sum(run.kind != "survey" for run in self._runs.values())

    def progressed(self, name: str, event: StageBegun | Progress) -> None:
        """Note how far a run is."""
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
        """End what has outlived its time; everything where `all_end`."""
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
        """Return when something is to be enforced."""
        return [moment for _, run in self for moment in (run.deadline, run.kill_at) if moment is not None]

    def ended(self, name: str) -> Run | None:
        """Take a run that has ended out, with whatever is left of its session."""
        run = self._runs.pop(name, None)
        if run is not None:
            run.child.kill()
        return run

    def kill(self) -> None:
        """Kill everything."""
        for _, run in self:
            run.child.kill()
