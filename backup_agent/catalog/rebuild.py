"""Rebuilding the index of a place from its records, and the notes on copies from the records of the volume."""

from collections.abc import Iterable
from dataclasses import dataclass

from backup_agent.catalog.contents import Unreadable, by_database
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.recognised import is_copy, read_record
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.artifacts.records import LARGEST
from backup_agent.core.reasons import PermanentError


@dataclass(frozen=True)
class Rebuilt:
    """The result of a rebuild."""

    artifacts: int
    """Number of artifacts with a recognised record."""
    unreadable: tuple[Unreadable, ...]
    noted: tuple[str, ...]
    """Artifacts whose copy counted as missing and exists at the destination."""
    unrecognised: int
    """Number of records that the agent neither wrote nor accepted."""


def rebuild(place: Place) -> Rebuilt:
    """Read every record of a place and rebuild its index.

    At a destination, write a note on each complete copy whose record equals that on the volume. No note is removed,
    because retention may have deleted the copy. Raise the store's error if the place cannot be read, and OSError if the
    index or a note cannot be written.
    """
    artifacts = unrecognised = 0
    unreadable: list[Unreadable] = []
    noted: list[str] = []
    for contents in by_database(place, trust=False, required=True, read_all=True):
        unreadable += contents.unreadable
        complete = (key for key, one in contents.unrecognised.items() if one.fault is None)
        new = () if place.is_volume else _note_copies(place, complete)
        noted += new
        artifacts += len(contents.entries) + len(new)
        unrecognised += contents.number_unrecognised - len(new)
    if noted:
        # The index still lists the noted records as not recognised. Reading the place once more rewrites their lines.
        for _ in by_database(place, required=True):
            pass
    return Rebuilt(artifacts, tuple(unreadable), tuple(noted), unrecognised)


def _note_copies(place: Place, keys: Iterable[str]) -> tuple[str, ...]:
    """Write notes on the copies at a destination whose record equals that on the volume. Return the artifacts' keys."""
    volume = place_of(VOLUME, place.settings)
    noted: list[str] = []
    for key in keys:
        try:
            record = read_record(volume, key)
            content = place.store.read(record_key(key), LARGEST)
        except PermanentError:  # a record is missing or not recognised
            continue
        if is_copy(content, record):
            place.record_notes.add(key, content)
            noted.append(key)
    return tuple(noted)
