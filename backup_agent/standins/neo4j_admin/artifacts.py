"""Write and read Neo4j's backup artifacts: header, container, parts.

The bytes equal those of Neo4j's own writer classes (tests/standins/golden). All integers are big-endian. Uncompressed
artifacts (`BTV2`) have neither the `zstd` tag nor the sizes.
"""

import contextlib
import io
import shutil
import struct
import tarfile
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO, Protocol

import zstandard

SUFFIX = ".backup"
COMPRESSED = b"BZV2"
PLAIN = b"BTV2"
MARK = b"zstd"
HEADER_VERSION = b"\x02"
SIZES_VERSION = 1
SIZES_BYTES = 20
"""Bytes of the sizes after the header of a compressed artifact."""
MANIFEST = b"SMV1"
PART = b"SDV1"
PART_HEADER = struct.Struct(">4si16s")
RECOVERED, COMPRESSED_FLAG, FULL = 1, 2, 4
METADATA = "metadataScript"
GZIPPED_METADATA = "compressedMetadataScript"
JAVA_GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""A gzip header as Java writes it: no time, no compression level, unknown operating system."""
MTIME = 946684800
"""The modification time of every entry on 2026.09: 2000-01-01, in seconds since 1970."""
BLOCK = 1 << 20


class NotAnArtifactError(Exception):
    """The file is not an artifact; the message is Neo4j's."""


@dataclass(frozen=True)
class StoreId:
    """The id of a store, as headers and transaction logs hold it."""

    created: int
    random: int
    engine: str = "record"
    format: str = "aligned"
    major: int = 1
    minor: int = 1

    def to_bytes(self) -> bytes:
        """Return the bytes of the id in a header."""
        engine, name = self.engine.encode(), self.format.encode()
        return b"".join(
            (
                struct.pack(">bqqb", 1, self.created, self.random, len(engine)),
                engine,
                struct.pack(">b", len(name)),
                name,
                struct.pack(">bb", self.major, self.minor),
            )
        )

    @classmethod
    def read(cls, stream: "Reader") -> "StoreId":
        """Read an id from a header."""
        stream.byte()
        created, random = stream.long(), stream.long()
        return cls(created, random, stream.short_text(), stream.short_text(), stream.byte(), stream.byte())


class Reader:
    """Reads numbers and texts from a stream in Java's byte order."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def exactly(self, count: int) -> bytes:
        """Read `count` bytes. Raise NotAnArtifactError if the stream is shorter."""
        data = self._stream.read(count)
        if len(data) < count:
            raise NotAnArtifactError("Unexpected end of stream")
        return data

    def byte(self) -> int:
        """Read one byte as an unsigned integer."""
        return self.exactly(1)[0]

    def long(self) -> int:
        """Read eight bytes as a signed integer."""
        return int.from_bytes(self.exactly(8), signed=True)

    def short_text(self) -> str:
        """Read a length of one byte, then a text of that length."""
        return self.exactly(self.byte()).decode()


@dataclass(frozen=True)
class Header:
    """The header of an artifact. `taken` is in seconds since 1970, UTC."""

    database: str
    database_id: uuid.UUID
    store: StoreId
    taken: int
    lowest: int
    highest: int
    full: bool
    compressed: bool = True
    recovered: bool = True
    metadata: dict[str, bytes] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether this is a differential without transactions."""
        return not self.full and self.lowest == self.highest == 0

    def to_bytes(self) -> bytes:
        """Return the header, version 2, without magic and version byte."""
        name = self.database.encode()
        flags = RECOVERED * self.recovered | COMPRESSED_FLAG * self.compressed | FULL * self.full
        return b"".join(
            (
                self.store.to_bytes(),
                b"\x10",
                self.database_id.bytes,
                bytes((len(name),)),
                name,
                struct.pack(">qqq", self.taken, self.lowest, self.highest),
                bytes((1, flags)) if flags else b"\x00",
                struct.pack(">i", len(self.metadata)),
                *(
                    struct.pack(">i", len(part)) + part
                    for key, value in self.metadata.items()
                    for part in (key.encode(), value)
                ),
            )
        )

    @classmethod
    def read(cls, stream: Reader) -> "Header":
        """Read a header without its metadata."""
        store = StoreId.read(stream)
        database_id = uuid.UUID(bytes=stream.exactly(stream.byte()))
        database = stream.short_text()
        taken, lowest, highest = stream.long(), stream.long(), stream.long()
        flags = int.from_bytes(stream.exactly(stream.byte()), "little")
        return cls(
            database,
            database_id,
            store,
            taken,
            lowest,
            highest,
            full=bool(flags & FULL),
            compressed=bool(flags & COMPRESSED_FLAG),
            recovered=bool(flags & RECOVERED),
        )


def metadata(script: str, *, gzipped: bool) -> dict[str, bytes]:
    """Return the header's metadata for a script: plain as on 5.26, gzipped as on 2026.09."""
    data = script.encode()
    if not gzipped:
        return {METADATA: data}
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    return {GZIPPED_METADATA: JAVA_GZIP + body + struct.pack("<II", zlib.crc32(data), len(data))}


