"""Reading headers of every magic, and the errors for files without a valid header."""

import hashlib
import os
import random
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.artifact.cursor import DamagedError
from backup_agent.artifact.header import read_header
from backup_agent.artifact.zstd import UnknownFormatError
from backup_agent.core.reasons import PermanentError, Reason
from tests.artifact import writer
from tests.artifact.writer import SECRET, Written

MAGICS = ("BZV1", "BZV2", "BZV3", "BTV1", "BTV2")
NAME = "orders-2026-11-23T02-00-00.backup"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("magic", MAGICS)
def test_the_header_is_the_same_with_every_magic(path: Path, magic: str) -> None:
    header = read_header(put(path, writer.artifact(Written(magic=magic))))

    assert header.model_dump() == {
        "magic": magic,
        "database": "orders",
        "database_id": UUID("7dcb1d0c-4374-4476-b8ae-d3c3f124683f"),
        "store_id": "1700000000000--5-record-aligned-1.1",
        "taken": datetime(2026, 11, 23, 2, 0, tzinfo=UTC),
        "lowest": 1,
        "highest": 10,
        "full": True,
        "compressed": True,
        "recovered": True,
    }


def test_the_header_of_neo4js_own_test_is_read(path: Path) -> None:
    # From BackupMetadataV2Test of Neo4j Community, which also has the MD5.
    vector = bytes.fromhex(
        "0100000000000000040000000000000005066c6567616379066c65676163790101100000000000000000000000000000000103666f6f"
        "000000006658a118000000000000000100000000000000020107000000010000000e6d65746164617461536372697074"
        "00000006736372697074"
    )
    assert hashlib.md5(vector).hexdigest().upper() == "1C232DC8EBC18026DD47886393EC5068"

    header = read_header(put(path, b"BTV2\x02" + vector + writer.tar()))

    assert header.database == "foo"
    assert header.database_id == UUID(int=1)
    assert header.store_id == "4-5-legacy-legacy-1.1"
    assert header.taken == datetime(2024, 5, 30, 15, 54, tzinfo=UTC)
    assert (header.lowest, header.highest) == (1, 2)
    assert (header.recovered, header.compressed, header.full) == (True, True, True)


def test_the_writer_of_the_tests_writes_the_header_of_neo4js_own_test() -> None:
    facts = Written(
        database=b"foo",
        database_id=UUID(int=1),
        created=4,
        random=5,
        engine=b"legacy",
        store_format=b"legacy",
        taken=datetime(2024, 5, 30, 15, 54, tzinfo=UTC),
        highest=2,
        metadata={b"metadataScript": b"script"},
    )

    assert hashlib.md5(writer.header(facts)[1:]).hexdigest().upper() == "1C232DC8EBC18026DD47886393EC5068"


@pytest.mark.parametrize(
    ("flags", "recovered", "compressed", "full"),
    [(0, False, False, False), (1, True, False, False), (2, False, True, False), (4, False, False, True)],
)
def test_flags_are_read_bit_by_bit(path: Path, flags: int, recovered: bool, compressed: bool, full: bool) -> None:
    header = read_header(put(path, writer.artifact(Written(flags=flags))))

    assert (header.recovered, header.compressed, header.full) == (recovered, compressed, full)


def test_an_empty_differential_is_recognised_by_its_range(path: Path) -> None:
    header = read_header(put(path, writer.artifact(Written(flags=3, lowest=0, highest=0))))

    assert header.empty


@given(
    facts=st.builds(
        Written,
        magic=st.sampled_from(MAGICS),
        database=st.from_regex(r"[a-z][a-z0-9.-]{0,62}", fullmatch=True).map(str.encode),
        database_id=st.uuids(),
        created=st.integers(-(2**63), 2**63 - 1),
        random=st.integers(-(2**63), 2**63 - 1),
        taken=st.integers(0, 253_402_300_799).map(lambda s: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s)),
        lowest=st.integers(-(2**63), 2**63 - 1),
        highest=st.integers(-(2**63), 2**63 - 1),
        flags=st.integers(0, 7),
        metadata=st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=200), max_size=4),
    )
)
def test_a_written_header_can_be_read(tmp_path_factory: pytest.TempPathFactory, facts: Written) -> None:
    path = tmp_path_factory.getbasetemp() / f"law-{os.getpid()}.backup"

    header = read_header(put(path, writer.artifact(facts)))

    assert (header.magic, header.database, header.database_id) == (
        facts.magic,
        facts.database.decode(),
        facts.database_id,
    )
    assert header.store_id == f"{facts.created}-{facts.random}-record-aligned-1.1"
    assert (header.taken, header.lowest, header.highest) == (facts.taken, facts.lowest, facts.highest)
    assert header.recovered + 2 * header.compressed + 4 * header.full == facts.flags


