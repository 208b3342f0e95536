"""The way of a restore: which commands and statements bring the artifacts to this cluster, by version and place.

The facts by version are from Neo4j's manual (seed-from-uri, create-databases, recreate-database, restore-backup). They
were not run on Neo4j Enterprise by this project.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from backup_agent.core.artifacts.names import SYSTEM, DatabaseName
from backup_agent.core.capabilities import OLDEST, Version
from backup_agent.core.reasons import Failure, Reason

SEED_UNTIL = Version(2025, 1)
"""`CREATE OR REPLACE DATABASE` with a seed, and its option `seedRestoreUntil`."""
RECREATE_RENAMED = Version(2025, 4)
"""`dbms.recreateDatabase`; before it, `dbms.cluster.recreateDatabase`, since 5.24."""
SERVER_SEEDS = Version(2026, 4)
"""Seeds from a folder of a server, `server://<server>/<file>`. A seed from there cannot be cut at a moment."""


class Way(StrEnum):
    """How the restored database comes into being."""

    SEED = "seed"
    """`CREATE DATABASE` with a seed that every server reads from a destination."""
    RECREATE = "recreate"
    """`dbms.recreateDatabase` with such a seed. It keeps privileges, and cannot cut at a moment."""
    SERVER_SEED = "server_seed"
    """`CREATE DATABASE` with a seed in a folder of one server, from which the others copy."""
    SERVER_RECREATE = "server_recreate"
    """`dbms.recreateDatabase` with a seed in a folder of one server."""
    ONE_SERVER = "one_server"
    """`neo4j-admin database restore` on one server, which then seeds the others (designated seeder)."""
    STANDALONE = "standalone"
    """`neo4j-admin database restore` on a standalone server."""
    SYSTEM = "system"
    """The runbook for `system`: stop all servers, unbind, load the same full on each."""


@dataclass(frozen=True)
class Situation:
    """The facts that decide the way of a restore."""

    database: DatabaseName
    version: Version
    """The version of the servers."""
    cluster: bool
    """Whether there is more than one server."""
    readable: bool
    """Whether the servers can read the place that has the artifacts. They cannot read the volume."""
    replace: bool
    """Whether the restored database replaces the existing one."""
    cut: bool
    """Whether the last artifact is cut, at a moment or before a transaction."""


def way_of(now: Situation, wanted: Way | None = None) -> Way | Failure:
    """Return the way of a restore: the wanted one, or the first that is possible. If there is no such way, return why.

    `system` can be restored only whole, and only over the existing one.
    """
    if now.version < OLDEST:
        return Failure(
            Reason.INVALID_REQUEST,
            f"restore plans are known from Neo4j {OLDEST} on, and the servers have {now.version}",
            "see the manual of that version",
        )
    if now.database == SYSTEM and (fault := _system_fault(now)):
        return fault
    possible = [way for way, is_possible in WAYS.items() if is_possible(now)]
    if wanted is None or wanted in possible:
        return wanted or possible[0]
    return Failure(
        Reason.INVALID_REQUEST,
        f"this restore is not possible by --way {wanted}",
        f"leave it out, or choose from: {', '.join(possible)}",
    )


def _user_database(now: Situation) -> bool:
    return now.cluster and now.database != SYSTEM


def _server_seeds(now: Situation) -> bool:
    return _user_database(now) and now.version >= SERVER_SEEDS and not now.cut


WAYS: dict[Way, Callable[[Situation], bool]] = {
    Way.SYSTEM: lambda now: now.database == SYSTEM,
    Way.STANDALONE: lambda now: now.database != SYSTEM and not now.cluster,
    Way.RECREATE: lambda now: _user_database(now) and now.readable and now.replace and not now.cut,
    Way.SEED: lambda now: _user_database(now) and now.readable and (now.version >= SEED_UNTIL or not now.cut),
    Way.SERVER_RECREATE: lambda now: _server_seeds(now) and now.replace,
    Way.SERVER_SEED: _server_seeds,
    Way.ONE_SERVER: _user_database,
}
"""Way -> whether it is possible. The first possible way is the one that is planned."""


def _system_fault(now: Situation) -> Failure | None:
    if now.cut:
        return Failure(
            Reason.INVALID_REQUEST,
            "system is restored to the state of an artifact, not to a moment: its full is loaded on each server",
            "leave out --at and --before-tx, or name an artifact of system",
        )
    if not now.replace:
        return Failure(
            Reason.INVALID_REQUEST,
            "system cannot be restored under another name",
            "add --replace: the plan then stops all servers, and replaces system on each of them",
        )
    return None
