"""The FULL that follows when a drill has marked an artifact as damaged."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime

from backup_agent.core.artifacts.keys import database_key
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.core.requests.request import Request


def fulls_after_damage(
    drills: Iterable[DatabaseDrills],
    summaries: Iterable[DatabaseSummary],
    declared: Collection[SetName],
    listed: Collection[DatabaseName],
) -> Iterator[Request]:
    """Yield a request for a FULL of each database that has none since a drill marked one of its artifacts.

    Databases that the cluster does not list, and sets that the settings do not declare, are left out. The id of a
    request is always the same for the same mark. A drill marks at most one artifact of a database in a day.
    """
    last: dict[tuple[SetName, DatabaseName], datetime | None] = {
        (one.set, one.database): one.last_success.get(BackupType.FULL.value) for one in summaries
    }
    for one in drills:
        pair = one.set, one.database
        if one.marked is None or one.set not in declared or one.database not in listed or pair not in last:
            continue
        newest = last[pair]
        if newest is None or newest <= one.marked:
            digest = hashlib.sha256(database_key(*pair).encode()).hexdigest()[:8]
            yield Request(
                id=f"damaged@{one.marked.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest}",
                type=BackupType.FULL,
                databases=[one.database],
                path=one.set,
                requested_by="backup-agent",
                reason=f"a drill at {one.place} found a damaged artifact",
            )
