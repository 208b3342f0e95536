"""The Status: the state of the agent at one moment, for /status.json, /metrics, the probes and the commands."""

from datetime import datetime

from pydantic import Field

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, RequestId, SetName
from backup_agent.core.artifacts.records import Value
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.doctor.checks import CheckFinding
from backup_agent.core.doctor.features import FeatureFinding
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.protection.health import Health, OverdueDrill
from backup_agent.core.protection.judging import DatabaseProtection
from backup_agent.core.reasons import Reason


class RunStatus(Value):
    """A run under way."""

    run: str
    kind: str
    request: str | None = None
    set: SetName | None = None
    database: DatabaseName | None = None
    destination: PlaceName | None = None
    artifact: str | None = Field(default=None, description="key of the artifact that a copy pass sends")
    stage: str | None = None
    bytes: int | None = None
    total: int | None = None
    estimated_seconds: float | None = Field(default=None, description="until the stage ends")
    seconds: float
    attempt: int | None = None


class OpenRequestStatus(Value):
    """A request without a final answer."""

    id: RequestId
    action: str
    state: str
    asks: str = Field(description="the artifact, the databases or the place that it names, and the type of a backup")
    received: datetime
    position: int | None = Field(default=None, description="position in the queue, 1 is next")
    behind: RequestId | None = Field(default=None, description="id of the request before it in the queue")
    stage: str | None = None
    requested_by: str | None = None
    reason: str | None = None


class DestinationStatus(Value):
    """One destination. `up` is null before anything was tried."""

    up: bool | None = None
    owed: int | None = Field(default=None, description="number of copies that are missing there")
    awaited: int = Field(default=0, description="number of copies for which requests wait")
    reason: Reason | None = None
    error: str | None = None
    hint: str | None = None
    retry_seconds: float | None = None
    features: dict[str, FeatureFinding] = Field(
        default={}, description="features that the store has or lacks, and how this was found out"
    )


class PlaceStatus(Value):
    """The results of retention and verification at one place since the agent started. Absent means unknown."""

    pruned: datetime | None = Field(default=None, description="when retention was last applied")
    blocked: Reason | None = Field(default=None, description="why the last pass deleted nothing")
    error: str | None = None
    deleted: int = 0
    freed: int = Field(default=0, description="bytes, without old versions that the store keeps")
    damaged: tuple[str, ...] | None = Field(default=None, description="artifacts that differ from their records")
    unreadable: dict[str, tuple[str, ...]] | None = Field(
        default=None, description="record_unreadable, unreadable, no_record -> artifacts that cannot be verified"
    )
    unrestorable: tuple[str, ...] | None = Field(
        default=None,
        description="artifacts that cannot be restored, since something that they need is missing or damaged",
    )
    unrecognised: int | None = Field(
        default=None,
        description="number of records that the agent neither wrote nor accepted; they are not restore points",
    )
    oldest_verified: datetime | None = Field(
        default=None, description="when the artifact that has waited longest was last verified"
    )


class Pause(Value):
    """A pause: the agent starts nothing."""

    since: datetime
    until: datetime | None = Field(
        default=None, description="when it ends without `resume`; absent if only `resume` ends it"
    )
    requested_by: str | None = None
    reason: str | None = None
    overlong: bool = Field(default=False, description="whether it is older than a day, so it may have been forgotten")


class ScheduleStatus(Value):
    """One schedule."""

    cron: str
    timezone: str
    type: str
    suspended: bool
    next_runs: tuple[datetime, ...]
    expected_interval_seconds: float | None = None
    missed: int = 0
    coalesced: int = 0


class ExcludedDatabase(Value):
    """Why a database is not backed up."""

    kind: str
    why: str = Field(description="the end of a sentence that begins with the name of the database")


class CheckStatus(Value):
    """What one check of the doctor found in its last run."""

    finding: CheckFinding
    failed_runs: int = Field(default=0, description="number of runs in a row in which it has failed")
    failed_since: datetime | None = None


class DoctorStatus(Value):
    """The last run of the doctor."""

    ended: datetime
    checks: tuple[CheckStatus, ...]


