"""The answer to a request, from its acceptance to its final state. It is also the request's entry in the ledger.

The agent continues after a crash from the same values that a person reads in `x.status.json`. Answers are immutable: a
change returns a new one. `NEXT` has the states that may follow each state.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, RequestId, SetName, database_name
from backup_agent.core.artifacts.records import StoredPart, StoredValue, Value, few_values
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.request import Request

MOST_VALUES = 500_000
"""Approximate limit of JSON values in an answer (records.few_values). With 1,500 databases it has 100,000."""

LARGEST = 16 * 2**20
"""Size of the largest answer in bytes. A larger file was not written by the agent."""


class State(StrEnum):
    """The state of a request. The last five are final: an accepted request reaches one of them exactly once."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    SUCCEEDED_WITH_WARNINGS = "succeeded_with_warnings"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def final(self) -> bool:
        """Whether no other state can follow."""
        return not NEXT[self]


NEXT: dict[State, tuple[State, ...]] = {
    State.QUEUED: (State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED),
    State.RUNNING: (State.SUCCEEDED, State.SUCCEEDED_WITH_WARNINGS, State.FAILED, State.CANCELLED),
    State.SUCCEEDED: (),
    State.SUCCEEDED_WITH_WARNINGS: (),
    State.FAILED: (),
    State.CANCELLED: (),
    State.REJECTED: (),
}

LEGACY_WORD = {
    State.SUCCEEDED: "COMPLETED",
    State.SUCCEEDED_WITH_WARNINGS: "COMPLETED",
    State.FAILED: "FAILED",
    State.CANCELLED: "FAILED",
    State.REJECTED: "FAILED",
}
"""Final state -> the word in `backup.status`, for scripts that were written for the agent's predecessor."""


