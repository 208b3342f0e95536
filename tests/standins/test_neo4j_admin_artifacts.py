"""The stand-in's artifacts equal, byte for byte, those of Neo4j's own writer classes.

golden/headers.json was written by tests/community/ArtifactWriter.java with the jars of 5.26.31 and 2026.09.0. It holds
the bytes between an artifact's magic (and `zstd` tag) and its sizes or tar.
"""

import hashlib
import io
import json
import struct
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_agent.standins.neo4j_admin import artifacts, stores
from backup_agent.standins.neo4j_admin.artifacts import Header, NotAnArtifactError, StoreId
from tests.standins.conftest import Simulation

GOLDEN: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden").joinpath("headers.json").read_text())
ID = uuid.UUID("5c34d31c-0d3e-4ba6-8bd1-c7e4f3f7a1b2")


def unpacked(path: Path) -> bytes:
    """Return the decompressed content of an artifact after its magic."""
    data = path.read_bytes()
    if data.startswith(b"BTV2"):
        return data[4:]
    assert zstandard.get_frame_parameters(data[4:]).has_checksum
    unpacking = zstandard.ZstdDecompressor().decompressobj()
    inside = unpacking.decompress(data[4:])
    assert (data[:4], inside[:4], unpacking.eof, unpacking.unused_data) == (b"BZV2", b"zstd", True, b"")
    return inside[4:]


def files(path: Path) -> dict[str, bytes]:
    """Return the contents of an artifact's files by name."""
    inside = unpacked(path)
    start = inside.index(b"ustar") - 257
    with tarfile.open(fileobj=io.BytesIO(inside[start:])) as tar:
        return {entry.name: content.read() for entry in tar if (content := tar.extractfile(entry))}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['written_by']}-{case['case']}")
def test_a_header_has_the_bytes_that_neo4j_writes(case: dict[str, Any]) -> None:
    gzipped = case["written_by"] != "5.26.31"
    header = Header(
        case["database"],
        uuid.UUID(case["database_id"]),
        StoreId(case["created"], case["random"]),
        case["taken"],
        case["lowest"],
        case["highest"],
        full=case["full"],
        compressed=case["compressed"],
        recovered=case["recovered"],
        metadata=artifacts.metadata(case["script"], gzipped=gzipped) if case["script"] else {},
    )

    assert case["header"] == (artifacts.HEADER_VERSION + header.to_bytes()).hex()
    assert case["magic"].encode() == (artifacts.COMPRESSED if case["compressed"] else artifacts.PLAIN)


def test_the_header_of_neo4js_own_test_has_the_digest_given_there() -> None:
    header = Header(
        "foo",
        uuid.UUID(int=1),
        StoreId(4, 5, "legacy", "legacy"),
        1717084440,  # 2024-05-30T15:54:00Z
        1,
        2,
        full=True,
        metadata={"metadataScript": b"script"},
    )

    assert hashlib.md5(header.to_bytes()).hexdigest().upper() == "1C232DC8EBC18026DD47886393EC5068"


@settings(deadline=None)  # the machine may be busy
@given(
    st.builds(
        Header,
        st.text(max_size=40),
        st.uuids(),
        st.builds(StoreId, st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1)),
        st.integers(0, 2**40),
        st.integers(0, 2**62),
        st.integers(0, 2**62),
        full=st.booleans(),
        compressed=st.booleans(),
        recovered=st.booleans(),
    )
)
def test_a_written_header_can_be_read(header: Header) -> None:
    assert Header.read(artifacts.Reader(io.BytesIO(header.to_bytes()))) == header


@pytest.mark.parametrize(("version", "prefix"), [((5, 26, 31), "./"), ((2026, 9, 0), "")])
@pytest.mark.parametrize("compressed", [True, False])
def test_an_artifact_holds_its_header_its_sizes_and_a_real_store(
    tmp_path: Path, version: tuple[int, ...], prefix: str, compressed: bool
) -> None:
    store = stores.template(version, system=False)
    header = Header("orders", ID, store.id, 0, 1, 9, full=True, compressed=compressed)
    path = tmp_path / "orders.backup"
    with path.open("xb") as file:
        artifacts.write(file, header, store.entries, prefix=prefix)

    inside = unpacked(path).removeprefix(artifacts.HEADER_VERSION + header.to_bytes())
    sizes = struct.pack(">iqq", 1, len(store.entries), sum(entry.size for entry in store.entries))
    assert inside.startswith(sizes) == compressed
    assert artifacts.read_header(path) == header
    content = files(path)
    assert content.keys() == {prefix + entry.name for entry in store.entries}
    assert content[f"{prefix}neostore.transaction.db.0"][stores.STORE_ID_AT :].startswith(store.id.to_bytes())


