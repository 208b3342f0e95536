"""Dropped requests: slow, invalid, repeated, by the thousand, and into a folder that is removed and replaced."""

import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.agent import flood
from tests.agent.live import FINAL, Live
from tests.polling import until

REFUSING = Path(__file__).parent / "refusing"

SOON = 5.0
"""Seconds. The promised time of a cancellation, with a margin for a busy machine."""


def test_a_file_that_is_written_in_two_steps_is_read_when_it_is_complete(live: Live) -> None:
    live.start()
    script = """printf '{"type":"FULL",' > "$1"; sleep 0.7; printf '"database":"orders"}\\n' >> "$1" """
    subprocess.run(["sh", "-c", script, "sh", str(live.requests / "x.request")], check=True)

    assert live.answer()["state"] == "succeeded"
    assert len(live.artifacts()) == 1


def test_a_file_that_stays_incomplete_is_rejected_when_it_no_longer_changes_and_is_kept(live: Live) -> None:
    live.start()
    (live.requests / "x.request").write_bytes(b'{"type":"FULL",')
    answer = live.answer()

    assert (answer["state"], answer["reason"]) == ("rejected", "invalid_request")
    assert "not JSON" in answer["error"]
    assert answer["hint"]
    assert flood.kept(live) == [b'{"type":"FULL",']


def test_any_other_file_is_rejected_with_an_answer_and_stops_nothing_else(live: Live) -> None:
    live.start()
    wrong = {
        "typo": b'{"typ":"FULL"}',
        "outside": b'{"path":"../etc"}',
        "deeper": b'{"path":"a/b"}',
        "large": b'{"reason":"' + b"x" * 70_000 + b'"}',
        "later": b'{"action":"replicate"}',
        "nothing": b"",
        "bytes": b"\xff\xfe",
        "brackets": b"[" * 60_000,
        "closed": b'{"reason":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "very-deep": b"[" * 100_000,
    }
    for name, content in wrong.items():
        (live.requests / f"{name}.request").write_bytes(content)
    (live.requests / "folder.request").mkdir()
    (live.requests / "link.request").symlink_to("/etc/passwd")
    os.mkfifo(live.requests / "fifo.request")
    live.drop("good.request", database="orders")
    names = [*wrong, "folder", "link", "fifo"]
    answers = {name: live.answer(name) for name in names}

    assert {answer["state"] for answer in answers.values()} == {"rejected"}
    assert "typ: no such field" in answers["typo"]["error"]
    assert "root:" not in json.dumps(answers["link"])
    assert "nested more than 64 levels deep" in answers["brackets"]["error"]
    assert "nested more than 64 levels deep" in answers["closed"]["error"]
    assert live.answer("good")["state"] == "succeeded"
    kept = (live.requests / ".spool" / "rejected").iterdir()
    assert len(list(kept)) == len(names)
    assert live.metric("neo4j_backup_requests_total", outcome="rejected") == len(names)


def test_the_same_id_with_the_same_content_is_one_run_and_with_other_content_is_rejected(live: Live) -> None:
    live.start()
    first = live.ask("a", id="night-1", database="orders")
    again = live.ask("b", id="night-1", database="orders")
    other = live.ask("c", id="night-1", database="neo4j")

    assert (again["state"], again["databases"]) == (first["state"], first["databases"])
    assert len(live.artifacts()) == 1
    assert (other["state"], other["reason"]) == ("rejected", "invalid_request")
    assert "night-1" in other["error"]
    assert live.artifacts(database="neo4j") == []


def test_an_id_that_is_repeated_during_its_run_is_answered_beside_both_files(live: Live) -> None:
    live.fault({"do": "slow_checkpoint", "seconds": 4, "database": "orders"})
    live.start()
    live.drop("a.request", id="one", database="orders")
    live.until_stage("one")
    live.drop("b.request", id="one", database="orders")

    assert live.answer("b")["state"] == "succeeded"
    assert live.answer("a")["state"] == "succeeded"
    assert len(live.artifacts()) == 1


def test_an_id_that_the_spool_no_longer_knows_is_a_new_backup(live: Live) -> None:
    """Answers expire, and a folder can be lost. An old artifact must not be taken for the result of a new request."""
    live.start()
    first = live.ask("a", id="nightly", database="orders", type="FULL")
    live.commit()
    assert live.end() == 0
    live.requests.rename(live.folder / "lost")
    live.start()
    second = live.ask("a", id="nightly", database="orders", type="FULL")

    assert second["state"] == "succeeded"
    assert second["databases"]["orders"]["artifact"] != first["databases"]["orders"]["artifact"]


