"""The holds that are wanted at a destination, noted on the volume until they are released or have ended.

Anyone who can write to the destination can change, forge or delete a mark there. Therefore the note decides, and each
pass writes the mark again if it differs. The release of a hold is noted until a pass has removed the mark.
"""

from collections.abc import Iterator
from contextlib import suppress

from backup_agent import durable
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.core.artifacts.marks import Hold

RELEASED = b"released\n"


class WantedHolds(NoteFolder):
    """The changes that are wanted at one destination: holds to write and holds to remove."""

    def hold(self, hold: Hold) -> None:
        """Note that a hold is wanted."""
        self._write(hold.key, hold.to_json())

    def release(self, key: str) -> None:
        """Note that a hold is to be removed."""
        self._write(key, RELEASED)

    def wants(self, key: str) -> bool:
        """Return whether a hold is noted. Its mark may be missing."""
        return self._read(key) not in (None, RELEASED)

    def releases(self, key: str) -> bool:
        """Return whether the release of a hold is noted, whose mark is still to be removed."""
        return self._read(key) == RELEASED

    def of(self, key: str) -> Hold | None:
        """Return the noted hold on an artifact, if there is one."""
        content = self._read(key)
        return None if content is None else _wanted(content)

    def strike(self, key: str) -> None:
        """Remove the note on an artifact that was deleted."""
        self._remove(key)

    def settle(self, key: str, done: Hold | None) -> None:
        """Remove the note of a change that was carried out, unless a newer change is noted."""
        with suppress(FileNotFoundError):
            if _wanted(durable.read(self._folder / key)) == done:
                self._remove(key)

    def __iter__(self) -> Iterator[tuple[str, Hold | None]]:
        """Yield each key with the wanted hold, or None if a hold is to be removed."""
        for key in self._keys():
            yield key, _wanted(durable.read(self._folder / key))


def _wanted(content: bytes) -> Hold | None:
    return None if content == RELEASED else Hold.from_json(content)
