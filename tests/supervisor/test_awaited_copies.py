"""Requests that wait for copies: how each wait ends, and what the ledger keeps of it."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.names import DatabaseName, PlaceName
from backup_agent.core.neo4j.selection import DiscoverySource, Selection, Target
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import CopyState, DatabaseResult, Outcome
from backup_agent.core.requests.events import BackupReport
from backup_agent.supervisor.work.backup_queue import MOST_ACTIVE
from backup_agent.supervisor.work.open_requests import SHOW_SECONDS
from tests.builders import OFFSITE
from tests.supervisor.agent_parts import AgentParts

NEARBY = PlaceName("nearby")
DOWN = Failure(Reason.STORAGE_UNREACHABLE, "no route")
RUNS = "neo4j_backup_runs_total"


def key(database: str) -> str:
    return f"default/{database}/{database}-2026-11-23T02-00-00.backup"


def recorded_result(database: str, *places: PlaceName, **fields: Any) -> DatabaseResult:
    copies = dict.fromkeys(places or (OFFSITE,), CopyState.WAITING)
    return DatabaseResult(outcome=Outcome.RECORDED, type="FULL", artifact=key(database), copies=copies, **fields)


class Waiting:
    """The parts of an agent whose backups end as the test says."""

    def __init__(self, folder: Path) -> None:
        self.agent = AgentParts(folder, OFFSITE, NEARBY)
        self.parts = self.agent.parts

    def back_up(self, identity: str, *databases: str) -> list[str]:
        """Ask for a backup and start it. Return its runs."""
        self.agent.ask(identity, databases=list(databases))
        self.parts.backup_queue.activate()
        targets = tuple(Target(DatabaseName(name), None, DiscoverySource.BOLT) for name in databases)
        for answer in self.parts.backup_queue.unselected():
            self.parts.backup_queue.selected(answer, Selection(targets, {}), datetime.now(UTC))
        jobs = [job for job in self.parts.backup_queue.waiting_jobs() if job.request == identity]
        return [self.parts.backup_queue.start(job, datetime.now(UTC))[0] for job in jobs]

    def end(self, run: str, result: DatabaseResult) -> None:
        self.parts.dispatch._conclude(run, BackupReport(result=result))

    def record(self, identity: str, *databases: str, places: tuple[PlaceName, ...] = (OFFSITE,)) -> None:
        """Make backups whose copies are awaited."""
        for run, database in zip(self.back_up(identity, *databases), databases, strict=True):
            self.end(run, recorded_result(database, *places))

    def copied(self, database: str, place: PlaceName = OFFSITE, failure: Failure | None = None) -> None:
        self.parts.awaited.end(place, key(database), failure)

    def answer(self, identity: str) -> dict[str, Any]:
        """Return an answer after all changes were published. Not each change is published by itself."""
        self.parts.requests.show_due(time.monotonic() + SHOW_SECONDS)
        return self.agent.answer(identity)

    def counted(self, outcome: str) -> float:
        labels = self.parts.counters._metrics.runs.collect()
        return sum(s.value for f in labels for s in f.samples if s.name == RUNS and s.labels["outcome"] == outcome)

    def restart(self) -> "Waiting":
        """Return another agent with the same requests folder."""
        again = Waiting.__new__(Waiting)
        again.agent = self.agent
        again.parts = self.agent.parts_again()
        again.parts.intake.recover()
        return again


@pytest.fixture(name="waiting")
def _waiting(tmp_path: Path) -> Waiting:
    return Waiting(tmp_path)


def test_a_recorded_artifact_frees_its_slot_and_the_answer_shows_the_copies(waiting: Waiting) -> None:
    waiting.record("one", "orders", places=(OFFSITE, NEARBY))
    answer = waiting.answer("one")

    assert waiting.parts.backup_queue.running == {}
    assert (answer["state"], answer["stage"], answer["progress"]) == ("running", "copies", {"copies": 0, "of": 2})
    assert answer["databases"]["orders"]["outcome"] == "recorded"
    assert answer["databases"]["orders"]["copies"] == {"offsite": "waiting", "nearby": "waiting"}
    assert waiting.counted("recorded") == 0


def test_a_request_succeeds_when_its_last_copy_is_stored(waiting: Waiting) -> None:
    waiting.record("one", "orders", "stock", places=(OFFSITE, NEARBY))
    for database, place in (("orders", OFFSITE), ("stock", NEARBY), ("stock", OFFSITE)):
        waiting.copied(database, place)
    assert waiting.answer("one")["state"] == "running"
    waiting.copied("orders", NEARBY)
    answer = waiting.answer("one")

    assert (answer["state"], waiting.counted("succeeded")) == ("succeeded", 2)
    assert {tuple(one["copies"].values()) for one in answer["databases"].values()} == {("stored", "stored")}
    assert all("copies" in one["stages"] for one in answer["databases"].values())


def test_a_copy_that_failed_is_missing_and_the_request_succeeds_with_a_warning(waiting: Waiting) -> None:
    waiting.record("one", "orders", places=(OFFSITE, NEARBY))
    waiting.copied("orders", NEARBY, DOWN)
    waiting.copied("orders")
    answer = waiting.answer("one")

    assert (answer["state"], answer["reason"]) == ("succeeded_with_warnings", "copies_owed")
    assert answer["databases"]["orders"]["copies"] == {"offsite": "stored", "nearby": "owed"}
    assert answer["error"] == "copy to nearby is missing: no route"
    assert "the copy is retried until it succeeds; nearby: check endpoint_url" in answer["hint"]
    assert waiting.counted("succeeded_with_warnings") == 1


def test_a_destination_that_fails_ends_all_waits_for_it_and_no_other(waiting: Waiting) -> None:
    waiting.record("one", "orders", "stock")
    waiting.record("two", "web", places=(NEARBY,))
    waiting.parts.awaited.end_all(OFFSITE, DOWN)

    assert waiting.answer("one")["state"] == "succeeded_with_warnings"
    assert waiting.answer("two")["state"] == "running"
    assert (waiting.parts.awaited.keys(OFFSITE), waiting.parts.awaited.keys(NEARBY)) == ((), (key("web"),))


def test_a_wait_without_progress_ends_after_copy_wait(waiting: Waiting) -> None:
    waiting.record("one", "orders")
    waiting.record("two", "stock")
    began, longest = time.monotonic(), 900.0
    waiting.parts.awaited.progressed(OFFSITE, key("stock"), began + 600.0)
    waiting.parts.awaited.end_overdue(began + longest - 1.0)
    assert waiting.answer("one")["state"] == "running"
    waiting.parts.awaited.end_overdue(began + longest + 1.0)
    assert waiting.answer("two")["state"] == "running"
    waiting.parts.awaited.end_overdue(began + 600.0 + longest)

    for name in ("one", "two"):
        answer = waiting.answer(name)
        assert (answer["state"], answer["reason"]) == ("succeeded_with_warnings", "copies_owed")
        assert "no progress for 15m (limits.copy_wait)" in answer["error"]


def test_a_destination_that_is_removed_from_the_settings_is_not_waited_for(waiting: Waiting) -> None:
    waiting.record("one", "orders", places=(OFFSITE, NEARBY))
    waiting.parts.awaited.use({OFFSITE})
    waiting.copied("orders")
    answer = waiting.answer("one")

    assert (answer["state"], answer["reason"]) == ("succeeded_with_warnings", "copies_owed")
    assert "the settings have no destination nearby any more" in answer["error"]


def test_after_a_restart_copies_are_awaited_and_no_attempt_is_made(waiting: Waiting) -> None:
    waiting.record("one", "orders", places=(OFFSITE,))
    first, _ = waiting.back_up("two", "stock", "web")
    waiting.end(first, recorded_result("stock"))
    again = waiting.restart()
    again.parts.backup_queue.activate()

    assert [(job.database, job.attempts) for job in again.parts.backup_queue.waiting_jobs()] == [("web", 1)]
    assert again.parts.awaited.keys(OFFSITE) == (key("orders"), key("stock"))
    again.copied("orders")
    assert again.answer("one")["state"] == "succeeded"


def test_a_restart_waits_again_for_a_copy_whose_end_was_not_written(waiting: Waiting) -> None:
    """The ledger of a large request is not written after each copy."""
    waiting.record("one", "orders", "stock", "web")
    for database in ("orders", "stock"):
        waiting.copied(database)
    again = waiting.restart()

    assert again.parts.awaited.keys(OFFSITE) == (key("stock"), key("web"))
    for database in ("stock", "web"):
        again.copied(database)
    assert again.answer("one")["state"] == "succeeded"


def test_requests_that_wait_for_copies_do_not_keep_others_from_starting(waiting: Waiting) -> None:
    for number in range(MOST_ACTIVE):
        waiting.record(f"r{number}", f"db{number}")
    waiting.agent.ask("next", database="orders")
    waiting.parts.backup_queue.activate()

    assert [answer.id for answer in waiting.parts.backup_queue.unselected()] == ["next"]


def test_a_cancelled_request_does_not_wait_and_says_that_the_copy_is_still_made(waiting: Waiting) -> None:
    waiting.record("one", "orders", places=(OFFSITE, NEARBY))
    waiting.copied("orders", NEARBY)
    waiting.agent.ask("one", file="stop", action="cancel")
    answer = waiting.answer("one")

    assert (answer["state"], answer["reason"]) == ("cancelled", "cancelled")
    assert answer["databases"]["orders"]["copies"] == {"offsite": "owed", "nearby": "stored"}
    assert f"{key('orders')} is recorded, and its copy is still made at offsite" in answer["error"]
    assert waiting.parts.awaited.keys(OFFSITE) == ()


def test_a_backup_that_is_cancelled_as_it_ends_keeps_its_artifact(waiting: Waiting) -> None:
    (run,) = waiting.back_up("one", "orders")
    failure = Failure(Reason.CANCELLED, "cancelled while it ran")
    waiting.end(run, recorded_result("orders").given_up(failure, datetime.now(UTC)))
    answer = waiting.answer("one")

    assert (answer["state"], answer["databases"]["orders"]["copies"]) == ("cancelled", {"offsite": "owed"})
    assert f"{key('orders')} is recorded" in answer["error"]


def test_the_answer_shows_how_much_of_a_copy_was_sent(waiting: Waiting) -> None:
    waiting.record("one", "orders", "stock")
    waiting.parts.awaited.show(OFFSITE, key("stock"), 5, 9)

    assert waiting.answer("one")["progress"] == {
        "copies": 0, "of": 2, "database": "stock", "place": "offsite", "bytes": 5, "total": 9,
    }  # fmt: skip
