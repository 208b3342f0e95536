"""The last topology, saved on the volume."""

import os
from pathlib import Path

import pytest

from backup_agent.cluster.saved_topology import FILE, LARGEST, load_topology, save_topology
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.neo4j.topology import MOST_ALIASES, MOST_COPIES, Copy, Topology
from tests.builders import a_copy, a_topology


def topology(*databases: str) -> Topology:
    return a_topology(*(a_copy(database=database) for database in databases))


def test_a_saved_topology_is_loaded(tmp_path: Path) -> None:
    save_topology(tmp_path, topology("orders", "system"))

    assert load_topology(tmp_path) == topology("orders", "system")
    assert [path.name for path in (tmp_path / ".agent").iterdir()] == ["topology.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"seen": "yesterday"}', b"\xff\xfe"])
def test_without_a_readable_file_there_is_no_topology(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / ".agent").mkdir()
        (tmp_path / FILE).write_bytes(content)

    assert load_topology(tmp_path) is None
    save_topology(tmp_path, topology("orders"))
    assert load_topology(tmp_path) == topology("orders")


def test_a_failed_write_leaves_the_earlier_topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_topology(tmp_path, topology("orders"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_topology(tmp_path, topology("orders", "hr"))
    assert load_topology(tmp_path) == topology("orders")
    assert [path.name for path in (tmp_path / ".agent").iterdir()] == ["topology.json"]


@pytest.mark.patience
def test_the_largest_topology_is_smaller_than_the_limit_of_the_reader(tmp_path: Path) -> None:
    longest = Copy(
        database=DatabaseName("d" * 128), address="a" * 253 + ":65535", server_id="i" * 128, database_id="i" * 128, type="t" * 64,
        role="r" * 64, status="s" * 64, writer=False, last_committed_txn=2**62, replication_lag=-(2**62),
    )  # fmt: skip
    names = ["d" * 122 + f"{number:06d}" for number in range(MOST_ALIASES)]
    save_topology(
        tmp_path,
        a_topology(
            *(longest,) * MOST_COPIES,
            aliases=dict.fromkeys(names, "d" * 128),
            missing=tuple(names),
            definitions={name: Definition(options={"x": "x" * 60}) for name in names},
        ),
    )

    assert (tmp_path / FILE).stat().st_size < LARGEST
