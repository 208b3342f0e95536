"""The evidence of a drill: a mark beside the artifact, `….backup.drilled.json`, at the place that the drill proves.

A later drill of the same artifact replaces it. It holds no result of a query, only whether the result was as expected.
"""

from datetime import datetime

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
    proven: bool = Field(description="whether the agent recognised the records of the chain")
    admin_version: str | None = None
    server_version: str | None = Field(default=None, description="version of the scratch server")
    agent_version: str | None = None
    counts: EntityCounts | None = None
    report_sha256: Sha256 | None = Field(default=None, description="SHA-256 of the report of `database check`")
    queries: tuple[QueryOutcome, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    remarks: tuple[str, ...] = Field(default=(), description="what else a reader of the evidence should know")

    def replaces(self, other: "Evidence | None") -> bool:
        """Return whether this evidence is written in the place of an earlier drill's.

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
    marked: AwareDatetime | None = Field(default=None, description="when a drill last marked an artifact as damaged")

    def after(self, evidence: Evidence, *, marked: bool = False) -> "DatabaseDrills":
        """Return the state after a drill. A drill that was not done changes only `last`."""
        seconds = round((evidence.since - evidence.started).total_seconds(), 3)
        reached = evidence.reached.included if evidence.reached is not None else ()
        done = evidence.outcome is not DrillOutcome.NOT_DONE
        last = LastDrill(
            key=evidence.key,
            level=evidence.level,
            outcome=evidence.outcome,
            at=evidence.since,
            seconds=seconds,
            reason=evidence.reason,
        )
        return self.model_copy(
            update={
                "passed": self.passed | dict.fromkeys(reached, evidence.since),
                "last": last,
                "last_done": last if done else self.last_done,
                "restore_seconds": evidence.restore_seconds or self.restore_seconds,
                "took": self.took | ({evidence.level: seconds} if done else {}),
                "marked": evidence.since if marked else self.marked,
            }
        )

    @property
    def failed(self) -> LastDrill | None:
        """The last drill that was done, if it failed."""
        failed = (DrillOutcome.ARTIFACT_FAILED, DrillOutcome.CONTENT_FAILED)
        return self.last_done if self.last_done is not None and self.last_done.outcome in failed else None

    def proven(self, level: Level) -> datetime | None:
        """Return when a drill last passed a level, or a higher one."""
        return self.passed.get(level)
