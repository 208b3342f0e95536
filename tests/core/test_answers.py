"""Answers: their states, and how they are stored."""

from datetime import timedelta
from itertools import product

import pytest
from pydantic import ValidationError

from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.artifacts.records import BackupType, TooManyValuesError
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import (
    COPYING,
    LEGACY_WORD,
    NEXT,
    Answer,
    AnswerHead,
    CopyState,
    DatabaseResult,
    Outcome,
    PlaceResult,
    State,
    rejected,
)
from backup_agent.core.requests.request import Request
from tests.builders import ATTRIBUTION, OFFSITE, TAKEN, TRACE, an_answer

NOW = TAKEN


def ended(outcome: Outcome, **fields: object) -> DatabaseResult:
    return DatabaseResult.model_validate({"outcome": outcome, **fields})


def concluded(*results: DatabaseResult, warnings: tuple[str, ...] = ()) -> Answer:
    named = {f"db{number}": result for number, result in enumerate(results)}
    return an_answer(state=State.RUNNING).with_results(named, warnings).concluded(NOW)


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_a_state_can_follow_only_if_the_table_has_it(before: State, after: State) -> None:
    one = an_answer(state=before)
    if after in NEXT[before]:
        assert one.becomes(after, NOW).state is after
    else:
        with pytest.raises(ValueError, match="cannot become"):
            one.becomes(after, NOW)


def test_every_final_state_has_a_word_for_scripts_of_the_predecessor() -> None:
    assert {state for state in State if state.final} == set(LEGACY_WORD)


OK = ended(Outcome.SUCCEEDED)
WARNED = ended(Outcome.SUCCEEDED_WITH_WARNINGS, warnings=("a server was down",), reason=Reason.COPIES_OWED)
BAD = DatabaseResult().failed(Failure(Reason.STALLED, "no bytes"), NOW)
GONE = DatabaseResult().failed(Failure(Reason.CANCELLED, "by x"), NOW)


@pytest.mark.parametrize(
    ("results", "state", "reason"),
    [
        pytest.param([OK, OK], State.SUCCEEDED, None, id="all good"),
        pytest.param([OK, WARNED], State.SUCCEEDED_WITH_WARNINGS, Reason.COPIES_OWED, id="one with warnings"),
        pytest.param([OK, BAD], State.FAILED, Reason.STALLED, id="one bad"),
        pytest.param([WARNED, BAD], State.FAILED, Reason.STALLED, id="a failure outweighs warnings"),
        pytest.param([BAD, GONE], State.CANCELLED, Reason.CANCELLED, id="a cancellation outweighs all"),
    ],
)
def test_the_state_of_a_request_follows_from_its_databases(
    results: list[DatabaseResult], state: State, reason: Reason | None
) -> None:
    one = concluded(*results)

    assert (state, reason) == (one.state, one.reason)


def test_a_failure_names_each_database_and_has_a_hint() -> None:
    one = concluded(OK, BAD)

    assert one.error == "db1: no bytes"
    assert one.hint is not None
    assert "limits.stall_timeout" in one.hint


def test_warnings_of_the_request_itself_are_warnings() -> None:
    one = concluded(OK, warnings=("sales is no longer listed",))

    assert (State.SUCCEEDED_WITH_WARNINGS, "sales is no longer listed") == (one.state, one.error)


def test_open_databases_are_those_without_a_verdict() -> None:
    one = an_answer().with_results({"a": OK, "b": ended(Outcome.INTERRUPTED), "c": ended(Outcome.RUNNING)}, ())

    assert ("b", "c") == one.open


def test_an_answer_survives_a_round_trip_through_json() -> None:
    one = concluded(OK, BAD).model_copy(update={"finished": NOW + timedelta(seconds=1)})

    assert one == Answer.model_validate_json(one.to_json())


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        pytest.param(None, State.SUCCEEDED, id="all done"),
        pytest.param(Failure(Reason.FOREIGN_ROOT, "another's"), State.FAILED, id="one refused"),
        pytest.param(Failure(Reason.CANCELLED, "by x"), State.CANCELLED, id="cancelled"),
    ],
)
def test_the_state_of_a_request_follows_from_its_places(failure: Failure | None, state: State) -> None:
    done = PlaceResult(outcome=Outcome.SUCCEEDED)
    one = an_answer(state=State.RUNNING, action="prune", request={"action": "prune"}).with_place(VOLUME, done)
    ended = one.with_place(OFFSITE, done.failed(failure) if failure else done).concluded(NOW)

    assert ended.asked.action == "prune"
    assert ended.state is state
    assert ended.error == (f"offsite: {failure.error}" if failure else None)


def test_an_error_of_a_place_that_begins_with_its_name_has_the_name_once() -> None:
    one = an_answer(state=State.RUNNING, action="hold", request={"action": "hold"})
    failure = Failure(Reason.NOT_FOUND, "offsite: no artifact matches")

    assert one.with_place(OFFSITE, PlaceResult().failed(failure)).concluded(NOW).error == failure.error


def test_a_new_result_of_a_database_replaces_the_old_one() -> None:
    one = an_answer().with_results({"a": ended(Outcome.RUNNING)}, ()).with_result("a", OK)

    assert one.databases == {"a": OK}


def test_a_rejection_has_every_fault() -> None:
    one = rejected(id="t", intake="t", files=("x.json",), faults=("a", "b"), now=NOW)

    assert (State.REJECTED, Reason.INVALID_REQUEST, "a\nb") == (one.state, one.reason, one.error)


