"""The evidence of a drill: a mark beside the artifact, `….backup.drilled.json`, at the place that the drill proves.

A later drill of the same artifact replaces it. It holds no result of a query, only whether the result was as expected.
"""

from datetime import datetime
from typing import Self

from pydantic import AwareDatetime, Field

from backup_agent.core.artifacts.marks import Mark
from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.records import Sha256, StoredPart, StoredValue
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.reasons import Reason

LONGEST_TEXT = 2000
"""Number of characters of an error that are kept."""


class EntityCounts(StoredPart):
    """The numbers of nodes and relationships in the restored database."""

    nodes: int
    relationships: int


class QueryOutcome(StoredPart):
    """Whether a query of the settings returned what it must return."""

    name: str
    as_expected: bool


class Skipped(StoredPart):
    """A step that a drill has left out."""

    step: str
    why: str


class Evidence(Mark):
    """The evidence of one drill. `since` is the time at which it ended."""

    place: PlaceName
    level: Level = Field(description="level that was asked for")
    reached: Level | None = Field(default=None, description="highest level that was passed")
    outcome: DrillOutcome
    reason: Reason | None = None
    error: str | None = Field(default=None, max_length=LONGEST_TEXT)
    started: AwareDatetime
    seconds: dict[str, float] = Field(default={}, description="duration of each stage")
    restore_seconds: float | None = Field(
        default=None,
        description="duration of fetch, reading and restore, and of the start of the server if one was started",
    )
    size: int = Field(ge=0, description="bytes of the artifacts that were fetched")
    chain: dict[str, Sha256] = Field(description="key of each artifact that was restored -> SHA-256 of its record")
    damaged: str | None = Field(
        default=None, description="key of the damaged artifact, if it is another one of the chain than `key`"
    )
    proven: bool = Field(description="whether the agent recognised the records of the chain")
    admin_version: str | None = None
    server_version: str | None = Field(default=None, description="version of the scratch server")
    agent_version: str | None = None
    counts: EntityCounts | None = None
    report_sha256: Sha256 | None = Field(default=None, description="SHA-256 of the report of `database check`")
    queries: tuple[QueryOutcome, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    remarks: tuple[str, ...] = Field(default=(), description="what else a reader of the evidence should know")

    @property
    def length(self) -> float:
        """Duration of the whole drill in seconds."""
        return round(max((self.since - self.started).total_seconds(), 0.0), 3)

    def replaces(self, other: "Evidence | None") -> bool:
        """Return whether this evidence replaces that of an earlier drill.

        A drill that was not done proves nothing, and one that passed a lower level proves less.
        """
        if self.outcome is DrillOutcome.NOT_DONE:
            return False
        if other is None or self.outcome is not DrillOutcome.PASSED or other.outcome is not DrillOutcome.PASSED:
            return True
        return len(self.level.included) >= len(other.level.included)


class LastDrill(StoredPart):
    """The last drill of a database at a place."""

    key: str
    level: Level
    outcome: DrillOutcome
    at: AwareDatetime
    seconds: float = Field(description="duration of the whole drill")
    reason: Reason | None = None

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        """Return the summary of the evidence of a drill."""
        return cls(
            key=evidence.key,
            level=evidence.level,
            outcome=evidence.outcome,
            at=evidence.since,
            seconds=evidence.length,
            reason=evidence.reason,
        )

    def is_older(self, other: "LastDrill | None") -> bool:
        """Return whether the drill ended before another one; False if there is no other."""
        return other is not None and self.at < other.at


class DatabaseDrills(StoredValue):
    """What drills have proven of one database in one set at one place."""

    place: PlaceName
    set: SetName
    database: DatabaseName
    passed: dict[Level, AwareDatetime] = Field(default={}, description="level -> time of the last drill that passed it")
    last: LastDrill | None = None
    last_done: LastDrill | None = Field(default=None, description="the last drill that did not end as not_done")
    restore_seconds: float | None = Field(default=None, description="of the last restore that succeeded")
    took: dict[Level, float] = Field(default={}, description="level -> seconds of the last drill that was done at it")
    claimed: LastDrill | None = Field(
        default=None,
        description="the last drill according to evidence of another process that no trusted key has signed; it "
        "proves nothing",
    )
    marked: AwareDatetime | None = Field(default=None, description="when a drill last marked an artifact as damaged")

    def after(self, evidence: Evidence, *, marked: datetime | None = None) -> "DatabaseDrills":
        """Return the state after a drill. A drill that was not done changes only `last`.

        Evidence of another process may be read late: evidence of an earlier drill changes nothing that is newer.
        `marked` is the time at which the drill marked an artifact as damaged.
        """
        last, reached = LastDrill.of(evidence), evidence.reached.included if evidence.reached is not None else ()
        passed = {level: max(evidence.since, self.passed.get(level, evidence.since)) for level in reached}
        changes: dict[str, object] = {"passed": self.passed | passed, "marked": marked or self.marked}
        if not last.is_older(self.last):
            changes["last"] = last
        if evidence.outcome is not DrillOutcome.NOT_DONE and not last.is_older(self.last_done):
            changes |= {"last_done": last, "took": self.took | {evidence.level: last.seconds}}
            changes["restore_seconds"] = evidence.restore_seconds or self.restore_seconds
        return self.model_copy(update=changes)

    def claims(self, evidence: Evidence) -> "DatabaseDrills":
        """Return the state after evidence that no trusted key has signed was read."""
        last = LastDrill.of(evidence)
        return self if last.is_older(self.claimed) else self.model_copy(update={"claimed": last})

    @property
    def failed(self) -> LastDrill | None:
        """The last drill that was done, if it failed. A newer claim that a drill failed counts too."""
        failed = (DrillOutcome.ARTIFACT_FAILED, DrillOutcome.CONTENT_FAILED)
        if self.claimed is not None and self.claimed.outcome in failed and not self.claimed.is_older(self.last_done):
            return self.claimed
        return self.last_done if self.last_done is not None and self.last_done.outcome in failed else None

    def proven(self, level: Level) -> datetime | None:
        """Return when a drill last passed a level, or a higher one."""
        return self.passed.get(level)
