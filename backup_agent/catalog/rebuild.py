"""Making what is known of a place again, from the place alone: its index, and the notes on copies that are there."""

from collections.abc import Iterator
from dataclasses import dataclass

from backup_agent.catalog.contents import Unreadable, by_database
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.keys import record_key


@dataclass(frozen=True)
class Rebuilt:
    """What was found."""

    artifacts: int
    unreadable: tuple[Unreadable, ...]
    noted: tuple[str, ...]
    """Artifacts that were owed to the destination, and are there."""


def rebuild(place: Place) -> Rebuilt:
    """Read every record of a place and write its index anew, whatever it said.

    At a destination, note every whole copy there, including copies of a lost volume, so that they can
    be held. No note is removed: a copy may have been pruned there. Raise the store's error if it cannot be read, and
    OSError if the index or a note cannot be written.
    """
    artifacts = 0
    unreadable: list[Unreadable] = []
    noted: list[str] = []
    for holdings in by_database(place.store, place.index, trust=False, required=True):
        artifacts += len(holdings.entries)
        unreadable += holdings.unreadable
        if not place.is_volume:
            noted += _note(place, (key for key in holdings.entries if key not in holdings.without_artifact))
    return Rebuilt(artifacts, tuple(unreadable), tuple(noted))


def _note(place: Place, keys: Iterator[str]) -> Iterator[str]:
    """Note what is there; yield what was owed."""
    notes = place.copy_notes
    for key in keys:
        if not notes.has(key):
            notes.add(key)
            if (place.root / record_key(key)).exists():
                yield key
