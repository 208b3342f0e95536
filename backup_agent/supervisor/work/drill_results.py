"""What drills have proven of each database at each place, from the notes on the volume."""

from collections.abc import Collection
from dataclasses import dataclass, field

from backup_agent.catalog import drill_notes
from backup_agent.catalog.place import all_places
from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.settings.reload import Reloader


@dataclass
class DrillResults:
    """The results of drills, by place, set and database."""

    reloader: Reloader
    _found: dict[tuple[PlaceName, SetName, DatabaseName], DatabaseDrills] = field(default_factory=dict)

    def load(self) -> None:
        """Read the notes on the volume."""
        for place in all_places(self.reloader.settings):
            for drills in drill_notes.remembered(place):
                self.take(drills)

    def take(self, drills: DatabaseDrills) -> None:
        """Note what drills have proven of a database."""
        self._found[drills.place, drills.set, drills.database] = drills

    def of(self, recorded: Collection[tuple[SetName, DatabaseName]]) -> tuple[DatabaseDrills, ...]:
        """Return the results of databases that have artifacts, sorted by place, set and database."""
        return tuple(drills for (_, *pair), drills in sorted(self._found.items()) if tuple(pair) in recorded)
