"""The supervisor's knowledge of the cluster: the last answer over Bolt, and whether the answer is still fresh.

A child queries the cluster. The last topology is also kept on the volume, for times when Bolt does not answer.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from backup_agent.cluster.rows import ALIASES, BACKUP_ADDRESSES, COPIES, DEFINITIONS, REACHABLE, IncompleteError, Rows
from backup_agent.cluster.saved_topology import load_topology, save_topology
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.neo4j.selection import Knowledge, Selection, select
from backup_agent.core.neo4j.topology import Addressing, BackupSource, Topology, sources
from backup_agent.core.reasons import HINTS, Failure, Reason
from backup_agent.core.requests.events import DiscoveryFailed, TopologyRows, TopologyTold
from backup_agent.core.retention.clock import ClockTime

FRESH_SECONDS = 30.0
"""How long an answer or a failure is reused, so that a burst of requests does not query the cluster each time."""

SELECTED_SECONDS = 300.0
"""How long an answer is reused for databases that are selected already. After a failed backup it is FRESH_SECONDS."""

AGED_SECONDS = 3600.0
"""How long no query is made if nothing needs one. A query takes about a second of CPU time and 44 MiB."""

log = structlog.get_logger()


@dataclass
class Discovery:
    """The outcome of the last query, and the last topology, which is kept below the storage root across restarts."""

    root: Path
    last: Topology | None = None
    current: Topology | None = None
    failure: Failure | None = None
    reachable: dict[str, str | None] = field(default_factory=dict)
    missing: tuple[DatabaseName, ...] = ()
    notes: tuple[str, ...] = ()
    """Which parts of its last answer the cluster left out or the agent refused."""
    clock_offset: float | None = None
    """Seconds by which the servers' clock was ahead of the agent's in the last answer."""
    server_clock: ClockTime | None = None
    """The servers' clock in the last answer that contained it."""
    asked: bool = False
    """Whether this process has queried the cluster. A topology on the volume may be another cluster's (a clone)."""
    refused: int | None = None
    """How many databases the cluster lists under refused names; None before the first answer."""
    _rows: Rows = field(default_factory=Rows)
    _at: float | None = None
    _outlived: bool = False

    @property
    def up(self) -> bool | None:
        """Whether Bolt answered the last query; None before the first one."""
        return None if self.current is None and self.failure is None else self.current is not None

    def load(self) -> None:
        """Read the topology that an earlier process kept on the volume."""
        self.last = load_topology(self.root)

    def fresh(self, monotonic: float) -> bool:
        """Return whether the last query is recent enough to select databases."""
        return self._at is not None and monotonic - self._at < FRESH_SECONDS

    def older(self, monotonic: float, seconds: float) -> bool:
        """Return whether the last query began longer ago than that, or has not been made."""
        return self._at is None or monotonic - self._at > seconds

    def aged(self, monotonic: float) -> bool:
        """Return whether the cluster should be queried although nothing needs the answer: it may have new databases."""
        return self._at is None or monotonic - self._at >= AGED_SECONDS

    def serves(self, monotonic: float) -> bool:
        """Return whether the last query is recent enough to start backups of selected databases."""
        answered = self.current is not None and not self._outlived
        return self.fresh(monotonic) or (answered and self._at is not None and monotonic - self._at < SELECTED_SECONDS)

    def note_failed_backup(self) -> None:
        """Note that a backup has failed: the cluster may have changed since the last query."""
        self._outlived = True

    def doubt(self) -> None:
        """Query again before the next deletion: the clocks disagreed, and one may have been corrected since."""
        self._at, self.asked = None, False

    def outdate(self) -> None:
        """Query again before the next backup."""
        self._at = None

    def begin(self) -> None:
        """Discard earlier rows, since a child is about to be started."""
        self._rows = Rows()

    def add_rows(self, event: TopologyRows) -> None:
        """Add rows from the child."""
        self._rows.take(event)

    def take(self, event: TopologyTold | DiscoveryFailed, monotonic: float) -> None:
        """Handle the last event of the child: build the topology from its rows, or note why there is no topology."""
        rows, self._rows = self._rows, Rows()
        try:
            tables = rows.complete(event.counts)
        except IncompleteError as error:
            if isinstance(event, TopologyTold):
                text = f"the topology is incomplete, and not used: {error}"
                self.fail(Failure(Reason.SOURCE_UNREACHABLE, text, HINTS[Reason.INTERNAL]), monotonic)
                return
            tables = {REACHABLE: []}
        self._at, self.asked, self._outlived = monotonic, True, False
        self.reachable = dict(tables[REACHABLE])
        if isinstance(event, TopologyTold):
            topology = Topology(
                seen=event.seen,
                copies=tuple(tables[COPIES]),
                aliases=dict(tables[ALIASES]),
                versions=event.versions,
                backup_addresses=dict(tables[BACKUP_ADDRESSES]),
                definitions=dict(tables[DEFINITIONS]),
            )
            self.clock_offset = event.clock_offset_seconds
            if self.clock_offset is not None:
                shown = datetime.now(UTC) + timedelta(seconds=self.clock_offset)
                self.server_clock = ClockTime(now=shown, monotonic=time.clock_gettime(time.CLOCK_BOOTTIME))
            self.current = self.last = self._remember(topology.following(self.last))
            self.failure, self.refused = None, event.refused
            self._note(event.notes)
        else:
            self.current, self.failure = None, event.failure

    def _note(self, notes: tuple[str, ...]) -> None:
        """Keep the notes on an incomplete answer, and log them if they have changed."""
        if notes and notes != self.notes:
            log.warning("topology incomplete", notes=notes)
        self.notes = notes

    def _remember(self, topology: Topology) -> Topology:
        """Write a topology to the volume and return it. If writing fails, for example on a full volume, log that."""
        try:
            save_topology(self.root, topology)
        except OSError as error:
            log.warning("topology not saved", error=str(error))
        return topology

    def forget(self, database: DatabaseName) -> None:
        """Remove a database from the last topology and from the missing ones. Raise OSError if writing fails."""
        if self.last is not None:
            kept = self.last.forgetting(database)
            save_topology(self.root, kept)
            self.last = kept
            self.current = self.current.forgetting(database) if self.current else None
        self.missing = tuple(name for name in self.missing if name != database)

    def recorded_full(self, database: DatabaseName, database_id: str | None) -> None:
        """Note that a FULL of a database was recorded: if the database was replaced, its new history has begun."""
        if self.last is not None and (kept := self.last.with_full(database, database_id)) is not self.last:
            self.current = kept if self.current is self.last else self.current
            self.last = self._remember(kept)

    def lists(self, database: DatabaseName) -> bool:
        """Return whether the last topology lists a database."""
        return self.last is not None and database in self.last.databases()

    def fail(self, failure: Failure, monotonic: float) -> None:
        """Note that the query of the cluster failed."""
        self._at, self.asked = monotonic, True
        self.current, self.failure, self.reachable = None, failure, {}

    def select(
        self,
        asked: tuple[str, ...] | None,
        default: tuple[str, ...],
        recorded: Collection[DatabaseName],
        addressing: Addressing,
        *,
        now: datetime,
        max_age: timedelta,
    ) -> Selection:
        """Return the databases that a request means, according to the present knowledge of the cluster."""
        knowledge = Knowledge(
            topology=self.current,
            last=self.last,
            recorded=recorded,
            static=bool(addressing.static),
            bolt_failure=self.failure,
        )
        selection = select(asked, default, knowledge, now=now, max_topology_age=max_age)
        if self.current is not None:
            self.missing = selection.missing
        return selection

    def sources(self, database: DatabaseName, addressing: Addressing) -> tuple[BackupSource, ...]:
        """Return the servers from which a database can be backed up, the best one first."""
        return sources(self.last, database, addressing, self.reachable)
