"""The staging folder of a run, and the files and folders that neo4j-admin leaves there."""

from datetime import UTC, datetime
from pathlib import Path

from backup_agent.core.artifacts.names import DEFAULT_SET
from backup_agent.jobs.staging import Staging
from tests.builders import ORDERS

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)


def test_a_folder_of_neo4j_admin_is_discarded_like_a_file(tmp_path: Path) -> None:
    staging = Staging(tmp_path, "run-1", DEFAULT_SET, ORDERS)
    staging.prepare(())
    (staging.target / "orders-failed").mkdir()
    (staging.target / "orders-failed" / "neostore").write_bytes(b"half")
    (staging.target / "orders-2026-11-23T02-00-00.backup").write_bytes(b"half")

    removed = staging.discard()

    assert removed == ("orders-2026-11-23T02-00-00.backup", "orders-failed")
    assert not list(staging.target.iterdir())


def test_without_hard_links_new_files_except_the_artifact_are_set_aside(tmp_path: Path) -> None:
    staging = Staging(tmp_path, "run-1", DEFAULT_SET, ORDERS, in_place=True)
    staging.chain.mkdir(parents=True)
    (staging.chain / "before.backup").write_bytes(b"anybody's")
    staging.prepare(())
    passed = staging.chain / "orders-2026-11-23T02-00-00.backup"
    for path in (passed, passed.with_name(f"{passed.name}.1"), passed.with_name("junk.backup")):
        path.write_bytes(b"new")
    (staging.chain / "orders-failed").mkdir()
    moved = staging.set_aside(NOW, but=passed)

    assert sorted(path.name for path in staging.chain.iterdir()) == ["before.backup", passed.name, f"{passed.name}.1"]
    assert sorted(path.name for path in (tmp_path / ".aside").iterdir()) == list(moved)
    assert len(moved) == 2
