"""The events that a child process writes: each is one line of JSON on its stdout, and `event` names its type.

A reader ignores unknown fields and events of unknown types. The tasks that a child process reads are in `tasks`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, assert_never, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.records import Definition, TooManyValuesError, few_values
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.doctor.checks import CheckFinding
from backup_agent.core.drill.evidence import DatabaseDrills, Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.neo4j.cluster_state import ClusterState
from backup_agent.core.neo4j.topology import AddressText, Copy, VersionText
from backup_agent.core.reasons import Failure
from backup_agent.core.requests.answers import DatabaseResult, Execution, Outcome, PlaceResult

MOST_VALUES = 50_000
"""Approximate limit of JSON values in a line. A line of 1 MiB has at most 20,000 keys of artifacts."""

LONGEST_KIND = 40
"""Number of characters of an unknown event's name that are kept."""


class ChildEvent(BaseModel):
    """A frozen event. The validators of the types are built when first used, since only children need them."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


# Any run


class StageBegun(ChildEvent):
    """Another stage of the run begins."""

    event: Literal["stage"] = "stage"
    stage: str


class Progress(ChildEvent):
    """How many bytes of the stage are done."""

    event: Literal["progress"] = "progress"
    bytes: int
    total: int | None = None
    estimated_seconds: float | None = None
    """Seconds until `total` is reached, at the rate since the first of these bytes."""


class Warned(ChildEvent):
    """A warning for the log: `text` is the log event, `because` a field."""

    event: Literal["warning"] = "warning"
    text: str
    because: str


class SigningTold(ChildEvent):
    """Whether a child could sign what it wrote. `fault` says why not, if the settings name a key; otherwise null."""

    event: Literal["signing"] = "signing"
    fault: str | None


class SetAside(ChildEvent):
    """A file of an unfinished artifact was set aside."""

    event: Literal["aside"] = "aside"
    run: str
    """The run that wrote the file."""
    name: str


class ArtifactStored(ChildEvent):
    """An artifact was recorded on the volume."""

    event: Literal["stored"] = "stored"
    place: PlaceName
    type: str
    bytes: int


# The cluster


class ClusterStateTold(ChildEvent):
    """Whether the cluster is settled, so that its next server may be restarted."""

    event: Literal["cluster_state"] = "cluster_state"
    state: ClusterState


# Artifacts on the volume


class SummaryTold(ChildEvent):
    """A summary of the artifacts of one database in one set."""

    event: Literal["summary"] = "summary"
    summary: DatabaseSummary


class SummaryFailed(ChildEvent):
    """A database could not be summarised: the supervisor's summary may be out of date."""

    event: Literal["unsummarised"] = "unsummarised"
    set: SetName
    database: DatabaseName
    error: str


class NothingRecorded(ChildEvent):
    """A database in a set has no recorded artifacts any more."""

    event: Literal["gone"] = "gone"
    set: SetName
    database: DatabaseName


class CopiesOwed(ChildEvent):
    """How many copies of a database are missing at a destination."""

    event: Literal["owed"] = "owed"
    set: SetName
    database: DatabaseName
    destination: PlaceName
    owed: int
    oldest: datetime | None = None
    """When the oldest artifact whose copy is missing was finished."""


class CopiesNotCounted(ChildEvent):
    """The missing copies at a destination could not be counted."""

    event: Literal["uncounted"] = "uncounted"
    destination: PlaceName
    error: str


# Copies


class CopyBegun(ChildEvent):
    """The copying of an artifact begins. The progress that follows is that of this artifact."""

    event: Literal["copying"] = "copying"
    key: str
    bytes: int


class CopyStored(ChildEvent):
    """The destination has a copy of an artifact, and the volume has the note that says so."""

    event: Literal["copied"] = "copied"
    key: str
    type: str | None = None
    bytes: int = 0
    seconds: float | None = None
    """How long copying took; None if the copy was made before this pass."""


