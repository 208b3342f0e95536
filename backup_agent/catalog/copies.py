"""Which artifacts have their copy at a destination, as far as this volume knows.

A note below `<root>/.agent/copied/` says that a copy was confirmed. It only saves asking: the truth is the record at
the destination, and where the notes are lost, the next copy finds it there. Notes are kept per bucket and prefix, so
a destination that was pointed elsewhere owes everything again.
"""

from collections.abc import Iterable
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.own import place_folder
from backup_agent.core.records import Record


class Notes:
    """The notes on one destination. `identity` is where it is (endpoint, bucket, prefix), in any stable form."""

    def __init__(self, root: Path, destination: str, identity: str) -> None:
        """Nothing is made on disk before the first note."""
        self._folder = place_folder(root, "copied", destination, identity)

    def has(self, key: str) -> bool:
        """Tell whether the copy of an artifact was confirmed."""
        return (self._folder / key).exists()

    def add(self, key: str) -> None:
        """Note that the copy of an artifact was confirmed."""
        note = self._folder / key
        note.parent.mkdir(parents=True, exist_ok=True)
        durable.write(note, b"", sync=False)

    def owed(self, records: Iterable[Record]) -> tuple[Record, ...]:
        """Return the records without a copy, in the order they must be copied: a parent before what continues it."""
        return tuple(
            sorted(
                (record for record in records if not self.has(record.key)),
                key=lambda record: (record.header.taken, record.type != "FULL", record.key),
            )
        )
