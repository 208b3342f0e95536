"""The queue of backups: attempts, verdicts, positions, cancelling and expiry."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, RequestId
from backup_agent.core.neo4j.selection import DiscoverySource, Selection, Target
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, DatabaseResult, Outcome, State
from backup_agent.core.requests.queue import Job
from backup_agent.supervisor.work.backup_queue import MOST_ACTIVE, BackupQueue, run_name
from backup_agent.supervisor.work.open_requests import OpenRequests
from tests.builders import ORDERS, a_spool

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
DONE = DatabaseResult(outcome=Outcome.SUCCEEDED, artifact="default/orders/orders-2026-11-23T02-00-00.backup")


class World:
    """A spool in a folder, and the queue of backups of one agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = a_spool(folder)
        self.answered: list[tuple[str, State]] = []
        self.requests = OpenRequests(self.spool, lambda answer: self.answered.append((answer.id, answer.state)))
        self.backups = BackupQueue(self.requests)
        self._moment: Iterator[datetime] = (NOW + timedelta(seconds=second) for second in range(10_000))

    def accept(self, identity: str, **content: Any) -> Answer:
        (self.folder / f"{identity}.request").write_text(json.dumps({"id": identity, **content}))
        taken = self.spool.take(f"{identity}.request", next(self._moment))
        assert taken is not None
        self.backups.accept(taken.answer)
        return taken.answer

    def select(self, *databases: str, failures: dict[str, Failure] | None = None) -> None:
        """Select databases for each request that has none yet."""
        self.backups.activate()
        targets = tuple(Target(DatabaseName(name), None, DiscoverySource.BOLT) for name in databases)
        for answer in self.backups.unselected():
            self.backups.selected(answer, Selection(targets, failures or {}), NOW)

    def start(self) -> str:
        """Start the first waiting job; return its run."""
        return self.backups.start(next(self.backups.waiting_jobs()), NOW)[0]

    def cancel(self, identity: str) -> list[str]:
        answer = self.requests.find(identity)
        assert answer is not None
        return self.backups.cancel(answer, Failure(Reason.CANCELLED, "by test"), NOW)

    def expire(self, now: datetime) -> None:
        for answer in self.requests.overdue(now):
            self.backups.expire(answer, now)

    def answer_to(self, identity: str) -> dict[str, Any]:
        """Return the answer that clients read, after all changes were published."""
        self.requests.show_due(math.inf)
        return self.published(identity)

    def published(self, identity: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "answers" / f"{identity}.json").read_text())
        return content

    def ledger(self, place: str) -> list[str]:
        return sorted(path.stem for path in (self.folder / ".spool" / place).iterdir())

    def lose(self) -> None:
        self.folder.rename(self.folder.with_name("lost"))

    def make_again(self) -> None:
        self.folder.mkdir()
        self.spool.prepare()
        self.requests.rewrite()


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return World(tmp_path / "requests")


def test_an_attempt_is_in_the_ledger_before_its_child_is_started(world: World) -> None:
    world.accept("one")
    world.select("orders")
    run = world.start()
    entry = json.loads((world.folder / ".spool" / "open" / "one.json").read_text())

    assert run == run_name(RequestId("one"), ORDERS, 1) == "one+orders+1"
    assert (entry["databases"]["orders"]["outcome"], entry["databases"]["orders"]["attempts"]) == ("running", 1)
    assert world.backups.running == {run: Job(RequestId("one"), DEFAULT_SET, ORDERS)}


def test_the_name_of_a_run_is_short_enough_for_the_name_of_a_folder() -> None:
    request, database = "r" * 128, "d" * 128
    names = {
        run_name(RequestId(request), DatabaseName(database), 1),
        run_name(RequestId(request), DatabaseName(database), 2),
        run_name(RequestId(request), DatabaseName(f"{database[1:]}x"), 1),
    }

    assert len(names) == 3
    assert max(map(len, names)) < 255


def test_nothing_starts_if_the_attempt_cannot_be_written(world: World) -> None:
    world.accept("one")
    world.select("orders")
    world.lose()
    with pytest.raises(FileNotFoundError):
        world.start()

    assert world.backups.running == {}
    assert [job.database for job in world.backups.waiting_jobs()] == ["orders"]
    world.make_again()
    assert world.start() == "one+orders+1"


