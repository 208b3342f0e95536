"""Queues the FULLs that the agent itself wants, and queues each again if it failed.

They are wanted after a replacement of a database, and after a drill that marked an artifact as damaged.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from backup_agent.core.requests.after_damage import fulls_after_damage
from backup_agent.core.requests.request import Request
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.drill_results import DrillResults
from backup_agent.supervisor.work.new_histories import NewHistories
from backup_agent.supervisor.work.open_requests import OpenRequests
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

LOOK_SECONDS = 1.0
"""Seconds between two looks at the summaries: there may be thousands, and the loop makes many steps."""

FIRST_WAIT = timedelta(minutes=15)
LONGEST_WAIT = timedelta(hours=6)
"""How long after its end a request is made again if its FULL is still wanted. The wait doubles each time."""


@dataclass
class _Asked:
    """The last request for a FULL."""

    id: str
    due: float
    """When it may be made again, in monotonic seconds."""
    wait: float


@dataclass
class OwnFulls:
    """The FULLs that are wanted, and the requests that were made for them."""

    reloader: Reloader
    discovery: Discovery
    volume_summaries: VolumeSummaries
    drill_results: DrillResults
    new_histories: NewHistories
    requests: OpenRequests
    ask: Callable[[Request], None]
    _asked: dict[str, _Asked] = field(default_factory=dict)
    """First id of a request -> the last request."""
    _next_look: float = 0.0

    def advance(self, now: datetime, monotonic: float) -> None:
        """Make the requests that are due."""
        if not self.volume_summaries.known or monotonic < self._next_look:
            return
        self._next_look = monotonic + LOOK_SECONDS
        self.new_histories.look(now, monotonic)
        wanted = {request.id: request for request in self._wanted() if request.id is not None}
        self._asked = {name: asked for name, asked in self._asked.items() if name in wanted}
        for name, request in wanted.items():
            self._make(name, request, now, monotonic)

    def _wanted(self) -> Iterable[Request]:
        yield from self.new_histories.wanted()
        if self.discovery.current is not None:
            summaries = self.volume_summaries.summaries
            yield from fulls_after_damage(
                self.drill_results.of({(one.set, one.database) for one in summaries}),
                summaries,
                self.reloader.settings.declared_sets,
                self.discovery.current.databases(),
            )

    def _make(self, name: str, request: Request, now: datetime, monotonic: float) -> None:
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = _Asked(name, 0.0, FIRST_WAIT.total_seconds())
        elif asked.id in self.requests.loaded or asked.id in self.requests.serialised:
            asked.due = monotonic + asked.wait
            return
        elif monotonic < asked.due:
            return
        else:
            asked.id = f"{name}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
            asked.wait = min(2 * asked.wait, LONGEST_WAIT.total_seconds())
        asked.due = monotonic + asked.wait
        self.ask(request.model_copy(update={"id": asked.id}))
