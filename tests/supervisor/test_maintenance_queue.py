"""A request for passes over places is answered once, by what became of it where it meant something."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, Outcome, PlaceResult, State
from backup_agent.core.requests.events import PassReport, PlaceJudged
from backup_agent.supervisor.requests.spool import Spool
from backup_agent.supervisor.work.maintenance_queue import SETTLE_SECONDS, VERIFY_SECONDS, MaintenanceQueue, Wish
from backup_agent.supervisor.work.open_requests import OpenRequests
from tests.builders import OFFSITE, TAKEN, an_answer

NOW = TAKEN
KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
ABSENT = PlaceResult().failed(Failure(Reason.NOT_FOUND, "no such artifact is recorded there"))
DAMAGED = PlaceResult().failed(Failure(Reason.CHECKSUM_MISMATCH, "not as recorded"))
SOUND = PlaceResult(outcome=Outcome.SUCCEEDED, verified=1)


class Ledger(Spool):
    """Keeps the entries that are written, and no folder."""

    def __init__(self) -> None:
        self.kept: list[Answer] = []

    def save(self, answer: Answer) -> None:
        self.kept.append(answer)


def queue(answered: list[Answer], ledger: Ledger | None = None) -> MaintenanceQueue:
    """Return passes over the volume and one destination, whose final answers go into a list."""
    passes = MaintenanceQueue(OpenRequests(ledger or Ledger(), answered.append))
    passes.use([OFFSITE], 0.0)
    return passes


def expire(passes: MaintenanceQueue, now: datetime) -> None:
    for answer in passes.requests.overdue(now):
        passes.expire(answer, now)


def concluded(request: dict[str, Any], **results: PlaceResult) -> Answer:
    """Let a request for `verify` go over the volume and one destination; return its last answer."""
    return carried_out(request, **results)[1]


def carried_out(request: dict[str, Any], **results: PlaceResult) -> tuple[MaintenanceQueue, Answer]:
    answers: list[Answer] = []
    passes = queue(answers)
    asked = {"action": "verify", **request}
    passes.accept(an_answer(id="v", action="verify", request=asked, files=("v.request",)))
    while (wish := passes.asked()) is not None:
        passes.begin(wish, NOW)
        passes.verified(wish, PassReport(result=results[wish.place], next_seconds=3600.0), 0.0, NOW)
    (answer,) = answers
    return passes, answer


def test_an_artifact_that_is_asked_for_puts_off_no_reading_of_all() -> None:
    one, _ = carried_out({"artifact": KEY}, local=SOUND, offsite=ABSENT)
    whole, _ = carried_out({}, local=SOUND, offsite=SOUND)

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
def test_an_artifact_is_looked_for_everywhere_and_judged_where_it_is(
    local: PlaceResult, offsite: PlaceResult, state: str, places: set[str]
) -> None:
    answer = concluded({"artifact": KEY}, local=local, offsite=offsite)

    assert (answer.state.value, set(answer.places)) == (state, places)


LATER = NOW + timedelta(minutes=1)


def waiting(**request: Any) -> tuple[MaintenanceQueue, list[Answer]]:
    """Return passes with a request for `prune` that waits, and the answers they have come to."""
    answers: list[Answer] = []
    passes = queue(answers)
    asked = {"action": "prune", **request}
    passes.accept(an_answer(id="p", action="prune", request=asked))
    return passes, answers


def test_a_pass_that_has_not_begun_by_its_time_is_never_begun() -> None:
    passes, answers = waiting(not_after=NOW.isoformat())
    expire(passes, NOW)
    assert passes.asked() is not None
    expire(passes, LATER)

    (answer,) = answers
    assert (answer.state, answer.reason, passes.asked()) == (State.FAILED, Reason.EXPIRED, None)
    assert "had not started before its `not_after`, 2026-11-23T02:00:00+00:00" in (answer.error or "")


def test_a_place_that_has_begun_by_its_time_goes_on_and_the_next_is_not_begun() -> None:
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


def test_a_pass_without_a_time_waits_for_ever() -> None:
    passes, answers = waiting()
    expire(passes, NOW + timedelta(days=3650))

    assert answers == []
    assert passes.asked() is not None


def test_at_a_place_that_was_named_it_must_be() -> None:
    answer = concluded({"artifact": KEY, "place": "offsite"}, offsite=ABSENT)

    assert (answer.state, answer.reason) == (State.FAILED, Reason.NOT_FOUND)


@pytest.mark.parametrize(("left", "due"), [(None, 3600.0), (7, SETTLE_SECONDS)], ids=["done", "more is left"])
def test_retention_that_ran_out_of_time_goes_on_after_what_has_waited(left: int | None, due: float) -> None:
    passes = queue([])
    wish = Wish("prune", OFFSITE)
    passes.begin(wish, NOW)
    passes.pruned(wish, PlaceResult(outcome=Outcome.SUCCEEDED, left=left), 300.0, 3600.0, 1000.0, NOW)

    assert passes.places[OFFSITE].prune_due == 1000.0 + due


def test_a_request_that_a_death_has_cut_off_is_gone_on_with() -> None:
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
    """Return passes over two places that have taken requests for `verify`, and what they write and conclude."""
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


def test_a_request_in_slices_goes_on_after_other_requests_and_retention_and_before_what_nobody_asked_for() -> None:
    passes, _, _ = passes_with({"all": True}, {"artifact": KEY}, local=BEGUN, offsite=PlaceResult())
    for routine in passes.places.values():
        routine.verify_due = 0.0
    order = []
    for _ in range(6):
        wish = passes.asked() or passes.due(1.0)
        assert wish is not None
        order.append((wish.kind, wish.place, wish.request))
        passes.begin(wish, NOW)
        if wish.kind == "prune":
            passes.pruned(wish, PlaceResult(outcome=Outcome.SUCCEEDED), 0.1, 3600.0, 1.0, NOW)
        else:
            passes.verified(wish, PassReport(result=SOUND, next_seconds=3600.0), 1.0, NOW)

    assert order == [
        ("verify", "local", "v1"),
        ("verify", "offsite", "v1"),
        ("prune", "local", None),
        ("prune", "offsite", None),
        ("verify", "local", "v0"),
        ("verify", "offsite", "v0"),
    ]
    routine_wish = passes.due(1.0)
    assert routine_wish is not None
    assert routine_wish.request is None


def test_a_slice_that_is_not_the_last_lets_the_request_go_on_with_what_it_has_come_to() -> None:
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


@pytest.mark.parametrize("told", [True, False], ids=["with a result", "killed before its result"])
def test_a_slice_that_gave_way_to_a_backup_goes_on_where_it_was(*, told: bool) -> None:
    passes, _, answered = passes_with({"all": True, "place": "local"})
    wish = passes.asked()
    assert wish is not None
    passes.begin(wish, NOW)
    passes.progressed(wish, {"artifacts": 6, "size": 600, "read": 0, "read_size": 0, "estimated_seconds": 60.0}, 0.0)
    passes.slice_ended(wish, BEGUN if told else None, NOW)
    answer = passes.find("v0")

    assert answer is not None
    assert (passes.goes_on(), answered) == (wish, [])
    assert answer.places[VOLUME].estimated_seconds == 60.0
    assert answer.places[VOLUME].read == (2 if told else 0)


def test_a_request_in_slices_that_a_death_has_cut_off_goes_on() -> None:
    passes, _, _ = passes_with(
        {"all": True}, local=SOUND, offsite=BEGUN.model_copy(update={"outcome": Outcome.RUNNING})
    )

    assert passes.asked() is None
    assert passes.goes_on() == Wish("verify", OFFSITE, "v0")


def test_how_much_there_is_to_read_is_in_the_answer_at_once_and_progress_now_and_then() -> None:
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


def test_a_request_in_slices_that_is_cancelled_between_two_says_how_far_it_came() -> None:
    passes, _, answered = passes_with({"all": True, "place": "local"}, local=BEGUN)
    open_answer = passes.find("v0")
    assert open_answer is not None
    passes.cancel(open_answer, Failure(Reason.CANCELLED, "by me"), NOW)
    (answer,) = answered

    assert answer.state is State.CANCELLED
    assert (answer.places[VOLUME].read, answer.places[VOLUME].artifacts) == (2, 6)


def test_a_place_that_has_nothing_of_a_database_is_a_warning() -> None:
    absent = PlaceResult().failed(Failure(Reason.NOT_FOUND, "offsite: nothing of the database orders is there"))
    answer = concluded({"database": "orders"}, local=SOUND, offsite=absent)

    assert answer.state is State.SUCCEEDED_WITH_WARNINGS
    assert answer.error == "offsite: nothing of the database orders is there"


def test_what_cannot_be_read_is_news_once() -> None:
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


def test_a_request_that_is_refused_blocks_no_place() -> None:
    passes, _ = waiting(plan="0123", place="local")
    wish = passes.asked()
    assert wish is not None
    passes.begin(wish, NOW)
    passes.pruned(wish, BLOCKED, 1.0, 3600.0, 0.0, NOW)

    assert passes.places[VOLUME].status.blocked is None


def test_the_progress_at_one_place_is_not_shown_for_the_next() -> None:
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
