"""The holds that are wanted at a destination. They are noted on the volume until a pass has written the marks there.

A hold with an end stays noted until it has ended: anyone who can write to the destination can change a mark there, so
the end of a hold counts only if it is noted on the volume.
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
        """Return whether a hold is noted. Its mark may not exist yet."""
        return self._read(key) not in (None, RELEASED)

    def of(self, key: str) -> Hold | None:
        """Return the noted hold on an artifact, if there is one."""
        content = self._read(key)
        return None if content is None else _wanted(content)

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
