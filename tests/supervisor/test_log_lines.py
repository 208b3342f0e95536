"""The canonical log lines have every known field, at a level that depends on the outcome."""

import inspect
import logging
from typing import Any

import pytest
import structlog

from backup_agent.core.artifacts.names import DEFAULT_SET, VOLUME
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.answers import DatabaseResult, Execution, Outcome, PlaceResult, State
from backup_agent.core.requests.events import CopyStored
from backup_agent.supervisor.status import log_lines
from tests.builders import ATTRIBUTION, OFFSITE, ORDERS, TAKEN, an_answer

NOW = TAKEN
ANSWER = an_answer(state=State.RUNNING, schedule="nightly", request={"type": "FULL"})
NOT_LOGGED = {"started", "finished", "hint"}
"""Fields of a result that the log line does not have under the same name."""

RESULT = DatabaseResult(
    outcome=Outcome.SUCCEEDED_WITH_WARNINGS,
    attempts=2,
    discovery="bolt",
    database_id="ID",
    type="FULL",
    type_reason="asked",
    artifact="default/orders/orders-2026-11-23T02-00-00.backup",
    size=7,
    sha256={"orders-2026-11-23T02-00-00.backup": "00"},
    copies={"offsite": "owed"},
    adopted=True,
    started=NOW,
    finished=NOW,
    duration_seconds=1.5,
    stages={"plan": 0.5},
    warnings=("a warning",),
    reason=Reason.COPIES_OWED,
    error="an error",
    hint="a hint",
)
EXECUTION = Execution(admin_version="2026.09.0", launch="direct", exit_code=0, source="server-0:6362")


def ended_line(result: DatabaseResult = RESULT, execution: Execution = EXECUTION) -> log_lines.LogLine:
    return log_lines.backup_ended(ANSWER, "one+orders+2", DEFAULT_SET, ORDERS, result, execution)


@pytest.mark.parametrize("name", sorted(DatabaseResult.model_fields.keys() - NOT_LOGGED))
def test_the_line_of_a_backup_has_each_field_of_its_result(name: str) -> None:
    assert ended_line().fields[name] == getattr(RESULT, name)
    assert getattr(RESULT, name), "the example says nothing about this field"


@pytest.mark.parametrize("name", sorted(Execution.model_fields))
def test_the_line_of_a_backup_says_how_neo4j_admin_was_run(name: str) -> None:
    assert ended_line().fields[name] == getattr(EXECUTION, name)


def test_the_line_of_a_backup_names_request_schedule_run_set_and_database() -> None:
    assert {
        "request": "one",
        "schedule": "nightly",
        "run": "one+orders+2",
        "set": "default",
        "database": "orders",
    }.items() <= ended_line().fields.items()


def test_unknown_fields_are_absent_and_an_exit_code_of_zero_is_known() -> None:
    line = ended_line(DatabaseResult(outcome=Outcome.SUCCEEDED), Execution(exit_code=0))

    assert line.fields == {
        "request": "one",
        "schedule": "nightly",
        "run": "one+orders+2",
        "set": "default",
        "database": "orders",
        "outcome": "succeeded",
        "attempts": 0,
        "exit_code": 0,
    }


def test_every_line_about_a_request_says_who_asked_and_why() -> None:
    asked = ANSWER.model_copy(update={"request": ATTRIBUTION})
    lines = [
        log_lines.backup_ended(asked, "one+orders+1", DEFAULT_SET, ORDERS, RESULT, EXECUTION),
        log_lines.request_accepted(asked),
        log_lines.request_answered(asked),
        log_lines.retention_ended(VOLUME, asked, PlaceResult(), 1.0),
        log_lines.copy_ended(OFFSITE, asked, CopyStored(key="k", type="FULL", bytes=7, seconds=0.5)),
    ]

    attribution = {
        "requested_by": ATTRIBUTION["requested_by"],
        "request_reason": ATTRIBUTION["reason"],
        "labels": ATTRIBUTION["labels"],
    }
    assert all(line.fields.items() >= attribution.items() for line in lines)
    assert not any(attribution.keys() & line.fields.keys() for line in LINES)


def test_a_line_of_an_accepted_request_has_no_field_without_a_value() -> None:
    assert "error" not in log_lines.request_accepted(ANSWER).fields


LINES = [
    ended_line(),
    log_lines.copy_ended(OFFSITE, ANSWER, CopyStored(key="k", type="FULL", bytes=7, seconds=0.5)),
    log_lines.request_accepted(ANSWER),
    log_lines.request_answered(ANSWER),
    log_lines.retention_ended(VOLUME, ANSWER, PlaceResult(outcome=Outcome.FAILED, error="an error"), 1.0),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.event)
def test_no_field_has_the_name_of_a_parameter_or_of_a_field_that_the_log_adds(line: log_lines.LogLine) -> None:
    parameters: Any = inspect.signature(structlog.make_filtering_bound_logger("DEBUG").log).parameters

    assert line.fields.keys() & {*parameters, "event", "level", "timestamp", "exc_info", "stack_info"} == set()


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.event)
def test_a_line_is_logged_with_its_event_level_and_fields(line: log_lines.LogLine) -> None:
    with structlog.testing.capture_logs() as logged:
        line.log()

    level = logging.getLevelName(line.level).lower()
    assert logged == [{"event": line.event, "log_level": level, **line.fields}]


OUTCOMES = {
    Outcome.WAITING: "INFO",
    Outcome.RUNNING: "INFO",
    Outcome.INTERRUPTED: "WARNING",
    Outcome.RECORDED: "INFO",
    Outcome.SUCCEEDED: "INFO",
    Outcome.SUCCEEDED_WITH_WARNINGS: "WARNING",
    Outcome.FAILED: "ERROR",
    Outcome.CANCELLED: "WARNING",
}
STATES = {
    State.QUEUED: "INFO",
    State.RUNNING: "INFO",
    State.SUCCEEDED: "INFO",
    State.SUCCEEDED_WITH_WARNINGS: "WARNING",
    State.FAILED: "ERROR",
    State.CANCELLED: "WARNING",
    State.REJECTED: "WARNING",
}


@pytest.mark.parametrize("outcome", Outcome)
def test_the_end_of_a_backup_or_a_pass_is_logged_at_the_level_of_its_outcome(outcome: Outcome) -> None:
    backup = ended_line(DatabaseResult(outcome=outcome))
    retention = log_lines.retention_ended(VOLUME, None, PlaceResult(outcome=outcome), 1.0)

    assert {logging.getLevelName(line.level) for line in (backup, retention)} == {OUTCOMES[outcome]}


@pytest.mark.parametrize("state", State)
def test_a_request_is_logged_at_the_level_of_its_state(state: State) -> None:
    answer = ANSWER.model_copy(update={"state": state})

    assert {
        logging.getLevelName(line.level)
        for line in (log_lines.request_accepted(answer), log_lines.request_answered(answer))
    } == {STATES[state]}
