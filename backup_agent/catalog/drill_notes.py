"""What drills have proven of each database at a place, noted on the volume: one file for each set and database."""

from collections.abc import Iterator
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.drill.evidence import DatabaseDrills


def remembered(place: Place) -> Iterator[DatabaseDrills]:
    """Yield what the agent remembers of the drills of each database at a place. Unreadable files are left out."""
    folder = place.folder("drills")
    for set_name in durable.names(folder):
        for name in durable.names(folder / set_name):
            try:
                yield DatabaseDrills.from_json(durable.read(folder / set_name / name))
            except (OSError, ValueError):
                continue


def of_database(place: Place, set_name: SetName, database: DatabaseName) -> DatabaseDrills:
    """Return what the agent remembers of the drills of a database at a place."""
    try:
        return DatabaseDrills.from_json(durable.read(_file(place, set_name, database)))
    except (OSError, ValueError):
        return DatabaseDrills(place=place.name, set=set_name, database=database)


def remember(place: Place, drills: DatabaseDrills) -> None:
    """Store what drills have proven of a database. Raise OSError if it cannot be written."""
    path = _file(place, drills.set, drills.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(path, drills.to_json())


def _file(place: Place, set_name: SetName, database: DatabaseName) -> Path:
    return place.folder("drills") / set_name / f"{database}.json"