def read_header(path: Path) -> Header:
    """Read the header of an artifact, whole or in parts. Raise NotAnArtifactError if the file is not an artifact."""
    with contextlib.ExitStack() as files:
        stream: BinaryIO = files.enter_context(path.open("rb"))
        magic = stream.read(4)
        if magic == MANIFEST:
            stream = files.enter_context(Path(f"{path}.1").open("rb"))
            if stream.read(PART_HEADER.size)[:4] != PART:
                raise NotAnArtifactError(f"{path}.1 is not a part")
            magic = stream.read(4)
        if magic not in (b"BZV1", COMPRESSED, b"BTV1", PLAIN):
            raise NotAnArtifactError(f"Unsupported format backup format: {magic.decode('latin-1')}")
        try:
            if magic[1:2] == b"Z":
                unpacked = zstandard.ZstdDecompressor().stream_reader(stream)
                stream = io.BufferedReader(unpacked)
                if stream.read(4) != MARK:
                    raise NotAnArtifactError(f"Not a valid Neo4j archive: {path}")
            if magic[3:] == b"2" and stream.read(1) != HEADER_VERSION:
                raise NotAnArtifactError(f"Unsupported header version: {path}")
            return Header.read(Reader(stream))
        except (zstandard.ZstdError, UnicodeDecodeError, ValueError) as error:
            raise NotAnArtifactError(f"Not a valid Neo4j archive: {path}") from error


def read_through(path: Path) -> Header:
    """Read an artifact in one file to its end: its frame, and each entry of its tar. Return its header.

    Raise NotAnArtifactError if the artifact is cut or damaged.
    """
    with path.open("rb") as file, TemporaryFile() as unpacked:
        compressed = file.read(4)[1:2] == b"Z"
        try:
            _unpack(file, unpacked) if compressed else shutil.copyfileobj(file, unpacked)
            unpacked.seek(len(MARK + HEADER_VERSION) if compressed else len(HEADER_VERSION))
            reader = Reader(unpacked)
            header = Header.read(reader)
            for _ in range(2 * int.from_bytes(reader.exactly(4))):
                reader.exactly(int.from_bytes(reader.exactly(4)))
            reader.exactly(SIZES_BYTES * compressed)
            if header.empty:
                return header
            with tarfile.open(fileobj=unpacked, mode="r|") as tar:
                for _ in tar:
                    pass
        except (NotAnArtifactError, tarfile.TarError, zstandard.ZstdError, ValueError) as error:
            raise NotAnArtifactError(f"Not a valid Neo4j archive: {path.name}: {error}") from error
    return header


def _unpack(file: IO[bytes], unpacked: IO[bytes]) -> None:
    frame = zstandard.ZstdDecompressor().decompressobj()
    while block := file.read(BLOCK):
        unpacked.write(frame.decompress(block))
    if not frame.eof:
        raise NotAnArtifactError("Unexpected end of stream")


@dataclass(frozen=True)
class Entry:
    """One file of a store. `blocks` generates its content while it is written."""

    name: str
    size: int
    blocks: Callable[[], Iterable[bytes]]


class Output(Protocol):
    """A writable binary stream."""

    def write(self, data: bytes, /) -> int:
        """Write the data and return the number of bytes written."""
        ...


class Parts:
    """Writes an artifact in parts: a manifest under its name, and numbered files of at most `limit` bytes each."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = max(limit, PART_HEADER.size + 1)
        self._id = uuid.uuid4().bytes
        self._number = 0
        self._left = 0
        self._file: BinaryIO | None = None

    def write(self, data: bytes, /) -> int:
        """Append data and begin new parts as needed."""
        view = memoryview(data)
        while view:
            if self._left == 0 or self._file is None:
                self._file = self._next()
            count = self._file.write(view[: self._left])
            self._left -= count
            view = view[count:]
        return len(data)

    def close(self) -> None:
        """Write the manifest, which holds the number of parts."""
        if self._file is not None:
            self._file.close()
        with self._path.open("xb") as manifest:
            manifest.write(PART_HEADER.pack(MANIFEST, self._number, self._id))

    def _next(self) -> BinaryIO:
        if self._file is not None:
            self._file.close()
        self._number += 1
        file = Path(f"{self._path}.{self._number}").open("xb")  # noqa: SIM115  closed when the next part begins
        file.write(PART_HEADER.pack(PART, self._number, self._id))
        self._left = self._limit - PART_HEADER.size
        return file


def write(
    output: Output,
    header: Header,
    entries: tuple[Entry, ...],
    *,
    prefix: str = "",
    counted: bool = True,
    half_way: Callable[[], None] | None = None,
) -> None:
    """Write an artifact. Call `half_way` once, after half of the store's bytes were written to the output."""
    total = sum(entry.size for entry in entries)
    counts = (len(entries), total) if counted else (0, 0)
    start = HEADER_VERSION + header.to_bytes()
    if not header.compressed:
        output.write(PLAIN + start)
        for block in _tar(entries, prefix, total // 2, half_way):
            output.write(block)
        return
    output.write(COMPRESSED)
    frame = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()

    def flushed() -> None:
        if half_way is not None:
            output.write(frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            half_way()

    output.write(frame.compress(MARK + start + struct.pack(">iqq", SIZES_VERSION, *counts)))
    for block in _tar(entries, prefix, total // 2, flushed):
        packed = frame.compress(block)
        if packed:
            output.write(packed)
    output.write(frame.flush())


def _tar(entries: tuple[Entry, ...], prefix: str, half: int, half_way: Callable[[], None] | None) -> Iterator[bytes]:
    done = 0
    for entry in entries:
        info = tarfile.TarInfo(prefix + entry.name)
        info.size, info.mtime = entry.size, MTIME
        yield info.tobuf(tarfile.PAX_FORMAT)
        for block in entry.blocks():
            yield block
            done += len(block)
            if half_way is not None and done >= half:
                half_way()
                half_way = None
        yield b"\0" * (-entry.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)
    if half_way is not None:
        half_way()


def flip_byte(path: Path) -> None:
    """Invert all bits of the byte in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        old = file.read(1)
        file.seek(-1, io.SEEK_CUR)
        file.write(bytes((old[0] ^ 0xFF,)))