class CopyFailed(ChildEvent):
    """A copy that requests wait for cannot be made now. The event does not concern the destination as a whole."""

    event: Literal["not_copied"] = "not_copied"
    key: str
    failure: Failure


# Survey


class VolumeTested(ChildEvent):
    """Whether the file system of the volume allows hard links."""

    event: Literal["volume"] = "volume"
    hard_links: bool


class RecordUnreadable(ChildEvent):
    """A record or a mark cannot be read."""

    event: Literal["unreadable"] = "unreadable"
    fault: str


class Surveyed(ChildEvent):
    """The survey is complete: all summaries have been written."""

    event: Literal["surveyed"] = "surveyed"


class SurveyFailed(ChildEvent):
    """The volume could not be surveyed."""

    event: Literal["survey_failed"] = "survey_failed"
    failure: Failure


# Discovery


class TopologyRows(ChildEvent):
    """Some rows of the cluster's answer. The last event of the discovery has their number."""

    event: Literal["rows"] = "rows"
    copies: tuple[Copy, ...] = ()
    aliases: tuple[tuple[DatabaseName, DatabaseName | None], ...] = ()
    backup_addresses: tuple[tuple[AddressText, AddressText], ...] = ()
    definitions: tuple[tuple[DatabaseName, Definition], ...] = ()
    reachable: tuple[tuple[str, str | None], ...] = ()
    """Backup address -> why a TCP connection to it failed; None if it succeeded."""


class TopologyTold(ChildEvent):
    """The cluster has answered. The rows before this event are its topology."""

    event: Literal["topology"] = "topology"
    seen: datetime
    versions: tuple[VersionText, ...]
    counts: dict[str, int]
    """Kind of row -> number of rows."""
    clock_offset_seconds: float | None = None
    notes: tuple[str, ...] = ()
    refused: int = 0
    listeners: dict[AddressText, str | None] = {}
    """Bolt address of a server whose settings are visible -> why other machines do not reach its backup listener."""


class DiscoveryFailed(ChildEvent):
    """The cluster has not answered. The rows before this event say which servers can be reached."""

    event: Literal["not_discovered"] = "not_discovered"
    failure: Failure
    permanent: bool = False
    counts: dict[str, int] = {}


# Retention


class ArtifactDeleted(ChildEvent):
    """Retention has deleted an artifact."""

    event: Literal["pruned"] = "pruned"
    place: PlaceName
    key: str
    bytes: int
    reason: str
    freed: bool = True
    """False if the place keeps the artifact as an old version."""


class HoldEnded(ChildEvent):
    """The hold on an artifact is over. Its mark is removed."""

    event: Literal["hold_ended"] = "hold_ended"
    place: PlaceName
    key: str
    because: str


class AuditForked(ChildEvent):
    """The audit log at a destination has other lines than that of the volume. Another epoch has begun."""

    event: Literal["audit_forked"] = "audit_forked"
    place: PlaceName
    because: str
    """`forked`, or `taken_up`: the volume had stored nothing there, and continues the log of another one."""
    found: str


class StraysFound(ChildEvent):
    """Files at the place that have no record or cannot be read: the first few of each kind."""

    event: Literal["strays"] = "strays"
    orphans: tuple[str, ...]
    unknown: tuple[str, ...]
    foreign: tuple[str, ...]
    more: int = 0
    """Number of files without a record, and of foreign files, beyond the first thousand of each."""
    unreadable: tuple[str, ...]


class UnrecognisedFound(ChildEvent):
    """The number of records at a place that the agent neither wrote nor accepted, and the first of them."""

    event: Literal["unrecognised"] = "unrecognised"
    place: PlaceName
    records: int
    first: tuple[str, ...]
    """Keys of artifacts."""


# Verification


