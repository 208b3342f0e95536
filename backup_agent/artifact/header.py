"""Reads the header of an artifact, in milliseconds and without a JVM.

All integers are big-endian. The place of the header depends on the magic:

    BTV1  header, tar                       BZV1  zstd{ "zstd", header, counts, tar }
    BTV2  02, header, map, tar              BZV2  zstd{ "zstd", 02, header, map, counts, tar }
                                            BZV3  02, header, map, zstd{ "zstd", counts, tar }

`header` is store id, database id, name, time, range and flags. `map` has more facts by name, among them the script that
restores users. The map may have any length and contain password hashes. All readers skip it, except
`metadata.read_script` for a person who asks for the script. If a length in the header is wrong, bytes of that script
may be read as a field, so errors show no content. `counts` are the numbers of files and bytes; 5.26 may write 0 for
both. No release writes BZV3; its layout is known from Neo4j's source code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

from backup_agent.artifact.cursor import CHUNK, ByteSource, Cursor, DamagedError
from backup_agent.artifact.files import Content, locate
from backup_agent.artifact.zstd import Frame, UnknownFormatError
from backup_agent.core.artifacts.names import DatabaseName, database_name
from backup_agent.core.artifacts.records import Header

_LOOKED_AT = 1 << 18  # packed bytes: the fields are a kilobyte at most, and a zstd block is 128 KiB at most
_ASK = 1 << 14
_TAG = b"zstd"
_VERSION = b"\x02"
_STORE_ID = b"\x01"
_UUID_LENGTH = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799  # of the year 9999
_RECOVERED, _COMPRESSED, _FULL = 1, 2, 4
MOST_ENTRIES = 1024
LONGEST_KEY = 256
"""Bounds of the map: the number of its entries, and the length of a key in bytes."""


@dataclass(frozen=True)
class Layout:
    """The order of the parts after a magic."""

    version: int
    frame: bool
    header_in_frame: bool


LAYOUTS: Mapping[bytes, Layout] = MappingProxyType(
    {
        b"BZV1": Layout(version=1, frame=True, header_in_frame=True),
        b"BTV1": Layout(version=1, frame=False, header_in_frame=False),
        b"BZV2": Layout(version=2, frame=True, header_in_frame=True),
        b"BTV2": Layout(version=2, frame=False, header_in_frame=False),
        b"BZV3": Layout(version=2, frame=True, header_in_frame=False),
    }
)


def read_header(path: Path) -> Header:
    """Read the header of the artifact at `path` (of a split artifact, the manifest). All parts must exist.

    Raise UnknownFormatError for a format that is not in `LAYOUTS`, and DamagedError if the bytes do not conform to the
    format, both with reason `bad_artifact`; also raise the errors of `files.locate`. At most 256 KiB of the artifact
    are read.
    """
    files = locate(path)
    content = Content(files)
    try:
        packed = Cursor(Beginning(content, files.name, _LOOKED_AT), files.name, files.unit, ask=_ASK)
        magic, layout = read_magic(packed)
        if layout.header_in_frame:
            inside, _ = open_frame(packed, _ASK)
            return read_fields(inside, magic, layout)
        return read_fields(packed, magic, layout)
    finally:
        content.close()


class Beginning:
    """The first `most` bytes of a source. Raises DamagedError after them: a crafted frame could be read without end."""

    def __init__(self, content: ByteSource, name: str, most: int) -> None:
        self._content = content
        self._name = name
        self._most = most
        self._left = most

    def read(self, size: int, /) -> bytes:
        """Return up to `size` of the next bytes; no bytes at the end of the source."""
        if not self._left:
            raise DamagedError(self._name, f"no header in its first {self._most} bytes")
        chunk = self._content.read(size)[: self._left]
        self._left -= len(chunk)
        return chunk


def read_magic(packed: Cursor) -> tuple[str, Layout]:
    """Read the magic; return it with the layout of what follows. Raise UnknownFormatError for any other magic."""
    where, magic = packed.where, packed.take(4, "a magic")
    if layout := LAYOUTS.get(magic):
        return magic.decode(), layout
    known = ", ".join(name.decode() for name in LAYOUTS)
    raise UnknownFormatError(where, f"the magic of a backup expected ({known}), found {ascii(magic)[1:]}")


def open_frame(packed: Cursor, ask: int = CHUNK, check: Callable[[], None] = lambda: None) -> tuple[Cursor, Frame]:
    """Open the zstd frame at the cursor; return a cursor after the tag `zstd` in it, and the frame.

    `ask` is the number of bytes to read at once; `check` is passed to the frame.
    """
    frame = Frame(packed, ask, check)
    inside = Cursor(frame, packed.name, "unpacked byte", ask=ask)
    _expect(inside, _TAG, "the tag 'zstd'")
    return inside, frame


def read_fields(cursor: Cursor, magic: str, layout: Layout) -> Header:
    """Read the fields that every version has, from store id to flags."""
    where = cursor.where
    if layout.version > 1 and (version := cursor.take(1, "the header's version")) != _VERSION:
        raise UnknownFormatError(where, f"header version 2 expected, found {version[0]}")
    _expect(cursor, _STORE_ID, "a store id")
    created, random = _long(cursor, "the store's creation time"), _long(cursor, "the store's random id")
    engine, layout_name = _text(cursor, "the storage engine"), _text(cursor, "the store format")
    major, minor = cursor.take(2, "the version of the store format")
    _expect(cursor, bytes((_UUID_LENGTH,)), "the length of a database id")
    database_id = UUID(bytes=cursor.take(_UUID_LENGTH, "the database id"))
    database = _database(cursor)
    taken = _time(cursor)
    lowest, highest = _long(cursor, "the lowest append index"), _long(cursor, "the highest append index")
    flags = int.from_bytes(cursor.take(cursor.take(1, "the flags' length")[0], "the flags"), "little")
    return Header(
        magic=magic,
        database=database,
        database_id=database_id,
        store_id=f"{created}-{random}-{engine}-{layout_name}-{major}.{minor}",
        taken=taken,
        lowest=lowest,
        highest=highest,
        full=bool(flags & _FULL),
        compressed=bool(flags & _COMPRESSED),
        recovered=bool(flags & _RECOVERED),
    )


def skip_map(cursor: Cursor) -> None:
    """Skip the map of facts without keeping any of them."""
    for _ in range(length(cursor, "the number of metadata entries", MOST_ENTRIES)):
        cursor.skip(length(cursor, "the length of a metadata key", LONGEST_KEY), "a metadata key")
        cursor.skip(length(cursor, "the length of a metadata value"), "a metadata value")


def length(cursor: Cursor, what: str, most: int = 2**31 - 1) -> int:
    """Read a count or a length. Raise DamagedError if it is negative or larger than `most`."""
    where, found = cursor.where, int.from_bytes(cursor.take(4, what), signed=True)
    if not 0 <= found <= most:
        raise DamagedError(where, f"{what} expected, at most {most}")
    return found


def _expect(cursor: Cursor, expected: bytes, what: str) -> None:
    where, found = cursor.where, cursor.take(len(expected), what)
    if found != expected:
        raise DamagedError(where, f"{what} expected ({expected.hex()}), found something else")


def _long(cursor: Cursor, what: str) -> int:
    return int.from_bytes(cursor.take(8, what), signed=True)


def _text(cursor: Cursor, what: str) -> str:
    where, found = cursor.where, cursor.take(cursor.take(1, f"the length of {what}")[0], what)
    text = found.decode(errors="replace")
    if not text.isprintable() or "\N{REPLACEMENT CHARACTER}" in text or not text:
        raise DamagedError(where, f"{what} expected as printable text, found {len(found)} bytes that are not text")
    return text


def _database(cursor: Cursor) -> DatabaseName:
    where, found = cursor.where, _text(cursor, "the database name")
    try:
        return database_name(found)
    except ValueError as error:
        raise DamagedError(where, str(error)) from None


def _time(cursor: Cursor) -> datetime:
    where, seconds = cursor.where, _long(cursor, "the time of the backup")
    if not 0 <= seconds <= _LAST_SECOND:
        found = "before 1970" if seconds < 0 else "after the year 9999"
        raise DamagedError(where, f"the time of the backup is {found}")
    return _EPOCH + timedelta(seconds=seconds)