def test_two_requests_for_one_database_never_run_at_the_same_time(live: Live) -> None:
    live.settings["limits"] = {"parallel": 2}
    live.fault({"do": "slow_checkpoint", "seconds": 4, "database": "orders"})
    live.start()
    live.drop("one.request", id="one", database="orders", type="FULL")
    live.drop("two.request", id="two", database="orders", type="FULL")
    live.drop("three.request", id="three", database="neo4j")
    seen = []

    def all_done() -> bool:
        running = [run for run in live.status()["running"] if run["kind"] == "backup"]
        seen.append(Counter(run["database"] for run in running))
        return all(live.answer_of(name).get("state") in FINAL for name in ("one", "two", "three"))

    until(all_done, "three answers")
    assert {live.final(name)["state"] for name in ("one", "two", "three")} == {"succeeded"}
    assert max(count["orders"] for count in seen) == 1
    assert any(count["orders"] and count["neo4j"] for count in seen)
    assert len(live.artifacts()) == 2


def test_a_running_backup_is_cancelled_within_seconds_and_its_processes_have_ended(live: Live) -> None:
    live.start()
    for fault in ("hang", "hang_ignoring_sigterm", "two_processes"):
        hanging = [{"do": "hang", "command": "backup"}] if fault == "two_processes" else []
        live.fault({"do": fault, "command": "backup"}, *hanging)
        live.drop(f"{fault}.request", id=fault, databases=["orders", "neo4j"])
        live.until_stage(fault)
        begun = time.monotonic()
        live.drop(f"stop-{fault}.request", action="cancel", id=fault, requested_by="the DBA")
        answer = live.answer(fault)
        took = time.monotonic() - begun

        assert (answer["state"], answer["reason"]) == ("cancelled", "cancelled")
        assert "the DBA" in answer["error"]
        assert {result["outcome"] for result in answer["databases"].values()} == {"cancelled"}
        assert took < SOON, fault
        until(lambda: not list(live.processes()), "end of the backup's processes")
        assert live.answer(f"stop-{fault}")["state"] == "succeeded"
        assert live.artifacts() == []
    live.fault()
    assert live.ask("after", database="orders")["state"] == "succeeded"


def test_a_queued_backup_is_cancelled_and_never_starts(live: Live) -> None:
    live.fault({"do": "hang", "database": "orders"})
    live.start()
    live.drop("x.request", id="first", database="orders")
    live.until_stage("first")
    live.drop("y.request", id="second", database="neo4j")
    until(lambda: live.answer_of("second").get("position"), "queue position")
    cancelled = live.ask("stop", action="cancel", id="second")
    answer = live.answer("y")

    assert cancelled["state"] == "succeeded"
    assert (answer["state"], answer["reason"]) == ("cancelled", "cancelled")
    assert live.metric("neo4j_backup_requests_total", action="backup", outcome="cancelled") == 1
    assert live.artifacts(database="neo4j") == []


def test_cancelling_a_request_that_is_not_open_fails_with_the_reason(live: Live) -> None:
    live.start()
    live.ask("x", id="done", database="orders")
    unknown = live.ask("a", action="cancel", id="nobody")
    late = live.ask("b", action="cancel", id="done")

    assert (unknown["state"], unknown["reason"]) == ("failed", "not_found")
    assert "no request has this id" in unknown["error"]
    assert (late["state"], late["reason"]) == ("failed", "not_found")
    assert "succeeded" in late["error"]
    assert live.answer("x")["state"] == "succeeded"


def test_an_unreadable_entry_stops_neither_the_queue_nor_the_next_start(live: Live) -> None:
    live.start()
    (live.requests / ".spool" / "done" / "one.json").write_text('{"schema": 2}')

    (live.requests / ".spool" / "open" / "two.json").write_text("[" * 100_000)

    assert live.ask(id="one", database="orders")["state"] == "rejected"
    assert live.ask(id="two", database="orders")["state"] == "rejected"
    cancelled = live.ask(action="cancel", id="one")
    assert (cancelled["state"], cancelled["reason"]) == ("failed", "internal")
    assert live.ask(database="orders")["state"] == "succeeded"


def test_a_deleted_folder_is_restored_with_its_queue_and_with_a_verdict_of_that_time(live: Live) -> None:
    live.fault({"do": "slow_checkpoint", "seconds": 4, "database": "orders"})
    live.start()
    live.drop("x.request", id="running", database="orders")
    live.until_stage("running")
    live.drop("y.request", id="queued", database="neo4j")
    until(lambda: live.answer_of("queued"), "queued request")
    # The agent may write into the folder while `rm` removes it, so that it is not empty.
    until(lambda: subprocess.run(["rm", "-rf", str(live.requests)], check=False).returncode == 0, "deleted folder")

    assert live.final("running")["state"] == "succeeded"
    assert live.final("queued")["state"] == "succeeded"
    assert live.ask("z", database="orders")["state"] == "succeeded"
    assert live.metric("neo4j_backup_watch_restarts_total") == 1


