"""The run's own folder: what neo4j-admin leaves there, files or not."""

from pathlib import Path

from backup_agent.run.staging import Staging


def test_a_folder_that_neo4j_admin_left_is_discarded_like_a_file(tmp_path: Path) -> None:
    staging = Staging(tmp_path, "run-1", "default", "orders")
    staging.prepare(())
    (staging.target / "orders-failed").mkdir()
    (staging.target / "orders-failed" / "neostore").write_bytes(b"half")
    (staging.target / "orders-2026-11-23T02-00-00.backup").write_bytes(b"half")

    removed = staging.discard()

    assert removed == ("orders-2026-11-23T02-00-00.backup", "orders-failed")
    assert not list(staging.target.iterdir())
