import contextlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import neo4j
import pytest
from neo4j.exceptions import AuthError, ClientError, CypherSyntaxError, Neo4jError, ServiceUnavailable

from backup_agent.standins.cluster import Copy, User, five_servers, new_database, save, three_servers
from tests.standins.bolt_fixtures import AUTH, asked, by_server, columns, connected, started

DISCOVERY = (
    "SHOW DATABASES YIELD name, type, role, writer, address, serverID, databaseID, currentStatus, "
    "lastCommittedTxn, replicationLag"
)


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
@pytest.mark.parametrize(
    ("version", "bolt"),
    [("5.26.31", (5, 8)), ("2025.05.0", (5, 8)), ("2026.09.0", (6, 1))],
    ids=["5.26", "2025", "2026"],
)
def test_the_driver_connects_and_is_told_who_answers(
    tmp_path: Path, scheme: str, version: str, bolt: tuple[int, int]
) -> None:
    with started(tmp_path, three_servers(version)) as server, connected(server.uri(scheme=scheme)) as driver:
        info = driver.get_server_info()

        assert info.agent == f"Neo4j/{version}"
        assert info.protocol_version == bolt


def test_discovery_gives_one_row_for_each_database_on_each_server(tmp_path: Path) -> None:
    with started(tmp_path, five_servers()) as server, connected(server.uri(scheme="neo4j")) as driver:
        rows = asked(driver, DISCOVERY)
        orders = by_server(rows, server.addresses, "orders")

        assert len(rows) == 15
        assert {
            name: (row["role"], row["writer"], row["lastCommittedTxn"], row["replicationLag"])
            for name, row in orders.items()
        } == {
            "server-0": ("primary", False, 12, 0),
            "server-1": ("primary", False, 12, 0),
            "server-2": ("primary", True, 12, 0),
            "server-3": ("secondary", False, 12, 0),
            "server-4": ("secondary", False, 10, -2),
        }
        assert {row["databaseID"] for row in orders.values()} == {server.cluster.database("orders").database_id}
        assert [uuid.UUID(row["serverID"]) for row in orders.values()] == [
            uuid.UUID(s.id) for s in server.cluster.servers
        ]


