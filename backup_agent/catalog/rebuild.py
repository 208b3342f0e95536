"""Making what is known of a place again, from the place alone: its index, and the notes on copies that are there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_agent.catalog.contents import Unreadable, by_database
from backup_agent.catalog.copy_notes import CopyNotes
from backup_agent.core.artifacts.keys import record_key
from backup_agent.stores.store import Store


@dataclass(frozen=True)
class Rebuilt:
    """What was found."""

    artifacts: int
    unreadable: tuple[Unreadable, ...]
    noted: tuple[str, ...]
    """Artifacts that were owed to the destination, and are there."""


def rebuild(store: Store, index: Path, *, root: Path, notes: CopyNotes | None) -> Rebuilt:
    """Read every record of a place and write its index anew, whatever it said.

    Given the `notes` on a destination, note every whole copy there, including copies of a lost volume, so that they can
    be held. No note is removed: a copy may have been pruned there. Raise the store's error if it cannot be read, and
    OSError if the index or a note cannot be written.
    """
    artifacts = 0
    unreadable: list[Unreadable] = []
    noted: list[str] = []
    for holdings in by_database(store, index, trust=False, required=True):
        artifacts += len(holdings.entries)
        unreadable += holdings.unreadable
        if notes is not None:
            whole = (key for key in holdings.entries if key not in holdings.without_artifact)
            noted += _note(notes, root, whole)
    return Rebuilt(artifacts, tuple(unreadable), tuple(noted))


def _note(notes: CopyNotes, root: Path, keys: Iterator[str]) -> Iterator[str]:
    """Note what is there; yield what was owed."""
    for key in keys:
        if not notes.has(key):
            notes.add(key)
            if (root / record_key(key)).exists():
                yield key