class SliceProgress(ChildEvent):
    """How much a request reads at a place, and how much has been read."""

    event: Literal["scope"] = "scope"
    artifacts: int
    size: int
    read: int
    read_size: int
    estimated_seconds: float | None = None


class ReadingBegun(ChildEvent):
    """The reading of an artifact begins."""

    event: Literal["reading"] = "reading"
    key: str


class ArtifactVerified(ChildEvent):
    """An artifact was read and does not differ from its record."""

    event: Literal["verified"] = "verified"
    place: PlaceName
    key: str


class ArtifactDamaged(ChildEvent):
    """An artifact was read and differs from its record."""

    event: Literal["damaged"] = "damaged"
    place: PlaceName
    key: str
    found: str


class ArtifactHealed(ChildEvent):
    """An artifact was replaced by the copy of another place."""

    event: Literal["healed"] = "healed"
    place: PlaceName
    key: str
    sources: tuple[str, ...]


class ArtifactNotHealed(ChildEvent):
    """A damaged artifact could not be replaced."""

    event: Literal["not_healed"] = "not_healed"
    place: PlaceName
    key: str
    error: str


class ArtifactNotRead(ChildEvent):
    """An artifact could not be read."""

    event: Literal["unread"] = "unread"
    place: PlaceName
    key: str
    error: str


class PlaceJudged(ChildEvent):
    """All faults of the artifacts at a place."""

    event: Literal["damages"] = "damages"
    place: PlaceName
    keys: tuple[str, ...]
    unreadable: dict[str, tuple[str, ...]]
    """Reason -> keys of the artifacts that cannot be verified."""
    unrestorable: tuple[str, ...]


# Drills


class DrillBegun(ChildEvent):
    """The drill of an artifact begins."""

    event: Literal["drilling"] = "drilling"
    place: PlaceName
    key: str
    level: Level


class ArtifactDrilled(ChildEvent):
    """The drill of an artifact has ended."""

    event: Literal["drilled"] = "drilled"
    evidence: Evidence
    hint: str = ""
    """What to do, if the drill did not pass."""
    marked: bool = False
    """Whether the artifact was marked as damaged."""
    unwritten: str | None = None
    """Why the evidence was not written, if it was to be written."""
    drills: DatabaseDrills | None = None
    """What drills have proven of the database, as it is stored on the volume; None if nothing is stored."""
    reported: Literal["signed", "claimed"] | None = None
    """Set if another process drilled, and this is its evidence: whether a trusted key has signed it."""


class DrillMarked(ChildEvent):
    """A pass at a destination has marked the artifact that a drill of the agent found damaged."""

    event: Literal["drill_marked"] = "drill_marked"
    key: str
    drills: DatabaseDrills


# Results: the last event of a run


class BackupReport(ChildEvent):
    """The result of a backup."""

    event: Literal["backup_result"] = "backup_result"
    result: DatabaseResult
    execution: Execution = Execution()


class PassReport(ChildEvent):
    """The result of a pass of retention or verification."""

    event: Literal["pass_result"] = "pass_result"
    result: PlaceResult
    oldest: datetime | None = None
    """When the artifact that has waited longest to be read again was last read."""
    next_seconds: float | None = None


class CopyReport(ChildEvent):
    """The result of a copy pass."""

    event: Literal["copy_result"] = "copy_result"
    copied: int
    counted: bool = False
    """Whether the number of missing copies was reported for each database."""
    failure: Failure | None = None
    """Why the pass ended early, otherwise the first failure of an artifact, or None if nothing failed."""
    ended_early: bool = False
    """Whether `failure` concerns the whole destination, so that no other artifact was tried."""


# Doctor


class CheckTold(ChildEvent):
    """What one check of the doctor found."""

    event: Literal["check"] = "check"
    finding: CheckFinding


class ChecksEnded(ChildEvent):
    """All checks of a step are made."""

    event: Literal["checks"] = "checks"
    server_versions: tuple[VersionText, ...] = ()
    backup_addresses: tuple[Annotated[str, Field(max_length=300)], ...] = ()
    """The backup ports that accept connections."""