def test_a_verdict_is_written_once_the_deleted_requests_folder_is_back(world: World) -> None:
    world.accept("one")
    world.select("orders")
    run = world.start()
    world.lose()
    world.backups.tell(run, "copy", {"bytes": 1})
    world.backups.ended(run, DONE, NOW)
    assert world.answered == [("one", State.SUCCEEDED)]
    world.make_again()

    assert world.answer_to("one")["state"] == "succeeded"
    assert world.ledger("done") == ["one"]
    assert len(world.requests) == 0


def test_a_verdict_that_cannot_be_written_is_written_later(world: World) -> None:
    world.accept("one")
    world.select("orders")
    run = world.start()
    assert world.answer_to("one")["state"] == "running"
    answers = world.folder / "answers"
    answers.rename(world.folder / "elsewhere")
    world.backups.ended(run, DONE, NOW)
    world.requests.write_unwritten()
    (world.folder / "elsewhere").rename(answers)
    assert world.answer_to("one")["state"] == "running"
    world.requests.write_unwritten()

    assert world.answer_to("one")["state"] == "succeeded"
    assert world.ledger("done") == ["one"]
    assert world.answered == [("one", State.SUCCEEDED)]


def test_after_two_attempts_a_third_only_adopts_and_then_the_backup_fails(world: World) -> None:
    world.accept("one")
    world.select("orders")
    outcomes = []
    for _ in range(3):
        _, result = world.backups.ended(world.start(), None, NOW)
        outcomes.append((result.outcome, result.attempts))

    assert outcomes == [(Outcome.INTERRUPTED, 1), (Outcome.INTERRUPTED, 2), (Outcome.FAILED, 3)]
    assert world.answered == [("one", State.FAILED)]
    assert world.answer_to("one")["reason"] == "interrupted"


def test_after_a_restart_a_running_backup_counts_as_an_attempt_without_a_verdict(world: World) -> None:
    world.accept("one")
    world.accept("two")
    world.backups.activate()
    for answer in world.backups.unselected()[:1]:
        targets = (
            Target(ORDERS, None, DiscoverySource.BOLT),
            Target(DatabaseName("neo4j"), None, DiscoverySource.BOLT),
        )
        world.backups.selected(answer, Selection(targets), NOW)
    world.start()
    later = World(world.folder)
    for answer in later.spool.ledger.open():
        later.backups.recover(answer, NOW)
    later.select("stock")
    jobs = list(later.backups.waiting_jobs())

    assert [(job.request, job.database, job.attempts) for job in jobs] == [
        ("one", "orders", 1),
        ("one", "neo4j", 0),
        ("two", "stock", 0),
    ]
    assert later.backups.open_runs() == ("one+orders+1",)


def test_a_request_without_databases_to_back_up_is_answered_and_counted_at_once(world: World) -> None:
    world.accept("one")
    world.select(failures={"none": Failure(Reason.NO_SUCH_DATABASE, "no database none")})
    world.accept("two")
    world.select()

    assert world.answered == [("one", State.FAILED), ("two", State.FAILED)]
    assert world.answer_to("one")["reason"] == world.answer_to("two")["reason"] == "no_such_database"


def test_answers_show_positions_that_move_up(world: World) -> None:
    for name in ("a", "b", "c"):
        world.accept(name)
    assert [world.answer_to(name)["position"] for name in ("a", "b", "c")] == [1, 2, 3]
    world.cancel("a")

    assert [world.answer_to(name).get("position") for name in ("a", "b", "c")] == [None, 1, 2]


def test_an_answer_names_the_request_before_it_in_the_queue(world: World) -> None:
    world.accept("a")
    world.select("orders")
    for name in ("b", "c"):
        world.accept(name)
    assert [world.answer_to(name).get("behind") for name in ("a", "b", "c")] == [None, "a", "b"]
    run = world.start()
    assert [world.answer_to(name).get("behind") for name in ("a", "b", "c")] == [None, "a", "b"]
    world.backups.ended(run, DONE, NOW)

    assert [world.answer_to(name).get("behind") for name in ("b", "c")] == [None, "b"]


