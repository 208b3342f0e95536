"""Walks a tar to its end marker without unpacking it.

Python's `tarfile` is too lenient: it accepts a file that ends where an entry begins, and treats a broken header after
the first one as the end. It also extracts every entry, whatever its name. An artifact of Neo4j has regular files and
folders with relative names only, so any other entry is refused here, in a full and in a differential.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from backup_agent.artifact.cursor import CHUNK, Cursor, DamagedError, EndedError

_BLOCK = 512
_END = bytes(_BLOCK)
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_TYPE = slice(156, 157)
_BINARY = 0x80
_NAME = slice(0, 100)
_MAGIC = slice(257, 263)
_PREFIX = slice(345, 500)
_USTAR = b"ustar\0"
_FILES = (b"0", b"\0", b"7")
_FOLDER = b"5"
_EXTENDED = b"x"
_GLOBAL = b"g"
_LONG_NAME = b"L"
_LONG_LINK = b"K"
_DESCRIPTIONS = (_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK)
"""Headers that describe the entry after them."""
_SPECIAL = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
}
_NEVER_GLOBAL = (b"path", b"linkpath", b"size")
"""Keys that are refused in a global header: they would apply to every later entry."""
_SPARSE = b"GNU.sparse."
"""Prefix of the keys for name and size of a sparse file."""
_EXTENDED_LIMIT = 1 << 16  # a name, a size and some times are a few hundred bytes
_MOST_RECORDS = 64  # keys of an extended header: path, size, some times and owners
_MOST_DIGITS = 19


class InsideError(DamagedError):
    """The bytes after the header are not a complete tar."""

    def __init__(self, where: str, text: str, entries: int) -> None:
        super().__init__(where, text)
        self.entries = entries
        """The number of entries before the error. If it is 0, the bytes may not be a tar at all."""


class UnsafeError(DamagedError):
    """An entry that Neo4j never writes: a link or device, or a name that leads out of the folder of a restore."""


@dataclass(frozen=True)
class Counted:
    """What a tar holds."""

    entries: int = 0
    """Number of headers of any kind."""
    files: int = 0


def walk(cursor: Cursor) -> Counted:
    """Walk the tar at the cursor to the end of the bytes and count what it holds.

    Raise InsideError if the bytes are not a complete tar, UnsafeError for an entry that must not be restored.
    """
    entries = files = 0
    extended = _Extended()
    try:
        while (block := cursor.take(_BLOCK, f"the header of tar entry {entries + 1}")) != _END:
            if not _is_header(block):
                raise InsideError(cursor.where, f"the {_BLOCK} bytes before are not a tar header", entries)
            kind, size = block[_TYPE], _size(block[_SIZE])
            entries += 1
            if size is None:
                raise InsideError(cursor.where, f"tar entry {entries} states no valid size", entries)
            if kind in _DESCRIPTIONS:
                extended = extended.updated(kind, _content(cursor, size, entries), cursor, entries)
                continue
            name = _name(block) if extended.name is None else extended.name
            _check(kind, name, cursor, entries)
            if kind in _FILES:
                size = size if extended.size is None else extended.size
                files += 1
            extended = _Extended()
            cursor.skip(_padded(size), f"the content of tar entry {_shown(name)}")
        if cursor.take(_BLOCK, "the second half of the tar's end marker") != _END:
            raise InsideError(cursor.where, "the tar's end marker expected (two empty blocks), found one", entries)
        while padding := cursor.read(CHUNK):
            if padding.count(0) != len(padding):
                raise InsideError(cursor.where, "something other than padding after the tar's end marker", entries)
    except EndedError as error:
        raise InsideError(cursor.where, f"the tar is cut off: {error}", entries) from error
    return Counted(entries, files)


def _check(kind: bytes, name: bytes, cursor: Cursor, entries: int) -> None:
    """Raise UnsafeError or InsideError unless an entry is a regular file or folder with a relative name."""
    if kind in _SPECIAL:
        raise UnsafeError(cursor.where, f"tar entry {_shown(name)} is {_SPECIAL[kind]}")
    if kind not in (*_FILES, _FOLDER):
        raise InsideError(cursor.where, f"tar entry {_shown(name)} is neither file nor folder", entries)
    if fault := _fault_of(name):
        raise UnsafeError(cursor.where, f"tar entry {_shown(name)} {fault}")


def _fault_of(name: bytes) -> str | None:
    """Return why an entry of this name must not be restored; None if it is an ordinary relative name."""
    if not name:
        return "has no name"
    if b"\0" in name:
        return "has a NUL byte in its name"
    if name.startswith(b"/"):
        return "has an absolute name: it would be written outside of the folder of a restore"
    if b".." in name.split(b"/"):
        return "has '..' in its name: it would be written outside of the folder of a restore"
    return None


def _is_header(block: bytes) -> bool:
    stated = _octal(block[_CHECKSUM])
    rest = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    # Both sums are valid: some writers added signed bytes.
    return stated is not None and (stated == sum(rest) or stated == sum(struct.unpack(f"{_BLOCK}b", rest)))


def _size(field: bytes) -> int | None:
    """Read a size: octal digits, or for 8 GiB or more a byte 0x80 and a binary number (GNU). An empty field means 0."""
    if field[0] == _BINARY:
        return int.from_bytes(field[1:])
    return _octal(field) if field.strip(b" \0") else 0


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else None


@dataclass(frozen=True)
class _Extended:
    """Size (if it is 8 GiB or more) and name of the next entry, from extended headers."""

    size: int | None = None
    name: bytes | None = None

    def updated(self, kind: bytes, content: bytes, cursor: Cursor, entries: int) -> "_Extended":
        """Return these values, updated from one more header."""
        if kind == _LONG_NAME:
            return _Extended(self.size, content.rstrip(b"\0"))
        if kind == _LONG_LINK:
            return self
        records = dict(_records(content, cursor, entries))
        refused = [key for key in records if key.startswith(_SPARSE) or (kind == _GLOBAL and key in _NEVER_GLOBAL)]
        if refused:
            text = f"tar entry {entries} states {_shown(refused[0])}, which no artifact needs"
            raise UnsafeError(cursor.where, text)
        if kind == _GLOBAL:
            return self
        size = records.get(b"size")
        if size is not None and not _is_number(size):
            raise InsideError(cursor.where, "an extended tar header that states no valid size", entries)
        return _Extended(None if size is None else int(size), records.get(b"path", self.name))


def _records(content: bytes, cursor: Cursor, entries: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a PAX header."""
    for _ in range(_MOST_RECORDS):
        if not content:
            return
        length = content.partition(b" ")[0]
        if not _is_number(length) or not len(length) < int(length) <= len(content):
            raise InsideError(cursor.where, "an extended tar header that cannot be read", entries)
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        yield key, value
        content = content[int(length) :]
    raise InsideError(cursor.where, f"an extended tar header of {_MOST_RECORDS} records or more", entries)


def _content(cursor: Cursor, size: int, entries: int) -> bytes:
    """Read the content of an extended header or long name."""
    if size > _EXTENDED_LIMIT:
        raise InsideError(cursor.where, f"an extended tar header of {size} bytes", entries)
    return cursor.take(_padded(size), "an extended tar header")[:size]


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MOST_DIGITS


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _name(block: bytes) -> bytes:
    """Return the name in a header block, with the prefix of the ustar format before it."""
    name = block[_NAME].partition(b"\0")[0]
    prefix = block[_PREFIX].partition(b"\0")[0] if block[_MAGIC] == _USTAR else b""
    return prefix + b"/" + name if prefix else name


def _shown(name: bytes) -> str:
    return ascii(name.decode(errors="replace"))
