"""Rebuilding the index of a place and its copy notes from the place alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from backup_agent.catalog.contents import Unreadable, by_database
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.keys import record_key


@dataclass(frozen=True)
class Rebuilt:
    """The result of a rebuild."""

    artifacts: int
    unreadable: tuple[Unreadable, ...]
    noted: tuple[str, ...]
    """Artifacts whose copy counted as missing and exists at the destination."""


def rebuild(place: Place) -> Rebuilt:
    """Read every record of a place and rebuild its index.

    At a destination, note every complete copy, including copies of a lost volume, so that they can be held. No note is
    removed: the copy may have been deleted by retention. Raise the store's error if it cannot be read, and OSError if
    the index or a note cannot be written.
    """
    artifacts = 0
    unreadable: list[Unreadable] = []
    noted: list[str] = []
    for contents in by_database(place.store, place.index, trust=False, required=True):
        artifacts += len(contents.entries)
        unreadable += contents.unreadable
        if not place.is_volume:
            noted += _note(place, (key for key in contents.entries if key not in contents.without_artifact))
    return Rebuilt(artifacts, tuple(unreadable), tuple(noted))


def _note(place: Place, keys: Iterator[str]) -> Iterator[str]:
    """Write a copy note for each key. Yield the keys whose copy counted as missing."""
    notes = place.copy_notes
    for key in keys:
        if not notes.has(key):
            notes.add(key)
            if (place.root / record_key(key)).exists():
                yield key
