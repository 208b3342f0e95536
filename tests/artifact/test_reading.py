"""The reading pass over whole, damaged and unusual artifacts."""

import errno
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backup_agent.artifact import files as artifact_files
from backup_agent.artifact.cursor import CHUNK, DamagedError
from backup_agent.artifact.header import read_header
from backup_agent.artifact.reading import ArtifactReading, digest, read_through
from backup_agent.artifact.zstd import UnknownFormatError
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from tests.artifact import writer
from tests.artifact.writer import Written
from tests.examples import examples

MAGICS = ("BZV1", "BZV2", "BZV3", "BTV1", "BTV2")
PACKED = ("BZV1", "BZV2", "BZV3")
NAME = "orders-2026-11-23T02-00-00.backup"
FULL, DIFF = 7, 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("magic", MAGICS)
@pytest.mark.parametrize("flags", [FULL, DIFF])
def test_a_whole_artifact_has_no_problems(path: Path, magic: str, flags: int) -> None:
    content = writer.artifact(Written(magic=magic, flags=flags))
    seen: list[int] = []

    reading = read_through(put(path, content), progress=seen.append)

    assert reading.header == read_header(path)
    assert reading.problems == ()
    assert [file.model_dump() for file in reading.files] == [
        {"name": NAME, "size": len(content), "sha256": sha256(content), "part_size": 0, "parts": ()}
    ]
    assert sum(seen) == len(content)


@pytest.mark.parametrize("magic", MAGICS)
def test_the_raw_size_is_the_decompressed_size(path: Path, magic: str) -> None:
    facts, content = Written(magic=magic), writer.tar()
    before = writer.header(facts) + (b"zstd" + writer.counts() if magic in PACKED else b"")

    reading = read_through(put(path, writer.artifact(facts, content)))

    assert reading.raw_size == len(before + content)


