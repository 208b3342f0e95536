"""The FULL with which a database begins a new history, after it was replaced or created again."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from backup_agent.core.artifacts.names import BEFORE_RESTORE, DatabaseName, SetName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.neo4j.topology import Topology
from backup_agent.core.requests.request import Request

WATCHED = timedelta(days=1)
"""How long after a backup before a restore the replacement of its database is expected."""


def without_full(
    topology: Topology, summaries: Iterable[DatabaseSummary], declared: Collection[SetName]
) -> Mapping[DatabaseName, datetime]:
    """Return the replaced databases that have no FULL of their new history, and when each was first seen replaced.

    A database without backups in a declared set is left out: neither a schedule nor a request has backed it up.
    """
    backed_up = {one.database for one in summaries if one.set in declared}
    return {name: seen for name, seen in topology.replaced.items() if name in backed_up}


def requests(topology: Topology, replaced: Mapping[DatabaseName, datetime]) -> Iterator[Request]:
    """Yield a request for a FULL of each replaced database of which every copy is online. Its id is always the same."""
    databases = topology.databases()
    for name, seen in replaced.items():
        if all(copy.serves and copy.address is not None for copy in databases[name]):
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            yield Request(
                id=f"replaced@{seen.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest}",
                type=BackupType.FULL,
                databases=[name],
                requested_by="backup-agent",
                reason="the database was replaced or created again: it begins a new history",
            )


def expects_replacement(
    summaries: Iterable[DatabaseSummary], declared: Collection[SetName], now: datetime
) -> frozenset[DatabaseName]:
    """Return the databases that were backed up before a restore within the last day, and have no newer FULL."""
    full = BackupType.FULL.value
    fulls = [(one.set, one.database, one.last_success[full]) for one in summaries if full in one.last_success]
    newest: dict[DatabaseName, datetime] = {}
    for set_name, database, finished in fulls:
        if set_name in declared:
            newest[database] = max(finished, newest.get(database, finished))
    return frozenset(
        database
        for set_name, database, finished in fulls
        if set_name == BEFORE_RESTORE and now - finished < WATCHED and newest.get(database, finished) <= finished
    )