@pytest.mark.parametrize("magic", ["BZV9", "DZV1", "\x1f\x8b\x08\x00", "PK\x03\x04", "    "])
def test_an_unknown_magic_is_not_damage(path: Path, magic: str) -> None:
    with pytest.raises(UnknownFormatError, match=r"at byte 0: the magic of a backup expected \(BZV1, BTV1,") as error:
        read_header(put(path, magic.encode("latin1") + bytes(100)))

    assert error.value.failure.reason is Reason.BAD_ARTIFACT
    assert not isinstance(error.value, DamagedError)


@pytest.mark.parametrize("magic", ["BZV2", "BTV2", "BZV3"])
def test_an_unknown_header_version_is_not_damage(path: Path, magic: str) -> None:
    facts = Written(magic=magic)
    body = b"\x03" + writer.header(facts)[1:]
    content = writer.frame(b"zstd" + body) if magic == "BZV2" else body

    with pytest.raises(UnknownFormatError, match="header version 2 expected, found 3"):
        read_header(put(path, magic.encode() + content))


def test_a_window_too_large_to_unpack_is_not_damage(path: Path) -> None:
    packed = bytearray(writer.artifact())
    packed[9] = (28 - 10) << 3

    with pytest.raises(UnknownFormatError, match="wants a window of 268435456 bytes, at most 8388608 are allowed"):
        read_header(put(path, bytes(packed)))


BTV1 = Written(magic="BTV1")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"", r"at byte 0: a magic expected \(4 bytes\), and the file ends after 0", id="empty"),
        pytest.param(b"BZ", r"at byte 0: a magic expected \(4 bytes\), and the file ends after 2", id="two bytes"),
        pytest.param(b"BZV2", "at byte 4: the zstd frame is cut off in its header: the file ends here", id="magic alone"),
        pytest.param(b"BZV2" + bytes(50), "at byte 9: a zstd frame expected", id="no frame"),
        pytest.param(
            b"BZV2" + writer.frame(b"gzip" + bytes(99)),
            r"at unpacked byte 0: the tag 'zstd' expected \(7a737464\), found something else",
            id="other mark",
        ),
        pytest.param(b"BZV2" + writer.frame(b"zs"), r"at unpacked byte 0: the tag 'zstd' expected \(4 bytes\)", id="cut tag"),
        pytest.param(b"BTV1\x00" + bytes(99), r"at byte 4: a store id expected \(01\), found something else", id="no store id"),
        pytest.param(
            b"BTV1" + writer.header(BTV1).replace(b"\x06record", b"\x06\xff\x00rd\x01\x02"),
            r"the storage engine expected as printable text, found 6 bytes that are not text",
            id="engine",
        ),
        pytest.param(
            b"BTV1" + writer.header(BTV1).replace(b"\x01\x01\x10", b"\x01\x01\x11"),
            r"the length of a database id expected \(10\), found something else",
            id="database id",
        ),
        pytest.param(b"BTV1" + writer.header(replace(BTV1, database=b"")), "the database name expected as printable", id="no name"),
        pytest.param(
            b"BTV1" + writer.header(BTV1).replace(struct.pack(">q", int(BTV1.taken.timestamp())), struct.pack(">q", -1)),
            "the time of the backup is before 1970",
            id="time",
        ),
        pytest.param(b"BTV1" + writer.header(BTV1)[:-1], r"the flags expected \(1 bytes\)", id="cut flags"),
        pytest.param(
            b"BZV2\x28\xb5\x2f\xfd\x04\x58" + b"\x00\x00\x00" * 500_000, "no header in its first 262144 bytes", id="endless frame"
        ),
        pytest.param(b"BZV2\x28\xb5\x2f\xfd\x04\x58\x06\x00\x00", "block 1 of the zstd frame has no valid header", id="block type"),
        pytest.param(b"SDV1" + bytes(100), "one part of a split artifact: name its manifest", id="part"),
        pytest.param(b"SMV1" + bytes(3), "a manifest of 24 bytes expected, found 7", id="short manifest"),
        pytest.param(b"SMV1" + bytes(21), "a manifest of 24 bytes expected, found more", id="long manifest"),
        pytest.param(b"SMV1" + bytes(20), "at byte 4: 1 to 10000 parts expected, found 0", id="no parts"),
        pytest.param(b"SMV1\x7f" + bytes(19), "1 to 10000 parts expected, found 2130706432", id="many parts"),
    ],
)  # fmt: skip
def test_the_error_for_damage_names_the_offset_and_the_expected_value(path: Path, content: bytes, text: str) -> None:
    with pytest.raises(DamagedError, match=f"^{NAME}.*{text}") as error:
        read_header(put(path, content))

    assert error.value.failure.reason is Reason.BAD_ARTIFACT


