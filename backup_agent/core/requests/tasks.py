"""The tasks that child processes get from the supervisor, each as one line of JSON on stdin."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from backup_agent.core.artifacts.attribution import Attribution
from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, PlaceName, RequestId, SetName
from backup_agent.core.artifacts.records import BackupType, Definition, Value
from backup_agent.core.drill.levels import Level
from backup_agent.core.requests.notices import Notice
from backup_agent.core.requests.request import Action
from backup_agent.core.retention.clock import ClockTime


class Task(Value):
    """The fields of every task."""

    settings: dict[str, Any]


class BackupTask(Task):
    """Back up one database."""

    run: str
    request: RequestId
    set: SetName
    database: DatabaseName
    type: BackupType
    promote: Literal["now", "at_next_full"] = "now"
    database_id: str | None = None
    definition: Definition | None = None
    last_committed_tx: int | None = None
    """The last transaction that all online copies had at the last discovery."""
    clock_offset: float | None = None
    """Seconds by which the servers' clock was ahead of the agent's at the last discovery."""
    discovery: Literal["bolt", "last_topology", "static"] = "bolt"
    sources: tuple[str, ...]
    server_versions: tuple[str, ...] = ()
    earlier_runs: tuple[str, ...] = ()
    """Attempts at the same backup that ended without a verdict. Artifacts that they finished are adopted."""
    since: datetime
    """When the request was accepted. Older artifacts are not adopted."""
    adopt_only: bool = False
    """Do not run neo4j-admin, only adopt an artifact that an earlier attempt has finished."""
    at_once: int = 1
    """Number of backups that may run at the same time, for the estimate of disk space."""
    destinations: tuple[PlaceName, ...] = ()
    attribution: Attribution = Attribution()
    hard_links: bool = True


class DiscoverTask(Task):
    """Query the cluster over Bolt."""

    root: str | None = None
    """The storage root, which has the last topology."""
    timeout: float = 30.0
    """Seconds to wait for Bolt."""


class ClusterStateTask(Task):
    """Ask the cluster whether its next server may be restarted."""

    servers: int | None = None
    """Number of servers that are expected; None if it is not known."""
    timeout: float = 30.0
    """Seconds to wait for Bolt."""


class CopyTask(Task):
    """Make the missing copies at one destination."""

    kind: Literal["copy"] = "copy"
    run: str
    place: PlaceName
    """A destination."""
    sets: tuple[SetName, ...]
    """The sets that get copies: the declared ones."""
    awaited: tuple[str, ...] = ()
    """Keys of the artifacts for whose copies requests wait, in the order of the requests."""
    databases: tuple[str, ...] | None = None
    """`SET/DATABASE` of the databases whose copies are missing; None if all databases are to be looked at."""


class PruneTask(Task):
    """Apply retention at one place."""

    kind: Literal["prune"] = "prune"
    run: str
    place: PlaceName
    """`local` or a destination."""
    dry_run: bool = False
    force: bool = False
    plan: str | None = None
    """Id of the plan to carry out. If the plan has changed, the task fails."""
    drop_owed: PlaceName | None = None
    """The destination whose missing copies are given up."""
    forgotten: dict[DatabaseName, datetime] = Field(default={})
    """Forgotten database -> time at which it was forgotten."""
    seconds: float | None = None
    """Seconds after which no further artifact is deleted; the next pass deletes the rest. None: no limit."""
    request: RequestId | None = None
    """Id of the request; None for a scheduled pass."""
    requested_by: str | None = None
    server_clock: ClockTime | None = None
    """The last reading of the servers' clock over Bolt, if there is one."""


class HoldTask(Task):
    """Hold or release the matching artifacts at one place."""

    kind: Literal["hold"] = "hold"
    run: str
    place: PlaceName
    """`local` or a destination."""
    request: RequestId
    action: Literal[Action.HOLD, Action.RELEASE]
    database: str | None = None
    """A name or a glob, in lower case."""
    taken_from: datetime | None = None
    taken_to: datetime | None = None
    labels: dict[str, str] = Field(default={})
    since: datetime
    reason: str
    requested_by: str | None = None
    until: datetime | None = None
    """End of the hold."""


class DrillTask(Task):
    """Drill artifacts at one place."""

    kind: Literal["drill"] = "drill"
    run: str
    place: PlaceName | None = None
    """The place to prove. None: the first place that has the restore point."""
    request: RequestId | None = None
    what: str | None = None
    """A database or an artifact, as `core.restore.asked` parses it. None: databases in the order of their proofs."""
    set: SetName = DEFAULT_SET
    """The set of the database in `what`."""
    history: str | None = None
    databases: tuple[str, ...] = ("*",)
    """Names and globs of the databases, if `what` is None."""
    sets: tuple[SetName, ...] = (DEFAULT_SET,)
    """The sets of these databases."""
    level: Level
    evidence: Literal["beside", "prefix", "none"] = "none"
    """Where evidence is written: beside the artifact with all that follows from it, below the prefix for evidence of
    drills that have no volume, or nowhere."""
    share: int = 1
    """Number of JVMs that share the memory."""
    largest_full: int = 0
    """Bytes of the largest full backup that is expected on the volume. A drill leaves room for it."""


class VerifyTask(Task):
    """Verify artifacts at one place."""

    kind: Literal["verify"] = "verify"
    run: str
    place: PlaceName
    """`local` or a destination."""
    request: str | None = None
    """Id of the request; None for a scheduled slice."""
    requested_by: str | None = None
    artifact: str | None = None
    """Key of one artifact. Without it the artifacts that are due are read, unless `database` or `all` is given."""
    chain: bool = False
    """Also read everything that the artifact needs."""
    database: DatabaseName | None = None
    """Read every artifact of this database, in each set."""
    all: bool = False
    """Read every artifact."""
    heal: bool = False
    """Replace damaged artifacts with an undamaged copy."""
    skipped: tuple[str, ...] = ()
    """Artifacts to skip and to report as not read, because backups have interrupted their reading too often."""
    open_requests: tuple[str, ...] = ()
    """Requests whose progress is still needed. The progress of all others is removed."""
    seconds: float
    """Seconds after which the pass begins no further artifact."""


PlaceTask = Annotated[CopyTask | PruneTask | HoldTask | VerifyTask, Field(discriminator="kind")]
"""A task at one place. `kind` is the name of the module in `jobs` that carries it out."""


class CheckTask(Task):
    """Carry out one step of the doctor."""

    place: PlaceName | None = None
    """The destination, for the step `destination`."""
    server_versions: tuple[str, ...] = ()
    backup_addresses: tuple[str, ...] = ()
    """The backup ports that accept connections, for the step `keys`."""
    write: bool = False
    """Whether the step may write to find out what reading does not show."""


class NotifyTask(Task):
    """Send one notification to one receiver."""

    receiver: str
    """The name of the receiver in the settings."""
    notice: Notice


class SurveyTask(Task):
    """Survey the whole volume, once at start."""

    open_runs: tuple[str, ...]
    """Runs whose staging folders are kept: the next attempt may adopt artifacts in them."""
