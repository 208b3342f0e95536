"""Children that wait for the next backup: how many processes start, and the effect of a death or a failure."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from backup_agent.standins import cluster as simulated
from tests.agent.live import Live
from tests.polling import until

BACKUP = "backup_agent.jobs.backup"
DATABASES = ["customers", "neo4j", "orders"]
"""Databases in the order in which they are backed up."""


@pytest.fixture(name="live")
def _live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path, simulated.three_servers(databases=tuple(DATABASES))) as live:
        seen = tmp_path / "started"
        seen.mkdir()
        live.environ = {"ENVIRONMENTS": str(seen), "PYTHONPATH": str(Path(__file__).with_name("environments"))}
        yield live


def started(live: Live) -> Counter[str]:
    """Return the number of processes of each module that were started."""
    argvs = [json.loads(path.read_text())["argv"] for path in (live.folder / "started").iterdir()]
    return Counter(argv[argv.index("-m") + 1] for argv in argvs)


def child(live: Live) -> int:
    """Return the process id of the child that makes backups, or waits for the next."""
    (found,) = (pid for pid in live.processes() if BACKUP in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    return found


def attempts(answer: dict[str, dict[str, dict[str, int]]]) -> list[int]:
    return [answer["databases"][name]["attempts"] for name in DATABASES]


def test_one_process_backs_up_all_databases_of_two_requests_and_ends_soon(live: Live) -> None:
    live.start()
    first = live.ask("a", databases=DATABASES)
    second = live.ask("b", databases=DATABASES)

    assert (first["state"], second["state"]) == ("succeeded", "succeeded")
    assert {len(live.records(database=name)) for name in DATABASES} == {2}
    assert started(live)[BACKUP] == 1
    until(lambda: not list(live.processes()), "end of the child", patience=30)
    assert live.ask("c", database="orders")["state"] == "succeeded"
    assert started(live)[BACKUP] == 2


def test_one_process_backs_up_all_databases_whose_copies_are_awaited(live: Live) -> None:
    """Their backups end as `recorded`. No server serves the destination, which has a process of its own."""
    nowhere = {"type": "s3", "bucket": "backups", "endpoint_url": "http://127.0.0.1:1", "region": "us-east-1"}
    live.settings["storage"]["destinations"] = {"offsite": nowhere}
    live.start(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    answer = live.ask(databases=DATABASES)

    assert (answer["state"], answer["reason"]) == ("succeeded_with_warnings", "copies_owed")
    assert started(live)[BACKUP] == 1


def test_after_a_failure_the_next_database_gets_a_new_process(live: Live) -> None:
    live.fault({"do": "hang", "command": "backup", "database": "neo4j"})
    live.settings["limits"] = {"stall_timeout": "1s"}
    live.start()
    answer = live.ask(databases=DATABASES)

    assert [answer["databases"][name]["outcome"] for name in DATABASES] == ["succeeded", "failed", "succeeded"]
    assert started(live)[BACKUP] == 2


def test_the_death_of_a_child_counts_as_an_attempt_only_for_the_running_backup(live: Live) -> None:
    live.fault({"do": "hang", "command": "backup", "database": "neo4j", "times": 1})
    live.start()
    live.drop("x.request", id="one", databases=DATABASES)
    until(lambda: (live.answer_of("one").get("progress") or {}).get("database") == "neo4j", "second backup")
    live.until_stage("one")
    os.kill(child(live), signal.SIGKILL)
    answer = live.final("one")

    assert (answer["state"], attempts(answer)) == ("succeeded", [1, 2, 1])
    assert {len(live.records(database=name)) for name in DATABASES} == {1}


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_the_death_of_a_waiting_child_counts_as_no_attempt(live: Live) -> None:
    live.start()
    live.ask("a", database="orders")
    for number in (signal.SIGKILL, signal.SIGTERM):
        waiting = child(live)
        os.kill(waiting, number)
        until(partial(gone, waiting), "end of the child, reaped")
        answer = live.ask(number.name, databases=DATABASES)

        assert (answer["state"], attempts(answer)) == ("succeeded", [1, 1, 1])
    assert started(live)[BACKUP] == 3


def test_a_backup_given_to_a_child_that_has_just_died_is_tried_again(live: Live) -> None:
    live.start()
    live.ask("a", database="orders")
    waiting = child(live)
    os.kill(waiting, signal.SIGSTOP)  # it is given the backup, and reads nothing
    live.drop("b.request", id="b", databases=DATABASES)
    until(lambda: live.answer_of("b").get("state") == "running", "begun backup")
    os.kill(waiting, signal.SIGKILL)
    answer = live.answer("b")

    assert (answer["state"], attempts(answer)) == ("succeeded", [2, 1, 1])


def test_a_backup_given_to_a_child_that_reads_nothing_can_be_cancelled(live: Live) -> None:
    live.start()
    live.ask("a", database="orders")
    waiting = child(live)
    os.kill(waiting, signal.SIGSTOP)
    live.drop("b.request", id="b", databases=DATABASES)
    until(lambda: live.answer_of("b").get("state") == "running", "begun backup")
    live.drop("stop.request", action="cancel", id="b")

    assert live.answer("b")["state"] == "cancelled"
    assert live.ask("c", database="orders")["state"] == "succeeded"


def test_changed_settings_are_used_by_a_new_process(live: Live) -> None:
    live.start()
    live.ask("a", database="orders")
    waiting = child(live)
    live.write_settings(chain={"max_links": 1})
    until(lambda: not Path(f"/proc/{waiting}").exists(), "end of the child that waited")
    live.commit()
    types = [live.ask(name, database="orders")["databases"]["orders"]["type"] for name in ("b", "c")]

    assert "FULL" in types


def test_the_agent_ends_at_once_although_a_child_waits(live: Live) -> None:
    live.start()
    live.ask("a", database="orders")
    waiting = child(live)

    assert live.end() == 0
    assert not Path(f"/proc/{waiting}").exists()


def test_a_child_that_waits_ends_with_its_supervisor(live: Live) -> None:
    live.start()
    live.ask("a", database="orders")
    assert child(live)
    live.kill()

    until(lambda: not list(live.processes()), "end of all processes", patience=5)
