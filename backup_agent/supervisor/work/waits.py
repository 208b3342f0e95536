"""What queued requests wait for, in their answers."""

from dataclasses import dataclass, field
from itertools import islice

from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.requests.answers import Answer, Outcome, State
from backup_agent.supervisor.children.runs import Runs
from backup_agent.supervisor.work.backup_queue import SHOWN_POSITIONS, BackupQueue
from backup_agent.supervisor.work.maintenance_queue import Wish, is_pass
from backup_agent.supervisor.work.open_requests import OpenRequests
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.survey import Survey

_WORK = {
    "backup": "a backup",
    "prune": "retention",
    "verify": "a verification",
    "drill": "a drill",
    "hold": "a hold or a release",
    "copy": "copies",
}
"""Kind of a run -> what it does, in the words of a sentence."""


@dataclass
class Waits:
    """Writes into the answers of queued requests what they wait for."""

    requests: OpenRequests
    runs: Runs
    backup_queue: BackupQueue
    survey: Survey
    orders: Orders
    _shown: dict[str, str | None] = field(default_factory=dict)
    """Queued request -> what it waits for according to its answer."""

    def show(self, monotonic: float) -> None:
        """Publish the answers of the first queued requests that wait for something else than before."""
        backups = self._of_all(monotonic) or self._of_backup()
        now: dict[str, str | None] = {}
        for answer in self.requests.loaded.values():
            if answer.state is State.QUEUED:
                now[answer.id] = self._of_all(monotonic) or self._of_pass(answer) if is_pass(answer) else backups
        for identity in islice(self.requests.serialised, SHOWN_POSITIONS):
            now[identity] = backups
        for identity, why in now.items():
            found = self.requests.find(identity) if self._shown.get(identity) != why else None
            if found is not None:
                self.requests.show(found.model_copy(update={"waits_for": why}))
        self._shown = now

    def _of_all(self, monotonic: float) -> str | None:
        if self.survey.holds_backups(monotonic):
            return "the survey of the volume"
        return "the end of the pause" if self.orders.paused is not None else None

    def _of_backup(self) -> str | None:
        if (work := self._at(VOLUME)) is not None:
            return work
        if self.runs.any("cluster"):
            return "the answer of the cluster"
        return "a backup that runs" if self.backup_queue.running else None

    def _of_pass(self, answer: Answer) -> str | None:
        waiting = [place for place, result in answer.places.items() if result.outcome is Outcome.WAITING]
        if not waiting:
            return None
        where = Wish(answer.action, waiting[0]).where
        if (work := self._at(where)) is not None:
            return work
        if where == VOLUME and (self.backup_queue.running or self.backup_queue.waits):
            return "backups, which come first"
        return "the survey of the volume" if self.survey.holds_passes() else None

    def _at(self, place: PlaceName) -> str | None:
        """Return the work at a place, or None."""
        found = self.runs.at(place)
        return None if found is None else f"{_WORK.get(found[1].kind, found[1].kind)} at {place}"
