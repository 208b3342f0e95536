"""The answer to a request, from its acceptance to its last state: also the spool's ledger entry.

One value serves both, so what an SRE reads in `x.status.json` is what the agent itself goes on with after a crash.
A change is a new value with a verb; the states and what may follow each stand in `NEXT`.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName, database_name
from backup_agent.core.artifacts.records import StoredPart, StoredValue, Value, few_values
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.request import Request

MOST_VALUES = 500_000
"""The most values of an answer, roughly (records.few_values): one of 1,500 databases has 100,000."""

LARGEST = 16 * 2**20
"""The most bytes of an answer. A file that has more was not written by the agent."""


class State(StrEnum):
    """Where a request stands. The last five are final: an accepted request reaches one of them exactly once."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    SUCCEEDED_WITH_WARNINGS = "succeeded_with_warnings"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
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
"""The one word in `backup.status`, for callers of the predecessor. A state that is not final has none."""


class Outcome(StrEnum):
    """Where one database of a request stands."""

    WAITING = "waiting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Its attempt ended without a verdict; it is tried once more, alone and after the others."""
    SUCCEEDED = "succeeded"
    SUCCEEDED_WITH_WARNINGS = "succeeded_with_warnings"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (Outcome.WAITING, Outcome.RUNNING, Outcome.INTERRUPTED)
MOST_ATTEMPTS = 2


class CopyState(StrEnum):
    """Whether a destination has its copy of an artifact."""

    STORED = "stored"
    OWED = "owed"


class DatabaseResult(StoredPart):
    """What became of one database of a request."""

    outcome: Outcome = Outcome.WAITING
    attempts: int = Field(default=0, description="starts, written down before each")
    discovery: Literal["bolt", "last_topology", "static"] | None = None
    database_id: str | None = Field(default=None, description="databaseID of SHOW DATABASES")
    type: str | None = None
    type_reason: str | None = Field(default=None, description="why FULL or DIFF")
    artifact: str | None = Field(default=None, description="key of the artifact")
    size: int | None = Field(default=None, description="bytes")
    sha256: dict[str, str] = Field(default={}, description="SHA-256 of each file of the artifact")
    copies: dict[PlaceName, CopyState] = Field(default={}, description="destination -> stored, owed")
    adopted: bool = Field(default=False, description="finished before a crash, taken over after it")
    started: datetime | None = None
    finished: datetime | None = None
    duration_seconds: float | None = None
    stages: dict[str, float] = Field(default={}, description="seconds each stage took")
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    error: str | None = None
    hint: str | None = None

    @property
    def open(self) -> bool:
        """Whether it still needs an attempt, or one is under way."""
        return self.outcome in OPEN

    def failed(self, failure: Failure, now: datetime) -> "DatabaseResult":
        """Return the result of a database that has no verified artifact."""
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
    """How neo4j-admin was run for a backup: fields of the canonical log line beside those of the result."""

    admin_version: str | None = None
    launch: str | None = None
    exit_code: int | None = None
    source: str | None = None
    """The server that the backup came from."""


class Deletion(StoredPart):
    """One artifact that a plan deletes."""

    key: str
    size: int = Field(description="bytes")
    reason: str = Field(description="why it goes, for people")


class NotRead(StrEnum):
    """Why a pass over a place did not read an artifact."""

    NOT_DUE = "not_due"
    """It was read within `verify.every`, or nothing is ever due."""
    NOT_REACHED = "not_reached"
    """The time of the slice was over, or the pass was ended."""
    KNOWN_DAMAGED = "known_damaged"
    """It is marked as damaged already, and healing was not asked for."""
    RECORD_UNREADABLE = "record_unreadable"
    NO_RECORD = "no_record"
    """Files have an artifact's name, and there is no record."""
    NOT_RECORDED = "not_recorded"
    """Something that the artifact in question needs is not there."""
    UNREADABLE = "unreadable"
    """A file of it cannot be opened or read."""
    ARCHIVED = "archived"
    """The object is in an archive storage class."""
    INTERRUPTED = "interrupted"
    """Backups have interrupted the reading too often."""


class Unread(StoredPart):
    """Artifacts that a pass did not read, all for one reason."""

    why: NotRead
    artifacts: int
    size: int = Field(default=0, description="bytes, as far as they are known")
    keys: tuple[str, ...] = Field(default=(), description="the first 20")


