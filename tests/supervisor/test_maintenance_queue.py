"""The queue of passes: requests for `prune` and `verify`, slices, and what is due."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, Outcome, PlaceResult, State
from backup_agent.core.requests.events import PassReport, PlaceJudged
from backup_agent.supervisor.requests.spool import Spool
from backup_agent.supervisor.work.maintenance_queue import (
    OVERDUE_SECONDS,
    SETTLE_SECONDS,
    VERIFY_SECONDS,
    MaintenanceQueue,
    Wish,
)
from backup_agent.supervisor.work.open_requests import OpenRequests
from tests.builders import OFFSITE, TAKEN, an_answer

NOW = TAKEN
KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
ABSENT = PlaceResult().failed(Failure(Reason.NOT_FOUND, "no such artifact is recorded there"))
DAMAGED = PlaceResult().failed(Failure(Reason.CHECKSUM_MISMATCH, "not as recorded"))
SOUND = PlaceResult(outcome=Outcome.SUCCEEDED, verified=1)


class Ledger(Spool):
    """A spool in memory that keeps the entries written to the ledger."""

    def __init__(self) -> None:
        self.kept: list[Answer] = []

    def save(self, answer: Answer) -> None:
        self.kept.append(answer)

    def publish(self, answer: Answer) -> None:
        """Publish nothing."""


def queue(answered: list[Answer], ledger: Ledger | None = None) -> MaintenanceQueue:
    """Return a queue for the volume and one destination, which appends its final answers to a list."""
    passes = MaintenanceQueue(OpenRequests(ledger or Ledger(), answered.append))
    passes.use([OFFSITE], 0.0)
    return passes


def test_drills_whose_request_names_no_place_prove_the_place_of_the_settings() -> None:
    passes = queue([])
    passes.drilled_place = OFFSITE
    passes.accept(an_answer(id="d", action="drill", request={"action": "drill"}))

    assert passes.asked() == Wish("drill", OFFSITE, "d")


def expire(passes: MaintenanceQueue, now: datetime) -> None:
    for answer in passes.requests.overdue(now):
        passes.expire(answer, now)


def concluded(request: dict[str, Any], **results: PlaceResult) -> Answer:
    """Carry out a request for `verify` at the volume and one destination. Return its final answer."""
    return verify_carried_out(request, **results)[1]


def verify_carried_out(request: dict[str, Any], **results: PlaceResult) -> tuple[MaintenanceQueue, Answer]:
    answers: list[Answer] = []
    passes = queue(answers)
    asked = {"action": "verify", **request}
    passes.accept(an_answer(id="v", action="verify", request=asked, files=("v.request",)))
    while (wish := passes.asked()) is not None:
        passes.begin(wish, NOW)
        passes.verified(wish, PassReport(result=results[wish.place], next_seconds=3600.0), 0.0, NOW)
    (answer,) = answers
    return passes, answer


def test_verifying_a_requested_artifact_does_not_postpone_the_due_slice() -> None:
    one, _ = verify_carried_out({"artifact": KEY}, local=SOUND, offsite=ABSENT)
    whole, _ = verify_carried_out({}, local=SOUND, offsite=SOUND)

    assert {routine.verify_due for routine in one.places.values()} == {VERIFY_SECONDS}
    assert {routine.verify_due for routine in whole.places.values()} == {3600.0}


@pytest.mark.parametrize(
    ("local", "offsite", "state", "places"),
    [
        pytest.param(SOUND, ABSENT, "succeeded", {"local"}, id="on the volume alone"),
        pytest.param(ABSENT, SOUND, "succeeded", {"offsite"}, id="in the bucket alone"),
        pytest.param(SOUND, SOUND, "succeeded", {"local", "offsite"}, id="at both"),
        pytest.param(DAMAGED, ABSENT, "failed", {"local"}, id="damaged where it is"),
        pytest.param(ABSENT, ABSENT, "failed", {"local", "offsite"}, id="nowhere"),
    ],
)
def test_places_without_the_requested_artifact_do_not_affect_the_answer(
    local: PlaceResult, offsite: PlaceResult, state: str, places: set[str]
) -> None:
    answer = concluded({"artifact": KEY}, local=local, offsite=offsite)

    assert (answer.state.value, set(answer.places)) == (state, places)


LATER = NOW + timedelta(minutes=1)


def waiting(**request: Any) -> tuple[MaintenanceQueue, list[Answer]]:
    """Return a queue with a waiting request for `prune`, and the list of its final answers."""
    answers: list[Answer] = []
    passes = queue(answers)
    asked = {"action": "prune", **request}
    passes.accept(an_answer(id="p", action="prune", request=asked))
    return passes, answers


def test_a_pass_that_has_not_started_by_not_after_fails() -> None:
    passes, answers = waiting(not_after=NOW.isoformat())
    expire(passes, NOW)
    assert passes.asked() is not None
    expire(passes, LATER)

    (answer,) = answers
    assert (answer.state, answer.reason, passes.asked()) == (State.FAILED, Reason.EXPIRED, None)
    assert "had not started before its `not_after`, 2026-11-23T02:00:00+00:00" in (answer.error or "")


def test_after_not_after_the_running_pass_continues_and_the_next_fails() -> None:
    passes, answers = waiting(not_after=NOW.isoformat())
    wish = passes.asked()
    assert wish is not None
    passes.begin(wish, NOW)
    expire(passes, LATER)
    assert answers == []
    passes.pruned(wish, PlaceResult(outcome=Outcome.SUCCEEDED), 1.0, 60.0, 0.0, LATER)

    (answer,) = answers
    assert {name: one.outcome.value for name, one in answer.places.items()} == {
        "local": "succeeded",
        "offsite": "failed",
    }
    assert answer.reason is Reason.EXPIRED


def test_a_pass_without_not_after_does_not_expire() -> None:
    passes, answers = waiting()
    expire(passes, NOW + timedelta(days=3650))

    assert answers == []
    assert passes.asked() is not None


def test_a_request_fails_if_the_named_place_lacks_the_artifact() -> None:
    answer = concluded({"artifact": KEY, "place": "offsite"}, offsite=ABSENT)

    assert (answer.state, answer.reason) == (State.FAILED, Reason.NOT_FOUND)


@pytest.mark.parametrize(("left", "due"), [(None, 3600.0), (7, SETTLE_SECONDS)], ids=["done", "more is left"])
def test_retention_that_ran_out_of_time_continues_after_a_waiting_backup(left: int | None, due: float) -> None:
    passes = queue([])
    wish = Wish("prune", OFFSITE)
    passes.begin(wish, NOW)
    passes.pruned(wish, PlaceResult(outcome=Outcome.SUCCEEDED, left=left), 300.0, 3600.0, 1000.0, NOW)

    assert passes.places[OFFSITE].prune_due == 1000.0 + due


def test_a_pass_that_a_crash_interrupted_is_made_again() -> None:
    passes = queue([])
    places = {"local": SOUND, "offsite": PlaceResult(outcome=Outcome.RUNNING)}
    request = {"action": "verify"}
    passes.accept(an_answer(id="v", state=State.RUNNING, action="verify", request=request, places=places))
    wish = passes.asked()

    assert wish is not None
    assert (wish.kind, wish.place, wish.request) == ("verify", "offsite", "v")


BEGUN = PlaceResult(outcome=Outcome.WAITING, artifacts=6, size=600, read=2, read_size=200, verified=2)


def passes_with(
    *requests: dict[str, Any], **places: PlaceResult
) -> tuple[MaintenanceQueue, list[Answer], list[Answer]]:
    """Return a queue for two places with requests for `verify`, and the lists of its written and its final answers."""
    ledger = Ledger()
    concluded: list[Answer] = []
    passes = queue(concluded, ledger)
    for number, request in enumerate(requests):
        asked = {"action": "verify", **request}
        passes.accept(
            an_answer(
                id=f"v{number}",
                state=State.RUNNING,
                action="verify",
                request=asked,
                places=places if number == 0 else {},
            )
        )
    return passes, ledger.kept, concluded


def test_later_slices_come_after_requests_and_retention_and_before_due_verification() -> None:
    passes, _, _ = passes_with({"all": True, "place": "local"}, {"artifact": KEY, "place": "local"}, local=BEGUN)
    for routine in passes.places.values():
        routine.verify_due = 0.0
    order = []
    for _ in range(4):
        wish = passes.asked(VOLUME) or passes.due(VOLUME, 1.0)
        assert wish is not None
        order.append((wish.kind, wish.place, wish.request))
        passes.begin(wish, NOW)
        if wish.kind == "prune":
            passes.pruned(wish, PlaceResult(outcome=Outcome.SUCCEEDED), 0.1, 3600.0, 1.0, NOW)
        else:
            passes.verified(wish, PassReport(result=SOUND, next_seconds=3600.0), 1.0, NOW)

    assert order == [
        ("verify", "local", "v1"),
        ("prune", "local", None),
        ("verify", "local", "v0"),
        ("verify", "local", None),
    ]


def test_each_place_has_its_own_next_pass() -> None:
    passes, _, _ = passes_with({"artifact": KEY, "place": "offsite"}, offsite=PlaceResult())

    assert (passes.asked(VOLUME), passes.asked(OFFSITE)) == (None, Wish("verify", OFFSITE, "v0"))
    assert passes.due(VOLUME, 1.0) == Wish("prune", VOLUME)
    assert passes.due(OFFSITE, 1.0) == Wish("prune", OFFSITE)


def test_a_copy_pass_should_end_for_requests_marks_and_overdue_retention() -> None:
    passes = queue([])
    passes.succeeded([OFFSITE], 0.0)
    pressed = [
        passes.ends_copying(OFFSITE, OVERDUE_SECONDS),
        passes.ends_copying(OFFSITE, OVERDUE_SECONDS + 1.0),
    ]
    passes.begin(Wish("prune", OFFSITE), NOW)
    pressed.append(passes.ends_copying(OFFSITE, OVERDUE_SECONDS + 1.0))
    passes.make_retention_due(OFFSITE, 0.0)
    pressed.append(passes.ends_copying(OFFSITE, 0.0))

    assert pressed == [False, True, False, True]
    asked, _ = waiting(place="offsite")
    assert (asked.ends_copying(OFFSITE, 0.0), asked.ends_copying(VOLUME, 0.0)) == (True, False)


def test_a_request_continues_after_a_slice_that_is_not_the_last() -> None:
    passes, _, answered = passes_with({"all": True, "place": "local"})
    wish = passes.asked()
    assert wish is not None
    passes.begin(wish, NOW)
    passes.verified(wish, PassReport(result=BEGUN, next_seconds=3600.0), 1.0, NOW)
    again = passes.goes_on()

    assert again == wish
    assert passes.asked() is None
    assert answered == []
    assert passes.places[VOLUME].verify_due == VERIFY_SECONDS
    passes.begin(wish, NOW)
    passes.verified(wish, PassReport(result=SOUND.model_copy(update={"verified": 6}), next_seconds=3600.0), 1.0, NOW)
    assert [(one.state, one.places[VOLUME].verified) for one in answered] == [(State.SUCCEEDED, 6)]


@pytest.mark.parametrize("with_result", [True, False], ids=["with a result", "killed before its result"])
def test_a_slice_that_was_ended_for_a_backup_continues_where_it_ended(*, with_result: bool) -> None:
    passes, _, answered = passes_with({"all": True, "place": "local"})
    wish = passes.asked()
    assert wish is not None
    passes.begin(wish, NOW)
    passes.progressed(wish, {"artifacts": 6, "size": 600, "read": 0, "read_size": 0, "estimated_seconds": 60.0}, 0.0)
    passes.slice_ended(wish, BEGUN if with_result else None, NOW)
    answer = passes.find("v0")

    assert answer is not None
    assert (passes.goes_on(), answered) == (wish, [])
    assert answer.places[VOLUME].estimated_seconds == 60.0
    assert answer.places[VOLUME].read == (2 if with_result else 0)


def test_a_request_in_slices_continues_after_a_crash() -> None:
    passes, _, _ = passes_with(
        {"all": True}, local=SOUND, offsite=BEGUN.model_copy(update={"outcome": Outcome.RUNNING})
    )

    assert passes.asked() is None
    assert passes.goes_on() == Wish("verify", OFFSITE, "v0")


def test_the_amount_to_read_is_written_at_once_and_progress_at_intervals() -> None:
    passes, kept, _ = passes_with({"all": True, "place": "local"})
    wish = passes.asked()
    assert wish is not None
    passes.begin(wish, NOW)
    kept.clear()
    facts = {"artifacts": 6, "size": 600, "read": 0, "read_size": 0, "estimated_seconds": 60.0}
    for second in range(25):
        passes.progressed(wish, {**facts, "read_size": second}, float(second))

    assert [answer.progress and answer.progress["bytes"] for answer in kept] == [0, 10, 20]
    assert kept[0].progress == {
        "place": "local", "read": 0, "artifacts": 6, "bytes": 0, "total": 600, "estimated_seconds": 60.0,
    }  # fmt: skip


def test_a_request_cancelled_between_two_slices_has_its_progress() -> None:
    passes, _, answered = passes_with({"all": True, "place": "local"}, local=BEGUN)
    open_answer = passes.find("v0")
    assert open_answer is not None
    passes.cancel(open_answer, Failure(Reason.CANCELLED, "by me"), NOW)
    (answer,) = answered

    assert answer.state is State.CANCELLED
    assert (answer.places[VOLUME].read, answer.places[VOLUME].artifacts) == (2, 6)


def test_a_place_without_the_requested_database_is_a_warning() -> None:
    absent = PlaceResult().failed(Failure(Reason.NOT_FOUND, "offsite: nothing of the database orders is there"))
    answer = concluded({"database": "orders"}, local=SOUND, offsite=absent)

    assert answer.state is State.SUCCEEDED_WITH_WARNINGS
    assert answer.error == "offsite: nothing of the database orders is there"


def test_unreadable_artifacts_are_logged_once() -> None:
    passes, _, _ = passes_with()
    unreadable: dict[str, tuple[str, ...]] = {"record_unreadable": (KEY,), "no_record": ()}
    found = PlaceJudged(place="local", keys=(), unreadable=unreadable, unrestorable=(KEY,))
    with structlog.testing.capture_logs() as logged:
        passes.judged(found)
    with structlog.testing.capture_logs() as again:
        passes.judged(found)
        passes.judged(PlaceJudged(place="local", keys=(), unreadable={"record_unreadable": ()}, unrestorable=()))
        passes.judged(found.model_copy(update={"place": "gone"}))

    assert [line["event"] for line in logged] == ["artifacts not readable", "chain broken"]
    assert again == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_request_in_slices_expires_only_before_its_first_slice(*, begun: bool) -> None:
    request = {"all": True, "not_after": NOW.isoformat()}
    passes, _, answered = passes_with(request, local=BEGUN if begun else PlaceResult(), offsite=PlaceResult())
    expire(passes, NOW + timedelta(hours=1))

    assert [one.reason for one in answered] == ([] if begun else [Reason.EXPIRED])


BLOCKED = PlaceResult().failed(Failure(Reason.INVALID_REQUEST, "3 of 4 artifacts would be deleted"))


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        pytest.param({"dry_run": True}, SOUND, id="a dry run"),
        pytest.param({"dry_run": True}, BLOCKED, id="a dry run that would be refused"),
        pytest.param({"plan": "0123", "place": "local"}, BLOCKED, id="a plan that is not the present one"),
    ],
)
def test_a_request_that_applies_no_retention_does_not_change_whether_it_is_blocked(
    request_: dict[str, Any], result: PlaceResult
) -> None:
    passes, _ = waiting(**request_)
    passes.pruned(Wish("prune", VOLUME, None), BLOCKED, 1.0, 3600.0, 0.0, NOW)
    wish = passes.asked()
    assert wish is not None
    passes.begin(wish, LATER)
    passes.pruned(wish, result, 1.0, 3600.0, 0.0, LATER)

    status = passes.places[VOLUME].status
    assert (status.blocked, status.error, status.pruned) == (Reason.INVALID_REQUEST, BLOCKED.error, None)


def test_a_refused_request_does_not_block_retention() -> None:
    passes, _ = waiting(plan="0123", place="local")
    wish = passes.asked()
    assert wish is not None
    passes.begin(wish, NOW)
    passes.pruned(wish, BLOCKED, 1.0, 3600.0, 0.0, NOW)

    assert passes.places[VOLUME].status.blocked is None


def test_the_progress_at_one_place_is_not_shown_for_the_next_place() -> None:
    passes, _ = waiting(action="verify", all=True)
    first = passes.asked()
    assert first is not None
    passes.begin(first, NOW)
    passes.progressed(first, {"artifacts": 5}, 0.0)
    passes.verified(first, PassReport(result=SOUND, next_seconds=3600.0), 0.0, NOW)
    second = passes.asked()
    assert second is not None
    answer = passes.begin(second, NOW)

    assert answer is not None
    assert answer.progress is None