def test_a_folder_that_another_program_replaces_is_watched_within_one_scan(live: Live) -> None:
    live.fault({"do": "hang", "database": "orders"})
    live.start()
    live.drop("x.request", id="running", database="orders")
    live.until_stage("running")
    live.requests.rename(live.folder / "moved")
    live.requests.mkdir()
    live.drop("stop.request", action="cancel", id="running")

    assert live.answer("stop", patience=15)["state"] == "succeeded"
    assert live.final("running")["state"] == "cancelled"


def test_a_folder_that_is_moved_back_has_its_own_queue(live: Live) -> None:
    """Its requests are continued, although the agent has used another folder meanwhile."""
    live.start()
    moved = live.folder / "moved"
    live.ask("x", id="first", database="orders")
    until(lambda: not live.open_entries(), "settled ledger")
    live.requests.rename(moved)
    until(live.requests.exists, "folder made again")
    entry = json.loads((moved / ".spool" / "done" / "first.json").read_text())
    waiting = {key: entry[key] for key in ("schema", "intake", "action", "received", "set")}
    waiting |= {"id": "second", "state": "queued", "files": ["y.request"], "request": {"database": "neo4j"}}
    (moved / ".spool" / "open" / "second.json").write_text(json.dumps(waiting))
    live.requests.rename(live.folder / "emptied")
    moved.rename(live.requests)

    assert live.answer("y")["state"] == "succeeded"
    assert live.answer("x")["state"] == "succeeded"


@pytest.mark.parametrize("limit", ["watches", pytest.param("instances", marks=pytest.mark.nightly)])
def test_on_a_node_without_inotify_the_folder_is_listed_and_the_agent_is_ready(live: Live, limit: str) -> None:
    """The limit is that of a user namespace of the test, so that the kernel itself refuses."""
    script = f'echo 0 > /proc/sys/user/max_inotify_{limit} && exec "$@"'
    live.prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    if subprocess.run([*live.prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace may be made here")
    live.start()
    for name in ("x", "y"):
        assert live.ask(name, database="orders")["state"] == "succeeded"
    status = live.status()

    assert live.get("/readyz") == (200, "ok\n")
    assert status["ready"]
    assert (status["requests_watched"], "limit reached" in status["requests_watch_fault"]) == (False, True)
    assert live.metric("neo4j_backup_requests_watched") == 0
    (warning,) = live.events("requests folder not watched")
    assert (warning["level"], "limit reached" in warning["error"]) == ("warning", True)


def test_a_folder_that_cannot_be_watched_is_listed_and_backup_status_stays(live: Live) -> None:
    live.start(PYTHONPATH=str(REFUSING), REFUSE_WATCH="1")
    first = live.ask("backup", database="orders")
    second = live.ask("x", database="orders")  # a scan later

    assert first["state"] == second["state"] == "succeeded"
    assert (live.requests / "backup.status").read_text() == "COMPLETED\n"
    assert len(live.events("requests folder not watched")) == 1


def test_a_volume_that_is_mounted_over_the_folder_is_noticed(live: Live) -> None:
    live.fault({"do": "slow_checkpoint", "seconds": 4, "database": "orders"})
    live.start()
    live.drop("x.request", id="running", database="orders")
    live.until_stage("running")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", str(live.requests)], capture_output=True, check=False)
    if mounted.returncode:
        if "CI" in os.environ:
            pytest.fail(mounted.stderr.decode())
        pytest.skip("mounting is refused here")
    try:
        assert live.final("running")["state"] == "succeeded"
        assert live.ask("y", database="neo4j")["state"] == "succeeded"
        live.end()
    finally:
        subprocess.run(["umount", "-l", str(live.requests)], check=True)


def test_each_of_a_flood_of_requests_is_answered_although_the_agent_is_killed(live: Live) -> None:
    """bench/flood.py drops ten thousand requests and prints the time."""
    count = 2_000
    live.start()
    flood.drop(live, count)
    until(lambda: flood.undecided(live, count) < count / 2, "half of the answers", patience=60)
    live.kill()
    live.start()
    until(lambda: not flood.undecided(live, count), "an answer to each", patience=120)
    until(lambda: "open" not in (states := flood.tally(live, count)) and states, "last answers", patience=120)

    assert flood.faults(live, count) == []