class Outcome(StrEnum):
    """The state of one database or place of a request."""

    WAITING = "waiting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """The attempt ended without a verdict.

    The next attempt is made after all other backups, while no other backup runs.
    """
    RECORDED = "recorded"
    """The artifact is recorded on the volume, and copies of it are awaited. No attempt is needed any more."""
    SUCCEEDED = "succeeded"
    SUCCEEDED_WITH_WARNINGS = "succeeded_with_warnings"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (Outcome.WAITING, Outcome.RUNNING, Outcome.INTERRUPTED)
"""The outcomes of which an attempt is needed or under way."""

COPYING = "copies"
"""The stage of a request whose backups have all ended, and that waits for copies; of a database, the time of that."""

MOST_ATTEMPTS = 2


class CopyState(StrEnum):
    """Whether a destination has its copy of an artifact."""

    WAITING = "waiting"
    """The request waits for the copy."""
    STORED = "stored"
    OWED = "owed"
    """The copy is missing. The agent still makes it, but the request does not wait for it."""


class DatabaseResult(StoredPart):
    """The result for one database of a request."""

    outcome: Outcome = Outcome.WAITING
    attempts: int = Field(default=0, description="number of attempts, stored before each starts")
    discovery: Literal["bolt", "last_topology", "static"] | None = None
    database_id: str | None = Field(default=None, description="databaseID of SHOW DATABASES")
    type: str | None = None
    type_reason: str | None = Field(default=None, description="why FULL or DIFF")
    artifact: str | None = Field(default=None, description="key of the artifact")
    size: int | None = Field(default=None, description="bytes")
    sha256: dict[str, str] = Field(default={}, description="SHA-256 of each file of the artifact")
    copies: dict[PlaceName, CopyState] = Field(default={}, description="destination -> waiting, stored, owed")
    adopted: bool = Field(default=False, description="finished before a crash and adopted after it")
    started: datetime | None = None
    finished: datetime | None = None
    duration_seconds: float | None = None
    stages: dict[str, float] = Field(default={}, description="seconds that each stage took")
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    error: str | None = None
    hint: str | None = None

    @property
    def open(self) -> bool:
        """Whether an attempt is needed or under way."""
        return self.outcome in OPEN

    @property
    def awaited(self) -> tuple[PlaceName, ...]:
        """The destinations whose copy of the artifact is awaited."""
        if self.outcome is not Outcome.RECORDED:
            return ()
        return tuple(place for place, copy in self.copies.items() if copy is CopyState.WAITING)

    def copied(self, place: PlaceName, failure: Failure | None, now: datetime) -> "DatabaseResult":
        """Return the result with the end of the wait for one copy: it is stored, or `failure` says why it is missing.

        If no copy is awaited any more, the outcome is final.
        """
        copy = CopyState.STORED if failure is None else CopyState.OWED
        changes: dict[str, Any] = {"copies": {**self.copies, place: copy}}
        if failure is not None:
            hints = (self.hint or Failure(Reason.COPIES_OWED, "").advice, f"{place}: {failure.advice}")
            changes |= {
                "warnings": (*self.warnings, f"copy to {place} is missing: {failure.error}"),
                "reason": Reason.COPIES_OWED,
                "hint": "; ".join(hints),
            }
        result = self.model_copy(update=changes)
        if result.awaited:
            return result
        waited = round((now - (self.finished or now)).total_seconds(), 3)
        return result.without_copies().model_copy(update={"stages": {**self.stages, COPYING: waited}})

    def without_copies(self) -> "DatabaseResult":
        """Return the result with the outcome that it has if no copies are awaited."""
        if self.outcome is not Outcome.RECORDED:
            return self
        outcome = Outcome.SUCCEEDED_WITH_WARNINGS if self.warnings else Outcome.SUCCEEDED
        return self.model_copy(update={"outcome": outcome})

    def given_up(self, failure: Failure, now: datetime) -> "DatabaseResult":
        """Return the result of a cancelled request that waited for copies of this database's artifact.

        The copies are still made, since they are missing.
        """
        text = f"{failure.error}; {self.artifact} is recorded, and its copy is still made at {', '.join(self.awaited)}"
        states = {place: CopyState.OWED if place in self.awaited else copy for place, copy in self.copies.items()}
        return self.model_copy(update={"copies": states}).failed(replace(failure, error=text), now)

    def failed(self, failure: Failure, now: datetime) -> "DatabaseResult":
        """Return the result with a failure: there is no verified artifact."""
        outcome = Outcome.CANCELLED if failure.reason is Reason.CANCELLED else Outcome.FAILED
        return self.model_copy(
            update={
                "outcome": outcome,
                "finished": now,
                "reason": failure.reason,
                "error": failure.error,
                "hint": failure.advice,
            }
        )


class Execution(Value):
    """How neo4j-admin was run for a backup. These fields are logged, but not part of the answer."""

    admin_version: str | None = None
    launch: str | None = None
    exit_code: int | None = None
    source: str | None = None
    """The server from which the backup was taken."""


class Deletion(StoredPart):
    """One artifact that a plan deletes."""

    key: str
    size: int = Field(description="bytes")
    reason: str = Field(description="why it is deleted, for people")


class NotRead(StrEnum):
    """Why a pass over a place did not read an artifact."""

    NOT_DUE = "not_due"
    """It was read within `verify.every`, or `verify.every` is null."""
    NOT_REACHED = "not_reached"
    """The time limit of the slice was reached, or the pass was cancelled."""
    KNOWN_DAMAGED = "known_damaged"
    """It is already marked as damaged, and healing was not requested."""
    RECORD_UNREADABLE = "record_unreadable"
    UNRECOGNISED = "unrecognised"
    """The agent neither wrote nor accepted its record."""
    NO_RECORD = "no_record"
    """There are files with an artifact's name, but no record."""
    NOT_RECORDED = "not_recorded"
    """Something that the requested artifact needs does not exist."""
    UNREADABLE = "unreadable"
    """One of its files cannot be opened or read."""
    ARCHIVED = "archived"
    """The object is in an archive storage class."""
    INTERRUPTED = "interrupted"
    """Backups have interrupted the reading too often."""


class Unread(StoredPart):
    """The artifacts that a pass did not read for one reason."""

    why: NotRead
    artifacts: int
    size: int = Field(default=0, description="bytes, as far as they are known")
    keys: tuple[str, ...] = Field(default=(), description="the first 20")


