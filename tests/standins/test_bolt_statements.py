"""Answers of the Bolt stand-in to the statements of a backup agent, and to unsupported statements."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import neo4j
import pytest
from neo4j.exceptions import ClientError, CypherSyntaxError, Neo4jError, ServiceUnavailable

from backup_agent.standins.cluster import Copy, User, five_servers, new_database, save, three_servers
from tests.standins.served import AUTH, DISCOVERY, Row, Served

Serve = Callable[..., Served]


def values(row: Row, *names: str) -> tuple[Any, ...]:
    """Return some columns of a row."""
    return tuple(row[name] for name in names)


# Connecting


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
@pytest.mark.parametrize(
    ("version", "bolt"),
    [("5.26.31", (5, 8)), ("2025.05.0", (5, 8)), ("2026.09.0", (6, 1))],
    ids=["5.26", "2025", "2026"],
)
def test_the_driver_connects_and_gets_the_servers_version(
    serve: Serve, scheme: str, version: str, bolt: tuple[int, int]
) -> None:
    info = serve(three_servers(version)).driver(scheme=scheme).get_server_info()

    assert (info.agent, info.protocol_version) == (f"Neo4j/{version}", bolt)


def test_every_address_in_the_rows_accepts_connections(serve: Serve) -> None:
    served = serve()
    names = {address: name for name, address in served.server.addresses.items()}

    for address in {row["address"] for row in served.ask(DISCOVERY)}:
        assert served.connection_error(server=names[address]) is None


def test_a_routing_driver_reads_from_followers_and_writes_to_the_leader(serve: Serve) -> None:
    served = serve(three_servers().with_leader("orders", "server-1"))
    for access in (neo4j.READ_ACCESS, neo4j.WRITE_ACCESS):
        with served.driver(scheme="neo4j").session(database="orders", default_access_mode=access) as session:
            session.run("RETURN 1").consume()
    reader, writer = [heard.server for heard in served.server.statements]

    assert reader in {"server-0", "server-2"}
    assert writer == "server-1"


def test_received_statements_are_recorded(serve: Serve) -> None:
    served = serve()
    served.ask("SHOW SERVERS", server="server-1")
    [heard] = served.server.statements

    assert (heard.server, heard.user, heard.database, heard.text) == ("server-1", "neo4j", "system", "SHOW SERVERS")


# Databases


def test_show_databases_returns_a_row_for_each_database_on_each_server(serve: Serve) -> None:
    served = serve(five_servers())
    orders = served.copies("orders")

    assert len(served.ask(DISCOVERY)) == 15
    assert {
        name: values(row, "role", "writer", "lastCommittedTxn", "replicationLag") for name, row in orders.items()
    } == {
        "server-0": ("primary", False, 12, 0),
        "server-1": ("primary", False, 12, 0),
        "server-2": ("primary", True, 12, 0),
        "server-3": ("secondary", False, 12, 0),
        "server-4": ("secondary", False, 10, -2),
    }
    assert {row["databaseID"] for row in orders.values()} == {served.cluster.database("orders").database_id}
    assert [uuid.UUID(row["serverID"]) for row in orders.values()] == [uuid.UUID(s.id) for s in served.cluster.servers]


DEFAULT = [
    "name", "type", "aliases", "access", "address", "role", "writer", "requestedStatus", "currentStatus",
    "statusMessage", "default", "home", "constituents",
]  # fmt: skip


@pytest.mark.parametrize("version", ["5.26.31", "2026.09.0"])
def test_without_yield_the_default_columns_are_shown(serve: Serve, version: str) -> None:
    assert serve(three_servers(version)).columns("SHOW DATABASES") == DEFAULT


@pytest.mark.parametrize(
    ("version", "edition", "prefix", "count", "new"),
    [
        ("5.26.31", "enterprise", "", 26, set()),
        ("2025.05.0", "enterprise", "", 26, set()),
        ("2025.06.0", "enterprise", "", 27, {"defaultLanguage"}),
        ("2025.11.2", "enterprise", "CYPHER 25 ", 27, {"defaultLanguage"}),
        ("2025.12.0", "enterprise", "CYPHER 5 ", 27, {"defaultLanguage"}),
        ("2025.12.0", "enterprise", "CYPHER 25 ", 32, {"shardTxnLag", "graphShards", "propertyShards"}),
        ("2026.09.0", "enterprise", "CYPHER 25 ", 32, {"shardTxnLag", "graphShards", "propertyShards"}),
        ("2026.09.0", "community", "", 27, {"defaultLanguage"}),
        ("2026.09.0", "community", "CYPHER 25 ", 32, {"shardTxnLag", "graphShards", "propertyShards"}),
        ("5.26.31", "community", "", 26, set()),
    ],
)
def test_the_columns_of_yield_all_follow_the_version_and_the_language(
    serve: Serve, version: str, edition: str, prefix: str, count: int, new: set[str]
) -> None:
    shown = serve(three_servers(version).with_edition(edition)).columns(f"{prefix}SHOW DATABASES YIELD *")

    assert len(shown) == count
    assert new | {"databaseID", "serverID", "creationTime", "options", *DEFAULT} <= set(shown)


def test_a_server_before_2025_06_refuses_cypher_25(serve: Serve) -> None:
    served = serve(three_servers("5.26.31"))

    assert served.code("CYPHER 25 SHOW DATABASES") == "Neo.ClientError.Statement.ArgumentError"


SHARDS: dict[str, Any] = {
    "web-g000": ("graph shard", "primary", 1, ["web-g000"], []),
    "web-p000": ("property shard", "property shard replica", 1, ["web-p000"], []),
    "web-p001": ("property shard", "property shard replica", 1, ["web-p001"], []),
}


@pytest.mark.parametrize(("manages", "shards"), [(True, SHARDS), (False, {})], ids=["manages databases", "does not"])
def test_shards_are_listed_only_to_accounts_that_manage_databases(
    serve: Serve, shards: dict[str, Any], *, manages: bool
) -> None:
    cluster = three_servers().with_sharded_database("web").with_users(User(*AUTH, manages_databases=manages))
    columns = ("type", "role", "lastCommittedTxn", "graphShards", "propertyShards")
    rows = serve(cluster).ask(f"CYPHER 25 SHOW DATABASES YIELD name, {', '.join(columns)}")

    assert {row["name"]: values(row, *columns) for row in rows if row["name"].startswith("web")} == {
        "web": ("standard", "primary", None, ["web-g000"], ["web-p000", "web-p001"]),
        **shards,
    }


def test_times_are_returned_as_datetimes(serve: Serve) -> None:
    [row, *_] = serve().ask("SHOW DATABASE orders YIELD creationTime, lastStopTime")

    assert row["creationTime"].to_native() == datetime(2026, 1, 1, tzinfo=UTC)
    assert row["lastStopTime"] is None


@pytest.mark.parametrize(
    "statement",
    [
        "show databases yield name, role;",
        "  SHOW\n\tDATABASES\n YIELD   name ,role  ",
        "Show Databases Yield `name`, `role`",
        "SHOW DATABASES YIELD name AS name, role AS role",
        "SHOW DATABASES YIELD * RETURN name, role",
    ],
)
def test_whitespace_case_and_quotes_do_not_matter(serve: Serve, statement: str) -> None:
    rows = serve().ask(statement)

    assert (len(rows), rows[0]) == (9, {"name": "system", "role": "primary"})


@pytest.mark.parametrize(
    ("statement", "parameters", "names"),
    [
        ("SHOW DATABASE orders", {}, {"orders"}),
        ("SHOW DATABASE Orders YIELD name", {}, {"orders"}),
        ("SHOW DATABASE shop", {}, {"orders"}),
        ("SHOW DATABASE $name YIELD *", {"name": "orders"}, {"orders"}),
        ("SHOW DATABASE nope", {}, set()),
        ("SHOW DATABASES YIELD name, type WHERE type = 'standard'", {}, {"neo4j", "orders"}),
        ("SHOW DATABASES WHERE name = $name AND writer = true", {"name": "orders"}, {"orders"}),
        ("SHOW HOME DATABASE", {}, {"neo4j"}),
        ("SHOW DEFAULT DATABASE YIELD name", {}, {"neo4j"}),
    ],
)
def test_show_databases_can_be_filtered(
    serve: Serve, statement: str, parameters: dict[str, Any], names: set[str]
) -> None:
    served = serve(three_servers().with_alias("shop", "orders"))

    assert {row["name"] for row in served.ask(statement, **parameters)} == names


def test_an_alias_is_listed_with_its_database_and_by_show_aliases(serve: Serve) -> None:
    served = serve(three_servers().with_alias("shop", "orders"))

    assert served.ask("SHOW DATABASE orders YIELD aliases")[0] == {"aliases": ["shop"]}
    assert served.ask("SHOW ALIASES FOR DATABASE") == [
        {"name": "shop", "composite": None, "database": "orders", "location": "local", "url": None, "user": None}
    ]
    assert served.columns("SHOW ALIASES FOR DATABASES YIELD *")[-3:] == ["driver", "defaultLanguage", "properties"]
    assert served.ask("SHOW ALIAS other FOR DATABASE") == []


def test_a_composite_database_has_constituents_but_no_role_and_no_transactions(serve: Serve) -> None:
    composite = new_database("library", [Copy("server-0")], type="composite", constituents=("library.orders",))
    served = serve(three_servers().with_database_added(composite).with_alias("library.orders", "orders"))
    [row] = served.ask("SHOW DATABASE library YIELD *")

    assert values(row, "type", "role", "writer", "access") == ("composite", None, False, "read-only")
    assert row["constituents"] == ["library.orders"]
    assert values(row, "lastCommittedTxn", "replicationLag", "currentPrimariesCount") == (None, None, None)
    assert served.ask("SHOW ALIASES FOR DATABASE YIELD composite") == [{"composite": "library"}]


@pytest.mark.parametrize(
    ("status", "requested", "message"),
    [
        ("offline", "offline", ""),
        ("quarantined", "online", "By neo4j at "),
        ("dirty", "online", "An error occurred! Unable to start `DatabaseId{"),
        ("store copying", "online", ""),
        ("starting", "online", ""),
    ],
)
def test_a_copy_that_is_not_online_has_null_columns(serve: Serve, status: str, requested: str, message: str) -> None:
    for row in serve(three_servers().with_status("orders", status)).ask("SHOW DATABASE orders YIELD *"):
        assert values(row, "currentStatus", "requestedStatus") == (status, requested)
        assert values(row, "role", "writer") == ("unknown", False)
        assert row["statusMessage"].startswith(message)
        assert values(row, "databaseID", "store", "lastCommittedTxn", "replicationLag") == (None,) * 4


def test_a_deallocating_copy_still_shows_its_last_transaction(serve: Serve) -> None:
    served = serve(three_servers().with_copy("orders", "server-0", status="deallocating"))
    row = served.copies("orders", "SHOW DATABASES YIELD *")["server-0"]

    assert values(row, "currentStatus", "lastCommittedTxn") == ("deallocating", 12)
    assert row["databaseID"]


def test_copies_on_a_server_that_is_down_are_listed_without_an_address(serve: Serve) -> None:
    served = serve(three_servers().with_server_down("server-1"))
    [down] = [row for row in served.ask("SHOW DATABASE orders YIELD *") if row["address"] is None]

    assert down["serverID"] == served.cluster.server("server-1").id
    assert values(down, "currentStatus", "statusMessage") == ("unknown", "Server is unavailable")
    assert values(down, "role", "databaseID", "lastCommittedTxn") == ("unknown", None, None)


def test_a_database_whose_servers_are_all_down_is_not_listed(serve: Serve) -> None:
    small = new_database("small", [Copy("server-1", writer=True)])
    served = serve(three_servers().with_database_added(small).with_server_down("server-1"))

    assert served.ask("SHOW DATABASE small") == []


def test_a_change_is_seen_by_the_next_statement(serve: Serve) -> None:
    served = serve()
    before = served.copies("orders")
    save(served.cluster.with_leader("orders", "server-0").with_transactions("orders", 1), served.folder)
    after = served.copies("orders")

    assert [name for name, row in before.items() if row["writer"]] == ["server-2"]
    assert [name for name, row in after.items() if row["writer"]] == ["server-0"]
    assert after["server-1"]["lastCommittedTxn"] == 13


# Servers, settings, components


def test_servers_are_shown_with_their_state(serve: Serve) -> None:
    served = serve(three_servers().with_server_down("server-2").with_server("server-1", version="2026.08.0"))
    addresses, all_of_them = served.server.addresses, ["system", "neo4j", "orders"]

    assert served.columns("SHOW SERVERS") == ["name", "address", "state", "health", "hosting"]
    assert [
        values(row, "name", "address", "health", "version", "hosting") for row in served.ask("SHOW SERVERS YIELD *")
    ] == [
        ("server-0", addresses["server-0"], "Available", "2026.09.0", all_of_them),
        ("server-1", addresses["server-1"], "Available", "2026.08.0", all_of_them),
        ("server-2", addresses["server-2"], "Unavailable", "2026.09.0", []),
    ]


def test_each_server_shows_its_own_settings(serve: Serve) -> None:
    served = serve()
    statement = "SHOW SETTINGS 'server.backup.advertised_address' YIELD name, value"

    for name in ("server-0", "server-1", "server-2"):
        [row] = served.ask(statement, server=name)
        assert row == {"name": "server.backup.advertised_address", "value": f"{name}:6362"}


@pytest.mark.parametrize(
    ("version", "statement", "names"),
    [
        ("5.26.31", "SHOW SETTINGS 'server.backup.advertised_address'", []),
        ("2025.04.0", "SHOW SETTINGS 'server.backup.advertised_address'", []),
        ("2025.05.0", "SHOW SETTINGS 'server.backup.advertised_address'", ["server.backup.advertised_address"]),
        ("5.26.31", 'SHOW SETTING "server.default_advertised_address", "nope"', ["server.default_advertised_address"]),
        ("5.26.31", "SHOW SETTINGS $names", ["server.backup.enabled", "server.backup.listen_address"]),
    ],
)
def test_a_setting_is_listed_from_its_version_on(serve: Serve, version: str, statement: str, names: list[str]) -> None:
    asked = ["server.backup.listen_address", "server.backup.enabled"]
    rows = serve(three_servers(version)).ask(statement, names=asked)

    assert [row["name"] for row in rows] == names


def test_a_setting_can_be_changed_for_one_server(serve: Serve) -> None:
    served = serve(three_servers().with_settings("server-1", {"server.backup.enabled": "false"}))

    for name, expected in (("server-0", ("true", False)), ("server-1", ("false", True))):
        [row] = served.ask("SHOW SETTINGS 'server.backup.enabled' YIELD *", server=name)
        assert values(row, "value", "isExplicitlySet") == expected


@pytest.mark.parametrize(
    ("version", "components"),
    [
        ("5.26.31", [("Neo4j Kernel", ["5.26.31"], "enterprise")]),
        ("2025.05.0", [("Neo4j Kernel", ["2025.05.0"], "enterprise"), ("Cypher", ["5"], "")]),
        ("2026.09.0", [("Neo4j Kernel", ["2026.09.0"], "enterprise"), ("Cypher", ["5", "25"], "")]),
    ],
)
def test_components_have_a_row_for_cypher_since_2025_05(serve: Serve, version: str, components: list[Any]) -> None:
    served = serve(three_servers(version))
    rows = served.ask("CALL dbms.components() YIELD name, versions, edition")

    assert [values(row, "name", "versions", "edition") for row in rows] == components
    assert len(served.ask("CALL dbms.components() YIELD name WHERE name = 'Neo4j Kernel' RETURN name")) == 1


def test_db_info_describes_the_database_of_the_session(serve: Serve) -> None:
    served = serve()
    [row] = served.ask("CALL db.info()", "orders")

    assert values(row, "name", "id") == ("orders", served.cluster.database("orders").database_id)


def test_datetime_returns_the_servers_time(serve: Serve) -> None:
    [row] = serve().ask("RETURN datetime() AS now, 1 AS one, 'text' AS text", "neo4j")

    assert abs((row["now"].to_native() - datetime.now(UTC)).total_seconds()) < 5
    assert values(row, "one", "text") == (1, "text")


def test_the_columns_of_a_bare_return_are_named_after_its_expressions(serve: Serve) -> None:
    assert list(serve().ask("RETURN 1, datetime()", "neo4j")[0]) == ["1", "datetime()"]


# Sessions


def test_a_session_can_be_used_after_an_error(serve: Serve) -> None:
    with serve().driver().session() as session:
        with pytest.raises(CypherSyntaxError):
            session.run("BOGUS").consume()

        assert session.run("RETURN 1 AS one").single(strict=True)["one"] == 1


def test_rows_are_sent_in_batches_of_the_requested_size(serve: Serve) -> None:
    served = serve(three_servers(databases=[f"db{number}" for number in range(40)]))
    with served.driver().session(database="system", fetch_size=7) as session:
        assert len(list(session.run("SHOW DATABASES"))) == 123
        assert session.run("SHOW DATABASES").peek() is not None  # the rest is discarded when the session ends


def test_a_transaction_can_have_two_open_results_and_be_rolled_back(serve: Serve) -> None:
    with (
        serve().driver().session(database="neo4j", fetch_size=1) as session,
        session.begin_transaction() as transaction,
    ):
        first = transaction.run("SHOW DATABASES YIELD name")
        second = transaction.run("RETURN 2 AS two")

        assert second.single(strict=True)["two"] == 2
        assert len(list(first)) == 9
        transaction.rollback()


# Errors

REFUSED = [
    pytest.param(
        "RETURN datetime()", "system", "Neo.ClientError.Statement.SemanticError", id="system computes nothing"
    ),
    pytest.param(
        "CALL dbms.cluster.overview()", "system", "Neo.ClientError.Procedure.ProcedureNotFound", id="unknown procedure"
    ),
    pytest.param("RETURN 1", "nope", "Neo.ClientError.Database.DatabaseNotFound", id="unknown database"),
    pytest.param("RETURN 1", "offline", "Neo.TransientError.General.DatabaseUnavailable", id="database offline"),
]


@pytest.mark.parametrize(("statement", "database", "code"), REFUSED)
def test_an_error_has_neo4js_code(serve: Serve, statement: str, database: str, code: str) -> None:
    served = serve(three_servers(databases=("neo4j", "offline")).with_status("offline", "offline"))

    assert served.code(statement, database) == code


def test_a_routing_driver_gets_the_error_for_an_unknown_database_too(serve: Serve) -> None:
    assert serve().code("RETURN 1", "nope", scheme="neo4j") == "Neo.ClientError.Database.DatabaseNotFound"


@pytest.mark.parametrize(
    "statement",
    [
        "MATCH (n) RETURN n",
        "SHOW",
        "SHOW ROLES",
        "SHOW DATABASES YIELD",
        "SHOW DATABASES YIELD nope",
        "SHOW DATABASES YIELD name, ",
        "SHOW DATABASES YIELD name RETURN role",
        "SHOW DATABASES nonsense here",
        "SHOW DATABASES WHERE name",
        "SHOW DATABASE $missing",
        "SHOW ALIASES FOR GRAPHS",
        "CALL dbms.components",
        "RETURN",
        "RETURN 'unclosed",
        " ",
    ],
)
def test_an_unsupported_statement_is_a_syntax_error(serve: Serve, statement: str) -> None:
    assert isinstance(serve().refusal(statement), CypherSyntaxError)


@pytest.mark.parametrize(
    ("version", "code", "gql_status"),
    [
        ("5.26.31", "Neo.ClientError.Statement.NotSystemDatabaseError", "50N42"),
        ("2026.09.0", "Neo.ClientError.Statement.UnsupportedAdministrationCommand", "51N27"),
    ],
)
@pytest.mark.parametrize("statement", ["SHOW SERVERS", "SHOW ALIASES FOR DATABASE"])
def test_community_refuses_enterprise_commands_with_the_error_of_its_version(
    serve: Serve, version: str, code: str, gql_status: str, statement: str
) -> None:
    refusal = serve(three_servers(version).with_edition("community")).refusal(statement)

    assert isinstance(refusal, ClientError)
    assert (refusal.code, refusal.gql_status) == (code, gql_status)
    assert refusal.message == f"Unsupported administration command: {statement}"


@pytest.mark.parametrize("statement", ["SHOW DATABASES YIELD *", "SHOW SERVERS", "CALL dbms.components()"])
def test_an_invalid_cluster_file_is_reported_by_statements(serve: Serve, statement: str) -> None:
    served = serve()
    driver = served.driver()
    driver.verify_connectivity()
    (served.folder / "cluster.json").write_text("{")

    with pytest.raises(Neo4jError, match="not a simulated cluster"):
        driver.execute_query(statement, database_="system")


# Users


@pytest.mark.parametrize(
    ("databases", "seen"),
    [((), {"system"}), (("orders",), {"system", "orders"}), (("*",), {"system", "neo4j", "orders"})],
    ids=["no grant", "one granted", "all granted"],
)
def test_a_user_sees_system_and_the_granted_databases(serve: Serve, databases: tuple[str, ...], seen: set[str]) -> None:
    served = serve(three_servers().with_users(User(*AUTH, databases=databases)))

    assert {row["name"] for row in served.ask(DISCOVERY)} == seen


@pytest.mark.parametrize("statement", ["SHOW SERVERS", "SHOW ALIASES FOR DATABASE"])
def test_a_statement_without_a_grant_is_forbidden(serve: Serve, statement: str) -> None:
    served = serve(three_servers().with_users(User(*AUTH, show_servers=False, show_aliases=False)))

    assert served.code(statement) == "Neo.ClientError.Security.Forbidden"


def test_settings_that_are_not_granted_are_not_listed(serve: Serve) -> None:
    served = serve(three_servers().with_users(User(*AUTH, show_settings=("db.*",))))

    assert [row["name"] for row in served.ask("SHOW SETTINGS")] == ["db.tx_log.rotation.retention_policy"]


def code_of_login(served: Served, password: str) -> str | None:
    """Log in and return the last part of the error's code; None if the login is accepted."""
    error = served.connection_error(auth=(AUTH[0], password))
    return str(error.code).rpartition(".")[2] if isinstance(error, Neo4jError) else None