@pytest.mark.parametrize("size", [1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK // 2, 10 * CHUNK])
def test_each_upload_part_has_its_checksum(path: Path, size: int) -> None:
    content = writer.artifact(Written(magic="BTV2"), writer.tar({"neostore": random.Random(1).randbytes(2 * CHUNK)}))

    (file,) = read_through(put(path, content), part_size=lambda _: size).files

    parts = tuple(sha256(content[at : at + size]) for at in range(0, len(content), size))
    assert file.sha256 == sha256(content)
    assert (file.part_size, file.parts) == ((size, parts) if size < len(content) else (0, ()))


def test_a_file_of_whole_parts_has_no_empty_last_part(path: Path) -> None:
    (file,) = digest(put(path, b"x" * 3000), part_size=lambda _: 1000)

    assert file.parts == (sha256(b"x" * 1000),) * 3


def test_the_part_size_is_determined_for_each_file(path: Path) -> None:
    content = writer.artifact(Written(magic="BTV2"))
    writer.split(path, content, 9500)
    asked: list[int] = []

    def part_size(size: int) -> int:
        asked.append(size)
        return 5000

    reading = read_through(path, part_size=part_size)

    sizes = [item.stat().st_size for item in sorted(path.parent.iterdir())]
    assert asked == [file.size for file in reading.files] == sizes
    assert [len(file.parts) for file in reading.files] == [0, 2, 2, 0]


@pytest.mark.parametrize("magic", MAGICS)
@pytest.mark.parametrize("limit", [500, 9000, 100_000])
def test_an_artifact_in_parts_is_read_as_one(path: Path, magic: str, limit: int) -> None:
    written = writer.split(path, writer.artifact(Written(magic=magic)), limit)

    reading = read_through(path)

    assert [(file.name, file.sha256) for file in reading.files] == [
        (item.name, sha256(item.read_bytes())) for item in written
    ]
    assert reading.header.magic == magic
    assert digest(path) == reading.files


def test_a_part_beyond_the_manifest_is_a_problem(path: Path) -> None:
    parts = writer.split(path, writer.artifact(), 100_000)
    parts[1].with_name(f"{NAME}.2").write_bytes(b"")

    assert read_through(path).problems == (f"{NAME}.2 belongs to no artifact: the manifest states fewer parts",)


@pytest.mark.parametrize("magic", PACKED)
@pytest.mark.parametrize("flags", [FULL, DIFF])
def test_an_incomplete_compressed_artifact_is_damage(path: Path, magic: str, flags: int) -> None:
    content = writer.artifact(Written(magic=magic, flags=flags))

    for length in (*range(4, len(content) - 8, 11), *range(len(content) - 8, len(content))):
        with pytest.raises(DamagedError, match=r"cut off|the file ends after"):
            read_through(put(path, content[:length]))


def test_a_missing_checksum_is_reported(path: Path) -> None:
    content = writer.artifact()

    with pytest.raises(DamagedError, match=f"at byte {len(content) - 4}: the zstd frame is cut off in its checksum"):
        read_through(put(path, content[:-4]))


def test_the_error_of_a_cut_between_blocks_has_block_and_offset(path: Path) -> None:
    content = writer.artifact(inside=writer.tar({"neostore": random.Random(1).randbytes(300_000)}))

    with pytest.raises(DamagedError, match="at byte 150000: the zstd frame is cut off in block 2: the file ends here"):
        read_through(put(path, content[:150_000]))


@pytest.mark.parametrize("magic", ["BTV1", "BTV2"])
def test_an_incomplete_uncompressed_full_is_damage(path: Path, magic: str) -> None:
    content = writer.artifact(Written(magic=magic))
    end = len(content.rstrip(b"\0")) // 512 * 512
    marker = len(content) - len(writer.tar()) + sum(512 + -(-len(data) // 512) * 512 for data in writer.STORE.values())

    assert end < marker
    for length in (*range(4, marker, 97), marker, marker + 1, marker + 512, marker + 1023):
        with pytest.raises(DamagedError, match="the file ends after"):
            read_through(put(path, content[:length]))
    assert read_through(put(path, content[: marker + 1024])).problems == ()


@pytest.mark.parametrize("magic", PACKED)
@pytest.mark.parametrize("flags", [FULL, DIFF])
def test_a_changed_byte_of_a_frame_is_detected(path: Path, magic: str, flags: int) -> None:
    facts = Written(magic=magic, flags=flags, metadata={})
    content = writer.artifact(facts)
    start = content.index(b"\x28\xb5\x2f\xfd")

    for at in (*range(start, start + 20), *range(start + 20, len(content), 3)):
        broken = bytearray(content)
        broken[at] ^= 0xFF
        if at == start + 5:  # a larger window changes only the memory that is needed
            continue
        with pytest.raises(PermanentError) as error:
            read_through(put(path, bytes(broken)))
        assert error.value.failure.reason is Reason.BAD_ARTIFACT


@pytest.mark.parametrize("magic", ["BZV2", "BZV3", "BTV2"])
@pytest.mark.parametrize(
    ("facts", "text"),
    [
        pytest.param("000007d0", "the number of metadata entries expected, at most 1024", id="entries"),
        pytest.param("ffffffff", "the number of metadata entries expected, at most 1024", id="negative"),
        pytest.param("00000001 00000101", "the length of a metadata key expected, at most 256", id="key"),
        pytest.param("00000001 00000001 78 80000000", "the length of a metadata value expected, at most", id="value"),
        pytest.param("00000001 00000001 78 7fffffff", r"a metadata value expected \(2147483647 bytes\), and", id="cut"),
        pytest.param("0000", "the number of metadata entries", id="cut before"),
    ],
)
def test_an_invalid_metadata_map_is_damage(path: Path, magic: str, facts: str, text: str) -> None:
    head = b"\x02" + writer.fields(Written(flags=DIFF)) + bytes.fromhex(facts)
    content = writer.frame(b"zstd" + head) if magic == "BZV2" else head

    with pytest.raises(DamagedError, match=text):
        read_through(put(path, magic.encode() + content))


@pytest.mark.parametrize("flags", [FULL, DIFF])
@pytest.mark.parametrize("tail", [b"\0", b"junk", writer.frame(b"more")])
def test_data_after_the_frame_is_damage(path: Path, flags: int, tail: bytes) -> None:
    content = writer.artifact(Written(flags=flags))

    with pytest.raises(DamagedError, match=f"at byte {len(content)}: the zstd frame ends here, and the file goes on"):
        read_through(put(path, content + tail))


def test_a_frame_without_checksum_is_a_problem(path: Path) -> None:
    (problem,) = read_through(put(path, writer.artifact(checksum=False))).problems

    assert problem.startswith("the zstd frame has no checksum")


def test_a_range_that_runs_backwards_is_a_problem(path: Path) -> None:
    (problem,) = read_through(put(path, writer.artifact(Written(lowest=9, highest=3)))).problems

    assert problem == "append indexes run backwards: lowest 9, highest 3"


def pax(records: bytes, *, kind: bytes = b"x") -> bytes:
    """Return an extended tar header with these records."""
    entry = tarfile.TarInfo("extended")
    entry.type = kind
    entry.size = len(records)
    return entry.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)


def block(name: str = "neostore", size: int = 700, kind: bytes = b"0") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


def sealed(header: bytes, at: int, value: bytes) -> bytes:
    """Return a tar header with another value at an offset and a matching checksum."""
    changed = header[:at] + value + header[at + len(value) :]
    total = sum(changed[:148] + b" " * 8 + changed[156:])
    return changed[:148] + b"%06o\0 " % total + changed[156:]


DATA = b"\x01" * 700 + bytes(324)
END = bytes(1024)
UNKNOWN_INSIDES = [
    pytest.param(b"", "the tar is cut off: .*the header of tar entry 1 expected", id="empty"),
    pytest.param(b"log entries " * 100, "the 512 bytes before are not a tar header", id="not a tar"),
    pytest.param(block() + DATA + b"x" * 2048, "the 512 bytes before are not a tar header", id="no second header"),
    pytest.param(block() + DATA, "the header of tar entry 2 expected", id="no end marker"),
    pytest.param(block() + DATA + bytes(512), "the second half of the tar's end marker expected", id="half an end marker"),
    pytest.param(block() + DATA + bytes(512) + block(), r"the tar's end marker expected \(two empty blocks\), found one", id="a lone zero block"),
    pytest.param(block() + DATA + END + bytes(9) + b"x", "something other than padding after", id="after the end"),
    pytest.param(block(size=5000) + DATA, r"the content of tar entry 'neostore' expected \(5120 bytes\), and the file ends after 1024", id="cut entry"),
    pytest.param(sealed(block(), 124, b"123456789 \0\0") + DATA + END, "tar entry 1 states no valid size", id="entry size"),
    pytest.param(block(kind=b"V", size=0) + END, "tar entry 'neostore' is neither file nor folder", id="volume label"),
    pytest.param(pax(b"x" * 70_000) + block() + DATA + END, "an extended tar header of 70000 bytes", id="long extended header"),
    pytest.param(pax(b"99 size=1\n") + block() + DATA + END, "an extended tar header that cannot be read", id="extended length"),
    pytest.param(pax(b"0 size=1\n") + block() + DATA + END, "an extended tar header that cannot be read", id="extended zero"),
    pytest.param(pax(b"9" * 5000) + block() + DATA + END, "an extended tar header that cannot be read", id="extended digits"),
    pytest.param(pax(b"9 size=x\n") + block() + DATA + END, "states no valid size", id="extended size"),
]  # fmt: skip


@pytest.mark.parametrize("magic", MAGICS)
@pytest.mark.parametrize(("inside", "text"), UNKNOWN_INSIDES)
def test_a_full_with_invalid_content_is_damage(path: Path, magic: str, inside: bytes, text: str) -> None:
    with pytest.raises(DamagedError, match=text):
        read_through(put(path, writer.artifact(Written(magic=magic), inside)))


@pytest.mark.parametrize("magic", PACKED)
@pytest.mark.parametrize(("inside", "text"), UNKNOWN_INSIDES)
def test_a_differential_with_unknown_content_has_a_problem(path: Path, magic: str, inside: bytes, text: str) -> None:
    content = writer.artifact(Written(magic=magic, flags=DIFF), inside)

    reading = read_through(put(path, content))

    (problem,) = reading.problems
    assert problem.startswith("the inside of this differential is unknown: ")
    assert text.split(" ")[1] in problem
    assert reading.files[0].sha256 == sha256(content)


@pytest.mark.parametrize(("inside", "text"), UNKNOWN_INSIDES)
def test_an_uncompressed_differential_that_begins_as_a_tar_must_be_a_valid_tar(
    path: Path, inside: bytes, text: str
) -> None:
    put(path, writer.artifact(Written(magic="BTV2", flags=DIFF), inside))
    if inside[257:262] == b"ustar":
        with pytest.raises(DamagedError, match=text):
            read_through(path)
    else:
        assert len(read_through(path).problems) == 1


def long_named(name: bytes, layout: int) -> bytes:
    """Return a tar entry whose name is in a preceding entry, as long names are."""
    if layout == tarfile.PAX_FORMAT:
        text = b" path=" + name + b"\n"
        length = next(n for n in range(len(text), len(text) + 9) if len(str(n)) + len(text) == n)
        return pax(str(length).encode() + text) + block() + DATA
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = b"L", len(name) + 1
    return entry.tobuf(tarfile.GNU_FORMAT) + name + bytes(512 - len(name)) + block() + DATA


PREFIXED = sealed(sealed(block("etc/passwd"), 257, b"ustar\x0000"), 345, b"../..")
HOSTILE_ENTRIES = [
    pytest.param(block("../../../etc/passwd") + DATA, "'../../../etc/passwd' has '..' in its name", id="parent"),
    pytest.param(block("a/../../b") + DATA, "'a/../../b' has '..' in its name", id="parent inside"),
    pytest.param(block("..", kind=b"5", size=0), "'../' has '..' in its name", id="parent folder"),
    pytest.param(block("/etc/passwd") + DATA, "'/etc/passwd' has an absolute name", id="absolute"),
    pytest.param(block("") + DATA, "'' has no name", id="no name"),
    pytest.param(PREFIXED + DATA, "'../../etc/passwd' has '..' in its name", id="prefix"),
    pytest.param(long_named(b"../x", tarfile.PAX_FORMAT), "'../x' has '..' in its name", id="extended"),
    pytest.param(long_named(b"x\0/../y", tarfile.PAX_FORMAT), "has a NUL byte in its name", id="NUL"),
    pytest.param(long_named(b"/x", tarfile.GNU_FORMAT), "'/x' has an absolute name", id="long name"),
    pytest.param(pax(b"11 path=/x\n", kind=b"g") + block() + DATA, "tar entry 2 states 'path'", id="global"),
    pytest.param(pax(b"22 GNU.sparse.name=/x\n") + block() + DATA, "states 'GNU.sparse.name'", id="sparse"),
    pytest.param(block(kind=b"1", size=0), "tar entry 'neostore' is a hard link", id="hard link"),
    pytest.param(block(kind=b"2", size=0), "tar entry 'neostore' is a symbolic link", id="symbolic link"),
    pytest.param(block(kind=b"3", size=0), "tar entry 'neostore' is a character device", id="character device"),
    pytest.param(block(kind=b"4", size=0), "tar entry 'neostore' is a block device", id="block device"),
    pytest.param(block(kind=b"6", size=0), "tar entry 'neostore' is a FIFO", id="fifo"),
]


@pytest.mark.parametrize("flags", [FULL, DIFF])
@pytest.mark.parametrize("magic", ["BZV2", "BTV2"])
@pytest.mark.parametrize(("entry", "text"), HOSTILE_ENTRIES)
def test_a_tar_entry_that_neo4j_never_writes_is_damage_and_is_named(
    path: Path, magic: str, flags: int, entry: bytes, text: str
) -> None:
    inside = block() + DATA + entry + block("last") + DATA + END

    with pytest.raises(DamagedError, match=re.escape(text)):
        read_through(put(path, writer.artifact(Written(magic=magic, flags=flags), inside)))


@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_relative_names_of_any_length_are_accepted(path: Path, layout: int) -> None:
    names = ["./neostore", "schema/index/range-1.0/1/..index", "a" * 90 + "/" + "b" * 90]
    inside = writer.tar(dict.fromkeys(names, b"1"), layout)

    assert read_through(put(path, writer.artifact(inside=inside))).problems == ()


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "device"])
@pytest.mark.parametrize("index", [0, 1], ids=["the artifact", "a part"])
def test_a_file_of_an_artifact_that_is_not_regular_is_damage(path: Path, index: int, kind: str) -> None:
    content = writer.artifact()
    parts = writer.split(path, content, 24 + -(-len(content) // 2)) if index else [put(path, content)]
    one = parts[index]
    other = one.with_name("elsewhere")
    one.rename(other)
    if kind == "fifo":
        os.mkfifo(one)
    else:
        targets = {"link": other, "dangling link": one.with_name("nothing"), "device": Path("/dev/zero")}
        one.symlink_to(targets[kind])

    with pytest.raises(DamagedError, match=f"{one.name}: a (symbolic link|FIFO), not a regular file"):
        read_through(path)


@pytest.mark.parametrize("magic", MAGICS)
def test_unknown_content_is_read_to_its_end(path: Path, magic: str) -> None:
    inside = random.Random(1).randbytes(3 * CHUNK)
    content = writer.artifact(Written(magic=magic, flags=DIFF), inside)

    reading = read_through(put(path, content))

    assert reading.files[0].sha256 == sha256(content)
    assert len(inside) < reading.raw_size < len(inside) + 500
    assert len(reading.problems) == 1


@pytest.mark.parametrize("magic", PACKED)
def test_an_invalid_frame_with_unknown_content_is_damage(path: Path, magic: str) -> None:
    content = bytearray(writer.artifact(Written(magic=magic, flags=DIFF), random.Random(1).randbytes(300_000)))
    content[-1] ^= 1

    with pytest.raises(DamagedError, match=r"the zstd frame does not unpack: .*checksum"):
        read_through(put(path, bytes(content)))


@pytest.mark.parametrize("magic", MAGICS)
@pytest.mark.parametrize("inside", [b"", writer.tar({})])
def test_an_empty_differential_may_hold_no_files(path: Path, magic: str, inside: bytes) -> None:
    facts = Written(magic=magic, flags=DIFF, lowest=0, highest=0)

    assert read_through(put(path, writer.artifact(facts, inside, sized=bool(inside)))).problems == ()


def test_a_full_without_files_is_damage(path: Path) -> None:
    with pytest.raises(DamagedError, match="the tar of this full backup holds no file"):
        read_through(put(path, writer.artifact(inside=writer.tar({}))))


@pytest.mark.parametrize(
    ("magic", "harmful"), [("BZV1", True), ("BZV2", True), ("BZV3", False)], ids=["BZV1", "BZV2", "BZV3"]
)
def test_the_counts_before_the_tar_are_required_in_formats_that_have_them(
    path: Path, magic: str, harmful: bool
) -> None:
    put(path, writer.artifact(Written(magic=magic), sized=False))
    if harmful:
        with pytest.raises(DamagedError, match="the counts of files and bytes expected"):
            read_through(path)
    else:
        assert read_through(path).problems == ()


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar_is_read(path: Path, layout: int) -> None:
    store = {"./neostore": b"1", "b" * (99 if layout == tarfile.USTAR_FORMAT else 300): b"2" * 512, "empty": b""}

    assert read_through(put(path, writer.artifact(inside=writer.tar(store, layout)))).problems == ()


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(pax(b"12 size=700\n") + block(size=0) + DATA + END, id="size in an extended header"),
        pytest.param(pax(b"12 size=700\n") + pax(b"x" * 9, kind=b"L") + block(size=0) + DATA + END, id="a name between"),
        pytest.param(pax(b"20 comment=whatever\n", kind=b"g") + block() + DATA + END, id="global header"),
        pytest.param(block("store/", 0, b"5") + block() + DATA + END, id="a folder"),
    ],
)  # fmt: skip
def test_tar_entries_other_than_files_are_read(path: Path, inside: bytes) -> None:
    assert read_through(put(path, writer.artifact(inside=inside))).problems == ()


def test_a_binary_size_is_read(path: Path) -> None:
    header = block(size=1 << 33)
    assert header[124] == 0x80

    with pytest.raises(DamagedError, match=rf"'neostore' expected \({1 << 33} bytes\), and the file ends after 2048"):
        read_through(put(path, writer.artifact(inside=header + DATA + END)))


def test_an_unknown_format_still_has_checksums(path: Path) -> None:
    content = b"BZV9" + bytes(3000)
    with pytest.raises(UnknownFormatError):
        read_through(put(path, content))

    (file,) = digest(path, part_size=lambda _: 1000)

    assert (file.size, file.sha256) == (3004, sha256(content))
    assert file.parts == tuple(sha256(content[at : at + 1000]) for at in range(0, 3004, 1000))


def test_a_file_that_grows_while_it_is_read_is_damage(path: Path) -> None:
    content = writer.artifact(inside=writer.tar({"neostore": random.Random(1).randbytes(3 * CHUNK)}))
    put(path, content)

    def grow(_: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(DamagedError, match=r"its size changed while it was read|the file goes on"):
        read_through(path, progress=grow)


def test_a_file_that_shrinks_while_it_is_read_is_damage(path: Path) -> None:
    put(path, writer.artifact(Written(magic="BTV2"), writer.tar({"neostore": bytes(3 * CHUNK)}) + bytes(CHUNK)))

    with pytest.raises(DamagedError, match="its size changed while it was read: "):
        read_through(path, progress=lambda _: os.truncate(path, 3 * CHUNK + 20_000))


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.EACCES, PermanentError, Reason.STORAGE_AUTH),
        (errno.ENOTDIR, PermanentError, Reason.NOT_FOUND),
        (errno.EIO, TransientError, Reason.STORAGE_UNREACHABLE),
        (errno.ESTALE, TransientError, Reason.STORAGE_UNREACHABLE),
    ],
    ids=errno.errorcode.get,
)
def test_an_error_of_the_system_is_classified(path: Path, number: int, kind: type[Exception], reason: Reason) -> None:
    with pytest.raises(kind) as error, artifact_files.classified(path):
        raise OSError(number, os.strerror(number))

    assert error.value.failure.reason is reason  # type: ignore[attr-defined]  # both kinds are a BackupError
    assert f"{NAME} cannot be read: {os.strerror(number)}" in str(error.value)


