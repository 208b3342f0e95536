"""The agent's reader and the stand-in's writer of artifacts' headers, compared with Neo4j's own writer classes."""

import dataclasses
import random
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from backup_agent.artifact.header import read_header
from backup_agent.artifact.metadata import read_script
from backup_agent.artifact.reading import read_through
from backup_agent.core.artifacts.records import Header
from backup_agent.standins.neo4j_admin import artifacts as standin
from tests.community.writer import Written, write
from tests.components.pins import NEO4J_VERSIONS

pytestmark = pytest.mark.components

SCRIPT = "CREATE USER $`user` IF NOT EXISTS SET ENCRYPTED PASSWORD '1,abc,def';\n" * 50


def _cases() -> tuple[Written, ...]:
    """Return what people have, what the format allows at its edges, and a hundred at random (the same each time)."""
    by_hand = (
        Written("full.backup"),
        Written("full-plain.backup", compressed=False),
        Written("full-script.backup", script=SCRIPT),
        Written("full-plain-script.backup", compressed=False, script=SCRIPT),
        Written("differential.backup", full=False, lowest=16, highest=40),
        Written("differential-plain.backup", full=False, compressed=False, lowest=16, highest=40),
        Written("empty-differential.backup", full=False, lowest=0, highest=0),
        Written("system.backup", database="system", database_id=uuid.UUID(int=1)),
        Written("no-flag.backup", full=False, compressed=False, recovered=False),
        Written("unrecovered.backup", recovered=False),
        Written("longest-name.backup", database="a" * 63),
        Written("dotted-name.backup", database="sales-2024.q1"),
        Written("latest.backup", highest=2**63 - 1, taken=253_402_300_799),
        Written("epoch.backup", taken=0, created=0, random=0),
    )
    draw = random.Random(20_261_123)
    at_random = tuple(
        Written(
            f"random-{number}.backup",
            # Neo4j's names begin with a letter, and a header with another name is refused.
            database="d" + "".join(draw.choices("abcdefghijklmnopqrstuvwxyz0123456789.-", k=draw.randint(2, 62))),
            database_id=uuid.UUID(int=draw.getrandbits(128)),
            created=draw.getrandbits(63),
            random=draw.getrandbits(64) - 2**63,
            taken=draw.randrange(4_000_000_000),
            lowest=draw.getrandbits(62),
            highest=draw.getrandbits(63),
            recovered=draw.random() < 0.5,
            compressed=draw.random() < 0.5,
            full=draw.random() < 0.5,
            script=draw.choice(("", "", SCRIPT[: draw.randrange(len(SCRIPT))])),
        )
        for number in range(100)
    )
    return by_hand + at_random


@pytest.fixture(
    scope="module",
    params=[pytest.param(version, marks=pytest.mark.xdist_group(f"neo4j-{version}")) for version in NEO4J_VERSIONS],
)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cases, as that version's classes write them around a small store."""
    folder = tmp_path_factory.mktemp("written")
    store = folder / "store"
    store.mkdir()
    (store / "neostore.nodestore.db").write_bytes(bytes(range(256)) * 100)
    (store / "neostore.transaction.db.0").write_bytes(b"log" * 100)
    write(version, store, folder, _cases())
    return folder


def test_our_reader_reads_the_headers_that_neo4j_writes(folder: Path) -> None:
    expected = {case.file: _as_header(case) for case in _cases()}

    assert {name: read_header(folder / name) for name in expected} == expected


def test_our_reader_finds_the_script_that_neo4j_writes(folder: Path) -> None:
    for case in _cases():
        with (folder / case.file).open("rb") as content:
            assert read_script(content, case.file) == (_as_header(case), case.script or None)


def test_our_reading_pass_finds_no_fault_in_artifacts_that_neo4j_writes(folder: Path) -> None:
    for case in _cases()[:14]:
        reading = read_through(folder / case.file)

        assert (_as_header(case), ()) == (reading.header, reading.problems)


def test_a_small_database_with_preallocated_logs_and_many_indexes_is_within_all_bounds(
    version: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "neostore").write_bytes(bytes(8192))
    with (store / "neostore.transaction.db.0").open("wb") as log:
        log.truncate(256 << 20)
    for index in range(2000):
        (store / f"_{index}.cfs").write_bytes(b"index")
    write(version, store, tmp_path, [Written("small.backup")])

    reading = read_through(tmp_path / "small.backup")

    assert reading.raw_size > 1000 * reading.files[0].size
    assert reading.problems == ()


def test_the_stand_in_writes_the_header_bytes_that_neo4j_writes(version: str, folder: Path) -> None:
    for case in _cases():
        expected = _unpacked(folder / case.file)
        ours = standin.HEADER_VERSION + _as_standin(case, gzipped=version != "5.26.31").to_bytes()

        assert expected[: len(ours)].hex() == ours.hex(), case.file
        # The header ends there: what follows is the block of sizes, or a tar's first entry.
        after = expected[len(ours) :]
        assert after.startswith(b"\0\0\0\1") if case.compressed else after[257:262] == b"ustar", case.file


def test_the_stand_in_reads_the_headers_that_neo4j_writes(folder: Path) -> None:
    for case in _cases():
        expected = dataclasses.replace(_as_standin(case, gzipped=False), metadata={})

        assert standin.read_header(folder / case.file) == expected


def _as_header(case: Written) -> Header:
    return Header(
        magic="BZV2" if case.compressed else "BTV2",
        database=case.database,
        database_id=case.database_id,
        store_id=f"{case.created}-{case.random}-record-aligned-1.1",
        taken=datetime.fromtimestamp(case.taken, UTC),
        lowest=case.lowest,
        highest=case.highest,
        full=case.full,
        compressed=case.compressed,
        recovered=case.recovered,
    )


def _as_standin(case: Written, *, gzipped: bool) -> standin.Header:
    return standin.Header(
        case.database,
        case.database_id,
        standin.StoreId(case.created, case.random),
        case.taken,
        case.lowest,
        case.highest,
        full=case.full,
        compressed=case.compressed,
        recovered=case.recovered,
        metadata=standin.metadata(case.script, gzipped=gzipped) if case.script else {},
    )


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if data.startswith(b"BTV2"):
        return data[4:]
    return zstandard.ZstdDecompressor().decompressobj().decompress(data[4:]).removeprefix(b"zstd")