def test_unknown_fields_of_a_stored_request_are_ignored() -> None:
    kept = an_answer(request={"type": "FULL", "priority": 5})

    assert Answer.from_json(kept.to_json()).asked == Request(type=BackupType.FULL)
    assert Answer.from_json(an_answer(request=None, state=State.REJECTED).to_json()).request is None
    with pytest.raises(ValidationError, match="action"):
        Answer.from_json(an_answer(request={"action": "replicate"}).to_json())


def test_log_lines_have_the_requester_the_reason_and_the_trace() -> None:
    attribution = {
        "requested_by": ATTRIBUTION["requested_by"],
        "request_reason": ATTRIBUTION["reason"],
        "labels": ATTRIBUTION["labels"],
    }

    assert an_answer(request=ATTRIBUTION).attribution == attribution
    assert an_answer(request={**ATTRIBUTION, "traceparent": TRACE}).attribution == {
        **attribution,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    assert an_answer(request=None).attribution == an_answer(request={"reason": ""}).attribution == {}


def test_a_request_expires_only_after_the_time_not_after() -> None:
    asked = an_answer(request={"not_after": NOW.isoformat()})
    failure = asked.expired(NOW + timedelta(seconds=1))

    assert asked.expired(NOW) is None
    assert failure is not None
    assert failure.reason is Reason.EXPIRED
    assert an_answer().expired(NOW) is an_answer(request=None).expired(NOW) is None


def test_the_head_of_an_answer_can_be_read_alone() -> None:
    one = rejected(id="x", intake="t", files=("x.request",), faults=("no",), now=NOW)
    head = AnswerHead.from_json(one.to_json())

    assert Answer.from_json(one.to_json()) == one
    assert (head.id, head.intake, head.state, head.received, head.finished) == ("x", "t", State.REJECTED, NOW, NOW)


@pytest.mark.parametrize("kind", [Answer, AnswerHead])
def test_an_answer_with_too_many_values_is_refused_before_parsing(kind: type[Answer] | type[AnswerHead]) -> None:
    with pytest.raises(TooManyValuesError, match="more than 500000 values"):
        kind.from_json(b'{"databases":[' + b"{}," * 400_000 + b"{}]}")


def test_a_pass_in_slices_has_begun_once_the_amount_is_known() -> None:
    assert [PlaceResult(artifacts=count).begun for count in (None, 0, 3)] == [False, True, True]


def test_open_databases_have_valid_names() -> None:
    unmatched = an_answer(databases={"or*": BAD, "orders": DatabaseResult()})

    assert unmatched.open == ("orders",)
    with pytest.raises(ValidationError, match="is not the name of a database"):
        an_answer(databases={"../etc": DatabaseResult()})


S3 = PlaceName("s3")
RECORDED = ended(
    Outcome.RECORDED, artifact="a", finished=NOW, copies={OFFSITE: CopyState.WAITING, S3: CopyState.WAITING}
)
UNREACHABLE = Failure(Reason.STORAGE_UNREACHABLE, "no route to the bucket")
LATER = NOW + timedelta(seconds=30)


def test_a_result_is_final_once_its_last_copy_has_ended() -> None:
    one = RECORDED.copied(OFFSITE, None, LATER)
    last = one.copied(S3, None, LATER)

    assert (one.outcome, one.awaited) == (Outcome.RECORDED, (S3,))
    assert (last.outcome, last.awaited, last.stages) == (Outcome.SUCCEEDED, (), {COPYING: 30.0})


def test_a_copy_that_failed_is_a_warning_with_its_place_and_hint() -> None:
    one = RECORDED.copied(OFFSITE, UNREACHABLE, LATER).copied(S3, None, LATER)

    assert (one.outcome, one.reason) == (Outcome.SUCCEEDED_WITH_WARNINGS, Reason.COPIES_OWED)
    assert one.warnings == ("copy to offsite is missing: no route to the bucket",)
    assert one.copies == {OFFSITE: CopyState.OWED, S3: CopyState.STORED}
    assert f"offsite: {UNREACHABLE.advice}" in (one.hint or "")


def test_a_request_waits_only_for_copies_once_all_its_backups_have_ended() -> None:
    backing_up = an_answer(selected=True).with_results({"a": RECORDED, "b": ended(Outcome.RUNNING)}, ())
    waiting = backing_up.with_result("b", RECORDED.copied(OFFSITE, None, LATER))

    assert not backing_up.only_copies
    assert backing_up.recorded(NOW) is None
    assert waiting.only_copies
    assert waiting.awaited == ("a", "b")
    assert waiting.waiting_for_copies().progress == {"copies": 1, "of": 4}


def test_a_request_that_does_not_wait_for_copies_ends_with_its_last_recorded_artifact() -> None:
    one = an_answer(selected=True, state=State.RUNNING).with_result("a", RECORDED)
    final = one.recorded(LATER)

    assert final is not None
    assert (final.state, final.databases["a"].outcome) == (State.SUCCEEDED, Outcome.SUCCEEDED)
    assert final.recorded(NOW) is final


def test_a_cancelled_wait_for_copies_says_that_the_copies_are_still_made() -> None:
    one = RECORDED.copied(S3, None, LATER).given_up(Failure(Reason.CANCELLED, "by x"), LATER)

    assert one.outcome is Outcome.CANCELLED
    assert one.error == "by x; a is recorded, and its copy is still made at offsite"
    assert one.copies == {OFFSITE: CopyState.OWED, S3: CopyState.STORED}


def test_a_result_that_awaits_no_copy_keeps_its_outcome_without_copies() -> None:
    assert OK.without_copies() is OK
