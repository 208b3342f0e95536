"""Reads exact fields from a stream of bytes; an error names the offset.

An error does not show the bytes that were found, unless the caller adds them: the header may be followed by a script
with password hashes.
"""

from typing import Protocol

from backup_agent.core.reasons import PermanentError, Reason

CHUNK = 1 << 20
"""Bytes read from a source at once: few calls, and little memory."""


class DamagedError(PermanentError):
    """The artifact does not conform to its own format."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(Reason.BAD_ARTIFACT, f"{where}: {text}")


class EndedError(DamagedError):
    """The bytes end within a field."""


class ByteSource(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return about `size` of the next bytes, or no bytes at the end."""
        ...


class Cursor:
    """A position in a stream of bytes. A cursor is itself a `ByteSource`, of the bytes after the position."""

    def __init__(self, source: ByteSource, name: str, unit: str = "byte", *, ask: int = CHUNK) -> None:
        self.name = name
        self.offset = 0
        self._unit = unit
        self._source = source
        self._ask = ask
        self._chunk = b""
        self._at = 0

    @property
    def where(self) -> str:
        """The position in words: `orders-….backup, at byte 4`."""
        return self.position(self.offset)

    def position(self, offset: int) -> str:
        """Return an offset of this stream in words."""
        return f"{self.name}, at {self._unit} {offset}"

    def take(self, size: int, what: str) -> bytes:
        """Return exactly the next `size` bytes; raise EndedError if there are fewer. Callers bound `size`."""
        found = self.peek(size)
        if len(found) < size:
            raise EndedError(self.where, f"{what} expected ({size} bytes), and the file ends after {len(found)}")
        self._advance(size)
        return found

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer at the end, without advancing."""
        while len(self._chunk) - self._at < size:
            more = self._source.read(self._ask)
            if not more:
                break
            self._chunk = self._chunk[self._at :] + more
            self._at = 0
        return self._chunk[self._at : self._at + size]

    def skip(self, size: int, what: str) -> None:
        """Skip `size` bytes without keeping them in memory; raise EndedError if there are fewer."""
        where, left = self.where, size
        while left:
            if self._at == len(self._chunk):
                self._chunk, self._at = self._source.read(self._ask), 0
                if not self._chunk:
                    raise EndedError(where, f"{what} expected ({size} bytes), and the file ends after {size - left}")
            step = min(left, len(self._chunk) - self._at)
            self._advance(step)
            left -= step

    def read(self, size: int, /) -> bytes:
        """Return the bytes in the buffer, or the source's next bytes if the buffer is empty; no bytes at the end."""
        if self._at == len(self._chunk):
            self._chunk, self._at = self._source.read(size), 0
        rest = self._chunk[self._at :] if self._at else self._chunk
        self._advance(len(rest))
        return rest

    def _advance(self, size: int) -> None:
        self._at += size
        self.offset += size
