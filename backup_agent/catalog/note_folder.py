"""A folder on the volume with one small file per key: notes on records, claims, wanted holds, the journal."""

from collections.abc import Iterator
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.volume_records import databases
from backup_agent.core.artifacts.keys import artifact_key


class NoteFolder:
    """The notes of one kind about one place, one for each artifact key."""

    def __init__(self, folder: Path) -> None:
        """Create nothing on disk before the first note."""
        self._folder = folder

    def _write(self, key: str, content: bytes, *, sync: bool = True) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, content, sync=sync)

    def _read(self, key: str) -> bytes | None:
        """Return the content of a note, or None if it does not exist."""
        try:
            return durable.read(self._folder / key)
        except FileNotFoundError:
            return None

    def _remove(self, key: str) -> None:
        (self._folder / key).unlink(missing_ok=True)

    def _keys(self) -> Iterator[str]:
        """Yield the keys of all notes in order. A folder that does not exist has none.

        Raise OSError if a folder cannot be read: an incomplete list would be taken for a complete one.
        """
        for set_name, database in databases(self._folder):
            for name in durable.names(self._folder / set_name / database):
                if not name.startswith(durable.TEMPORARY):
                    yield artifact_key(set_name, database, name)
