"""PackStream, the binary encoding of Bolt's values (neo4j.com/docs/bolt: packstream).

Sizes and integers are big-endian and use the smallest encoding, as Neo4j's do. A structure is a tag and its fields;
messages and dates are structures. `pack` supports the types in answers of administration commands: nodes, points and
durations are not among them.
"""

import itertools
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

ZONED_DATETIME = 0x49
"""Tag of a date since Bolt 5. Its fields: seconds since 1970 in UTC, nanoseconds, offset in seconds."""
MAX_DEPTH = 64
"""Largest accepted nesting, so that a message cannot exhaust Python's stack."""
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
SIZED = (("B", 0xFF), ("H", 0xFFFF), ("I", 0xFFFFFFFF))
INTEGERS = ((0xC8, "b", 7), (0xC9, "h", 15), (0xCA, "i", 31), (0xCB, "q", 63))


class PackStreamError(ValueError):
    """The bytes are not valid PackStream, or the value cannot be encoded."""


@dataclass(frozen=True)
class Structure:
    """A tag and its fields."""

    tag: int
    fields: tuple[Any, ...] = ()


def pack(value: object) -> bytes:
    """Return the encoding of one value. Raise PackStreamError if its type or size is not supported."""
    out = bytearray()
    _pack(value, out)
    return bytes(out)


def unpack(data: bytes) -> Any:  # noqa: ANN401  any value of Bolt
    """Return the value encoded by `data`. Raise PackStreamError if bytes are missing, invalid or left over."""
    value, end = _unpack(data, 0, 0)
    if end != len(data):
        raise PackStreamError(f"{len(data) - end} bytes after the value")
    return value


def _pack(value: object, out: bytearray) -> None:
    match value:
        case None:
            out.append(0xC0)
        case bool():
            out.append(0xC3 if value else 0xC2)
        case int():
            _pack_integer(value, out)
        case float():
            out += b"\xc1" + struct.pack(">d", value)
        case str():
            encoded = value.encode()
            _pack_size(len(encoded), out, tiny=0x80, sized=0xD0)
            out += encoded
        case bytes():
            _pack_size(len(value), out, tiny=None, sized=0xCC)
            out += value
        case datetime() if value.tzinfo:
            _pack(_zoned(value), out)
        case _:
            _pack_many(value, out)


def _pack_many(value: object, out: bytearray) -> None:
    items: Iterable[object]
    match value:
        case Mapping():
            _pack_size(len(value), out, tiny=0xA0, sized=0xD8)
            items = itertools.chain.from_iterable(value.items())
        case Structure():
            out += bytes((0xB0 + len(value.fields), value.tag))
            items = value.fields
        case list() | tuple():
            _pack_size(len(value), out, tiny=0x90, sized=0xD4)
            items = value
        case _:
            raise PackStreamError(f"type {type(value).__name__} is not supported")
    for item in items:
        _pack(item, out)


def _pack_integer(value: int, out: bytearray) -> None:
    if -16 <= value <= 127:  # noqa: PLR2004  the byte itself
        out += struct.pack(">b", value)
        return
    for marker, form, bits in INTEGERS:
        if -(1 << bits) <= value < 1 << bits:
            out.append(marker)
            out += struct.pack(f">{form}", value)
            return
    raise PackStreamError(f"{value} does not fit 64 bits")


def _pack_size(size: int, out: bytearray, *, tiny: int | None, sized: int) -> None:
    if tiny is not None and size <= 0xF:  # noqa: PLR2004  half a byte
        out.append(tiny + size)
        return
    for step, (form, largest) in enumerate(SIZED):
        if size <= largest:
            out.append(sized + step)
            out += struct.pack(f">{form}", size)
            return
    raise PackStreamError(f"size {size} does not fit 32 bits")


def _zoned(value: datetime) -> Structure:
    since = value - EPOCH
    offset = value.utcoffset() or timedelta()
    seconds = since.days * 86_400 + since.seconds
    return Structure(ZONED_DATETIME, (seconds, since.microseconds * 1000, int(offset.total_seconds())))


def _unpack(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise PackStreamError(f"nested deeper than {MAX_DEPTH}")
    marker = _take(data, at, 1)[0]
    at += 1
    if marker in CONSTANTS:
        return CONSTANTS[marker], at
    if marker <= 0x7F or marker >= 0xF0:  # noqa: PLR2004  an integer of one byte
        return marker if marker <= 0x7F else marker - 0x100, at  # noqa: PLR2004  the two ranges of a marker
    if marker in NUMBERS:
        form = NUMBERS[marker]
        size = struct.calcsize(form)
        return struct.unpack(form, _take(data, at, size))[0], at + size
    kind, size, at = _sized(data, marker, at)
    if kind == "structure":
        tag = _take(data, at, 1)[0]
        fields, at = _unpack_list(data, at + 1, size, depth)
        return Structure(tag, tuple(fields)), at
    if kind == "list":
        return _unpack_list(data, at, size, depth)
    if kind == "map":
        items, at = _unpack_list(data, at, 2 * size, depth)
        if not all(isinstance(key, str) for key in items[::2]):
            raise PackStreamError("a key is not a text")
        return dict(zip(items[::2], items[1::2], strict=True)), at
    raw = _take(data, at, size)
    if kind == "bytes":
        return raw, at + size
    try:
        return raw.decode(), at + size
    except UnicodeDecodeError as error:
        raise PackStreamError(f"a text is not UTF-8: {error}") from error


def _unpack_list(data: bytes, at: int, size: int, depth: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(size):
        item, at = _unpack(data, at, depth + 1)
        items.append(item)
    return items, at


def _sized(data: bytes, marker: int, at: int) -> tuple[str, int, int]:
    tiny = TINY.get(marker & 0xF0)
    if tiny:
        return tiny, marker & 0x0F, at
    if marker not in COUNTED:
        raise PackStreamError(f"unknown marker 0x{marker:02X}")
    kind, form = COUNTED[marker]
    size = struct.calcsize(form)
    return kind, struct.unpack(form, _take(data, at, size))[0], at + size


def _take(data: bytes, at: int, size: int) -> bytes:
    taken = data[at : at + size]
    if len(taken) < size:
        raise PackStreamError(f"incomplete data: {size} bytes expected at offset {at}, {len(taken)} found")
    return taken


CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = {0xC1: ">d", 0xC8: ">b", 0xC9: ">h", 0xCA: ">i", 0xCB: ">q"}
TINY = {0x80: "text", 0x90: "list", 0xA0: "map", 0xB0: "structure"}
COUNTED = {
    first + step: (kind, f">{form}")
    for kind, first in (("bytes", 0xCC), ("text", 0xD0), ("list", 0xD4), ("map", 0xD8))
    for step, (form, _) in enumerate(SIZED)
}
