"""The databases that were replaced, and the FULLs that they need as soon as all their copies are online.

The cluster is otherwise queried only before a backup. So it is also queried each minute while a replacement is
expected, after a backup into the set `before-restore`, and while a replaced database has no FULL of its new history.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.requests.new_history import expects_replacement, requests, without_full
from backup_agent.core.requests.request import Request
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

QUERY_SECONDS = 60.0


@dataclass
class NewHistories:
    """The replaced databases."""

    reloader: Reloader
    discovery: Discovery
    volume_summaries: VolumeSummaries
    discover: Callable[[], None]

    @property
    def without_full(self) -> Mapping[DatabaseName, datetime]:
        """The replaced databases that have no FULL of their new history -> when each was first seen replaced."""
        if self.discovery.last is None or not self.discovery.last.replaced:
            return {}
        return without_full(self.discovery.last, self.volume_summaries.summaries, self.reloader.settings.declared_sets)

    def wanted(self) -> Iterable[Request]:
        """Return the requests for the FULLs that can be taken now."""
        replaced = self.without_full
        return requests(self.discovery.current, replaced) if self.discovery.current is not None and replaced else ()

    def look(self, now: datetime, monotonic: float) -> None:
        """Query the cluster if a replacement is expected or not backed up yet, and its last answer is a minute old."""
        declared = self.reloader.settings.declared_sets
        expected = self.without_full or expects_replacement(self.volume_summaries.summaries, declared, now)
        if expected and self.discovery.older(monotonic, QUERY_SECONDS):
            self.discover()
