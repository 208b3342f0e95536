"""The decisions about drills: levels, causes and outcomes, evidence, and the order within a budget."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName
from backup_agent.core.drill.admin_output import cause_of, how_it_ended, is_same_refusal, knows_no_command
from backup_agent.core.drill.budget import Candidate, cycle, fits, in_order
from backup_agent.core.drill.evidence import DatabaseDrills, Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.memory import drill_memory, least_memory
from backup_agent.core.drill.outcomes import CONSEQUENCES, DrillOutcome, DrillStoppedError, Stop, StopCause, is_marked
from backup_agent.core.neo4j.command import MIB, Launch
from backup_agent.core.neo4j.verdict import Completed, EndedBy
from backup_agent.core.reasons import Failure, Reason

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def ended(code: int | None, *lines: str, **how: object) -> Completed:
    return Completed(exit_code=code, last_lines=lines, **how)  # type: ignore[arg-type]  # fields by name


CAUSES = [
    (ended(0), None),
    (ended(1, "Not a valid Neo4j archive: x.backup"), None),
    (ended(1, "x is of a newer version than the current binaries."), StopCause.NEWER_VERSION),
    (ended(70, "Unsupported format backup format: BZV3"), StopCause.UNKNOWN_FORMAT),
    (ended(1, "Inconsistencies found. See 'r' for details."), StopCause.INCONSISTENT),
    (ended(1, "Please recover database before running the consistency check."), StopCause.NEEDS_RECOVERY),
    (ended(1, "Loading of differential Neo4j backup is not supported."), StopCause.COMMUNITY),
    (ended(1, "java.io.IOException: No space left on device"), StopCause.NO_ROOM),
    (ended(3, "java.lang.OutOfMemoryError: Java heap space"), StopCause.NO_MEMORY),
    (ended(1, "Error: could not find or load main class org.neo4j.cli.AdminTool"), StopCause.NO_PROGRAM),
    (ended(None, signal=9), StopCause.NO_MEMORY),
    (ended(137), StopCause.NO_MEMORY),
    (ended(143), StopCause.KILLED),
    (ended(64, "Unknown option: '--x'"), StopCause.PROGRAM_FAILED),
    (ended(70, "Unrecognized setting. No declared setting with name: x"), StopCause.PROGRAM_FAILED),
    (ended(None, ended_by=EndedBy.TIMEOUT), StopCause.TIMEOUT),
    (ended(143, ended_by=EndedBy.CANCELLED), StopCause.CANCELLED),
]


@pytest.mark.parametrize(("completed", "expected"), CAUSES)
def test_the_end_of_a_program_is_attributed_to_a_cause(completed: Completed, expected: StopCause | None) -> None:
    assert cause_of(completed) is expected


def test_the_message_of_a_neo4j_admin_without_the_command_restore_is_recognised() -> None:
    assert knows_no_command(ended(2, "Unmatched arguments from index 1: 'restore', '--from-path=x'"))
    assert not knows_no_command(ended(1, "Unmatched arguments from index 1: 'restore'"))
    assert not knows_no_command(ended(2, "another text"))


def test_lines_of_progress_are_left_out_of_the_quoted_output() -> None:
    lines = ("Files: 3/37, data:  9.3%", "....................  10%", "it is broken")

    assert how_it_ended(ended(1, *lines)) == "it ended with exit code 1\nit is broken"
    assert how_it_ended(ended(None, signal=9)) == "it was ended by signal 9"
    assert how_it_ended(ended(None, ended_by=EndedBy.TIMEOUT, duration=61.2)) == "it was ended (timeout) after 61 s"


def test_two_refusals_that_differ_only_in_numbers_count_as_the_same() -> None:
    assert is_same_refusal(ended(1, "bad page 17"), ended(1, "bad page 42"))
    assert not is_same_refusal(ended(1, "bad page 17"), ended(1, "bad log 17"))


def test_every_cause_has_a_consequence_and_few_are_the_fault_of_the_artifact() -> None:
    assert set(CONSEQUENCES) == set(StopCause)
    assert {cause for cause, one in CONSEQUENCES.items() if one.outcome is DrillOutcome.ARTIFACT_FAILED} == {
        StopCause.CHANGED,
        StopCause.BAD_CONTAINER,
        StopCause.OTHER_HEADER,
        StopCause.REFUSED_TWICE,
    }
    assert {cause for cause, one in CONSEQUENCES.items() if one.outcome is DrillOutcome.CONTENT_FAILED} == {
        StopCause.INCONSISTENT,
        StopCause.UNEXPECTED,
        StopCause.NOT_ONLINE,
    }


def test_a_failure_of_the_place_takes_precedence_over_that_of_the_cause() -> None:
    denied = Failure(Reason.STORAGE_AUTH, "no", "ask for access")

    assert Stop(StopCause.NOT_FETCHED, "denied", denied).as_failure == Failure(
        Reason.STORAGE_AUTH, "denied", "ask for access"
    )
    late = DrillStoppedError(StopCause.TIMEOUT, "late").stop
    assert (late.outcome, late.as_failure.reason) == (DrillOutcome.NOT_DONE, Reason.TIMEOUT)


@pytest.mark.parametrize(
    ("outcome", "other", "today", "trusted", "expected"),
    [
        (DrillOutcome.ARTIFACT_FAILED, True, False, True, True),
        (DrillOutcome.ARTIFACT_FAILED, False, False, True, False),
        (DrillOutcome.ARTIFACT_FAILED, True, True, True, False),
        (DrillOutcome.ARTIFACT_FAILED, True, False, False, False),
        (DrillOutcome.CONTENT_FAILED, True, False, True, False),
        (DrillOutcome.NOT_DONE, True, False, True, False),
        (DrillOutcome.PASSED, True, False, True, False),
    ],
)
def test_a_failed_artifact_is_marked_if_the_database_has_other_points_and_no_mark_of_today(
    outcome: DrillOutcome, other: bool, today: bool, trusted: bool, expected: bool
) -> None:
    assert is_marked(outcome, other_points=other, marked_today=today, trusted=trusted) is expected


def test_the_script_needs_more_memory_and_no_limit_leaves_the_choice_to_neo4j() -> None:
    assert least_memory(Level.QUERY, Launch.SCRIPT) > least_memory(Level.QUERY)
    assert drill_memory(None).heap is None
    assert drill_memory(256 * MIB).heap == 64 * MIB


def some_evidence(level: Level, outcome: DrillOutcome = DrillOutcome.PASSED, **fields: object) -> Evidence:
    facts = {
        "key": "default/orders/orders-2026-11-23T02-00-00.backup",
        "since": NOW + timedelta(seconds=30),
        "place": "local",
        "level": level,
        "reached": level if outcome is DrillOutcome.PASSED else None,
        "outcome": outcome,
        "started": NOW,
        "size": 1,
        "chain": {},
        "proven": True,
    }
    return Evidence.model_validate({**facts, **fields})


def test_evidence_replaces_that_of_a_lower_level_and_a_failure_replaces_any() -> None:
    read, check = some_evidence(Level.READ), some_evidence(Level.CHECK)

    assert check.replaces(None)
    assert check.replaces(read)
    assert not read.replaces(check)
    assert some_evidence(Level.READ, DrillOutcome.ARTIFACT_FAILED).replaces(check)
    assert read.replaces(some_evidence(Level.CHECK, DrillOutcome.CONTENT_FAILED))
    assert not some_evidence(Level.CHECK, DrillOutcome.NOT_DONE).replaces(read)


def test_each_level_has_its_last_proof_and_a_drill_that_was_not_done_changes_none() -> None:
    nothing = DatabaseDrills(place="local", set=DEFAULT_SET, database="orders")
    passed = nothing.after(some_evidence(Level.RESTORE, restore_seconds=7.5))
    not_done = passed.after(some_evidence(Level.CHECK, DrillOutcome.NOT_DONE), marked=NOW)

    assert passed.proven(Level.READ) == passed.proven(Level.RESTORE) == NOW + timedelta(seconds=30)
    assert passed.proven(Level.CHECK) is None
    assert (passed.took, passed.restore_seconds, passed.marked) == ({Level.RESTORE: 30.0}, 7.5, None)
    assert (not_done.passed, not_done.took, not_done.restore_seconds) == (passed.passed, passed.took, 7.5)
    assert not_done.last is not None
    assert not_done.last.outcome is DrillOutcome.NOT_DONE
    assert not_done.marked == NOW


def test_evidence_that_is_read_late_does_not_replace_newer_facts() -> None:
    nothing = DatabaseDrills(place="local", set=DEFAULT_SET, database="orders")
    earlier: dict[str, Any] = {"since": NOW - timedelta(hours=1), "started": NOW - timedelta(hours=2)}
    passed = nothing.after(some_evidence(Level.RESTORE, restore_seconds=7.5))
    late = passed.after(some_evidence(Level.CHECK, restore_seconds=99, **earlier))
    late_failure = passed.after(some_evidence(Level.CHECK, DrillOutcome.CONTENT_FAILED, **earlier))

    assert (late.last, late.last_done, late.took, late.restore_seconds) == (
        passed.last,
        passed.last_done,
        passed.took,
        7.5,
    )
    assert late.passed == {**passed.passed, Level.CHECK: NOW - timedelta(hours=1)}
    assert late_failure == passed
    assert passed.after(some_evidence(Level.RESTORE, restore_seconds=7.5)) == passed


def test_a_claim_proves_nothing_and_alerts_until_a_newer_drill() -> None:
    nothing = DatabaseDrills(place="local", set=DEFAULT_SET, database="orders")
    claimed = nothing.claims(some_evidence(Level.CHECK, DrillOutcome.ARTIFACT_FAILED))
    older: dict[str, Any] = {"since": NOW, "started": NOW}

    assert nothing.claims(some_evidence(Level.CHECK)).passed == {}
    assert claimed.failed == claimed.claimed
    assert claimed.failed is not None
    assert claimed.claims(some_evidence(Level.CHECK, **older)) == claimed
    assert claimed.claims(some_evidence(Level.CHECK)).failed is None
    assert claimed.after(some_evidence(Level.READ, **older)).failed == claimed.claimed
    newer: dict[str, Any] = {"since": NOW + timedelta(hours=1)}
    assert claimed.after(some_evidence(Level.READ, **newer)).failed is None
    failed = claimed.after(some_evidence(Level.READ, DrillOutcome.CONTENT_FAILED, **newer)).failed
    assert failed is not None
    assert failed.outcome is DrillOutcome.CONTENT_FAILED


def test_a_drill_whose_clock_went_backwards_took_no_time() -> None:
    assert some_evidence(Level.READ, started=NOW + timedelta(hours=1)).length == 0


def a_candidate(database: str, proven: int | None, tried: int | None = None, seconds: float | None = None) -> Candidate:
    def at(hours: int | None) -> datetime | None:
        return None if hours is None else NOW + timedelta(hours=hours)

    return Candidate(DEFAULT_SET, DatabaseName(database), at(proven), at(tried), seconds)


def test_databases_without_a_proof_come_first_and_then_those_with_the_oldest_proof() -> None:
    listed = [
        a_candidate("new", 5),
        a_candidate("old", 1),
        a_candidate("tried", None, 4),
        a_candidate("never", None),
        a_candidate("again", None),
    ]

    assert [one.database for one in in_order(listed)] == ["again", "never", "tried", "old", "new"]


def test_the_first_drill_of_a_run_always_fits_and_others_if_there_is_time() -> None:
    long = a_candidate("orders", None, seconds=100)

    assert fits(long, 0, 10)
    assert fits(long, 50, 150)
    assert not fits(long, 51, 150)
    assert fits(a_candidate("unknown", None), 149, 150)


def test_a_cycle_is_as_many_runs_as_its_drills_need() -> None:
    hour = timedelta(hours=1)

    assert cycle([1800, 1800, 1801], hour, 24 * hour) == 48 * hour
    assert cycle([7200, 60], hour, 24 * hour) == 48 * hour
    assert cycle([], hour, 24 * hour) == timedelta(0)
