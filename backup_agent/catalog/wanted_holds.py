"""The holds that are wanted at a destination: noted on the volume, until a pass has put the marks there."""

from collections.abc import Iterator
from contextlib import suppress

from backup_agent import durable
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.core.artifacts.marks import Hold

RELEASED = b"released\n"


class WantedHolds(NoteFolder):
    """What is wanted at one destination: holds to put there, and holds to take away."""

    def hold(self, hold: Hold) -> None:
        """Want a hold there."""
        self._write(hold.key, hold.to_json())

    def release(self, key: str) -> None:
        """Want no hold there."""
        self._write(key, RELEASED)

    def wants(self, key: str) -> bool:
        """Tell whether a hold is wanted there, whose mark may not be there yet."""
        return self._read(key) not in (None, RELEASED)

    def settle(self, key: str, done: Hold | None) -> None:
        """Note that a wish was carried out. A wish that came after it stays to be done."""
        with suppress(FileNotFoundError):
            if _wish(durable.read(self._folder / key)) == done:
                self._remove(key)

    def __iter__(self) -> Iterator[tuple[str, Hold | None]]:
        """Yield each artifact with the hold that is wanted; None if no hold is wanted."""
        for key in self._keys():
            yield key, _wish(durable.read(self._folder / key))


def _wish(content: bytes) -> Hold | None:
    return None if content == RELEASED else Hold.from_json(content)