class PlaceResult(StoredPart):
    """What became of one place of a request for `prune` or `verify`."""

    outcome: Outcome = Outcome.WAITING
    plan: str | None = Field(default=None, description="digest of the plan")
    kept: int | None = Field(default=None, description="artifacts the plan keeps")
    deletions: tuple[Deletion, ...] = Field(default=(), description="what goes, in the order it goes, the first 1000")
    deleted: int | None = Field(default=None, description="artifacts deleted")
    freed: int | None = Field(default=None, description="bytes deleted")
    left: int | None = Field(default=None, description="artifacts left to the next pass, since the time was over")
    verified: int | None = Field(default=None, description="artifacts read again and found as recorded")
    damaged: tuple[str, ...] = Field(default=(), description="artifacts that are not as recorded")
    healed: tuple[str, ...] = Field(default=(), description="artifacts replaced by a good copy")
    artifacts: int | None = Field(default=None, description="for verify in slices: artifacts to read in all")
    size: int | None = Field(default=None, description="bytes of these")
    read: int | None = Field(default=None, description="how many of them have been dealt with")
    read_size: int | None = Field(default=None, description="bytes of these")
    estimated_seconds: float | None = Field(
        default=None, description="how long reading all was estimated to take, backups between not counted"
    )
    not_read: tuple[Unread, ...] = Field(default=(), description="what was not read, and why")
    dropped: int | None = Field(default=None, description="missing copies that were given up")
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    error: str | None = None
    hint: str | None = None

    @property
    def begun(self) -> bool:
        """Whether it is read in slices, and the first has begun."""
        return self.artifacts is not None

    def failed(self, failure: Failure) -> "PlaceResult":
        """Return the result of a place where it could not be done."""
        outcome = Outcome.CANCELLED if failure.reason is Reason.CANCELLED else Outcome.FAILED
        changes = {"outcome": outcome, "reason": failure.reason, "error": failure.error, "hint": failure.advice}
        return self.model_copy(update=changes)


class AnswerHead(BaseModel):
    """The fields of an answer that the agent reads back from a file that others may write; it ignores all others."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_: Literal[1] = Field(default=1, alias="schema")
    id: str
    ticket: str
    state: State
    received: datetime
    finished: datetime | None = None

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read these fields; raise ValueError if the file is not an answer, or has too many values."""
        return cls.model_validate_json(few_values(data, MOST_VALUES))