CUT_OR_CHANGED = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 20_000), st.just(0)),
    st.tuples(st.just("change"), st.integers(0, 20_000), st.integers(1, 255)),
    st.tuples(st.just("drop"), st.integers(0, 20_000), st.integers(1, 600)),
    st.tuples(st.just("insert"), st.integers(0, 20_000), st.integers(1, 600)),
)


def harm(content: bytes, kind: str, at: int, amount: int) -> bytes:
    at %= len(content)
    match kind:
        case "cut":
            return content[:at]
        case "change":
            return content[:at] + bytes((content[at] ^ amount,)) + content[at + 1 :]
        case "drop":
            return content[:at] + content[at + amount :]
        case _:
            return content[:at] + b"\x2a" * amount + content[at:]


@settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    magic=st.sampled_from(MAGICS),
    flags=st.sampled_from((FULL, DIFF)),
    harms=st.lists(CUT_OR_CHANGED, min_size=1, max_size=3),
)
def test_a_changed_artifact_is_read_correctly_or_refused_with_a_reason(
    path: Path, magic: str, flags: int, harms: list[tuple[str, int, int]]
) -> None:
    content = writer.artifact(Written(magic=magic, flags=flags))
    for kind, at, amount in harms:
        content = harm(content, kind, at, amount) or b"B"
    put(path, content)

    found: ArtifactReading | PermanentError
    try:
        found = read_through(path)
    except PermanentError as error:
        found = error

    if isinstance(found, PermanentError):
        assert found.failure.reason is Reason.BAD_ARTIFACT
        assert found.failure.error.startswith(NAME)
        assert len(found.failure.error) < 400
    else:
        assert found.header == read_header(path)
        assert found.files[0].sha256 == sha256(content)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    magic=st.sampled_from((b"", b"SMV1", b"SDV1", *(magic.encode() for magic in MAGICS))), rest=st.binary(max_size=2000)
)
@example(magic=b"BZV2", rest=b"\x28\xb5\x2f\xfd\x00\x00")
def test_random_bytes_are_refused_with_a_reason(path: Path, magic: bytes, rest: bytes) -> None:
    put(path, magic + rest)

    for read in (read_header, read_through):
        with pytest.raises(PermanentError) as error:
            read(path)
        assert error.value.failure.reason is Reason.BAD_ARTIFACT


