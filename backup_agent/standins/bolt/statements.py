"""Run a statement on a simulated cluster and return its rows, as an Enterprise cluster would.

Sources are Neo4j's manuals (listing-databases, show-databases-monitoring) and the answers of Neo4j Community 5.26.31
and 2026.09.0. The database `system` accepts only administration commands and procedures, so RETURN datetime() is
refused there. The shard columns are those of Community 2026.09.0: they exist in Cypher 25 only, a standard database is
its own graph shard, and they are null for `system`. Guessed, because no Enterprise server was available: the rows of
sharded databases and replicas as far as the manual does not describe them, `store` of a block store, and the text of
`statusMessage` for a quarantined copy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from backup_agent.standins.bolt.faults import Failure, Refused, forbidden, unavailable, unsupported
from backup_agent.standins.bolt.grammar import DATETIME, Statement, Tail, Unknown, parse
from backup_agent.standins.cluster import Cluster, Copy, Database, Server, User

EVERYBODY = User(name="", password="", manages_databases=True)
"""The user of a cluster without users."""
DEFAULT_DATABASE = "neo4j"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
TELLING = ("online", "deallocating")
"""Statuses in which a copy shows its ids and transactions. In others these columns are null, as the manual says."""

LANGUAGES = (2025, 6)
"""First version in which databases have a default language and the component Cypher has two versions."""
SHARDS = (2025, 12)
ADVERTISED_BACKUP_ADDRESS = (2025, 5)
CLOUD_ALONE = (2025, 1)
"""First version in which S3SeedProvider is not listed by default."""
SERVER_SEEDS = (2026, 4)
PROVIDERS = "dbms.databases.seed_from_uri_providers"
DEFAULT_PROVIDERS = ("S3SeedProvider,CloudSeedProvider", "CloudSeedProvider")
SEEDS = "server.directories.seeds"

DATABASE_COLUMNS = (
    "name type aliases access address role writer requestedStatus currentStatus statusMessage default home constituents"
)
DATABASE_COLUMNS_ALL = (
    "name type aliases access databaseID serverID address role writer requestedStatus currentStatus statusMessage "
    "default home currentPrimariesCount currentSecondariesCount requestedPrimariesCount requestedSecondariesCount "
    "creationTime lastStartTime lastStopTime store lastCommittedTxn replicationLag constituents options"
)
SHARD_COLUMNS = "currentPropertyShardReplicas requestedPropertyShardReplicas shardTxnLag graphShards propertyShards"
SERVER_COLUMNS = "name address state health hosting"
SERVER_COLUMNS_ALL = (
    "serverId name address httpAddress httpsAddress state health hosting requestedHosting tags allowedDatabases "
    "deniedDatabases modeConstraint version"
)
ALIAS_COLUMNS = "name composite database location url user"
USER_COLUMNS = "user roles passwordChangeRequired suspended home"
SETTING_COLUMNS = "name value isDynamic defaultValue description"
SETTING_COLUMNS_ALL = f"{SETTING_COLUMNS} startupValue isExplicitlySet validValues isDeprecated"


@dataclass(frozen=True)
class Asked:
    """The context of a statement. `addresses` are the servers' actual Bolt addresses, by name."""

    cluster: Cluster
    server: str
    addresses: Mapping[str, str]
    database: str
    now: datetime
    user: User = EVERYBODY

    @property
    def version(self) -> tuple[int, int]:
        """First two numbers of the server's version: year and month, or 5 and the minor version."""
        major, minor = self.cluster.version_of(self.server).split(".")[:2]
        return int(major), int(minor)

    @property
    def community(self) -> bool:
        """Whether the server's edition is Community."""
        return self.cluster.bolt.edition == "community"


@dataclass(frozen=True)
class Table:
    """All rows and columns of a statement. `shown` are the columns that are returned without YIELD."""

    columns: Sequence[str]
    shown: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """The columns and rows that are sent to the client."""

    fields: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def answer(asked: Asked, text: str, parameters: Mapping[str, Any]) -> Answer:
    """Run a statement. Raise Refused if Neo4j would refuse it or the stand-in does not support it."""
    try:
        statement = parse(text, parameters)
    except Unknown as unknown:
        raise Refused(syntax_error(f"Invalid input (the stand-in supports few statements): {unknown}")) from unknown
    need_language(asked, statement.language)
    if statement.verb == "RETURN":
        if need_running(asked).type == "system":
            raise Refused(_not_on_system(text))
        return _returned(asked, statement)
    tables = PROCEDURES if statement.verb == "CALL" else SHOWN
    subject = statement.subject.lower() if statement.verb == "CALL" else statement.subject
    if subject not in tables:
        raise Refused(no_procedure(statement.subject))
    return _taken(asked, tables[subject](asked, statement), statement.tail)


