"""Reads the metadata script in the header of an artifact: the statements that restore users and roles.

The map after the fields of the header has the script under one of two keys: plain (Neo4j 5.26), or gzipped (2026).
The script contains password hashes. It is returned and never quoted in an error.
"""

import zlib

from backup_agent.artifact.cursor import ByteSource, Cursor, DamagedError
from backup_agent.artifact.header import (
    LONGEST_KEY,
    MOST_ENTRIES,
    Beginning,
    length,
    open_frame,
    read_fields,
    read_magic,
)
from backup_agent.core.artifacts.records import Header

LARGEST = 1 << 24
"""Largest size of a script in bytes, packed and unpacked. A hundred bytes for each user or privilege are usual."""

_LOOKED_AT = 2 * LARGEST  # packed, and unpacked: the script, and other entries of the map
_ASK = 1 << 16
_PLAIN, _GZIPPED = b"metadataScript", b"compressedMetadataScript"
_KEY = "the length of a metadata key"


def read_script(content: ByteSource, name: str) -> tuple[Header, str | None]:
    """Read an artifact from its first byte up to the end of its header; return the header's fields and the script.

    The script is None if the header has none, or an empty one. `name` is the artifact's name in errors. Raise
    UnknownFormatError and DamagedError as `header.read_header` does, also for a script that is larger than `LARGEST`,
    does not unpack or is not UTF-8. At most twice `LARGEST` is read, packed and unpacked.
    """
    packed = Cursor(Beginning(content, name, _LOOKED_AT), name, ask=_ASK)
    magic, layout = read_magic(packed)
    cursor = packed
    if layout.header_in_frame:
        inside, _ = open_frame(packed, _ASK)
        cursor = Cursor(Beginning(inside, name, _LOOKED_AT), name, "unpacked byte", ask=_ASK)
    header = read_fields(cursor, magic, layout)
    return header, _script(cursor) if layout.version > 1 else None


def _script(cursor: Cursor) -> str | None:
    """Read the map, and return the script in it."""
    script: str | None = None
    for _ in range(length(cursor, "the number of metadata entries", MOST_ENTRIES)):
        key = cursor.take(length(cursor, _KEY, LONGEST_KEY), "a metadata key")
        where, size = cursor.where, length(cursor, "the length of a metadata value")
        if key not in (_PLAIN, _GZIPPED):
            cursor.skip(size, "a metadata value")
            continue
        if script is not None:
            raise DamagedError(where, "the header has more than one metadata script")
        if size > LARGEST:
            raise DamagedError(where, f"the metadata script has {size} bytes, at most {LARGEST} are read")
        value = cursor.take(size, "the metadata script")
        script = _text(_unpacked(value, where) if key == _GZIPPED else value, where)
    return script or None


def _unpacked(value: bytes, where: str) -> bytes:
    """Unpack one gzip member, which must be the whole value. At most one byte more than `LARGEST` is unpacked."""
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip
    try:
        script = decoder.decompress(value, LARGEST + 1)
    except zlib.error:
        raise DamagedError(where, "the metadata script does not unpack: its gzip data is damaged") from None
    if len(script) > LARGEST:
        raise DamagedError(where, f"the metadata script unpacks to more than {LARGEST} bytes")
    if not decoder.eof or decoder.unused_data:
        raise DamagedError(where, "the metadata script does not unpack: its gzip data has another length")
    return script


def _text(script: bytes, where: str) -> str:
    try:
        return script.decode()
    except UnicodeDecodeError as error:
        raise DamagedError(where, f"the metadata script is not UTF-8 (byte {error.start} of it)") from None