class Status(Value):
    """The state of the agent. An absent field is unknown."""

    schema_: int = Field(default=1, alias="schema")
    cluster: str
    version: str
    started: datetime
    now: datetime
    ready: bool
    not_ready_because: tuple[str, ...] = ()
    surveyed: bool = Field(description="whether the volume was surveyed, so that its content is known")
    survey_failure: str | None = Field(
        default=None, description="why the last survey of the volume failed; its databases may be out of date"
    )
    requests_watched: bool = Field(
        default=True,
        description="whether a new request is noticed at once; otherwise the folder is listed every 5 seconds",
    )
    requests_watch_fault: str | None = Field(default=None, description="why the requests folder is not watched")
    owner: str | None = Field(
        default=None, description="id of the agent, from the owner.json of its volume; absent before its first use"
    )
    health: Health | None = Field(
        default=None, description="the health and its problems; absent until the volume was surveyed"
    )
    queue_depth: int = Field(description="requests that wait or run")
    queue_oldest: datetime | None = Field(
        default=None, description="when the oldest request of any kind that has not started was received"
    )
    requests: tuple[OpenRequestStatus, ...] = Field(
        default=(), description="the first requests without a final answer, in the order in which they were accepted"
    )
    running: tuple[RunStatus, ...] = ()
    databases: tuple[DatabaseSummary, ...] | None = Field(
        default=None, description="the databases on the volume; absent until the volume was surveyed"
    )
    protection: tuple[DatabaseProtection, ...] | None = Field(
        default=None,
        description="how each database is protected, in each set; absent until the volume was surveyed",
    )
    attempts: dict[str, Attempt] = Field(
        default={}, description="<set>/<database> -> the last attempt since start, or the last one if it failed"
    )
    drills: tuple[DatabaseDrills, ...] = Field(
        default=(), description="what drills have proven of each database, at each place"
    )
    drill_faults: tuple[OverdueDrill, ...] = Field(
        default=(), description="drills that failed, or that are older than an objective allows"
    )
    missing_databases: tuple[DatabaseName, ...] = ()
    without_full: dict[DatabaseName, datetime] = Field(
        default={},
        description="replaced databases that have no FULL of their new history -> when each was first seen replaced",
    )
    excluded_databases: dict[DatabaseName, ExcludedDatabase] | None = Field(
        default=None,
        description="databases that are not backed up because of their kind; absent if no topology is known",
    )
    destinations: dict[PlaceName, DestinationStatus] = Field(default={})
    schedules: dict[str, ScheduleStatus] = Field(default={})
    places: dict[PlaceName, PlaceStatus] = Field(default={})
    paused: Pause | None = Field(default=None, description="the pause; nothing is started until its end or `resume`")
    forgotten: tuple[DatabaseName, ...] = Field(
        default=(), description="dropped databases whose last backups retention may delete"
    )
    signing_fault: str | None = Field(
        default=None, description="why records are written without a signature, although the settings name a key"
    )
    bolt_up: bool | None = Field(default=None, description="whether Bolt answered the last query")
    bolt_reason: Reason | None = None
    bolt_error: str | None = Field(default=None, description="why Bolt did not answer")
    bolt_notes: tuple[str, ...] = Field(
        default=(), description="which parts of its last answer the cluster left out or the agent refused"
    )
    databases_refused: int | None = Field(
        default=None, description="number of listed databases that are not backed up because of their names"
    )
    doctor: DoctorStatus | None = Field(default=None, description="the last run of the doctor, once one has ended")
    unprotected_connections: dict[str, str] = Field(
        default={}, description="connections without encryption or without a check of the certificate -> what to change"
    )
    topology_seen: datetime | None = None
    clock_offset_seconds: float | None = None
    volume_free: int | None = None
    volume_total: int | None = None
    full_on: datetime | None = Field(default=None, description="when the volume will be full at the present rate")
    retention: dict[str, dict[str, int | str]] = Field(
        description="place -> the rules that keep restore points there; a place without rules keeps everything"
    )
    settings_valid: bool
    settings_fault: str | None = None
    settings_waiting: tuple[str, ...] = Field(default=(), description="changed keys that need a restart")
    settings_loaded: datetime

    def to_json(self) -> bytes:
        """Return the status as /status.json shows it."""
        return self.model_dump_json(by_alias=True, indent=2, exclude_none=True).encode() + b"\n"
