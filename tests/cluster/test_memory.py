"""The last topology on the volume."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_agent.cluster.memory import FILE, recall, remember
from backup_agent.core.topology import Copy, Topology


def topology(*databases: str) -> Topology:
    return Topology(
        seen=datetime(2026, 11, 23, 2, tzinfo=UTC), copies=tuple(Copy(database=database) for database in databases)
    )


def test_what_is_remembered_is_recalled(tmp_path: Path) -> None:
    kept = remember(tmp_path, topology("orders", "system"))

    assert recall(tmp_path) == kept == topology("orders", "system")
    assert [path.name for path in (tmp_path / ".agent").iterdir()] == ["topology.json"]


def test_what_vanishes_is_remembered_as_missing(tmp_path: Path) -> None:
    remember(tmp_path, topology("orders", "system"))
    remember(tmp_path, topology("system"))

    assert remember(tmp_path, topology("system")).missing == ("orders",)


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"seen": "yesterday"}', b"\xff\xfe"])
def test_a_damaged_file_is_no_topology(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / ".agent").mkdir()
        (tmp_path / FILE).write_bytes(content)

    assert recall(tmp_path) is None
    assert remember(tmp_path, topology("orders")) == recall(tmp_path)


def test_a_volume_that_refuses_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(tmp_path, topology("orders"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        remember(tmp_path, topology("orders", "hr"))
    assert recall(tmp_path) == topology("orders")
    assert [path.name for path in (tmp_path / ".agent").iterdir()] == ["topology.json"]
