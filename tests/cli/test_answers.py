"""Answers as text: waiting requests, verified artifacts and those that were not read, deletions."""

from datetime import UTC, datetime

from backup_agent.cli import answers
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import (
    Answer,
    DatabaseResult,
    Deletion,
    NotRead,
    Outcome,
    PlaceResult,
    State,
    Unread,
)
from tests.builders import an_answer

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
READ = PlaceResult(
    outcome=Outcome.SUCCEEDED_WITH_WARNINGS,
    artifacts=6,
    size=6 << 30,
    read=4,
    read_size=4 << 30,
    verified=3,
    healed=(KEY,),
    not_read=(
        Unread(why=NotRead.NOT_REACHED, artifacts=2, size=2 << 30, keys=("a", "b")),
        Unread(why=NotRead.RECORD_UNREADABLE, artifacts=6, keys=(KEY, *"bcdef")),
    ),
    warnings=("local: records or marks that cannot be read (6): …",),
)


def verify_answer(state: State = State.RUNNING, **fields: object) -> Answer:
    return Answer.model_validate(
        {"id": "v", "state": state, "action": "verify", "intake": "t", "received": NOW, "request": {}, **fields}
    )


def test_a_queued_request_shows_the_request_before_it() -> None:
    answer = Answer(id="b", state=State.QUEUED, intake="t", received=NOW, position=2)

    assert answers.stage(answer) == "queued position 2"
    assert answers.stage(answer.model_copy(update={"behind": "a"})) == "queued position 2, behind a"


def test_excluded_databases_are_shown_with_the_reason() -> None:
    answer = Answer(id="b", state=State.QUEUED, intake="t", received=NOW).with_results(
        {"orders": DatabaseResult(outcome=Outcome.SUCCEEDED)}, (), {DatabaseName("web"): "is a sharded database"}
    )

    assert answers.lines(answer.concluded(NOW)) == [
        "b: succeeded",
        "  orders:",
        "  not backed up: web is a sharded database",
    ]


def test_unread_artifacts_are_listed_by_reason_with_bytes_and_names() -> None:
    answer = verify_answer(places={"local": READ}).concluded(NOW)

    assert answers.lines(answer) == [
        "v: succeeded_with_warnings",
        "  local: 3 read again and undamaged, 1 healed, 4 of 6 artifacts and 4.0 GiB of 6.0 GiB done",
        f"    healed: {KEY}",
        "    not read, not reached: 2, 2.0 GiB",
        f"    not read, record unreadable: 6: {KEY}, b, c, d, e, …",
        "    WARNING: local: records or marks that cannot be read (6): …",
    ]


def test_the_error_of_a_failed_pass_is_shown_beside_the_unread_artifacts() -> None:
    place = PlaceResult(verified=0, not_read=READ.not_read[:1]).failed(
        Failure(Reason.NOTHING_VERIFIED, "local: nothing")
    )
    lines = answers.lines(verify_answer(places={"local": place}).concluded(NOW))

    assert lines[:4] == [
        "v: failed (nothing_verified)",
        "  local: 0 read again and undamaged",
        "    not read, not reached: 2, 2.0 GiB",
        "  local: nothing",
    ]


def test_the_amount_to_read_is_shown_before_the_progress() -> None:
    facts = {"place": "local", "read": 2, "artifacts": 6, "bytes": 1 << 30, "total": 6 << 30}
    known = verify_answer(stage="verify local", progress={**facts, "estimated_seconds": 7200.0})
    unknown = verify_answer(stage="verify local", progress=facts)

    assert answers.stage(known) == "running verify local (6 artifacts, 6.0 GiB, about 2.0 h; backups come first)"
    assert answers.stage(unknown) == "running verify local (6 artifacts, 6.0 GiB, an unknown time; backups come first)"
    assert "a few minutes at most" in answers.stage(
        verify_answer(stage="x", progress={**facts, "estimated_seconds": 9.0})
    )
    assert answers.progress(known) == "2 of 6 artifacts, 1.0 GiB of 6.0 GiB"


def test_selected_artifacts_are_listed_with_their_outcomes() -> None:
    result = PlaceResult(outcome=Outcome.SUCCEEDED, marked=1, marked_keys=("default/orders/x.backup",), warnings=("y",))
    shown = [answers.lines(an_answer(action=action, places={"local": result}))[1:] for action in ("hold", "release")]

    assert shown[0] == [
        "  local: 1 artifact matched and held; artifacts taken later are not held",
        "    default/orders/x.backup",
        "    WARNING: y",
    ]
    assert shown[1][0] == "  local: 1 artifact matched and released"


def test_deletions_that_an_answer_does_not_name_are_counted_and_found_in_the_audit_log() -> None:
    deletion = Deletion(key="default/orders/x.backup", size=5, reason="no rule keeps it")
    result = PlaceResult(outcome=Outcome.SUCCEEDED, plan="0123", kept=1, deletions=(deletion,), more_deletions=7)
    found = [line.strip() for line in answers.lines(an_answer(action="prune", places={"local": result}))]

    assert "and 7 more: backup-agent history --kind deleted --plan 0123" in found
    assert "local: 8 would be deleted; 1 artifact kept, plan 0123" in found


def test_a_queued_request_shows_the_request_before_it_and_what_it_waits_for() -> None:
    queued = an_answer(position=2, behind="nightly@1", waits_for="the end of the pause")

    assert answers.stage(queued) == "queued position 2, behind nightly@1 (waits for the end of the pause)"
    assert answers.stage(an_answer(waits_for="copies at offsite")) == "queued (waits for copies at offsite)"
