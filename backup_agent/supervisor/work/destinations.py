"""The work at destinations: what is done next at each, one process at a time, beside backups and beside each other."""

from collections.abc import Collection
from dataclasses import dataclass, field

from backup_agent.cgroup import memory_limit
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.neo4j.command import Launch, children_beside_jvms
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.turns import Load, Turn, turn
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.runs import Runs
from backup_agent.supervisor.work.backup_queue import BackupQueue
from backup_agent.supervisor.work.copy_passes import CopyPasses
from backup_agent.supervisor.work.maintenance import Maintenance
from backup_agent.supervisor.work.maintenance_queue import COPY, MaintenanceQueue, Wish
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

TURN_EVERY_SECONDS = 120.0
"""How often a destination has a turn while backups wait, if memory allows only one of both. Each turn starts a process,
which costs as much processor time as several small copies."""

TURN_SECONDS = 30.0
"""How long a turn may last before it ends after the artifact under way, since a backup waits."""

PATIENCE_SECONDS = 60.0
"""How long a backup waits for a copy pass that makes no progress, if memory allows only one of both."""


@dataclass
class Destinations:
    """Chooses and starts the work at each destination."""

    reloader: Reloader
    runs: Runs
    backup_queue: BackupQueue
    maintenance_queue: MaintenanceQueue
    maintenance: Maintenance
    copy_passes: CopyPasses
    volume_summaries: VolumeSummaries
    beside: int = 0
    """The number of children that may work at destinations while backups run."""
    _begun: dict[PlaceName, float] = field(default_factory=dict)
    """Destination -> when work there last began, in monotonic seconds."""

    def turn(self, monotonic: float) -> Turn:
        """Return whether backups, and how much work at destinations, may start now."""
        waits = self.backup_queue.waits
        began = self.backup_queue.last_began
        latest = min(began, monotonic - TURN_EVERY_SECONDS) if waits else began
        due = any(
            self._begun.get(place, latest) <= latest and self._next(place, monotonic, reading=not waits) is not None
            for place in self._free()
        )
        return turn(Load(self.beside, self.runs.jvms, waits, self.runs.at_destinations, due))

    def start(self, most: int, monotonic: float, *, asked: bool) -> bool:
        """Start work at up to `most` destinations, first where the last work began longest ago.

        Return whether work waits for the first query of the cluster; `asked` says whether there was one.
        """
        waiting = False
        reading = self.beside != 0 or not self.backup_queue.waits
        for place in sorted(self._free(), key=lambda place: self._begun.get(place, 0.0)):
            wish = self._next(place, monotonic, reading=reading) if most else None
            if wish is None:
                continue
            if not asked and self.maintenance.changes(wish):
                waiting = True
                continue
            most -= 1
            self._begun[place] = monotonic
            if wish.kind == COPY:
                self.copy_passes.start(place)
            else:
                self.maintenance.start(wish)
            self.runs.make_room(max(1, self.beside))
        return waiting

    def press(self, monotonic: float, *, for_backup: bool) -> None:
        """Ask running work to end early, because other work at its destination waits, or a backup (`for_backup`)."""
        for name, run in self.runs:
            place = run.destination
            if place is None:
                continue
            if run.kind == COPY:
                if for_backup and monotonic - run.moved > PATIENCE_SECONDS:
                    self.runs.end(name, Reason.STALLED)
                elif (for_backup and monotonic - run.started > TURN_SECONDS) or self.maintenance_queue.ends_copying(
                    place, monotonic
                ):
                    self.runs.ask_to_yield(name)
            elif for_backup or (self.copy_passes.awaited.keys(place) and self.copy_passes.due(place, monotonic)):
                self.maintenance.give_way(place)

    def take_settings(self) -> None:
        """Use the destinations of the settings in force. End the copy passes: the next ones resume the uploads."""
        settings = self.reloader.settings
        self.beside = children_beside_jvms(
            memory_limit(),
            len(settings.storage.destinations),
            launch=Launch(settings.neo4j.launch),
            parallel=settings.limits.parallel,
        )
        for name, run in self.runs:
            if run.kind == COPY:
                self.runs.end(name, Reason.CANCELLED)

    def recorded(self, places: Collection[PlaceName]) -> None:
        """Make the next try at destinations in backoff soon, because an artifact was recorded that they should have.

        Not if backups must wait for each try: then a destination that hangs would delay every backup.
        """
        for place in places if self.beside != 0 else ():
            if (destination := self.volume_summaries.destinations.get(place)) is not None:
                destination.try_soon()

    def stop_copying(self, place: PlaceName) -> bool:
        """End the copy pass at a destination at once. Return whether there is one."""
        name, run = self.runs.at(place) or ("", None)
        if run is None or run.kind != COPY:
            return False
        self.runs.end(name, Reason.CANCELLED)
        return True

    def _free(self) -> list[PlaceName]:
        """Return the destinations at which no process works and no copies are being given up."""
        dropping = self.maintenance.dropping
        return [
            place
            for place in self.volume_summaries.destinations
            if place not in dropping and self.runs.at(place) is None
        ]

    def _next(self, place: PlaceName, monotonic: float, *, reading: bool) -> Wish | None:
        """Return what is done next at a destination: requests, copies, retention, verification (if `reading`)."""
        asked = self.maintenance_queue.asked(place)
        if asked is not None and (reading or asked.kind != "verify"):
            return asked
        if self.maintenance_queue.ends_copying(place, monotonic):
            retention = self.maintenance_queue.due(place, monotonic, reading=False)
            if retention is not None:
                return retention
        if self.copy_passes.due(place, monotonic):
            return Wish(COPY, place)
        return self.maintenance_queue.due(place, monotonic, reading=reading)
