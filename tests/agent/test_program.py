"""neo4j-admin is missing, hangs, or is slow: only its run fails, with the reason."""

from collections.abc import Callable
from pathlib import Path

from tests.agent.live import Live


def _replace_by_a_folder(admin: Path) -> None:
    admin.unlink()
    admin.mkdir()


SPOILT: dict[str, Callable[[Path], object]] = {
    "does not exist": lambda admin: admin.unlink(),
    "is not executable": lambda admin: admin.chmod(0o644),
    "is not a file": _replace_by_a_folder,
    "cannot be started": lambda admin: admin.write_text("#!/nowhere/java\n"),
}
"""What the answer says -> what is done to the program."""


def test_without_the_program_a_backup_fails_and_the_next_one_finds_the_restored_program(live: Live) -> None:
    live.start()
    content, mode = live.admin.read_bytes(), live.admin.stat().st_mode
    for word, spoil in SPOILT.items():
        spoil(live.admin)
        answer = live.ask(database="orders")

        assert (answer["state"], answer["reason"]) == ("failed", "admin_missing")
        assert str(live.admin) in answer["error"]
        assert word in answer["error"]
        assert "neo4j.admin" in answer["hint"]
        assert live.is_ready()
        _restore(live.admin, content, mode)
        assert live.ask(database="orders")["state"] == "succeeded"


def test_a_run_that_takes_too_long_is_ended(live: Live) -> None:
    live.settings["limits"] = {"run_timeout": "3s"}
    live.fault({"do": "hang_ignoring_sigterm", "command": "backup", "database": "orders"})
    live.start()
    answer = live.ask(databases=["orders", "neo4j"])

    assert (answer["state"], answer["reason"]) == ("failed", "timeout")
    assert "in stage checkpoint" in answer["error"]
    assert "limits.run_timeout" in answer["hint"]
    assert answer["databases"]["neo4j"]["outcome"] == "succeeded"
    live.until_idle()


def test_a_program_without_progress_is_ended_after_the_time_of_its_stage(live: Live) -> None:
    live.settings["limits"] = {"stall_timeout": "1s"}
    live.fault({"do": "hang", "command": "backup"})
    live.start()
    answer = live.ask(database="orders")

    assert (answer["state"], answer["reason"]) == ("failed", "stalled")
    assert "limits.stall_timeout" in answer["hint"]
    assert list(live.processes()) == []


def _restore(admin: Path, content: bytes, mode: int) -> None:
    if admin.is_dir():
        admin.rmdir()
    admin.write_bytes(content)
    admin.chmod(mode)