def need_language(asked: Asked, language: int) -> None:
    """Raise Refused if the server does not have this version of Cypher."""
    if language > (25 if asked.version >= LANGUAGES else 5):
        raise Refused(
            Failure(
                "Neo.ClientError.Statement.ArgumentError",
                f"{language} is not a valid option for cypher version. Valid options are: 5",
                "22000",
            )
        )


def no_procedure(name: str) -> Failure:
    """Return the error for an unknown procedure."""
    return Failure(
        "Neo.ClientError.Procedure.ProcedureNotFound",
        f"There is no procedure with the name `{name}` registered for this database instance.",
        "42001",
        "42001",
    )


def find_database(cluster: Cluster, name: str) -> Database | None:
    """Return the database with a name or an alias, or None if it does not exist."""
    target = next((alias.target for alias in cluster.aliases if alias.name == name), name)
    return next((database for database in cluster.databases if database.name == target), None)


def database_not_found(name: str) -> Failure:
    """Return the error for an unknown database."""
    return Failure("Neo.ClientError.Database.DatabaseNotFound", f"Graph not found: {name}", "42001")


def no_routing_table(name: str) -> Failure:
    """Return the error for the routing table of an unknown database."""
    return Failure(
        "Neo.ClientError.Database.DatabaseNotFound",
        f"Unable to get a routing table for database '{name}' because this database does not exist",
        "22000",
    )


def running(cluster: Cluster, database: Database, server: str | None = None) -> tuple[Copy, ...]:
    """Return the copies that are online on a server that is up."""
    up = {each.name for each in cluster.servers if each.up}
    return tuple(
        copy
        for copy in database.copies
        if copy.server in up and copy.status in TELLING and server in (None, copy.server)
    )


def _databases(asked: Asked, statement: Statement) -> Table:
    wanted = {find.name for name in statement.names if (find := find_database(asked.cluster, name))}
    rows = [
        _database_row(asked, database, copy)
        for database in asked.cluster.databases
        if _may_see(asked.user, database)
        and (not statement.names or database.name in wanted)
        and any(asked.cluster.server(copy.server).up for copy in database.copies)
        for copy in database.copies
    ]
    columns = DATABASE_COLUMNS_ALL.split()
    if asked.version >= LANGUAGES:
        columns.insert(columns.index("options"), "defaultLanguage")
    if asked.version >= SHARDS and statement.language >= 25:  # noqa: PLR2004  Cypher 25
        columns[columns.index("options") - 1 : columns.index("options") - 1] = SHARD_COLUMNS.split()
    return Table(columns, DATABASE_COLUMNS.split(), rows)


def _home_database(asked: Asked, statement: Statement) -> Table:
    table = _databases(asked, Statement("SHOW", "DATABASES", (DEFAULT_DATABASE,), statement.tail))
    hidden = ("default", "home")
    return Table(
        [column for column in table.columns if column not in hidden],
        [column for column in table.shown if column not in hidden],
        table.rows,
    )


def _database_row(asked: Asked, database: Database, copy: Copy) -> dict[str, Any]:
    cluster = asked.cluster
    server = cluster.server(copy.server)
    status = copy.status if server.up else "unknown"
    telling = status in TELLING
    composite = database.type == "composite"
    transactions = telling and not composite and not database.shards
    up = running(cluster, database)
    row: dict[str, Any] = {
        "name": database.name,
        "type": database.type,
        "aliases": [alias.name for alias in cluster.aliases if alias.target == database.name],
        "access": "read-only" if composite or database.type == "replica" else database.access,
        "databaseID": database.database_id if telling else None,
        "serverID": server.id,
        "address": asked.addresses[server.name] if server.up else None,
        "role": None if composite else copy.role if telling else "unknown",
        "writer": copy.writer and telling,
        "requestedStatus": "offline" if copy.status in ("offline", "stopping") and not copy.failed else "online",
        "currentStatus": status,
        "statusMessage": _status_message(asked, database, "dirty" if copy.failed else status),
        "default": database.name == DEFAULT_DATABASE,
        "home": database.name == DEFAULT_DATABASE,
        "currentPrimariesCount": sum(each.role == "primary" for each in up),
        "currentSecondariesCount": sum(each.role == "secondary" for each in up),
        "requestedPrimariesCount": sum(each.role == "primary" for each in database.copies),
        "requestedSecondariesCount": sum(each.role == "secondary" for each in database.copies),
        "creationTime": CREATED,
        "lastStartTime": CREATED,
        "lastStopTime": None,
        "store": ("record-aligned-1.1" if asked.community else "block-block-1.1") if transactions else None,
        "lastCommittedTxn": database.last_transaction + copy.lag if transactions else None,
        "replicationLag": copy.lag if transactions else None,
        "currentPropertyShardReplicas": None,
        "requestedPropertyShardReplicas": len(database.copies) if database.type == "property shard" else None,
        "shardTxnLag": None,
        "graphShards": None if database.type == "system" else [*database.shards[:1]] or [database.name],
        "propertyShards": None if database.type == "system" else [*database.shards[1:]],
        "constituents": list(database.constituents),
        "defaultLanguage": database.default_language,
        "options": None if composite else dict(database.options),
    }
    if composite:
        row |= dict.fromkeys([column for column in row if column.endswith("Count")])
    if asked.community:
        row |= {"lastCommittedTxn": None, "requestedPrimariesCount": None, "requestedSecondariesCount": None}
    return row


