"""The Cypher statements of a restore, by version. They run on the database `system`.

The facts by version are from Neo4j's manual (create-databases, seed-from-uri, recreate-database, delete-databases,
database aliases). They were not run on Neo4j Enterprise by this project.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from backup_agent.core.artifacts.names import DatabaseName, database_name_or_none
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.capabilities import Version
from backup_agent.core.escaping import cypher_name, cypher_string
from backup_agent.core.restore.ways import RECREATE_RENAMED

CYPHER_25 = Version(2025, 6)
"""`CYPHER 25`, in which the option `existingData` has no effect, and default languages of databases."""

WAIT = "WAIT 600 SECONDS"

FILL_IN = "TOPOLOGY <PRIMARIES> PRIMARIES <SECONDARIES> SECONDARIES"
"""The topology if it is unknown. Neo4j refuses this text, so it cannot be forgotten."""

Literal = str
"""A value in Cypher, already quoted."""


def topology(definition: Definition | None) -> str:
    """Return the clause for primaries and secondaries. Without it, Neo4j creates one primary unless configured.

    >>> topology(Definition(primaries=3, secondaries=1)), topology(None)
    ('TOPOLOGY 3 PRIMARIES 1 SECONDARY', 'TOPOLOGY <PRIMARIES> PRIMARIES <SECONDARIES> SECONDARIES')
    """
    if definition is None or not definition.primaries:
        return FILL_IN
    primaries = f"TOPOLOGY {definition.primaries} {'PRIMARY' if definition.primaries == 1 else 'PRIMARIES'}"
    if not definition.secondaries:
        return primaries
    return f"{primaries} {definition.secondaries} {'SECONDARY' if definition.secondaries == 1 else 'SECONDARIES'}"


def seed(uri: str, until: datetime | None, before_tx: int | None) -> dict[str, Literal]:
    """Return the options for a seed, cut at a moment or before a transaction. Both are exclusive."""
    found = {"seedURI": cypher_string(uri)}
    if until is not None:
        found["seedRestoreUntil"] = f"datetime('{until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}')"
    elif before_tx is not None:
        found["seedRestoreUntil"] = str(before_tx)
    return found


def create(
    name: DatabaseName, version: Version, *, with_topology: str, options: Mapping[str, Literal], replace: bool = False
) -> str:
    """Return the statement that creates a database, from a seed if there are options."""
    given = dict(options)
    if options and version < CYPHER_25:
        given = {"existingData": "'use'", **given}
    text = ", ".join(f"{option}: {value}" for option, value in given.items())
    parts = (
        "CYPHER 25" if version >= CYPHER_25 else "",
        f"CREATE OR REPLACE DATABASE {cypher_name(name)}" if replace else f"CREATE DATABASE {cypher_name(name)}",
        with_topology,
        f"OPTIONS {{{text}}}" if text else "",
        f"{WAIT};",
    )
    return " ".join(part for part in parts if part)


def recreate(name: DatabaseName, version: Version, uri: str) -> str:
    """Return the statement that replaces the content of a database and keeps its privileges, aliases and definition."""
    procedure = "dbms.recreateDatabase" if version >= RECREATE_RENAMED else "dbms.cluster.recreateDatabase"
    return f"CALL {procedure}({cypher_string(name)}, {{seedURI: {cypher_string(uri)}}});"


def drop(name: DatabaseName) -> str:
    """Return the statement that drops a database. It fails if the database has an alias."""
    return f"DROP DATABASE {cypher_name(name)};"


def look(name: DatabaseName) -> str:
    """Return the statement that shows the state of each copy of a database."""
    columns = "name, address, role, requestedStatus, currentStatus, statusMessage"
    return f"SHOW DATABASE {cypher_name(name)} YIELD {columns};"


def check_replication(name: DatabaseName) -> str:
    """Return the statement that lets each member of a clustered database replicate a transaction."""
    return f"CALL dbms.cluster.statusCheck([{cypher_string(name)}], 5000);"


def find_what_is_lost(name: DatabaseName) -> tuple[str, ...]:
    """Return the statements that show what is lost when a database is dropped: aliases, privileges, home databases."""
    text = cypher_string(name)
    columns = "name, aliases, access, options, requestedPrimariesCount, requestedSecondariesCount"
    return (
        f"SHOW DATABASE {cypher_name(name)} YIELD {columns};",
        f"SHOW ALL PRIVILEGES AS COMMANDS YIELD command WHERE command CONTAINS {text};",
        f"SHOW USERS YIELD user, home WHERE home = {text};",
    )


def set_home(name: DatabaseName) -> str:
    """Return the statement that makes a database the home database of a user, whose name is to be filled in."""
    return f"ALTER USER <USER> SET HOME DATABASE {cypher_name(name)};"


def create_aliases(name: DatabaseName, aliases: tuple[DatabaseName, ...]) -> Iterator[str]:
    """Yield the statements that create the aliases of a database."""
    return (f"CREATE ALIAS {cypher_name(alias)} IF NOT EXISTS FOR DATABASE {cypher_name(name)};" for alias in aliases)


def drop_aliases(aliases: tuple[DatabaseName, ...]) -> Iterator[str]:
    """Yield the statements that drop aliases."""
    return (f"DROP ALIAS {cypher_name(alias)} IF EXISTS FOR DATABASE;" for alias in aliases)


def alter(name: DatabaseName, definition: Definition, version: Version) -> Iterator[str]:
    """Yield the statements that give a database back its access, language and change data capture."""
    database = f"ALTER DATABASE {cypher_name(name)} SET"
    language = definition.default_language
    if language in ("CYPHER 5", "CYPHER 25") and version >= CYPHER_25:
        yield f"CYPHER 25 {database} DEFAULT LANGUAGE {language};"
    if enrichment := definition.options.get("txLogEnrichment"):
        yield f"{database} OPTION txLogEnrichment {cypher_string(str(enrichment))};"
    if definition.access == "read-only":
        yield f"{database} ACCESS READ ONLY;"


def aliases_of(definition: Definition | None) -> tuple[DatabaseName, ...]:
    """Return the recorded aliases that are names of databases."""
    found = map(database_name_or_none, definition.aliases if definition else ())
    return tuple(name for name in found if name is not None)