class NotificationEnded(ChildEvent):
    """A notification was sent, or could not be sent."""

    event: Literal["notification"] = "notification"
    error: str | None = None
    """Why the receiver did not take the notification. It never contains a part of the receiver's URL."""
    hint: str | None = None


class PageMade(ChildEvent):
    """The status page was written, or could not be made."""

    event: Literal["page"] = "page"
    error: str | None = None


class TaskEnded(ChildEvent):
    """The task is done, all of its events are written, and the child waits for its next task."""

    event: Literal["task_ended"] = "task_ended"


VolumeEvent = SummaryTold | SummaryFailed | NothingRecorded | CopiesOwed | CopiesNotCounted
CopyEvent = CopyBegun | CopyStored | CopyFailed
DrillEvent = DrillBegun | ArtifactDrilled | DrillMarked
SliceEvent = SliceProgress | ReadingBegun
ReadingEvent = (
    ArtifactVerified | ArtifactDamaged | ArtifactHealed | ArtifactNotHealed | ArtifactNotRead | PlaceJudged | SliceEvent
)
Result = (
    SurveyFailed
    | TopologyTold
    | DiscoveryFailed
    | ClusterStateTold
    | BackupReport
    | PassReport
    | CopyReport
    | ChecksEnded
    | NotificationEnded
    | PageMade
)
Event = (
    StageBegun
    | Progress
    | Warned
    | SigningTold
    | AuditForked
    | SetAside
    | ArtifactStored
    | VolumeTested
    | RecordUnreadable
    | Surveyed
    | TopologyRows
    | ArtifactDeleted
    | HoldEnded
    | StraysFound
    | UnrecognisedFound
    | CheckTold
    | VolumeEvent
    | CopyEvent
    | ReadingEvent
    | DrillEvent
    | Result
)


@dataclass(frozen=True)
class UnknownEvent:
    """A line that is not an event of this version. `kind` is the event's name; empty if the line has none."""

    kind: str


@dataclass(frozen=True)
class MalformedEvent:
    """An event of a known kind that cannot be understood, or a line with too many values to be read (no kind)."""

    kind: str
    error: ValueError


class _Head(BaseModel):
    """The name of an event."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True, defer_build=True)

    event: str


# A validator of the union would build the validators of all types, which takes 0.7 MiB. A process meets few types.
_TYPES: Mapping[str, type[Event | TaskEnded]] = {
    one.model_fields["event"].default: one for one in (*get_args(Event), TaskEnded)
}


def is_success(result: Result) -> bool:
    """Return whether a task succeeded, so that its process can be used for another task."""
    match result:
        case BackupReport():
            return result.result.outcome in (Outcome.RECORDED, Outcome.SUCCEEDED, Outcome.SUCCEEDED_WITH_WARNINGS)
        case PassReport():
            return result.result.outcome not in (Outcome.FAILED, Outcome.CANCELLED)
        case CopyReport():
            return result.failure is None
        case TopologyTold() | ClusterStateTold() | ChecksEnded():
            return True
        case NotificationEnded() | PageMade():
            return result.error is None
        case SurveyFailed() | DiscoveryFailed():
            return False
        case _:
            assert_never(result)


def parse(line: bytes) -> Event | TaskEnded | UnknownEvent | MalformedEvent:
    """Parse a line of a child's stdout."""
    try:
        kind = _Head.model_validate_json(few_values(line, MOST_VALUES)).event
    except TooManyValuesError as error:
        return MalformedEvent("", error)
    except ValidationError:
        return UnknownEvent("")
    if kind not in _TYPES:
        return UnknownEvent(kind[:LONGEST_KIND])
    try:
        return _TYPES[kind].model_validate_json(line)
    except ValidationError as error:
        return MalformedEvent(kind, error)
