"""The canonical log lines: one for each backup, pass and request, with its level and all of its fields.

Each line is built by one function that names every field. A line is logged after all other effects of the event.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.protection.health import Health, HealthState
from backup_agent.core.requests.answers import Answer, DatabaseResult, Execution, Outcome, PlaceResult, State
from backup_agent.core.requests.events import ArtifactDrilled, CopyStored

LEVELS: dict[str, int] = {
    Outcome.INTERRUPTED: logging.WARNING,
    State.SUCCEEDED_WITH_WARNINGS: logging.WARNING,
    State.FAILED: logging.ERROR,
    State.CANCELLED: logging.WARNING,
    State.REJECTED: logging.WARNING,
}
"""The level at which the end of a backup, a pass or a request is logged, if it is not INFO.

An outcome and a state of the same name are equal strings, so one entry serves both.
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class LogLine:
    """One line of the log."""

    level: int
    event: str
    fields: Mapping[str, object]

    def log(self) -> None:
        """Write the line."""
        log.log(self.level, self.event, **self.fields)


def backup_ended(
    answer: Answer, run: str, set_name: SetName, database: DatabaseName, result: DatabaseResult, execution: Execution
) -> LogLine:
    """Return the line for the end of one attempt at one database."""
    fields = {
        "request": answer.id,
        **answer.attribution,
        "schedule": answer.schedule,
        "run": run,
        "set": set_name,
        "database": database,
        "outcome": result.outcome.value,
        "attempts": result.attempts,
        "discovery": result.discovery,
        "database_id": result.database_id,
        "type": result.type,
        "type_reason": result.type_reason,
        "artifact": result.artifact,
        "size": result.size,
        "sha256": result.sha256,
        "copies": result.copies,
        "adopted": result.adopted,
        "duration_seconds": result.duration_seconds,
        "stages": result.stages,
        "warnings": result.warnings,
        "reason": result.reason,
        "error": result.error,
        "admin_version": execution.admin_version,
        "launch": execution.launch,
        "exit_code": execution.exit_code,
        "source": execution.source,
    }
    return LogLine(LEVELS.get(result.outcome, logging.INFO), "backup ended", _known(fields))


def copy_ended(place: PlaceName, answer: Answer | None, event: CopyStored) -> LogLine:
    """Return the line for a copy that was made; `answer` is that of the request that waits for it, if there is one."""
    fields = {
        "place": place,
        "artifact": event.key,
        "type": event.type,
        "bytes": event.bytes,
        "seconds": event.seconds,
        "request": answer.id if answer is not None else None,
        **(answer.attribution if answer is not None else {}),
    }
    return LogLine(logging.INFO, "copy ended", _known(fields))


def request_accepted(answer: Answer) -> LogLine:
    """Return the line for a request that was taken from the folder, accepted or rejected."""
    fields = {
        "request": answer.id,
        "action": answer.action,
        **answer.attribution,
        "state": answer.state.value,
        "files": answer.files,
        "error": answer.error,
    }
    return LogLine(LEVELS.get(answer.state, logging.INFO), "request", _known(fields))


def request_answered(answer: Answer) -> LogLine:
    """Return the line for a request that has reached a final state."""
    fields = {
        "request": answer.id,
        "action": answer.action,
        **answer.attribution,
        "state": answer.state.value,
        "reason": answer.reason,
        "error": answer.error,
        "databases": {name: result.outcome.value for name, result in answer.databases.items()},
        "places": {name: result.outcome.value for name, result in answer.places.items()},
    }
    return LogLine(LEVELS.get(answer.state, logging.INFO), "request answered", _known(fields))


def retention_ended(place: PlaceName, answer: Answer | None, result: PlaceResult, seconds: float) -> LogLine:
    """Return the line for the end of a pass of retention; `answer` is None if no request asked for the pass."""
    if answer is not None and answer.asked.dry_run:
        event = "retention planned"
    elif result.outcome in (Outcome.SUCCEEDED, Outcome.SUCCEEDED_WITH_WARNINGS):
        event = "retention applied"
    else:
        event = "retention not applied"
    fields = {
        "place": place,
        "request": answer.id if answer is not None else None,
        **(answer.attribution if answer is not None else {}),
        "kept": result.kept,
        "deleted": result.deleted,
        "freed": result.freed,
        "kept_versions": result.kept_versions,
        "left": result.left,
        "warnings": result.warnings,
        "reason": result.reason,
        "error": result.error,
        "seconds": round(seconds, 3),
    }
    return LogLine(LEVELS.get(result.outcome, logging.INFO), event, _known(fields))


def health_changed(health: Health, before: HealthState) -> LogLine:
    """Return the line for a change of health."""
    levels = {HealthState.DEGRADED: logging.WARNING, HealthState.FAILING: logging.ERROR}
    fields = {"health": health.text, "before": before.value}
    return LogLine(levels.get(health.state, logging.INFO), "health changed", fields)


def drilled(answer: Answer | None, event: ArtifactDrilled) -> LogLine:
    """Return the line for the end of a drill."""
    one = event.evidence
    fields = {
        "request": answer.id if answer is not None else None,
        **(answer.attribution if answer is not None else {}),
        "place": one.place,
        "artifact": one.key,
        "drill_level": one.level.value,
        "reached": one.reached.value if one.reached is not None else None,
        "marked_as_damaged": event.marked,
        "restore_seconds": one.restore_seconds,
        "stages": one.seconds,
        "reason": one.reason,
        "error": one.error,
        "hint": event.hint or None,
        "evidence_of_another_process": event.reported,
        "evidence_not_written": event.unwritten,
        "seconds": one.length,
    }
    return LogLine(_DRILL_LEVELS[one.outcome], f"drill {one.outcome.value.replace('_', ' ')}", _known(fields))


def drills_ended(place: PlaceName, answer: Answer | None, result: PlaceResult, seconds: float) -> LogLine:
    """Return the line for the end of the drills of a request."""
    fields = {
        "place": place,
        "request": answer.id if answer is not None else None,
        **(answer.attribution if answer is not None else {}),
        "drills": {key: outcome.value for key, outcome in result.drills.items()},
        "reason": result.reason,
        "error": result.error,
        "seconds": round(seconds, 3),
    }
    return LogLine(LEVELS.get(result.outcome, logging.INFO), "drills ended", _known(fields))


_DRILL_LEVELS = {
    DrillOutcome.PASSED: logging.INFO,
    DrillOutcome.ARTIFACT_FAILED: logging.ERROR,
    DrillOutcome.CONTENT_FAILED: logging.ERROR,
    DrillOutcome.NOT_DONE: logging.WARNING,
}


def _known(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields whose value is not None, False or an empty collection."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None and value is not False and value not in ({}, ())
    }