def test_a_wrong_password_is_refused_and_recorded(serve: Serve) -> None:
    served = serve(three_servers().with_users(User(*AUTH)))

    assert code_of_login(served, "wrong") == "Unauthorized"
    [login] = served.server.logins
    assert (login.server, login.user, login.accepted) == ("server-0", "neo4j", False)
    assert "wrong" not in repr(login)


def test_after_three_wrong_passwords_the_right_one_is_refused_too(serve: Serve) -> None:
    served = serve(three_servers().with_users(User(*AUTH)))
    codes = [code_of_login(served, password) for password in ("wrong", "wrong", "wrong", "wrong", AUTH[1])]

    assert codes == ["Unauthorized"] * 3 + ["AuthenticationRateLimit"] * 2


def test_a_right_password_resets_the_count_of_wrong_ones(serve: Serve) -> None:
    served = serve(three_servers().with_users(User(*AUTH)))
    for password in ("wrong", "wrong", AUTH[1]) * 2:
        code_of_login(served, password)

    assert [login.accepted for login in served.server.logins] == [False, False, True] * 2


def test_a_login_without_credentials_is_refused_if_there_are_users(serve: Serve) -> None:
    error = serve(three_servers().with_users(User(*AUTH))).connection_error(auth=None)

    assert isinstance(error, ClientError)
    assert error.code == "Neo.ClientError.Security.Unauthorized"


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_a_user_with_an_expired_password_can_log_in_but_run_no_statement(serve: Serve, scheme: str) -> None:
    served = serve(three_servers().with_users(User(*AUTH, password_expired=True)))

    assert served.connection_error(scheme=scheme) is None
    assert served.code(DISCOVERY, scheme=scheme) == "Neo.ClientError.Security.CredentialsExpired"


# Servers that come and go


@pytest.mark.parametrize(
    "downs", [("server-1",), ("server-0", "server-2")], ids=["one", "another, after one that came back"]
)
def test_a_server_that_is_down_refuses_connections_until_it_is_up(serve: Serve, downs: tuple[str, ...]) -> None:
    served = serve()
    for name in downs:
        served.change(served.cluster.with_server_down(name))
        down = served.connection_error(server=name)
        served.change(served.cluster.with_server_up(name))

        assert isinstance(down, ServiceUnavailable)
        assert "refused" in str(down)
        assert served.connection_error(server=name) is None


def test_a_server_that_goes_down_closes_its_connections(serve: Serve) -> None:
    served = serve()
    with served.driver("server-1").session() as session:
        session.run("RETURN 1").consume()
        served.change(served.cluster.with_server_down("server-1"))

        with pytest.raises(ServiceUnavailable):
            session.run("RETURN 1").consume()


def test_a_server_that_joins_is_served(serve: Serve) -> None:
    served = serve()
    served.change(five_servers())

    assert len(served.ask(DISCOVERY, server="server-4")) == 15