@pytest.mark.parametrize("magic", MAGICS)
def test_a_header_that_is_cut_off_before_the_end_of_its_flags_is_damage(path: Path, magic: str) -> None:
    facts = Written(magic=magic, metadata={})
    whole = writer.artifact(facts)
    packed = magic in ("BZV1", "BZV2")
    # A compressed header can be read only if the frame's only block is complete, so any cut in the frame is detected.
    end = len(whole) - 5 if packed else 4 + len(writer.fields(facts))

    for length in range(4, end):
        with pytest.raises(DamagedError):
            read_header(put(path, whole[:length]))


def test_a_missing_file_is_reported_as_not_found(path: Path) -> None:
    with pytest.raises(PermanentError, match=f"{NAME} cannot be read: No such file") as error:
        read_header(path)

    assert error.value.failure.reason is Reason.NOT_FOUND


def test_a_folder_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.backup")
    (tmp_path / "folder.backup").mkdir()

    for name in ("pipe.backup", "folder.backup"):
        with pytest.raises(DamagedError, match=f"{name}: a .*, not a regular file"):
            read_header(tmp_path / name)


class TestSplit:
    """Artifacts of a manifest and parts."""

    @pytest.mark.parametrize("magic", MAGICS)
    @pytest.mark.parametrize("limit", [61, 300, 100_000])
    def test_the_header_is_read_with_any_size_of_parts(self, path: Path, magic: str, limit: int) -> None:
        facts = Written(magic=magic)
        writer.split(path, writer.artifact(facts, writer.tar({"neostore": b"1"})), limit)

        assert read_header(path).model_dump() == {**read_header_of(path, facts), "magic": magic}

    @pytest.mark.parametrize(
        ("harm", "text"),
        [
            pytest.param(lambda parts: parts[2].unlink(), f"{NAME}: part 2 of 4 is missing: {NAME}.2", id="missing"),
            pytest.param(lambda parts: parts[2].write_bytes(b"SDV1"), rf"{NAME}.2, at byte 0: a part's header", id="short"),
            pytest.param(lambda parts: parts[2].write_bytes(bytes(99)), rf"{NAME}.2, at byte 0: a part's header", id="magic"),
            pytest.param(lambda parts: parts[1].rename(parts[2]), f"{NAME}: part 1 of 4 is missing", id="moved"),
            pytest.param(
                lambda parts: (parts[2].unlink(), parts[2].mkdir()), f"{NAME}.2: a directory, not a regular file", id="folder"
            ),
            pytest.param(
                lambda parts: parts[2].write_bytes(parts[1].read_bytes()), "part 2 expected, found part 1", id="index"
            ),
            pytest.param(
                lambda parts: parts[2].write_bytes(parts[2].read_bytes()[:8] + bytes(16) + parts[2].read_bytes()[24:]),
                f"{NAME}.2, at byte 0: a part with the id 0f0e0d0c0b0a09080706050403020100 expected, found the id 000000",
                id="other set",
            ),
        ],
    )  # fmt: skip
    def test_parts_that_do_not_belong_together_are_damage(self, path: Path, harm: object, text: str) -> None:
        content = writer.artifact()
        parts = writer.split(path, content, 24 + -(-len(content) // 4))
        assert callable(harm)
        harm(parts)

        with pytest.raises(DamagedError, match=text):
            read_header(path)

    def test_a_part_that_is_a_link_is_not_reported_as_missing(self, path: Path) -> None:
        parts = writer.split(path, writer.artifact(), 100_000)
        parts[1].unlink()
        parts[1].symlink_to(parts[1])

        with pytest.raises(PermanentError, match=f"{NAME}.1: a symbolic link, not a regular file"):
            read_header(path)


def read_header_of(path: Path, facts: Written) -> dict[str, object]:
    whole = path.with_name("whole.backup")
    return read_header(put(whole, writer.artifact(facts))).model_dump()


@pytest.mark.parametrize("magic", MAGICS)
def test_no_error_quotes_the_script_with_password_hashes(path: Path, magic: str) -> None:
    """No error shows six bytes of the script, as text or in hex, whichever byte is changed."""
    facts = Written(magic=magic, metadata={b"metadataScript": SECRET * 3})
    whole = writer.artifact(facts, bytes(1024))

    for at in range(4, len(whole) - 900, 2):
        broken = bytearray(whole)
        broken[at] ^= 0x41
        try:
            read_header(put(path, bytes(broken)))
        except PermanentError as error:
            shown = error.failure.error
            pieces = [SECRET[start : start + 6] for start in range(len(SECRET) - 5)]
            assert not [piece for piece in pieces if piece.decode() in shown or piece[:3].hex() in shown]


@pytest.mark.parametrize("magic", MAGICS)
def test_a_header_is_read_if_the_rest_is_incompressible_and_incomplete(path: Path, magic: str) -> None:
    inside = writer.tar({"neostore": random.Random(1).randbytes(3 << 20)})

    assert read_header(put(path, writer.artifact(Written(magic=magic), inside)[:-100])).database == "orders"
