"""What a run is told by the supervisor, as one line of JSON on its stdin."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.records import BackupType, Definition, Value
from backup_agent.core.requests.request import Attribution
from backup_agent.core.retention.clock import Shown


class Task(Value):
    """What every run is told."""

    settings: dict[str, Any]


class BackupTask(Task):
    """Back up one database."""

    run: str
    request: str
    set: SetName
    database: DatabaseName
    type: BackupType
    promote: Literal["now", "at_next_full"] = "now"
    database_id: str | None = None
    definition: Definition | None = None
    last_committed_tx: int | None = None
    """The last transaction that all online copies had received when Bolt was last asked."""
    discovery: Literal["bolt", "last_topology", "static"] = "bolt"
    sources: tuple[str, ...]
    server_versions: tuple[str, ...] = ()
    earlier_runs: tuple[str, ...] = ()
    """Attempts at the same that ended without a verdict: what they finished is adopted."""
    since: datetime
    """When the request was accepted: nothing older is adopted."""
    adopt_only: bool = False
    """Start nothing, only take over what an earlier attempt has finished."""
    at_once: int = 1
    """Backups that may run at the same time, for the estimate of disk space."""
    destinations: tuple[PlaceName, ...] = ()
    attribution: Attribution = Attribution()
    hard_links: bool = True


class DiscoverTask(Task):
    """Ask the cluster over Bolt."""

    root: str | None = None
    """The storage root, where the last topology is kept."""
    timeout: float = 30.0
    """Seconds until Bolt is given up."""


class CopyTask(Task):
    """Copy what is owed to one destination, parents first."""

    run: str
    destination: PlaceName
    sets: tuple[SetName, ...]
    """Sets that have copies: the declared ones."""
    database: DatabaseName | None = None
    """One database of the set alone, for a run that has just recorded its artifact."""


class PruneTask(Task):
    """Apply retention at one place."""

    run: str
    place: PlaceName
    """`local` or a destination."""
    dry_run: bool = False
    force: bool = False
    plan: str | None = None
    """Digest of the plan that somebody has looked at: another is refused."""
    drop_owed: PlaceName | None = None
    """Destination whose missing copies are given up."""
    forgotten: dict[DatabaseName, datetime] = Field(default={})
    """Databases whose last backups may go too -> when that was said."""
    seconds: float | None = None
    """How long to delete at the most: what is left is for the next pass. None: until all is done."""
    server_clock: Shown | None = None
    """What the servers' clock showed when Bolt told it last; None where it has not."""


class VerifyTask(Task):
    """Read again what stands at one place."""

    run: str
    place: PlaceName
    """`local` or a destination."""
    request: str | None = None
    """Id of the request that asks for it; None for what is read unasked."""
    artifact: str | None = None
    """Key of one artifact; without it what is due, unless `database` or `all` is given."""
    chain: bool = False
    """Read also everything that the artifact needs."""
    database: DatabaseName | None = None
    """Read every artifact of this database, in each set."""
    all: bool = False
    """Read every artifact."""
    heal: bool = False
    """Replace what is damaged by a copy that is not."""
    set_aside: tuple[str, ...] = ()
    """Artifacts whose reading backups have interrupted too often: they are left out, and told as not read."""
    open_requests: tuple[str, ...] = ()
    """Requests whose progress is still needed; that of any other is removed."""
    seconds: float
    """How long to go on at the most."""


class SurveyTask(Task):
    """Look at the whole volume once, at start."""

    open_runs: tuple[str, ...]
    """Runs whose staging folder is still wanted: their databases are tried again, and may adopt what lies there."""
