"""What the supervisor knows of the cluster: what Bolt said last, and whether that is still fresh.

The asking is a child's; this keeps the outcome, and the last topology on the volume for the day Bolt is silent.
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
from backup_agent.core.retention.clock import Shown

FRESH_SECONDS = 30.0
"""How long an answer of the cluster, or its silence, serves the next request: a burst must not ask a thousand times."""

log = structlog.get_logger()


@dataclass
class Discovery:
    """The last outcome; the last topology is kept below the storage root over restarts."""

    root: Path
    last: Topology | None = None
    current: Topology | None = None
    failure: Failure | None = None
    reachable: dict[str, str | None] = field(default_factory=dict)
    missing: tuple[DatabaseName, ...] = ()
    notes: tuple[str, ...] = ()
    """What the cluster did not tell when it answered last."""
    clock_offset: float | None = None
    """Seconds the servers' clock was ahead of ours in the last answer."""
    server_clock: Shown | None = None
    """What it showed when it was told last."""
    asked: bool = False
    """Whether this life has asked the cluster: what an earlier one kept may have come with a cloned volume."""
    refused: int | None = None
    """How many databases the cluster lists under refused names; None before it has answered."""
    _rows: Rows = field(default_factory=Rows)
    _at: float | None = None

    @property
    def up(self) -> bool | None:
        """Whether Bolt answered when it was asked last; None before it was asked."""
        return None if self.current is None and self.failure is None else self.current is not None

    def load(self) -> None:
        """Read the topology an earlier life has kept."""
        self.last = load_topology(self.root)

    def fresh(self, monotonic: float) -> bool:
        """Tell whether the cluster was asked a moment ago."""
        return self._at is not None and monotonic - self._at < FRESH_SECONDS

    def doubt(self) -> None:
        """Ask again before anything is deleted: the clocks disagree, and ours may have been set right since."""
        self._at, self.asked = None, False

    def outdate(self) -> None:
        """Ask again before the next backup."""
        self._at = None

    def begin(self) -> None:
        """Wait for the rows of a child that is about to be started."""
        self._rows = Rows()

    def hear(self, event: TopologyRows) -> None:
        """Take rows that the child told."""
        self._rows.take(event)

    def take(self, event: TopologyTold | DiscoveryFailed, monotonic: float) -> None:
        """Take the last event of the child: with it the rows are a topology, or it says why there is no topology."""
        rows, self._rows = self._rows, Rows()
        try:
            found = rows.complete(event.counts)
        except IncompleteError as error:
            if isinstance(event, TopologyTold):
                text = f"the topology is incomplete, and not used: {error}"
                self.fail(Failure(Reason.SOURCE_UNREACHABLE, text, HINTS[Reason.INTERNAL]), monotonic)
                return
            found = {REACHABLE: []}
        self._at, self.asked = monotonic, True
        self.reachable = dict(found[REACHABLE])
        if isinstance(event, TopologyTold):
            topology = Topology(
                seen=event.seen,
                copies=tuple(found[COPIES]),
                aliases=dict(found[ALIASES]),
                versions=event.versions,
                backup_addresses=dict(found[BACKUP_ADDRESSES]),
                definitions=dict(found[DEFINITIONS]),
            )
            self.clock_offset = event.clock_offset_seconds
            if self.clock_offset is not None:
                shown = datetime.now(UTC) + timedelta(seconds=self.clock_offset)
                self.server_clock = Shown(now=shown, monotonic=time.clock_gettime(time.CLOCK_BOOTTIME))
            self.current = self.last = self._remember(topology.following(self.last))
            self.failure, self.refused = None, event.refused
            self._note(event.notes)
        else:
            self.current, self.failure = None, event.failure

    def _note(self, notes: tuple[str, ...]) -> None:
        """Keep notes on what the cluster did not answer or the agent refused, and log them if they have changed."""
        if notes and notes != self.notes:
            log.warning("cluster answered in part", notes=notes)
        self.notes = notes

    def _remember(self, topology: Topology) -> Topology:
        """Keep a topology on the volume too, where that takes it: a full one must not make the cluster unknown."""
        try:
            save_topology(self.root, topology)
        except OSError as error:
            log.warning("topology not kept", error=str(error))
        return topology

    def forget(self, database: DatabaseName) -> None:
        """Miss a database no more. Raise OSError."""
        if self.last is not None:
            kept = self.last.forgetting(database)
            save_topology(self.root, kept)
            self.last = kept
            self.current = self.current.forgetting(database) if self.current else None
        self.missing = tuple(name for name in self.missing if name != database)

    def lists(self, database: DatabaseName) -> bool:
        """Tell whether the cluster listed a database when it answered last."""
        return self.last is not None and database in self.last.databases()

    def fail(self, failure: Failure, monotonic: float) -> None:
        """Note that the cluster did not answer at all."""
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
        """Return what a request comes to, as things are known now."""
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
        """Return the servers for a backup, the best first."""
        return sources(self.last, database, addressing, self.reachable)