def test_every_address_in_the_rows_answers(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver:
        for address in {row["address"] for row in asked(driver, DISCOVERY)}:
            with connected(f"bolt://{address}") as other:
                other.verify_connectivity()


DEFAULT = [
    "name", "type", "aliases", "access", "address", "role", "writer", "requestedStatus", "currentStatus",
    "statusMessage", "default", "home", "constituents",
]  # fmt: skip


@pytest.mark.parametrize("version", ["5.26.31", "2026.09.0"])
def test_without_yield_the_default_columns_are_shown(tmp_path: Path, version: str) -> None:
    with started(tmp_path, three_servers(version)) as server, connected(server.uri()) as driver:
        assert columns(driver, "SHOW DATABASES") == DEFAULT


@pytest.mark.parametrize(
    ("version", "edition", "count", "new"),
    [
        ("5.26.31", "enterprise", 26, set()),
        ("2025.05.0", "enterprise", 26, set()),
        ("2025.06.0", "enterprise", 27, {"defaultLanguage"}),
        ("2025.11.2", "enterprise", 27, {"defaultLanguage"}),
        ("2025.12.0", "enterprise", 32, {"defaultLanguage", "shardTxnLag", "graphShards", "propertyShards"}),
        ("2026.09.0", "enterprise", 32, {"defaultLanguage", "shardTxnLag", "graphShards", "propertyShards"}),
        ("2026.09.0", "community", 27, {"defaultLanguage"}),
        ("5.26.31", "community", 26, set()),
    ],
)
def test_the_columns_of_yield_all_follow_the_version(
    tmp_path: Path, version: str, edition: str, count: int, new: set[str]
) -> None:
    with started(tmp_path, three_servers(version).with_edition(edition)) as server, connected(server.uri()) as driver:
        shown = columns(driver, "SHOW DATABASES YIELD *")

        assert len(shown) == count
        assert new <= set(shown)
        assert {"databaseID", "serverID", "creationTime", "options", *DEFAULT} <= set(shown)


def test_dates_are_dates(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver:
        row = asked(driver, "SHOW DATABASE orders YIELD creationTime, lastStopTime")[0]

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
def test_whitespace_case_and_quotes_are_free(tmp_path: Path, statement: str) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver:
        rows = asked(driver, statement)

        assert len(rows) == 9
        assert rows[0] == {"name": "system", "role": "primary"}


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
def test_some_databases_can_be_asked_for(
    tmp_path: Path, statement: str, parameters: dict[str, Any], names: set[str]
) -> None:
    cluster = three_servers().with_alias("shop", "orders")
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        assert {row["name"] for row in asked(driver, statement, **parameters)} == names


def test_an_alias_stands_in_its_databases_row_and_in_its_own_list(tmp_path: Path) -> None:
    cluster = three_servers().with_alias("shop", "orders")
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        assert asked(driver, "SHOW DATABASE orders YIELD aliases")[0] == {"aliases": ["shop"]}
        assert asked(driver, "SHOW ALIASES FOR DATABASE") == [
            {"name": "shop", "composite": None, "database": "orders", "location": "local", "url": None, "user": None}
        ]
        assert columns(driver, "SHOW ALIASES FOR DATABASES YIELD *")[-3:] == ["driver", "defaultLanguage", "properties"]
        assert asked(driver, "SHOW ALIAS other FOR DATABASE") == []


def test_a_composite_database_has_constituents_and_neither_role_nor_transactions(tmp_path: Path) -> None:
    composite = new_database("library", [Copy("server-0")], type="composite", constituents=("library.orders",))
    cluster = three_servers().with_database_added(composite).with_alias("library.orders", "orders")
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        [row] = asked(driver, "SHOW DATABASE library YIELD *")

        assert (row["type"], row["role"], row["writer"], row["access"]) == ("composite", None, False, "read-only")
        assert row["constituents"] == ["library.orders"]
        assert (row["lastCommittedTxn"], row["replicationLag"], row["currentPrimariesCount"]) == (None, None, None)
        assert asked(driver, "SHOW ALIASES FOR DATABASE YIELD composite") == [{"composite": "library"}]


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
def test_a_copy_that_is_not_online_has_null_columns(tmp_path: Path, status: str, requested: str, message: str) -> None:
    cluster = three_servers().with_status("orders", status)
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        for row in asked(driver, "SHOW DATABASE orders YIELD *"):
            assert (row["currentStatus"], row["requestedStatus"]) == (status, requested)
            assert (row["role"], row["writer"]) == ("unknown", False)
            assert row["statusMessage"].startswith(message)
            assert [row[name] for name in ("databaseID", "store", "lastCommittedTxn", "replicationLag")] == [None] * 4


def test_a_deallocating_copy_still_tells_its_transactions(tmp_path: Path) -> None:
    cluster = three_servers().with_copy("orders", "server-0", status="deallocating")
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        row = by_server(asked(driver, "SHOW DATABASES YIELD *"), server.addresses, "orders")["server-0"]

        assert (row["currentStatus"], row["lastCommittedTxn"]) == ("deallocating", 12)
        assert row["databaseID"]


def test_copies_on_a_server_that_is_down_are_listed_without_address(tmp_path: Path) -> None:
    cluster = three_servers().with_server_down("server-1")
    with started(tmp_path, cluster) as server, connected(server.uri("server-0")) as driver:
        [down] = [row for row in asked(driver, "SHOW DATABASE orders YIELD *") if row["address"] is None]

        assert down["serverID"] == server.cluster.server("server-1").id
        assert (down["currentStatus"], down["statusMessage"]) == ("unknown", "Server is unavailable")
        assert (down["role"], down["databaseID"], down["lastCommittedTxn"]) == ("unknown", None, None)


def test_a_database_whose_servers_are_all_down_is_not_listed(tmp_path: Path) -> None:
    small = new_database("small", [Copy("server-1", writer=True)])
    cluster = three_servers().with_database_added(small).with_server_down("server-1")
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        assert asked(driver, "SHOW DATABASE small") == []


@pytest.mark.parametrize(
    ("databases", "seen"),
    [((), {"system"}), (("orders",), {"system", "orders"}), (("*",), {"system", "neo4j", "orders"})],
    ids=["no grant", "one granted", "all granted"],
)
def test_a_user_sees_system_and_what_is_granted(tmp_path: Path, databases: tuple[str, ...], seen: set[str]) -> None:
    cluster = three_servers().with_users(User(*AUTH, databases=databases))
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        assert {row["name"] for row in asked(driver, DISCOVERY)} == seen


@pytest.mark.parametrize("statement", ["SHOW SERVERS", "SHOW ALIASES FOR DATABASE"])
def test_what_is_not_granted_is_forbidden(tmp_path: Path, statement: str) -> None:
    cluster = three_servers().with_users(User(*AUTH, show_servers=False, show_aliases=False))
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver, pytest.raises(ClientError) as caught:
        asked(driver, statement)

    assert caught.value.code == "Neo.ClientError.Security.Forbidden"


def test_servers_are_shown_with_their_state(tmp_path: Path) -> None:
    cluster = three_servers().with_server_down("server-2").with_server("server-1", version="2026.08.0")
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        assert columns(driver, "SHOW SERVERS") == ["name", "address", "state", "health", "hosting"]
        assert [
            (row["name"], row["address"], row["health"], row["version"], row["hosting"])
            for row in asked(driver, "SHOW SERVERS YIELD *")
        ] == [
            ("server-0", server.addresses["server-0"], "Available", "2026.09.0", ["system", "neo4j", "orders"]),
            ("server-1", server.addresses["server-1"], "Available", "2026.08.0", ["system", "neo4j", "orders"]),
            ("server-2", server.addresses["server-2"], "Unavailable", "2026.09.0", []),
        ]


@pytest.mark.parametrize(
    ("version", "code", "gql_status"),
    [
        ("5.26.31", "Neo.ClientError.Statement.NotSystemDatabaseError", "50N42"),
        ("2026.09.0", "Neo.ClientError.Statement.UnsupportedAdministrationCommand", "51N27"),
    ],
)
@pytest.mark.parametrize("statement", ["SHOW SERVERS", "SHOW ALIASES FOR DATABASE"])
def test_community_refuses_as_its_version_does(
    tmp_path: Path, version: str, code: str, gql_status: str, statement: str
) -> None:
    cluster = three_servers(version).with_edition("community")
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver, pytest.raises(ClientError) as caught:
        asked(driver, statement)

    assert (caught.value.code, caught.value.gql_status) == (code, gql_status)
    assert caught.value.message == f"Unsupported administration command: {statement}"


def test_each_server_shows_its_own_settings(tmp_path: Path) -> None:
    statement = "SHOW SETTINGS 'server.backup.advertised_address' YIELD name, value"
    with started(tmp_path, three_servers()) as server:
        told = {}
        for name in server.addresses:
            with connected(server.uri(name)) as driver:
                told[name] = asked(driver, statement)

    assert told == {
        name: [{"name": "server.backup.advertised_address", "value": f"{name}:6362"}]
        for name in ("server-0", "server-1", "server-2")
    }


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
def test_settings_are_there_from_their_version_on(
    tmp_path: Path, version: str, statement: str, names: list[str]
) -> None:
    with started(tmp_path, three_servers(version)) as server, connected(server.uri()) as driver:
        rows = asked(driver, statement, names=["server.backup.listen_address", "server.backup.enabled"])

        assert [row["name"] for row in rows] == names


def test_a_setting_can_be_changed_for_one_server(tmp_path: Path) -> None:
    cluster = three_servers().with_settings("server-1", {"server.backup.enabled": "false"})
    with started(tmp_path, cluster) as server:
        for name, expected in (("server-0", ("true", False)), ("server-1", ("false", True))):
            with connected(server.uri(name)) as driver:
                [row] = asked(driver, "SHOW SETTINGS 'server.backup.enabled' YIELD *")

                assert (row["value"], row["isExplicitlySet"]) == expected


def test_settings_that_are_not_granted_give_no_row(tmp_path: Path) -> None:
    cluster = three_servers().with_users(User(*AUTH, show_settings=("db.*",)))
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        assert [row["name"] for row in asked(driver, "SHOW SETTINGS")] == ["db.tx_log.rotation.retention_policy"]


@pytest.mark.parametrize(
    ("version", "components"),
    [
        ("5.26.31", [("Neo4j Kernel", ["5.26.31"], "enterprise")]),
        ("2025.05.0", [("Neo4j Kernel", ["2025.05.0"], "enterprise"), ("Cypher", ["5"], "")]),
        ("2026.09.0", [("Neo4j Kernel", ["2026.09.0"], "enterprise"), ("Cypher", ["5", "25"], "")]),
    ],
)
def test_components_have_a_row_for_cypher_since_2025_05(tmp_path: Path, version: str, components: list[Any]) -> None:
    with started(tmp_path, three_servers(version)) as server, connected(server.uri()) as driver:
        rows = asked(driver, "CALL dbms.components() YIELD name, versions, edition")

        assert [(row["name"], row["versions"], row["edition"]) for row in rows] == components
        assert len(asked(driver, "CALL dbms.components() YIELD name WHERE name = 'Neo4j Kernel' RETURN name")) == 1


def test_info_is_that_of_the_database_asked(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver:
        [row] = asked(driver, "CALL db.info()", "orders")

        assert (row["name"], row["id"]) == ("orders", server.cluster.database("orders").database_id)


def test_the_clock_is_the_servers(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver:
        [row] = asked(driver, "RETURN datetime() AS now, 1 AS one, 'text' AS text", "neo4j")

        assert abs((row["now"].to_native() - datetime.now(UTC)).total_seconds()) < 5
        assert (row["one"], row["text"]) == (1, "text")


def test_a_bare_return_names_its_columns_after_what_was_written(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver:
        assert list(asked(driver, "RETURN 1, datetime()", "neo4j")[0]) == ["1", "datetime()"]


def test_system_computes_nothing(tmp_path: Path) -> None:
    with (
        started(tmp_path, three_servers()) as server,
        connected(server.uri()) as driver,
        pytest.raises(ClientError) as caught,
    ):
        asked(driver, "RETURN datetime()")

    assert caught.value.code == "Neo.ClientError.Statement.SemanticError"
    assert "can only be executed in a user database" in str(caught.value.message)


@pytest.mark.parametrize(
    "statement",
    [
        "MATCH (n) RETURN n",
        "SHOW",
        "SHOW USERS",
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
        "",
    ],
)
def test_anything_else_is_a_syntax_error(tmp_path: Path, statement: str) -> None:
    with (
        started(tmp_path, three_servers()) as server,
        connected(server.uri()) as driver,
        pytest.raises(CypherSyntaxError),
    ):
        asked(driver, statement or " ")


def test_an_unknown_procedure_is_not_found(tmp_path: Path) -> None:
    with (
        started(tmp_path, three_servers()) as server,
        connected(server.uri()) as driver,
        pytest.raises(ClientError) as caught,
    ):
        asked(driver, "CALL dbms.cluster.overview()")

    assert caught.value.code == "Neo.ClientError.Procedure.ProcedureNotFound"


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_an_unknown_database_is_not_found(tmp_path: Path, scheme: str) -> None:
    with (
        started(tmp_path, three_servers()) as server,
        connected(server.uri(scheme=scheme)) as driver,
        pytest.raises(ClientError) as caught,
    ):
        asked(driver, "RETURN 1", "nope")

    assert caught.value.code == "Neo.ClientError.Database.DatabaseNotFound"


def test_a_database_that_is_offline_is_unavailable(tmp_path: Path) -> None:
    cluster = three_servers().with_status("orders", "offline")
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver, pytest.raises(Neo4jError) as caught:
        asked(driver, "RETURN 1", "orders")

    assert caught.value.code == "Neo.TransientError.General.DatabaseUnavailable"


def test_a_session_goes_on_after_an_error(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver, driver.session() as session:
        with pytest.raises(CypherSyntaxError):
            session.run("BOGUS").consume()

        assert session.run("RETURN 1 AS one").single(strict=True)["one"] == 1


def test_rows_are_sent_in_batches_as_asked_for(tmp_path: Path) -> None:
    cluster = three_servers(databases=[f"db{number}" for number in range(40)])
    with (
        started(tmp_path, cluster) as server,
        connected(server.uri()) as driver,
        driver.session(database="system", fetch_size=7) as session,
    ):
        assert len(list(session.run("SHOW DATABASES"))) == 123
        assert session.run("SHOW DATABASES").peek() is not None  # the rest is discarded when the session ends


def test_a_transaction_may_hold_two_results_and_be_rolled_back(tmp_path: Path) -> None:
    with (
        started(tmp_path, three_servers()) as server,
        connected(server.uri()) as driver,
        driver.session(database="neo4j", fetch_size=1) as session,
        session.begin_transaction() as transaction,
    ):
        first = transaction.run("SHOW DATABASES YIELD name")
        second = transaction.run("RETURN 2 AS two")

        assert second.single(strict=True)["two"] == 2
        assert len(list(first)) == 9
        transaction.rollback()


def test_a_routing_driver_reads_from_followers_and_writes_to_the_leader(tmp_path: Path) -> None:
    with (
        started(tmp_path, three_servers().with_leader("orders", "server-1")) as server,
        connected(server.uri(scheme="neo4j")) as driver,
    ):
        for access in (neo4j.READ_ACCESS, neo4j.WRITE_ACCESS):
            with driver.session(database="orders", default_access_mode=access) as session:
                session.run("RETURN 1").consume()

        reader, writer = [heard.server for heard in server.statements]
        assert reader in {"server-0", "server-2"}
        assert writer == "server-1"


def test_a_change_is_seen_by_the_next_statement(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver:
        before = by_server(asked(driver, DISCOVERY), server.addresses, "orders")
        save(server.cluster.with_leader("orders", "server-0").with_transactions("orders", 1), tmp_path)
        after = by_server(asked(driver, DISCOVERY), server.addresses, "orders")

        assert (before["server-2"]["writer"], before["server-0"]["writer"]) == (True, False)
        assert (after["server-2"]["writer"], after["server-0"]["writer"]) == (False, True)
        assert after["server-1"]["lastCommittedTxn"] == 13


def test_what_was_asked_is_remembered(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri("server-1")) as driver:
        asked(driver, "SHOW SERVERS")
        [heard] = server.statements

        assert (heard.server, heard.user, heard.database, heard.text) == ("server-1", "neo4j", "system", "SHOW SERVERS")


def test_a_wrong_password_is_refused_and_counted(tmp_path: Path) -> None:
    with started(tmp_path, three_servers().with_users(User(*AUTH))) as server:
        with connected(server.uri(), auth=("neo4j", "wrong")) as driver, pytest.raises(AuthError) as caught:
            driver.verify_connectivity()

        assert caught.value.code == "Neo.ClientError.Security.Unauthorized"
        assert [(login.server, login.user, login.accepted) for login in server.logins] == [("server-0", "neo4j", False)]
        assert "wrong" not in repr(server.logins)


def test_after_three_wrong_passwords_the_right_one_waits_too(tmp_path: Path) -> None:
    codes = []
    with started(tmp_path, three_servers().with_users(User(*AUTH))) as server:
        for password in ("wrong", "wrong", "wrong", "wrong", AUTH[1]):
            with connected(server.uri(), auth=("neo4j", password)) as driver, pytest.raises(ClientError) as caught:
                driver.verify_connectivity()
            codes.append(str(caught.value.code).rpartition(".")[2])

    assert codes == ["Unauthorized"] * 3 + ["AuthenticationRateLimit"] * 2


def test_a_right_password_forgives_the_wrong_ones_before_it(tmp_path: Path) -> None:
    with started(tmp_path, three_servers().with_users(User(*AUTH))) as server:
        for password in ("wrong", "wrong", AUTH[1], "wrong", "wrong", AUTH[1]):
            with connected(server.uri(), auth=("neo4j", password)) as driver, contextlib.suppress(AuthError):
                driver.verify_connectivity()

        assert [login.accepted for login in server.logins] == [False, False, True, False, False, True]


def test_without_credentials_nobody_comes_in_where_there_are_users(tmp_path: Path) -> None:
    with (
        started(tmp_path, three_servers().with_users(User(*AUTH))) as server,
        connected(server.uri(), auth=None) as driver,
        pytest.raises(AuthError),
    ):
        driver.verify_connectivity()


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_an_expired_password_logs_in_and_can_do_nothing(tmp_path: Path, scheme: str) -> None:
    cluster = three_servers().with_users(User(*AUTH, password_expired=True))
    with started(tmp_path, cluster) as server, connected(server.uri(scheme=scheme)) as driver:
        driver.verify_connectivity()
        with pytest.raises(ClientError) as caught:
            asked(driver, DISCOVERY)

    assert caught.value.code == "Neo.ClientError.Security.CredentialsExpired"


@pytest.mark.parametrize("statement", ["SHOW DATABASES YIELD *", "SHOW SERVERS", "CALL dbms.components()"])
def test_a_broken_cluster_file_is_told_to_whoever_asks(tmp_path: Path, statement: str) -> None:
    with started(tmp_path, three_servers()) as server, connected(server.uri()) as driver:
        driver.verify_connectivity()
        (tmp_path / "cluster.json").write_text("{")
        with pytest.raises(Neo4jError, match="not a simulated cluster"):
            asked(driver, statement)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (lambda cluster: cluster.with_server_down("server-1"), "server-1"),
        (
            lambda cluster: (
                cluster.with_server_down("server-0").with_server_up("server-0").with_server_down("server-2")
            ),
            "server-2",
        ),
    ],
    ids=["one", "another"],
)
def test_a_server_that_is_down_refuses_until_it_is_up(tmp_path: Path, change: Callable[..., Any], gone: str) -> None:
    with started(tmp_path, three_servers()) as server:
        server.change(change(server.cluster))
        with connected(server.uri(gone)) as driver, pytest.raises(ServiceUnavailable, match="refused"):
            driver.verify_connectivity()

        server.change(server.cluster.with_server_up(gone))
        with connected(server.uri(gone)) as driver:
            driver.verify_connectivity()


def test_a_server_that_goes_down_drops_its_connections(tmp_path: Path) -> None:
    with (
        started(tmp_path, three_servers()) as server,
        connected(server.uri("server-1")) as driver,
        driver.session() as session,
    ):
        session.run("RETURN 1").consume()
        server.change(server.cluster.with_server_down("server-1"))

        with pytest.raises(ServiceUnavailable):
            session.run("RETURN 1").consume()


def test_a_server_that_joins_is_served(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server:
        server.change(five_servers())
        with connected(server.uri("server-4")) as driver:
            assert len(asked(driver, DISCOVERY)) == 15