def _status_message(asked: Asked, database: Database, status: str) -> str:
    short = f"DatabaseId{{{database.internal_id[:8]}[{database.name}]}}"
    return {
        "unknown": "Server is unavailable",
        "dirty": f"An error occurred! Unable to start `{short}`.",
        "quarantined": f"By neo4j at {asked.now:%Y-%m-%dT%H:%M:%SZ}: simulated",
    }.get(status, "")


def _servers(asked: Asked, statement: Statement) -> Table:
    need_enterprise(asked, statement.title)
    if not asked.user.show_servers:
        raise Refused(forbidden(statement.title))
    rows = [_server_row(asked, each) for each in asked.cluster.servers]
    return Table(SERVER_COLUMNS_ALL.split(), SERVER_COLUMNS.split(), rows)


def _server_row(asked: Asked, server: Server) -> dict[str, Any]:
    requested = [
        database.name
        for database in asked.cluster.databases
        if any(copy.server == server.name for copy in database.copies)
    ]
    hosting = [
        database.name
        for database in asked.cluster.databases
        if database.name in requested and running(asked.cluster, database, server.name)
    ]
    return {
        "serverId": server.id,
        "name": server.name,
        "address": asked.addresses[server.name],
        "httpAddress": None,
        "httpsAddress": None,
        "state": server.state,
        "health": "Available" if server.up else "Unavailable",
        "hosting": hosting,
        "requestedHosting": requested,
        "tags": [],
        "allowedDatabases": [],
        "deniedDatabases": [],
        "modeConstraint": "NONE",
        "version": asked.cluster.version_of(server.name),
    }


def _aliases(asked: Asked, statement: Statement) -> Table:
    need_enterprise(asked, statement.title)
    if not asked.user.show_aliases:
        raise Refused(forbidden(statement.title))
    composites = {database.name for database in asked.cluster.databases if database.type == "composite"}
    rows = [
        {
            "name": alias.name,
            "composite": space if (space := alias.name.partition(".")[0]) in composites else None,
            "database": alias.target,
            "location": "local",
            "url": None,
            "user": None,
            "driver": None,
            "defaultLanguage": None,
            "properties": None,
        }
        for alias in asked.cluster.aliases
        if not statement.names or alias.name in statement.names
    ]
    language = ["defaultLanguage"] if asked.version >= LANGUAGES else []
    return Table([*ALIAS_COLUMNS.split(), "driver", *language, "properties"], ALIAS_COLUMNS.split(), rows)


def _settings(asked: Asked, statement: Statement) -> Table:
    rows = [
        {
            "name": name,
            "value": value,
            "isDynamic": False,
            "defaultValue": default,
            "description": "",
            "startupValue": value,
            "isExplicitlySet": value != default,
            "validValues": "",
            "isDeprecated": False,
        }
        for name, (value, default) in sorted(settings_of(asked).items())
        if (not statement.names or name in statement.names)
        and any(fnmatchcase(name, glob) for glob in asked.user.show_settings)
    ]
    return Table(SETTING_COLUMNS_ALL.split(), SETTING_COLUMNS.split(), rows)


def settings_of(asked: Asked) -> dict[str, tuple[str, str]]:
    """Return the value and default of each setting. The advertised backup address is that in `cluster.json`."""
    backup = asked.cluster.server(asked.server).backup
    settings = {
        "db.tx_log.rotation.retention_policy": ("2 days 2G", "2 days 2G"),
        "server.bolt.advertised_address": (asked.addresses[asked.server], ":7687"),
        "server.default_advertised_address": (backup.rpartition(":")[0] or "localhost", "localhost"),
        "server.default_listen_address": ("localhost", "localhost"),
        "server.directories.data": ("data", "data"),
    }
    if not asked.community:
        settings |= {
            "dbms.ssl.policy.backup.enabled": ("false", "false"),
            "server.backup.enabled": ("true", "true"),
            "server.backup.listen_address": ("0.0.0.0:6362", "127.0.0.1:6362"),
            "server.backup.store_copy_max_retry_time_per_request": ("20m", "20m"),
            "server.cluster.listen_address": (":6000", ":6000"),
            PROVIDERS: (providers := DEFAULT_PROVIDERS[asked.version >= CLOUD_ALONE], providers),
            "initial.dbms.default_primaries_count": ("1", "1"),
            "initial.dbms.default_secondaries_count": ("0", "0"),
        }
        if asked.version >= SERVER_SEEDS:
            settings[SEEDS] = ("seeds", "seeds")
        if asked.version >= ADVERTISED_BACKUP_ADDRESS:
            settings["server.backup.advertised_address"] = (backup or ":0", ":0")
    for name, value in asked.cluster.bolt.settings.get(asked.server, {}).items():
        settings[name] = (value, settings.get(name, (value, ""))[1])
    return settings