class PlaceResult(StoredPart):
    """The result at one place of a request for `prune` or `verify`, or of a `hold` or `release` that selects."""

    outcome: Outcome = Outcome.WAITING
    plan: str | None = Field(default=None, description="digest of the plan")
    kept: int | None = Field(default=None, description="number of artifacts that the plan keeps")
    deletions: tuple[Deletion, ...] = Field(default=(), description="the first 1000 deletions of the plan, in order")
    more_deletions: int | None = Field(
        default=None, description="further deletions of the plan; `backup-agent history --plan ID` shows all"
    )
    deleted: int | None = Field(default=None, description="artifacts deleted")
    freed: int | None = Field(default=None, description="bytes that this freed")
    kept_versions: int | None = Field(
        default=None,
        description="bytes that were deleted and stay there as old versions, which the agent never deletes",
    )
    left: int | None = Field(
        default=None, description="artifacts left for the next pass, because the time limit was reached"
    )
    verified: int | None = Field(default=None, description="number of artifacts that were read and are undamaged")
    damaged: tuple[str, ...] = Field(default=(), description="artifacts that differ from their record")
    healed: tuple[str, ...] = Field(default=(), description="artifacts replaced with an undamaged copy")
    artifacts: int | None = Field(default=None, description="for verify in slices: number of artifacts to read")
    size: int | None = Field(default=None, description="bytes of the artifacts to read")
    read: int | None = Field(default=None, description="number of artifacts that have been dealt with")
    read_size: int | None = Field(default=None, description="bytes of the artifacts that have been dealt with")
    estimated_seconds: float | None = Field(
        default=None, description="estimated seconds to read all, without the time that backups take"
    )
    not_read: tuple[Unread, ...] = Field(default=(), description="artifacts that were not read, and why")
    drills: dict[str, DrillOutcome] = Field(default={}, description="for drill: artifact -> outcome of its drill")
    marked: int | None = Field(default=None, description="number of artifacts that were held or released")
    marked_keys: tuple[str, ...] = Field(default=(), description="the first 1000 artifacts that were held or released")
    dropped: int | None = Field(default=None, description="missing copies that were given up")
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    error: str | None = None
    hint: str | None = None

    @property
    def begun(self) -> bool:
        """Whether the place is read in slices and the first slice has begun."""
        return self.artifacts is not None

    def failed(self, failure: Failure) -> "PlaceResult":
        """Return the result with a failure."""
        outcome = Outcome.CANCELLED if failure.reason is Reason.CANCELLED else Outcome.FAILED
        changes = {"outcome": outcome, "reason": failure.reason, "error": failure.error, "hint": failure.advice}
        return self.model_copy(update=changes)


_LOGGED = {"reason": "request_reason"}
"""Field of the attribution -> its name in log lines, where `reason` says why something failed."""


class AnswerHead(BaseModel):
    """The fields of an answer that the agent reads back from a file that others can write. Other fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_: Literal[1] = Field(default=1, alias="schema")
    id: RequestId
    intake: str
    state: State
    received: datetime
    finished: datetime | None = None

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse an answer. Raise ValueError if it is invalid or has too many values."""
        return cls.model_validate_json(few_values(data, MOST_VALUES))