def test_each_template_is_a_different_store() -> None:
    ids = {stores.template(version, system=system).id for version in ((5, 26), (2026, 9)) for system in (True, False)}

    assert len(ids) == 4


def test_padding_has_the_given_size_and_cannot_be_compressed() -> None:
    entry = stores.padding("orders", 6_500_001)
    blocks = list(entry.blocks())
    packed = zstandard.ZstdCompressor(level=3).compress(b"".join(blocks))

    assert entry.size == sum(map(len, blocks)) == 6_500_001
    assert len(packed) > 6_400_000
    assert max(map(len, blocks)) <= artifacts.BLOCK
    assert blocks == list(stores.padding("orders", 6_500_001).blocks())


@settings(deadline=None)  # it writes files, which may be slow
@given(st.lists(st.binary(max_size=200), max_size=20), st.integers(25, 90))
def test_the_joined_parts_equal_the_artifact(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], limit: int
) -> None:
    path = tmp_path_factory.mktemp("parts") / "x.backup"
    parts = artifacts.Parts(path, limit)
    for block in blocks:
        parts.write(block)
    parts.close()

    magic, count, identity = struct.unpack(">4si16s", path.read_bytes())
    written = [Path(f"{path}.{number}").read_bytes() for number in range(1, count + 1)]
    assert magic == b"SMV1"
    assert not Path(f"{path}.{count + 1}").exists()
    assert [struct.pack(">4si16s", b"SDV1", number, identity) for number in range(1, count + 1)] == [
        part[:24] for part in written
    ]
    assert b"".join(part[24:] for part in written) == b"".join(blocks)
    assert all(len(part) == limit for part in written[:-1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Unsupported format backup format"),
        (b"BZV3rest", "Unsupported format backup format: BZV3"),
        (b"BZV2", "Unexpected end|Not a valid"),
        (b"BZV2 is no frame", "Not a valid Neo4j archive"),
        (b"BTV2\x03", "Unsupported header version"),
        (b"BTV2\x02\x01\x00", "Unexpected end of stream"),
    ],
)
def test_a_file_that_is_not_an_artifact_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.backup"
    path.write_bytes(content)

    with pytest.raises(NotAnArtifactError, match=message):
        artifacts.read_header(path)


def test_a_full_holds_the_store_and_a_differential_the_transaction_logs(simulation: Simulation) -> None:
    full, _ = simulation.artifact("--type=FULL")
    simulation.commit(3)
    diff, _ = simulation.artifact("--type=DIFF")
    empty, _ = simulation.artifact("--type=DIFF")

    assert "neostore.nodestore.db" in files(full)
    assert files(diff).keys() == {"neostore.transaction.db.0", "checkpoint.0"}
    assert b"ustar" not in unpacked(empty)


@pytest.mark.parametrize(("version", "name"), [("5.26.31", "./neostore"), ("2026.09.0", "neostore")])
def test_the_names_of_entries_depend_on_the_version(
    simulate: Callable[[str], Simulation], version: str, name: str
) -> None:
    path, _ = simulate(version).artifact()

    assert name in files(path)


def test_the_artifact_has_the_configured_size(simulation: Simulation) -> None:
    simulation.change(lambda cluster: cluster.with_database("orders", store_bytes=3_000_000, last_transaction=30))
    full, _ = simulation.artifact()
    simulation.commit(30)
    diff, _ = simulation.artifact()

    assert 3_000_000 < full.stat().st_size < 3_020_000
    assert 1_500_000 < diff.stat().st_size < 1_510_000


@pytest.mark.parametrize("kind", ["none", "all", "users", "roles"])
def test_the_header_holds_the_requested_metadata(simulation: Simulation, kind: str) -> None:
    path, _ = simulation.artifact("--compress=false", f"--include-metadata={kind}")

    assert (b"compressedMetadataScript" in path.read_bytes()) == (kind != "none")


def test_an_artifact_of_system_holds_no_metadata(simulation: Simulation) -> None:
    path, _ = simulation.artifact("--compress=false", "--include-metadata=all", database="system")

    assert b"compressedMetadataScript" not in path.read_bytes()
