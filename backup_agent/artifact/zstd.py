"""Unpacks the zstd frame of an artifact and proves that it is complete. Only this module imports `zstandard`.

The library's `stream_reader` limits how much it returns at once, but does not report a truncated frame.
`decompressobj` reports the end, but returns all that its input unpacks to, which a crafted file can make arbitrarily
large. Therefore `_Skeleton` follows the structure of the frame (RFC 8878: header, blocks, checksum) while
`stream_reader` decodes it. This takes little arithmetic for each block and finds the exact end; the decoder compares
the checksum.
"""

from collections.abc import Callable
from typing import IO, cast

import zstandard

from backup_agent.artifact.cursor import CHUNK, Cursor, DamagedError
from backup_agent.core.reasons import PermanentError, Reason

WINDOW_LIMIT = 1 << 23
"""Largest window in bytes that is accepted, as RFC 8878 recommends. Neo4j 5.26 and 2026.09 write windows of 2 MiB."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK_LIMIT = 1 << 17
_RLE, _RESERVED = 1, 3
_MINIMUM_HEADER = 5
_CHECKSUM = 4


class UnknownFormatError(PermanentError):
    """The format is unknown to this reader. `neo4j-admin backup inspect` may know it."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(Reason.BAD_ARTIFACT, f"{where}: {text}")


class Frame:
    """A source of the unpacked bytes of a frame. The source ends only if the frame is complete and undamaged."""

    def __init__(self, packed: Cursor, ask: int, check: Callable[[], None]) -> None:
        self._check = check
        self._skeleton = _Skeleton(packed, check)
        self._decoder = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).stream_reader(
            cast("IO[bytes]", self._skeleton),  # the library calls only `read`
            read_size=ask,
            read_across_frames=False,
        )

    @property
    def checked(self) -> bool:
        """Whether the frame has a checksum. Without it, reaching the end proves only the length of the content."""
        return self._skeleton.checksum > 0

    def read(self, size: int, /) -> bytes:
        """Return up to `size` unpacked bytes; raise DamagedError if the frame is truncated or damaged.

        `check` is called before each read, packed or unpacked, and may raise.
        """
        self._check()
        try:
            return self._decoder.read(size)
        except zstandard.ZstdError as error:
            raise DamagedError(self._skeleton.where, f"the zstd frame does not unpack: {error}") from error

    def finish(self) -> None:
        """Raise DamagedError if anything follows the frame. Call this after reading the frame to its end."""
        if self._skeleton.has_more():
            raise DamagedError(self._skeleton.where, "the zstd frame ends here, and the file goes on")


class _Skeleton:
    """Passes a frame's bytes to the decoder and follows header, blocks and checksum."""

    def __init__(self, packed: Cursor, check: Callable[[], None]) -> None:
        self.checksum = 0
        self._check = check
        self._packed = packed
        self._offset = packed.offset
        self._rest = b""
        self._blocks = 0
        self._piece = b""
        self._wanted = _MINIMUM_HEADER
        self._left = 0
        self._last = False
        self._ended = False

    @property
    def where(self) -> str:
        return self._packed.position(self._offset)

    def read(self, size: int, /) -> bytes:
        """Return the next bytes of the frame. Bytes that follow the frame are not returned."""
        if self._ended:
            return b""
        self._check()
        chunk = self._packed.read(size)
        if not chunk:
            raise DamagedError(self.where, f"the zstd frame is cut off {self._place()}: the file ends here")
        end = self._walk(chunk)
        if end == len(chunk):
            return chunk
        self._rest = chunk[end:]
        return chunk[:end]

    def has_more(self) -> bool:
        """Return whether anything follows the frame."""
        return bool(self._rest or self._packed.read(CHUNK))

    def _place(self) -> str:
        if not self._blocks:
            return "in its header"
        if self._last and self._left <= self.checksum:
            return "in its checksum"
        return f"in block {self._blocks}"

    def _walk(self, chunk: bytes) -> int:
        """Follow the frame through a chunk; return the offset of its end in the chunk, or the chunk's length."""
        at, size = 0, len(chunk)
        while at < size and not self._ended:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
            else:
                step = min(self._wanted - len(self._piece), size - at)
                self._piece += chunk[at : at + step]
            at += step
            self._offset += step
            if not self._left and len(self._piece) == self._wanted:
                self._header()
            self._ended = self._last and not self._left
        return at

    def _header(self) -> None:
        """Read a complete header: of a block, or of the frame (in two steps, since its fifth byte has its length)."""
        piece = self._piece
        if self._wanted == _MINIMUM_HEADER:
            self._wanted = _frame_header_length(piece, self.where)
        elif self._wanted > _MINIMUM_HEADER:
            self.checksum = _CHECKSUM if piece[4] & 0b100 else 0
            if (window := _window(piece)) > WINDOW_LIMIT:
                raise UnknownFormatError(
                    self.where, f"the zstd frame wants a window of {window} bytes, at most {WINDOW_LIMIT} are allowed"
                )
            self._piece, self._wanted = b"", 3
        else:
            header = int.from_bytes(piece, "little")
            kind, size = header >> 1 & 0b11, header >> 3
            if kind == _RESERVED or size > _BLOCK_LIMIT:
                raise DamagedError(self.where, f"block {self._blocks + 1} of the zstd frame has no valid header")
            self._blocks += 1
            self._last = bool(header & 1)
            self._left = (1 if kind == _RLE else size) + (self.checksum if self._last else 0)
            self._piece = b""


def _frame_header_length(start: bytes, where: str) -> int:
    if start[:4] != _MAGIC:
        raise DamagedError(where, f"a zstd frame expected ({_MAGIC.hex()}), found something else")
    descriptor = start[4]
    single = descriptor >> 5 & 1
    content = (single, 2, 4, 8)[descriptor >> 6]
    return _MINIMUM_HEADER + (1 - single) + (0, 1, 2, 4)[descriptor & 0b11] + content


def _window(header: bytes) -> int:
    """Return the bytes that a decoder must keep in memory."""
    descriptor = header[4]
    if descriptor >> 5 & 1:  # a single segment: all of the content
        size = (1, 2, 4, 8)[descriptor >> 6]
        return int.from_bytes(header[-size:], "little") + (256 if size == 2 else 0)  # noqa: PLR2004  RFC 8878, 3.1.1.1.4
    exponent, mantissa = header[5] >> 3, header[5] & 0b111
    return (1 << (10 + exponent)) * (8 + mantissa) // 8