def test_an_answer_is_published_every_two_seconds_until_it_is_final(world: World) -> None:
    """However many databases a request has, and however many stages: the answer may have a megabyte."""
    published: list[dict[str, Any]] = []
    publish = world.spool.publish

    def note(answer: Answer) -> None:
        publish(answer)
        published.append(world.published("one"))

    world.accept("one")
    world.select("orders", "neo4j")
    world.answer_to("one")
    world.spool.publish = note  # type: ignore[method-assign]  # to see each publication
    run = world.start()
    for stage in ("connecting", "copy", "verify"):
        world.backups.tell(run, stage, {"bytes": 7})
    assert published == []
    (moment,) = world.requests.show_moments()
    world.requests.show_due(moment - 0.1)
    assert published == []
    world.requests.show_due(moment)

    assert [(one["state"], one["stage"]) for one in published] == [("running", "verify")]
    assert world.requests.show_moments() == []
    world.backups.ended(run, DONE, NOW)
    world.backups.ended(world.start(), DONE, NOW)
    assert [one["state"] for one in published[1:]] == ["succeeded"]
    assert world.requests.show_moments() == []


def test_cancelling_a_running_request_returns_its_runs_and_starts_no_more(world: World) -> None:
    world.accept("one")
    world.select("orders", "neo4j")
    run = world.start()
    runs = world.cancel("one")

    assert runs == [run]
    assert list(world.backups.waiting_jobs()) == []
    assert world.answer_to("one")["databases"]["neo4j"]["outcome"] == "cancelled"
    world.backups.ended(run, DatabaseResult().failed(Failure(Reason.CANCELLED, "ended"), NOW), NOW)
    assert world.answered == [("one", State.CANCELLED)]


def test_cancelling_a_waiting_request_ends_it_at_once(world: World) -> None:
    world.accept("one")

    assert world.cancel("one") == []
    assert world.requests.find("one") is None
    assert world.answered == [("one", State.CANCELLED)]
    assert len(world.requests) == 0


@pytest.mark.parametrize("active", [False, True], ids=["waiting", "active"])
def test_a_repeated_request_is_answered_beside_both_files(world: World, *, active: bool) -> None:
    world.accept("one")
    if active:
        world.select("orders")
    (world.folder / "again.request").write_text('{"id": "one"}')
    taken = world.spool.take("again.request", NOW + timedelta(minutes=1))
    assert taken is not None
    assert not taken.new
    world.requests.answer_also("one", taken.answer.files)
    if not active:
        world.select("orders")
    world.backups.ended(world.start(), DONE, NOW)

    for name in ("one", "again"):
        assert json.loads((world.folder / f"{name}.status.json").read_text())["state"] == "succeeded"


def test_the_sets_of_waiting_and_active_requests_are_known(world: World) -> None:
    for number in range(MOST_ACTIVE + 2):
        world.accept(f"r{number}", path=f"set-{number}")
    world.backups.activate()

    assert world.requests.sets == {f"set-{number}" for number in range(MOST_ACTIVE + 2)}
    for number in (0, MOST_ACTIVE + 1):
        world.cancel(f"r{number}")
    assert world.requests.sets == {f"set-{number}" for number in range(1, MOST_ACTIVE + 1)}


def test_a_request_that_has_not_started_by_not_after_fails(world: World) -> None:
    for identity in ("waits", "chosen"):
        world.accept(identity, not_after=NOW.isoformat())
        if identity == "waits":
            world.select("orders", "neo4j")
    world.expire(NOW)
    assert world.answered == []
    world.expire(NOW + timedelta(seconds=1))

    assert world.answered == [("waits", State.FAILED), ("chosen", State.FAILED)]
    assert list(world.backups.waiting_jobs()) == []
    assert (world.answer_to("waits")["reason"], world.answer_to("chosen")["reason"]) == ("expired", "expired")
    assert {one["outcome"] for one in world.answer_to("waits")["databases"].values()} == {"failed"}
    assert world.ledger("done") == ["chosen", "waits"]


def test_a_request_that_has_started_by_not_after_continues(world: World) -> None:
    world.accept("one", not_after=NOW.isoformat())
    world.accept("cancelled", not_after=NOW.isoformat())
    world.select("orders")
    run = world.start()
    world.cancel("cancelled")
    world.expire(NOW + timedelta(hours=1))
    world.backups.ended(run, DONE, NOW)

    assert world.answered == [("cancelled", State.CANCELLED), ("one", State.SUCCEEDED)]


def test_not_after_still_applies_after_a_restart(world: World) -> None:
    world.accept("one", not_after=NOW.isoformat())
    later = World(world.folder)
    for answer in later.spool.ledger.open():
        later.backups.recover(answer, NOW)
    later.expire(NOW + timedelta(hours=1))

    assert later.answered == [("one", State.FAILED)]
