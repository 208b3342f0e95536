"""Write artifacts according to the format's description, independently of the reader.

Other tests compare with Neo4j's own classes; this module can also write invalid artifacts.
"""

import io
import struct
import tarfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import zstandard

STORE = {"neostore": b"\x01" * 700, "neostore.transaction.db.0": bytes(5000), "checkpoint.0": b"end" * 1000}
DATABASE_ID = UUID("7dcb1d0c-4374-4476-b8ae-d3c3f124683f")
SECRET = b"CREATE USER neo4j SET ENCRYPTED PASSWORD '1,5f4dcc3b5aa765d61d83'"


@dataclass(frozen=True)
class Written:
    """The values of a header."""

    magic: str = "BZV2"
    database: bytes = b"orders"
    database_id: UUID = DATABASE_ID
    created: int = 1_700_000_000_000
    random: int = -5
    engine: bytes = b"record"
    store_format: bytes = b"aligned"
    version: tuple[int, int] = (1, 1)
    taken: datetime = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    lowest: int = 1
    highest: int = 10
    flags: int = 7
    metadata: dict[bytes, bytes] = field(default_factory=lambda: {b"metadataScript": SECRET})


def short(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def fields(facts: Written) -> bytes:
    """Return the part of a header that all versions share."""
    return b"".join(
        (
            b"\x01",
            struct.pack(">qq", facts.created, facts.random),
            short(facts.engine),
            short(facts.store_format),
            bytes(facts.version),
            short(facts.database_id.bytes),
            short(facts.database),
            struct.pack(">qqq", int(facts.taken.timestamp()), facts.lowest, facts.highest),
            short(facts.flags.to_bytes(1) if facts.flags else b""),
        )
    )


def metadata(facts: Written) -> bytes:
    """Return the metadata map of a version 2 header."""
    entries = (struct.pack(">i", len(part)) + part for key, value in facts.metadata.items() for part in (key, value))
    return struct.pack(">i", len(facts.metadata)) + b"".join(entries)


def header(facts: Written) -> bytes:
    """Return the header in the version of the magic."""
    return fields(facts) if facts.magic.endswith("1") else b"\x02" + fields(facts) + metadata(facts)


def tar(store: dict[str, bytes] | None = None, layout: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=layout) as archive:
        for name, content in (STORE if store is None else store).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def counts(files: int = 0, size: int = 0) -> bytes:
    return struct.pack(">iqq", 1, files, size)


def frame(content: bytes, *, checksum: bool = True, level: int = 3) -> bytes:
    packer = zstandard.ZstdCompressor(level=level, write_checksum=checksum).compressobj()
    return packer.compress(content) + packer.flush()


def artifact(
    facts: Written | None = None, inside: bytes | None = None, *, checksum: bool = True, sized: bool = True
) -> bytes:
    """Return an artifact. Its content is `inside`, by default the tar of a small store."""
    facts = Written() if facts is None else facts
    content = tar() if inside is None else inside
    numbers = counts(3, 8700) if sized else b""
    magic = facts.magic.encode()
    match facts.magic:
        case "BTV1" | "BTV2":
            return magic + header(facts) + content
        case "BZV3":
            return magic + header(facts) + frame(b"zstd" + numbers + content, checksum=checksum)
        case _:
            return magic + frame(b"zstd" + header(facts) + numbers + content, checksum=checksum)


def repeated(content: bytes, zeros: int, *, window: int = 21) -> bytes:
    """Return an artifact whose frame unpacks to `content` and that many zeros. 128 KiB of them take four bytes."""
    assert zeros % (1 << 17) == 0
    raw = b"".join(
        (len(piece) << 3).to_bytes(3, "little") + piece
        for piece in (content[at : at + (1 << 17)] for at in range(0, len(content), 1 << 17))
    )
    block = (131_072 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = b"\x01\0\0"
    return b"BZV2\x28\xb5\x2f\xfd\x00" + bytes(((window - 10) << 3,)) + raw + block * (zeros >> 17) + last


def split(path: Path, content: bytes, limit: int) -> list[Path]:
    """Write `content` as a manifest and parts of at most `limit` bytes each, including their headers."""
    mark = UUID("0f0e0d0c-0b0a-0908-0706-050403020100").bytes
    step = limit - 24
    pieces = [content[at : at + step] for at in range(0, len(content), step)]
    path.write_bytes(b"SMV1" + struct.pack(">i", len(pieces)) + mark)
    parts = [path.with_name(f"{path.name}.{index}") for index in range(1, len(pieces) + 1)]
    for index, (part, piece) in enumerate(zip(parts, pieces, strict=True), start=1):
        part.write_bytes(b"SDV1" + struct.pack(">i", index) + mark + piece)
    return [path, *parts]