class Answer(StoredValue):
    """The answer, as it stands in `answers/<id>.json` (schema 1)."""

    id: str
    state: State
    action: str = "backup"
    files: tuple[str, ...] = Field(default=(), description="names of the dropped files it answers; none for a schedule")
    ticket: str = Field(description="made when the file was taken; tells a repeated id from the same file read twice")
    schedule: str | None = None
    received: datetime
    started: datetime | None = None
    finished: datetime | None = None
    position: int | None = Field(default=None, description="place in the queue, 1 is next")
    stage: str | None = None
    progress: dict[str, Any] | None = Field(default=None, description="database, bytes and seconds of what runs now")
    set: SetName | None = None
    set_note: str | None = Field(default=None, description="for an ad hoc set: what becomes of it")
    databases: dict[str, DatabaseResult] = Field(
        default={}, description="database, or what was asked for -> its result"
    )
    excluded: dict[DatabaseName, str] = Field(
        default={}, description="database that matches a glob of the request and is not backed up -> why"
    )
    selected: bool = Field(default=False, description="whether the databases have been chosen")
    places: dict[PlaceName, PlaceResult] = Field(default={}, description="place -> what `prune` or `verify` did there")
    marks: dict[PlaceName, str] = Field(default={}, description="place -> what became of a hold there")
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    error: str | None = None
    hint: str | None = None
    request: dict[str, Any] | None = Field(default=None, description="what was asked; absent if it was rejected")

    @model_validator(mode="after")
    def _open_ones_are_databases(self) -> Self:
        _ = self.open
        return self

    @property
    def asked(self) -> Request:
        """The request, parsed again from what was kept, without fields that only a newer agent knows."""
        return _request(self.request or {})

    @property
    def attribution(self) -> dict[str, object]:
        """Return who asked and why as fields of a log line, under the record's names, without what is not known."""
        fields = self.asked.attribution.model_dump() if self.request else {}
        return {name: value for name, value in fields.items() if value}

    def expired(self, now: datetime) -> Failure | None:
        """Return why the request must not be begun any more: its `not_after` has passed."""
        not_after = self.asked.not_after if self.request and "not_after" in self.request else None
        if not_after is None or now <= not_after:
            return None
        return Failure(
            Reason.EXPIRED, f"it was not to be begun after {not_after.isoformat()}, and had not begun by then"
        )

    def becomes(self, state: State, now: datetime, failure: Failure | None = None) -> "Answer":
        """Return the answer in another state; raise ValueError where `NEXT` does not allow it."""
        if state not in NEXT[self.state]:
            raise ValueError(f"{self.id}: {self.state} cannot become {state}")
        changes: dict[str, Any] = {"state": state, "position": None}
        if state is State.RUNNING:
            changes["started"] = now
        if state.final:
            changes |= {"finished": now, "stage": None, "progress": None}
        if failure is not None:
            changes |= {"reason": failure.reason, "error": failure.error, "hint": failure.advice}
        return self.model_copy(update=changes)

    def with_result(self, name: str, result: DatabaseResult) -> "Answer":
        """Return the answer with another result for one database, or for a name or glob that was asked for."""
        return self.model_copy(update={"databases": {**self.databases, name: result}})

    def with_results(
        self,
        results: Mapping[str, DatabaseResult],
        warnings: tuple[str, ...],
        excluded: Mapping[DatabaseName, str] | None = None,
    ) -> "Answer":
        """Return the answer with its databases chosen."""
        changes: dict[str, Any] = {"databases": dict(results), "selected": True, "excluded": dict(excluded or {})}
        return self.model_copy(update={**changes, "warnings": self.warnings + warnings})

    def with_place(self, place: PlaceName, result: PlaceResult) -> "Answer":
        """Return the answer with another result for one place."""
        return self.model_copy(update={"places": {**self.places, place: result}})

    @property
    def open(self) -> tuple[DatabaseName, ...]:
        """Databases that still need an attempt, or whose attempt is under way."""
        return tuple(database_name(name) for name, result in self.databases.items() if result.open)

    def concluded(self, now: datetime) -> "Answer":
        """Return the final answer of a request whose databases or places are all done.

        Failed when any database has no verified artifact or any place refused: the first failure's reason, and all the
        errors by name. Cancelled when a cancel ended it. Else succeeded, with warnings where there are any.
        """
        results: list[tuple[str, DatabaseResult | PlaceResult]] = [*self.databases.items(), *self.places.items()]
        bad = {name: r for name, r in results if r.outcome in (Outcome.FAILED, Outcome.CANCELLED)}
        if bad:
            cancelled = [r for r in bad.values() if r.outcome is Outcome.CANCELLED]
            first = cancelled[0] if cancelled else next(iter(bad.values()))
            failure = Failure(
                first.reason or Reason.INTERNAL,
                "\n".join(f"{name}: {result.error}" for name, result in bad.items()),
                first.hint or "",
            )
            return self.becomes(State.CANCELLED if cancelled else State.FAILED, now, failure)
        warned = [r for _, r in results if r.outcome is Outcome.SUCCEEDED_WITH_WARNINGS]
        if not warned and not self.warnings:
            return self.becomes(State.SUCCEEDED, now)
        told = [w for r in warned for w in r.warnings] + list(self.warnings)
        first_told = next((r for r in warned if r.reason), None)
        answer = self.becomes(State.SUCCEEDED_WITH_WARNINGS, now)
        return answer.model_copy(
            update={
                "reason": first_told.reason if first_told else None,
                "error": "\n".join(told) or None,
                "hint": first_told.hint if first_told else None,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read an answer; raise ValueError if it is not valid, its request is not, or it has too many values."""
        answer = cls.model_validate_json(few_values(data, MOST_VALUES))
        if answer.request is not None:
            _request(answer.request)
        return answer

    def to_json(self) -> bytes:
        """Return the answer as it is stored: UTF-8 JSON without what is not known yet."""
        return self.model_dump_json(by_alias=True, indent=2, exclude_none=True).encode() + b"\n"


def _request(kept: Mapping[str, Any]) -> Request:
    return Request.model_validate({name: kept[name] for name in kept if name in Request.model_fields})


def rejected(
    *,
    id: str,  # noqa: A002  the field's own name
    ticket: str,
    files: tuple[str, ...],
    faults: tuple[str, ...],
    now: datetime,
) -> Answer:
    """Return the answer to a request that cannot be taken. Nothing of the file's content is in it."""
    failure = Failure(Reason.INVALID_REQUEST, "\n".join(faults))
    return Answer(
        id=id,
        state=State.REJECTED,
        ticket=ticket,
        files=files,
        received=now,
        finished=now,
        reason=failure.reason,
        error=failure.error,
        hint=failure.advice,
    )