class Answer(StoredValue):
    """The answer, as stored in `answers/<id>.json` (schema 1)."""

    id: RequestId
    state: State
    action: str = "backup"
    files: tuple[str, ...] = Field(default=(), description="names of the request files; none for a schedule")
    intake: str = Field(description="made when the file is taken; distinguishes a repeated id from a file read twice")
    schedule: str | None = None
    received: datetime
    started: datetime | None = None
    finished: datetime | None = None
    position: int | None = Field(default=None, description="position in the queue, 1 is next")
    behind: RequestId | None = Field(
        default=None, description="id of the request before it in the queue; for the next one, of a running request"
    )
    waits_for: str | None = Field(default=None, description="what a queued request waits for")
    stage: str | None = None
    progress: dict[str, Any] | None = Field(
        default=None, description="database, bytes and seconds of the present stage"
    )
    set: SetName | None = None
    set_note: str | None = Field(default=None, description="for an ad hoc set: how long it is kept")
    databases: dict[str, DatabaseResult] = Field(
        default={}, description="database, or requested name or glob that matches none -> result"
    )
    excluded: dict[DatabaseName, str] = Field(
        default={}, description="database that matches a glob of the request and is not backed up -> why"
    )
    selected: bool = Field(default=False, description="whether the databases have been chosen")
    places: dict[PlaceName, PlaceResult] = Field(default={}, description="place -> result of `prune` or `verify` there")
    marks: dict[PlaceName, str] = Field(default={}, description="place -> outcome of `hold` or `release` there")
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    error: str | None = None
    hint: str | None = None
    request: dict[str, Any] | None = Field(default=None, description="the request; absent if it was rejected")

    @model_validator(mode="after")
    def _open_ones_are_databases(self) -> Self:
        _ = self.open, self.awaited
        return self

    @property
    def asked(self) -> Request:
        """The parsed request, without fields that only a newer agent knows."""
        return _request(self.request or {})

    @property
    def attribution(self) -> dict[str, object]:
        """The fields of a log line that say who asked, why, with which labels, and in which trace, as far as known."""
        if not self.request:
            return {}
        asked = self.asked
        given = {_LOGGED.get(name, name): value for name, value in asked.fields_given().items()}
        return given if asked.trace_id is None else {**given, "trace_id": asked.trace_id}

    def expired(self, now: datetime) -> Failure | None:
        """Return a failure if `not_after` of the request has passed, else None."""
        not_after = self.asked.not_after if self.request and "not_after" in self.request else None
        if not_after is None or now <= not_after:
            return None
        return Failure(Reason.EXPIRED, f"the request had not started before its `not_after`, {not_after.isoformat()}")

    def becomes(self, state: State, now: datetime, failure: Failure | None = None) -> "Answer":
        """Return the answer in another state. Raise ValueError if `NEXT` does not allow it."""
        if state not in NEXT[self.state]:
            raise ValueError(f"{self.id}: {self.state} cannot become {state}")
        changes: dict[str, Any] = {"state": state, "position": None, "behind": None, "waits_for": None}
        if state is State.RUNNING:
            changes["started"] = now
        if state.final:
            changes |= {"finished": now, "stage": None, "progress": None}
        if failure is not None:
            changes |= {"reason": failure.reason, "error": failure.error, "hint": failure.advice}
        return self.model_copy(update=changes)

    def with_result(self, name: str, result: DatabaseResult) -> "Answer":
        """Return the answer with a new result for one database, or for a requested name or glob."""
        return self.model_copy(update={"databases": {**self.databases, name: result}})

    def with_results(
        self,
        results: Mapping[str, DatabaseResult],
        warnings: tuple[str, ...],
        excluded: Mapping[DatabaseName, str] | None = None,
    ) -> "Answer":
        """Return the answer after its databases were selected."""
        changes: dict[str, Any] = {"databases": dict(results), "selected": True, "excluded": dict(excluded or {})}
        return self.model_copy(update={**changes, "warnings": self.warnings + warnings})

    def with_place(self, place: PlaceName, result: PlaceResult) -> "Answer":
        """Return the answer with a new result for one place."""
        return self.model_copy(update={"places": {**self.places, place: result}})

    @property
    def open(self) -> tuple[DatabaseName, ...]:
        """The databases whose attempt is needed or under way."""
        return tuple(self.each_open())

    def each_open(self) -> Iterator[DatabaseName]:
        """Like `open`, but one at a time: a caller that needs only the first one of 1,500 is not kept waiting."""
        for name, result in self.databases.items():
            if result.outcome in OPEN:
                yield database_name(name)

    @property
    def attempted(self) -> bool:
        """Whether the databases have been chosen, and no attempt is needed or under way.

        The last databases are looked at first, since those of a request are backed up in order.
        """
        return self.selected and not any(result.open for result in reversed(self.databases.values()))

    @property
    def awaited(self) -> tuple[DatabaseName, ...]:
        """The databases whose artifact is recorded and whose copies are awaited."""
        return tuple(database_name(name) for name, result in self.databases.items() if result.awaited)

    @property
    def only_copies(self) -> bool:
        """Whether all backups of the request have ended, and it waits only for copies."""
        if not self.attempted:
            return False
        return any(result.outcome is Outcome.RECORDED for result in self.databases.values())

    def waiting_for_copies(self) -> "Answer":
        """Return the answer of a request that waits only for copies, with its progress: copies that have ended."""
        copies = [copy for result in self.databases.values() for copy in result.copies.values()]
        done = sum(copy is not CopyState.WAITING for copy in copies)
        return self.model_copy(update={"stage": COPYING, "progress": {"copies": done, "of": len(copies)}})

    def recorded(self, now: datetime) -> "Answer | None":
        """Return the answer as it would end without its copies: itself if it is final, None before all backups end."""
        if self.state.final:
            return self
        if not self.only_copies:
            return None
        results = {name: result.without_copies() for name, result in self.databases.items()}
        return self.model_copy(update={"databases": results}).concluded(now)

    def concluded(self, now: datetime) -> "Answer":
        """Return the final answer of a request whose databases and places are all done.

        It is failed if any of them failed, with the reason of the first failure and all errors by name; cancelled if
        any of them was cancelled; else succeeded, with or without warnings.
        """
        results: list[tuple[str, DatabaseResult | PlaceResult]] = [*self.databases.items(), *self.places.items()]
        bad = {name: r for name, r in results if r.outcome in (Outcome.FAILED, Outcome.CANCELLED)}
        if bad:
            cancelled = [r for r in bad.values() if r.outcome is Outcome.CANCELLED]
            cause = cancelled[0] if cancelled else next(iter(bad.values()))
            failure = Failure(
                cause.reason or Reason.INTERNAL,
                "\n".join(_named(name, result.error) for name, result in bad.items()),
                cause.hint or "",
            )
            return self.becomes(State.CANCELLED if cancelled else State.FAILED, now, failure)
        warned = [r for _, r in results if r.outcome is Outcome.SUCCEEDED_WITH_WARNINGS]
        if not warned and not self.warnings:
            return self.becomes(State.SUCCEEDED, now)
        warnings = [w for r in warned for w in r.warnings] + list(self.warnings)
        first = next((r for r in warned if r.reason), None)
        answer = self.becomes(State.SUCCEEDED_WITH_WARNINGS, now)
        return answer.model_copy(
            update={
                "reason": first.reason if first else None,
                "error": "\n".join(warnings) or None,
                "hint": first.hint if first else None,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse an answer. Raise ValueError if the answer or its request is invalid, or if it has too many values."""
        answer = cls.model_validate_json(few_values(data, MOST_VALUES))
        if answer.request is not None:
            _request(answer.request)
        return answer

    def to_json(self) -> bytes:
        """Return the stored form of the answer: UTF-8 JSON without null values."""
        return self.model_dump_json(by_alias=True, indent=2, exclude_none=True).encode() + b"\n"


def _named(name: str, error: str | None) -> str:
    """Return an error with the name of its database or place, which an error of a place may already begin with."""
    return error if error is not None and error.startswith(f"{name}: ") else f"{name}: {error}"


def _request(kept: Mapping[str, Any]) -> Request:
    return Request.model_validate({name: kept[name] for name in kept if name in Request.model_fields})


def rejected(
    *,
    id: str,  # noqa: A002  the field's own name
    intake: str,
    files: tuple[str, ...],
    faults: tuple[str, ...],
    now: datetime,
) -> Answer:
    """Return the answer to an invalid request. It contains nothing of the file's content."""
    failure = Failure(Reason.INVALID_REQUEST, "\n".join(faults))
    return Answer(
        id=id,
        state=State.REJECTED,
        intake=intake,
        files=files,
        received=now,
        finished=now,
        reason=failure.reason,
        error=failure.error,
        hint=failure.advice,
    )
