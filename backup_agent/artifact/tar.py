"""Walks a tar to its end marker without unpacking it.

Python's `tarfile` is no judge: it takes a file that ends where an entry begins for a whole one, and a broken header
behind the first for the end.
"""

import struct

from backup_agent.artifact.cursor import CHUNK, Cursor, DamagedError, EndedError

_BLOCK = 512
_END = bytes(_BLOCK)
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_TYPE = slice(156, 157)
_BINARY = 0x80
_FILES = (b"0", b"\0", b"7")
_FOLDER = b"5"
_EXTENDED = b"x"
_NOTES = (b"g", b"L", b"K")
_EXTENDED_LIMIT = 1 << 16  # a name, a size and some times are a few hundred bytes
_MOST_DIGITS = 19


class InsideError(DamagedError):
    """What stands behind the header is no whole tar."""

    def __init__(self, where: str, text: str, entries: int) -> None:
        super().__init__(where, text)
        self.entries = entries
        """How many entries were met: with none, it may never have been a tar."""


def walk(cursor: Cursor) -> int:
    """Walk the tar at the cursor to the end of the bytes and return how many files it holds; raise InsideError."""
    entries = files = 0
    stated: int | None = None
    try:
        while (block := cursor.take(_BLOCK, f"the header of tar entry {entries + 1}")) != _END:
            if not _is_header(block):
                raise InsideError(cursor.where, f"the {_BLOCK} bytes before are no tar header", entries)
            kind, size = block[_TYPE], _size(block[_SIZE])
            entries += 1
            if size is None:
                raise InsideError(cursor.where, f"tar entry {entries} states no valid size", entries)
            if kind == _EXTENDED:
                stated = _stated_size(cursor, size, entries)
                continue
            if kind not in (*_FILES, _FOLDER, *_NOTES):
                raise InsideError(cursor.where, f"tar entry {_name(block)} is neither file nor folder", entries)
            if kind in _FILES:
                size = size if stated is None else stated
                files += 1
            if kind not in _NOTES:  # notes stand between an extended header and its entry
                stated = None
            cursor.skip(_padded(size), f"the content of tar entry {_name(block)}")
        if cursor.take(_BLOCK, "the second half of the tar's end marker") != _END:
            raise InsideError(cursor.where, "half an end marker of the tar before, and no second half", entries)
        while padding := cursor.read(CHUNK):
            if padding.count(0) != len(padding):
                raise InsideError(cursor.where, "something other than padding behind the tar's end marker", entries)
    except EndedError as error:
        raise InsideError(cursor.where, f"the tar is cut off: {error}", entries) from error
    return files


def _is_header(block: bytes) -> bool:
    stated = _octal(block[_CHECKSUM])
    rest = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    # Both sums are legal: some writers added signed bytes.
    return stated is not None and (stated == sum(rest) or stated == sum(struct.unpack(f"{_BLOCK}b", rest)))


def _size(field: bytes) -> int | None:
    """Read a size: octal digits, or from 8 GiB on binary behind a byte 0x80 (GNU); left out, it is 0."""
    if field[0] == _BINARY:
        return int.from_bytes(field[1:])
    return _octal(field) if field.strip(b" \0") else 0


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else None


def _stated_size(cursor: Cursor, size: int, entries: int) -> int | None:
    """Read a PAX extended header and return the size it states for the next entry (from 8 GiB on), if any."""
    if size > _EXTENDED_LIMIT:
        raise InsideError(cursor.where, f"an extended tar header of {size} bytes", entries)
    records = cursor.take(_padded(size), "an extended tar header")[:size]
    stated = None
    while records:
        length = records.partition(b" ")[0]
        if not _is_number(length) or not len(length) < int(length) <= len(records):
            raise InsideError(cursor.where, "an extended tar header that cannot be read", entries)
        key, _, value = records[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"size":
            if not _is_number(value):
                raise InsideError(cursor.where, "an extended tar header that states no valid size", entries)
            stated = int(value)
        records = records[int(length) :]
    return stated


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MOST_DIGITS


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _name(block: bytes) -> str:
    return ascii(block[:100].partition(b"\0")[0].decode(errors="replace"))