PEAK = """
import re
from pathlib import Path

def peak():  # KiB; ru_maxrss would count what the parent had before exec
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""

FUZZ = (
    PEAK
    + """
import json, sys, time
from backup_agent.artifact.header import read_header
from backup_agent.core.artifacts.records import Header
from backup_agent.core.reasons import BackupError

Header.model_rebuild()  # else its first use builds the validators
before, slowest, outcomes = peak(), 0.0, {}  # the imports alone are 31 MiB, pydantic most of it
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.process_time()  # the machine may be busy
    try:
        read_header(path)
        outcome = "read"
    except BackupError as error:
        outcome = str(error.failure.reason)
    slowest = max(slowest, time.process_time() - start)
    outcomes[path.name] = outcome
print(json.dumps([slowest, (peak() - before) / 1024, outcomes]))
"""
)


def bombs() -> dict[str, bytes]:
    """Return small files that decompress to much data or need much memory, by name."""
    endless = b"\x28\xb5\x2f\xfd\x04\x88"  # a window of 128 MiB
    rle = (131072 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    facts = Written(metadata={b"metadataScript": bytes(16 << 20)})
    return {
        "zeros": b"BZV2" + writer.frame(bytes(16 << 20)),
        "wide window": b"BZV2" + writer.frame(b"zstd\x02" + bytes(32 << 20), level=19),
        "repeated blocks": b"BZV2" + endless + rle * 200_000,
        "repeated blocks behind a mark": b"BZV2" + endless + b"\x20\0\0zstd" + rle * 200_000,
        "empty blocks": b"BZV2" + endless + b"\0\0\0" * 3_000_000,
        "long script": writer.artifact(facts),
        "long script in the open": writer.artifact(Written(magic="BTV2", metadata=facts.metadata)),
        "script of any length": b"BTV2\x02" + writer.fields(Written()) + b"\0\0\0\1\0\0\0\1x\x7f\xff\xff\xff",
    }


@pytest.mark.process
def test_reading_headers_of_damaged_files_takes_at_most_a_second_and_4_mebibytes(tmp_path: Path) -> None:
    random_source = random.Random(20261123)
    for name, content in bombs().items():
        put(tmp_path / name, content)
    for number in range(600):
        magic = random_source.choice(MAGICS)
        content = writer.artifact(Written(magic=magic), bytes(2048))
        at = random_source.randrange(len(content))
        harms: tuple[Callable[[], bytes], ...] = (
            lambda content=content, at=at: content[:at],  # type: ignore[misc]  # bound now, called at once
            lambda content=content, at=at: content[:at] + random_source.randbytes(8) + content[at + 8 :],  # type: ignore[misc]  # as above
            lambda: random_source.randbytes(random_source.randrange(5000)),
        )
        put(tmp_path / f"{number:03}", random_source.choice(harms)())

    completed = subprocess.run((sys.executable, "-c", FUZZ, str(tmp_path)), capture_output=True, text=True, check=True)
    slowest, memory, outcomes = json.loads(completed.stdout)

    assert len(outcomes) == 608
    assert set(outcomes.values()) == {"read", "bad_artifact"}
    assert {name: outcomes[name] for name in bombs()} == {
        name: "read" if "script" in name else "bad_artifact" for name in bombs()
    }
    assert slowest < 1
    assert memory < 4


@pytest.mark.process
def test_the_reading_pass_over_a_decompression_bomb_needs_little_memory(tmp_path: Path) -> None:
    entry = block(size=1 << 28)
    packed = io.BytesIO()
    with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(packed, closefd=False) as frame:
        frame.write(b"zstd" + writer.header(Written()) + writer.counts() + entry)
        for _ in range(256):
            frame.write(bytes(1 << 20))
        frame.write(END)
    path = put(tmp_path / NAME, b"BZV2" + packed.getvalue())
    code = (
        f"{PEAK}\nimport sys; from backup_agent.artifact.reading import read_through;"
        "raw = read_through(Path(sys.argv[1])).raw_size; print(raw >> 20, peak() // 1024)"
    )

    completed = subprocess.run((sys.executable, "-c", code, str(path)), capture_output=True, text=True, check=True)
    raw, memory = map(int, completed.stdout.split())

    assert len(packed.getvalue()) < 1 << 20
    assert raw == 256
    assert memory < 64


class TestCommand:
    """`python -m backup_agent.artifact`."""

    @staticmethod
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = (sys.executable, "-m", "backup_agent.artifact", *arguments)
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def test_the_command_prints_header_files_and_problems(self, path: Path) -> None:
        content = writer.artifact()

        completed = self.run(str(put(path, content)))

        assert completed.returncode == 0
        facts = json.loads(completed.stdout)
        assert facts["header"]["database"] == "orders"
        assert facts["files"] == [{"name": NAME, "size": len(content), "sha256": sha256(content)}]
        assert facts["problems"] == []

    @pytest.mark.process
    def test_reading_the_header_does_not_check_the_rest(self, path: Path) -> None:
        store = {"neostore": random.Random(1).randbytes(2 * CHUNK)}
        completed = self.run("--header", str(put(path, writer.artifact(inside=writer.tar(store))[:-4])))

        assert completed.returncode == 0
        assert json.loads(completed.stdout).keys() == {"header"}

    def test_an_error_is_printed_and_the_exit_code_is_1(self, path: Path) -> None:
        completed = self.run(str(put(path, writer.artifact()[:-4])))

        assert (completed.returncode, completed.stdout) == (1, "")
        assert completed.stderr.startswith(f"bad_artifact: {NAME}, at byte ")
        assert "HINT: " in completed.stderr
