"""Reading the metadata script out of an artifact's header."""

import gzip
import io
import random
import struct
import tracemalloc
import zlib
from typing import Any

import pytest

from backup_agent.artifact import metadata
from backup_agent.artifact.cursor import DamagedError
from backup_agent.artifact.metadata import read_script
from tests.artifact import writer
from tests.artifact.writer import SECRET, Written

PLAIN, GZIPPED = b"metadataScript", b"compressedMetadataScript"
NAME = "orders.backup"


class Source:
    """An artifact in memory that counts the bytes that are read."""

    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        return self.file.read(size)


def script_of(**changes: Any) -> str | None:
    return read_script(Source(writer.artifact(Written(**changes))), NAME)[1]


def fault_of(content: bytes) -> str:
    with pytest.raises(DamagedError) as damaged:
        read_script(Source(content), NAME)
    return str(damaged.value)


@pytest.mark.parametrize("magic", ["BZV2", "BZV3", "BTV2"])
@pytest.mark.parametrize(
    ("key", "value"), [(PLAIN, SECRET), (GZIPPED, gzip.compress(SECRET))], ids=["plain", "gzipped"]
)
def test_the_script_is_read_with_every_magic_plain_and_gzipped(magic: str, key: bytes, value: bytes) -> None:
    assert script_of(magic=magic, metadata={b"shard_count": b"2", key: value, b"z": b""}) == SECRET.decode()


@pytest.mark.parametrize("magic", ["BZV1", "BTV1"])
def test_a_header_of_version_1_has_no_script(magic: str) -> None:
    assert script_of(magic=magic) is None


@pytest.mark.parametrize(
    "entries",
    [{}, {b"shard_count": b"2"}, {PLAIN: b""}, {GZIPPED: gzip.compress(b"")}],
    ids=["no entry", "another entry", "empty", "gzipped, empty"],
)
def test_a_header_without_a_script_is_not_an_error(entries: dict[bytes, bytes]) -> None:
    assert script_of(metadata=entries) is None


def test_only_the_beginning_of_a_large_artifact_is_read() -> None:
    for magic in ("BTV2", "BZV2"):
        source = Source(writer.artifact(Written(magic=magic), random.Random(1).randbytes(4 << 20)))
        read_script(source, NAME)

        assert source.file.tell() <= 1 << 18, magic


def test_a_header_that_is_cut_anywhere_is_an_error_that_shows_nothing_of_the_script() -> None:
    for magic in ("BTV2", "BZV2"):
        content = writer.artifact(Written(magic=magic), b"")
        end = content.index(SECRET) + len(SECRET) if magic == "BTV2" else len(content) // 2
        for cut in range(4, end):
            text = fault_of(content[:cut])

            assert NAME in text
            assert not any(text.count(SECRET[at : at + 6].decode()) for at in range(len(SECRET) - 5)), cut


def damaged_gzip() -> bytes:
    packed = gzip.compress(SECRET)
    return packed[:-8] + bytes(4) + packed[-4:]


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        pytest.param({PLAIN: b"CREATE USER \xff"}, "not UTF-8 (byte 12 of it)", id="not UTF-8"),
        pytest.param({GZIPPED: gzip.compress(b"\xff")}, "not UTF-8 (byte 0 of it)", id="gzipped, not UTF-8"),
        pytest.param({GZIPPED: SECRET}, "its gzip data is damaged", id="not gzip"),
        pytest.param({GZIPPED: damaged_gzip()}, "its gzip data is damaged", id="wrong checksum"),
        pytest.param({GZIPPED: gzip.compress(SECRET)[:-1]}, "gzip data has another length", id="cut"),
        pytest.param({GZIPPED: gzip.compress(SECRET) + b"\0"}, "gzip data has another length", id="too long"),
        pytest.param({PLAIN: b"a", GZIPPED: gzip.compress(b"b")}, "more than one metadata script", id="two"),
        pytest.param({PLAIN: b"a" * ((16 << 20) + 1)}, "has 16777217 bytes, at most 16777216 are read", id="too large"),
        pytest.param({b"other": bytes(40 << 20)}, "no header in its first 33554432 bytes", id="large other entry"),
    ],
)
@pytest.mark.parametrize("magic", ["BTV2", "BZV2"])
def test_a_script_that_cannot_be_used_is_an_error(magic: str, entries: dict[bytes, bytes], fault: str) -> None:
    assert fault in fault_of(writer.artifact(Written(magic=magic, metadata=entries)))


@pytest.mark.patience
def test_a_script_of_the_largest_size_is_read() -> None:
    largest = b"a" * metadata.LARGEST
    for entries in ({PLAIN: largest}, {GZIPPED: gzip.compress(largest, 1)}):
        assert script_of(magic="BTV2", metadata=entries) == largest.decode()


@pytest.mark.parametrize(
    ("count", "fault"), [(-1, "at most 1024"), (1025, "at most 1024"), (2**31 - 1, "at most 1024")]
)
def test_the_number_of_entries_is_bounded(count: int, fault: str) -> None:
    content = b"BTV2\x02" + writer.fields(Written()) + struct.pack(">i", count)

    assert fault in fault_of(content)


@pytest.mark.patience
def test_a_bomb_is_not_unpacked() -> None:
    """A gigabyte of zeros: a megabyte of gzip as the script, and zstd blocks of four bytes as another entry."""
    packer = zlib.compressobj(9, wbits=31)
    script = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 10)) + packer.flush()
    gzipped = writer.artifact(Written(magic="BTV2", metadata={GZIPPED: script}))
    start = b"zstd\x02" + writer.fields(Written()) + struct.pack(">iisi", 1, 1, b"a", 2**31 - 1)
    endless = writer.repeated(start, 1 << 30)

    tracemalloc.start()
    try:
        assert "unpacks to more than 16777216 bytes" in fault_of(gzipped)
        assert "no header in its first 33554432 bytes" in fault_of(endless)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