def _users(asked: Asked, _statement: Statement) -> Table:
    rows: list[dict[str, Any]] = [
        {"user": user.name, "roles": [], "passwordChangeRequired": False, "suspended": False, "home": user.home}
        for user in asked.cluster.bolt.users
    ]
    return Table(USER_COLUMNS.split(), USER_COLUMNS.split(), rows)


def _privileges(asked: Asked, statement: Statement) -> Table:
    need_enterprise(asked, statement.title)
    rows = [{"command": text, "immutable": False} for text in asked.cluster.bolt.privileges]
    return Table(("command", "immutable"), ("command",), rows)


def _components(asked: Asked, _statement: Statement) -> Table:
    version = asked.cluster.version_of(asked.server)
    rows = [{"name": "Neo4j Kernel", "versions": [version], "edition": asked.cluster.bolt.edition}]
    if asked.version >= ADVERTISED_BACKUP_ADDRESS:
        languages = ["5", "25"] if asked.version >= LANGUAGES else ["5"]
        rows.append({"name": "Cypher", "versions": languages, "edition": ""})
    return Table(("name", "versions", "edition"), ("name", "versions", "edition"), rows)


def _info(asked: Asked, _statement: Statement) -> Table:
    database = need_running(asked)
    columns = ("id", "name", "creationDate")
    row = {"id": database.database_id, "name": database.name, "creationDate": f"{CREATED:%Y-%m-%dT%H:%M:%S.000Z}"}
    return Table(columns, columns, [row])


SHOWN: Mapping[str, Callable[[Asked, Statement], Table]] = {
    "DATABASES": _databases,
    "HOME DATABASE": _home_database,
    "DEFAULT DATABASE": _home_database,
    "SERVERS": _servers,
    "ALIASES": _aliases,
    "SETTINGS": _settings,
    "USERS": _users,
    "PRIVILEGES AS COMMANDS": _privileges,
}
PROCEDURES: Mapping[str, Callable[[Asked, Statement], Table]] = {
    "dbms.components": _components,
    "db.info": _info,
}


def need_enterprise(asked: Asked, title: str) -> None:
    """Raise Refused if the server's edition is Community. `title` are the first words of the statement."""
    if asked.community:
        raise Refused(unsupported(title, asked.version))


def need_running(asked: Asked) -> Database:
    """Return the database of the session. Raise Refused if it is not online on the server that was asked."""
    database = find_database(asked.cluster, asked.database)
    if database is None:
        raise Refused(database_not_found(asked.database))
    if not running(asked.cluster, database, asked.server):
        raise Refused(unavailable(asked.database))
    return database


def _may_see(user: User, database: Database) -> bool:
    if database.type.endswith(" shard") and not user.manages_databases:
        return False
    return database.type == "system" or any(fnmatchcase(database.name, glob) for glob in user.databases)


def _returned(asked: Asked, statement: Statement) -> Answer:
    return Answer(
        tuple(name for _, name in statement.items),
        (tuple(asked.now if value is DATETIME else value for value, _ in statement.items),),
    )


def _taken(asked: Asked, table: Table, tail: Tail) -> Answer:
    shown = table.columns if tail.everything else table.shown
    columns = tail.columns if tail.columns is not None else tuple((column, column) for column in shown)
    for column in (*(column for column, _ in columns), *(condition.column for condition in tail.where)):
        if column not in table.columns:
            old = asked.version < (2025, 1)
            text = f"Variable `{column}` not defined" if old else f"Trying to YIELD non-existing column: `{column}`"
            raise Refused(syntax_error(text))
    rows = [row for row in table.rows if all(one.holds(row[one.column]) for one in tail.where)]
    return Answer(
        tuple(name for _, name in columns),
        tuple(tuple(row[column] for column, _ in columns) for row in rows),
    )


def syntax_error(message: str) -> Failure:
    """Return the error for a text that is not Cypher."""
    return Failure("Neo.ClientError.Statement.SyntaxError", message, "42001")


def _not_on_system(text: str) -> Failure:
    return Failure(
        "Neo.ClientError.Statement.SemanticError",
        "Not a recognised system command or procedure. "
        f"This Cypher command can only be executed in a user database: {text}",
        "42001",
        "42001",
    )
