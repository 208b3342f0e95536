"""Since when backups of each database are expected, and which failed last. This is kept over restarts.

All else that a judgement needs is recorded: the restore points on the volume, the last topology, the schedules.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import Field

from backup_agent import durable, quoting
from backup_agent.core.artifacts.keys import database_key, split_database_key
from backup_agent.core.artifacts.names import DatabaseName, lowered
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.neo4j.topology import Topology
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.protection.expected import Pair
from backup_agent.core.protection.judging import (
    DatabaseProtection,
    ExpectedSince,
    KnownDatabases,
    expected_since,
    judge,
)
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

CHECK_SECONDS = 60.0
"""How often the agent looks which backups are expected. A failure is noticed at once."""

LARGEST = 16 * 2**20
"""Largest size of the file in bytes: 20,000 databases, with a failure of each."""

log = structlog.get_logger()


class ExpectedFile(StoredValue):
    """The content of `expected.json`. Its keys are `<set>/<database>`."""

    expected: dict[str, ExpectedSince] = Field(default={})
    failures: dict[str, Attempt] = Field(default={}, description="the last attempt at each database, if it failed")


@dataclass
class ExpectedBackups:
    """Judges each database, and keeps what a judgement needs beyond the records."""

    file: Path
    reloader: Reloader
    discovery: Discovery
    volume_summaries: VolumeSummaries
    orders: Orders
    counters: Counters
    _kept: ExpectedFile = field(default_factory=ExpectedFile)
    _since: dict[Pair, ExpectedSince] = field(default_factory=dict)
    _next: float = 0.0
    _not_before: float = 0.0
    """When the file may be written again after the volume refused it (monotonic seconds)."""

    def load(self) -> None:
        """Read the file. If it cannot be read, log it: backups are then expected from now on."""
        try:
            kept = ExpectedFile.from_json(durable.read(self.file, LARGEST))
            self._since = {_pair(key): since for key, since in kept.expected.items()}
            failures = {database_key(*split_database_key(key)): attempt for key, attempt in kept.failures.items()}
        except FileNotFoundError:
            return
        except (durable.RefusedFileError, ValueError) as error:
            log.warning("expected backups unreadable", file=str(self.file), error=quoting.shown(error))
            return
        self._kept, self.counters.attempts = kept, failures

    def check(self, now: datetime, monotonic: float) -> None:
        """Note which backups are expected from now on, once a minute, and write the file if it has changed."""
        failures = {key: attempt for key, attempt in self.counters.attempts.items() if attempt.failed}
        expected = self._kept.expected
        if monotonic >= self._next and self.volume_summaries.known:
            self._next = monotonic + CHECK_SECONDS
            self._since = expected_since(self._known(), self.reloader.settings.rules(), now)
            expected = {database_key(*pair): since for pair, since in self._since.items()}
        if failures != self._kept.failures or (expected is not self._kept.expected and expected != self._kept.expected):
            self._keep(ExpectedFile(expected=expected, failures=failures), monotonic)

    @property
    def began(self) -> dict[Pair, datetime]:
        """Since when backups of each database are expected."""
        return {pair: one.since for pair, one in self._since.items()}

    def judge(self, now: datetime) -> tuple[DatabaseProtection, ...] | None:
        """Return how each database is protected; None until the volume was surveyed."""
        if not self.volume_summaries.known:
            return None
        return judge(self._known(), self.reloader.settings.rules(), now)

    def _known(self) -> KnownDatabases:
        topology = self.discovery.last
        return KnownDatabases(
            listed=None if topology is None else _listed(topology),
            kinds={} if topology is None else {lowered(name): kind for name, kind in topology.excluded().items()},
            last_success={
                (one.set, lowered(one.database)): max(one.last_success.values(), default=None)
                for one in self.volume_summaries.summaries
                if one.set in self.reloader.settings.declared_sets
            },
            forgotten={lowered(name) for name in self.orders.forgotten},
            since=self._since,
        )

    def _keep(self, kept: ExpectedFile, monotonic: float) -> None:
        """Write the file. If the volume refuses, log it, and try again in a minute."""
        if monotonic < self._not_before:
            return
        try:
            durable.write(self.file, kept.to_json())
        except OSError as error:
            log.warning("expected backups not kept", file=str(self.file), error=error.strerror)
            self._not_before = monotonic + CHECK_SECONDS
            return
        self._kept = kept


def _listed(topology: Topology) -> set[DatabaseName]:
    return {lowered(name) for name in topology.databases()}


def _pair(key: str) -> Pair:
    set_name, database = split_database_key(key)
    return set_name, lowered(database)
