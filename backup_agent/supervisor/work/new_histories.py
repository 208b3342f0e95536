"""Queues a FULL of each database that was replaced, as soon as all its copies are online.

The cluster is otherwise queried only before a backup. So it is also queried each minute while a replacement is
expected, after a backup into the set `before-restore`, and while a replaced database has no FULL of its new history.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.requests.new_history import expects_replacement, requests, without_full
from backup_agent.core.requests.request import Request
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

QUERY_SECONDS = 60.0
LOOK_SECONDS = 1.0
"""How often the summaries are looked at: there may be thousands, and the loop turns often."""


@dataclass
class NewHistories:
    """The replaced databases, and the requests that were made for them."""

    reloader: Reloader
    discovery: Discovery
    volume_summaries: VolumeSummaries
    ask: Callable[[Request], None]
    discover: Callable[[], None]
    _asked: set[str] = field(default_factory=set)
    _next_look: float = 0.0

    @property
    def without_full(self) -> Mapping[DatabaseName, datetime]:
        """The replaced databases that have no FULL of their new history -> when each was first seen replaced."""
        if self.discovery.last is None or not self.discovery.last.replaced:
            return {}
        return without_full(self.discovery.last, self.volume_summaries.summaries, self.reloader.settings.declared_sets)

    def advance(self, now: datetime, monotonic: float) -> None:
        """Ask for the FULLs that can be taken now, and query the cluster if its last answer is a minute old."""
        if not self.volume_summaries.known or monotonic < self._next_look:
            return
        self._next_look = monotonic + LOOK_SECONDS
        replaced = self.without_full
        if self.discovery.current is not None and replaced:
            for request in requests(self.discovery.current, replaced):
                if request.id is not None and request.id not in self._asked:
                    self._asked.add(request.id)
                    self.ask(request)
        declared = self.reloader.settings.declared_sets
        expected = replaced or expects_replacement(self.volume_summaries.summaries, declared, now)
        if expected and self.discovery.older(monotonic, QUERY_SECONDS):
            self.discover()
