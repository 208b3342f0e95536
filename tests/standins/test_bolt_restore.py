"""Restores in the Bolt stand-in: seeds, topology, aliases, and statements that a version refuses. No data is restored."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backup_agent.standins.bolt import Restoring, conversation
from backup_agent.standins.bolt.packstream import Structure, unpack
from backup_agent.standins.bolt.seeds import Folder, LocalFolder
from backup_agent.standins.bolt.statements import PROVIDERS, SEEDS
from backup_agent.standins.cluster import User, five_servers, one_server, three_servers
from backup_agent.standins.neo4j_admin.artifacts import flip_byte
from backup_agent.standins.neo4j_admin.restore import SERVER
from tests.polling import until
from tests.standins.conftest import Simulation, create
from tests.standins.served import RUN, SUCCESS, Row, Served

Serve = Callable[..., Served]

NEWEST, LTS = "2026.09.0", "5.26.31"
WAIT = "WAIT 600 SECONDS"


@dataclass(frozen=True)
class Seeds:
    """A folder with a full and a differential of `orders`; transaction 12 is the last of the full, 17 that of both."""

    simulation: Simulation
    full: Path
    differential: Path

    @property
    def folder(self) -> Path:
        return self.full.parent


@pytest.fixture(name="taken", scope="module")
def _taken(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    """Take the backups once: they are more work than most of these tests."""
    simulation = create(LTS, tmp_path_factory.mktemp("taken"))
    full, _ = simulation.artifact("--type=FULL")
    simulation.commit(5)
    differential, _ = simulation.artifact("--type=DIFF")
    return Seeds(simulation, full, differential)


@pytest.fixture(name="seeds")
def _seeds(tmp_path: Path, taken: Seeds) -> Seeds:
    """Copy the backups into the folder of the test."""
    simulation = create(LTS, tmp_path)
    full, differential = (Path(shutil.copy(path, simulation.target)) for path in (taken.full, taken.differential))
    return Seeds(simulation, full, differential)


@pytest.fixture(name="start")
def _start(serve: Serve, seeds: Seeds) -> Callable[..., Served]:
    """Serve a cluster whose servers read seeds from the folder; `server-0` has it as its folder of seeds too."""

    def start(version: str = NEWEST, providers: str = "FileSeedProvider,ServerSeedProvider", **options: Any) -> Served:
        cluster = options.pop("cluster", three_servers)(version)
        for server in cluster.servers:
            settings = {PROVIDERS: providers, SEEDS: str(seeds.folder if server.name == "server-0" else "/nowhere")}
            cluster = cluster.with_settings(server.name, settings)
        return serve(cluster, **options)

    return start


def states(served: Served, database: str) -> set[tuple[Any, ...]]:
    """Return the requested and the present state of each copy."""
    rows = served.ask(f"SHOW DATABASE `{database}` YIELD requestedStatus, currentStatus")
    return {tuple(row.values()) for row in rows}


def online(served: Served, database: str) -> list[Row]:
    """Wait until every copy of a database is online, and return its rows."""
    until(lambda: states(served, database) != {("online", "starting")}, "copies that have started")
    assert states(served, database) == {("online", "online")}
    return served.ask(f"SHOW DATABASE `{database}` YIELD *")


def debug_log(served: Served) -> str:
    return (served.folder / "debug.log").read_text()


@pytest.mark.parametrize(
    ("version", "statement"),
    [
        (LTS, "CREATE DATABASE copy TOPOLOGY 2 PRIMARIES 1 SECONDARY OPTIONS {{existingData: 'use', seedURI: '{uri}'}} " + WAIT),
        ("2025.01.0", "CREATE OR REPLACE DATABASE copy TOPOLOGY 2 PRIMARIES 1 SECONDARY OPTIONS {{existingData: 'use', seedURI: '{uri}', seedRestoreUntil: datetime('2026-11-23T02:01:30Z')}} WAIT"),
        (NEWEST, "CYPHER 25 CREATE DATABASE copy TOPOLOGY 2 PRIMARIES 1 SECONDARY OPTIONS {{seedURI: '{uri}'}} WAIT"),
    ],
)  # fmt: skip
def test_a_database_is_created_from_the_chain_of_its_seed(
    start: Callable[..., Served], seeds: Seeds, version: str, statement: str
) -> None:
    served = start(version)
    answered = served.ask(statement.format(uri=seeds.differential.as_uri()))
    rows = online(served, "copy")

    assert [row["success"] for row in answered] == [True] * 3
    assert [row["role"] for row in rows] == ["primary", "primary", "secondary"]
    assert {row["lastCommittedTxn"] for row in rows} == {17}
    assert [row["memberStatus"] for row in served.ask("CALL dbms.cluster.statusCheck(['copy'], 5000)")] == [
        "APPLYING", "APPLYING", "REPLICATING",
    ]  # fmt: skip


def test_without_a_topology_there_is_one_copy(start: Callable[..., Served], seeds: Seeds) -> None:
    served = start()
    served.ask(f"CYPHER 25 CREATE DATABASE copy OPTIONS {{seedURI: '{seeds.full.as_uri()}'}} WAIT")

    assert [row["role"] for row in online(served, "copy")] == ["primary"]


def test_a_seed_is_read_from_the_folder_of_a_server(start: Callable[..., Served], seeds: Seeds) -> None:
    served = start()
    server = served.cluster.servers[0]
    for name, which in (("by-id", server.id), ("by-name", server.name)):
        uri = f"server://{which}/{seeds.differential.name}"
        served.ask(f"CYPHER 25 CREATE DATABASE `{name}` TOPOLOGY 3 PRIMARIES OPTIONS {{seedURI: '{uri}'}} WAIT")

        assert len(online(served, name)) == 3


def test_a_seed_is_cut_before_a_transaction(start: Callable[..., Served], seeds: Seeds) -> None:
    served = start()
    options = f"{{seedURI: '{seeds.differential.as_uri()}', seedRestoreUntil: 15}}"
    served.ask(f"CYPHER 25 CREATE DATABASE copy OPTIONS {options} WAIT")

    assert [row["lastCommittedTxn"] for row in online(served, "copy")] == [14]


REFUSED = [
    (LTS, "CREATE DATABASE copy OPTIONS {seedURI: 'file:/x.backup'}", "existingData: 'use'"),
    (NEWEST, "CREATE DATABASE copy OPTIONS {seedURI: 'file:/x.backup'}", "existingData: 'use'"),
    (LTS, "CYPHER 25 CREATE DATABASE copy", "25 is not a valid option for cypher version"),
    (LTS, "CREATE DATABASE copy OPTIONS {existingData: 'use', seedURI: 'file:/x', seedRestoreUntil: 7}",
     "Could not create database with unrecognised option(s): 'seedRestoreUntil'. Expected 'existingData'"),
    (LTS, "CREATE OR REPLACE DATABASE copy OPTIONS {existingData: 'use', seedURI: 'file:/x'}", "cannot have a seed"),
    (NEWEST, "CYPHER 25 CREATE OR REPLACE DATABASE copy OPTIONS {existingDataSeedServer: 'x'}", "cannot have a seed"),
    (NEWEST, "CYPHER 25 CREATE DATABASE copy OPTIONS {seedURI: 'file:/x', seedCredentials: 'x'}", "unrecognised"),
    (NEWEST, "CYPHER 25 CREATE DATABASE copy OPTIONS {existingDataSeedServer: 'x'}", "Server 'x' does not exist"),
    (NEWEST, "CREATE DATABASE copy TOPOLOGY 3 PRIMARIES 1 SECONDARY", "number of available servers: 3"),
    *[(NEWEST, f"CREATE DATABASE `{name}`", "is not valid") for name in ("ab", "1a2", "a_b", "system-2", "x" * 64)],
    (NEWEST, "CREATE DATABASE orders", "'orders': Database already exists."),
    (NEWEST, "CREATE DATABASE sales", "'sales': Database alias already exists."),
    (NEWEST, "CREATE OR REPLACE DATABASE orders", "one or more aliases. Drop the aliases: ['sales']"),
    (NEWEST, "DROP DATABASE orders", "one or more aliases. Drop the aliases: ['sales'] before dropping the database."),
    (NEWEST, "DROP DATABASE nope", "Database does not exist."),
    (NEWEST, "DROP ALIAS nope FOR DATABASE", "it does not exist"),
    (NEWEST, "CREATE ALIAS other FOR DATABASE nope", "'nope' does not exist"),
    (LTS, "CALL dbms.recreateDatabase('orders', {seedURI: 'file:/x'})", "no procedure"),
    ("2025.03.0", "CALL dbms.recreateDatabase('orders', {seedURI: 'file:/x'})", "no procedure"),
    (LTS, "CALL dbms.cluster.recreateDatabase('orders', {seedURI: 'file:/x', clearData: true})", "unrecognised"),
    (NEWEST, "CALL dbms.recreateDatabase('orders', {seedURI: 'file:/x', seedRestoreUntil: 7})", "unrecognised"),
    (NEWEST, "CALL dbms.recreateDatabase('orders', {})", "seedingServers or seedURI"),
    (NEWEST, "CALL dbms.recreateDatabase('orders', {seedURI: 'file:/x', seedingServers: ['a']})", "exclude each other"),
    (NEWEST, "CALL dbms.recreateDatabase('orders', {seedURI: 'file:/x', secondaries: 1})", "without primaries"),
    (NEWEST, "CALL dbms.recreateDatabase('system', {seedURI: 'file:/x'})", "cannot be recreated"),
    (NEWEST, "ALTER USER <USER> SET HOME DATABASE orders", "Invalid input"),
    (NEWEST, "CREATE DATABASE copy TOPOLOGY <PRIMARIES> PRIMARIES <SECONDARIES> SECONDARIES", "Invalid input"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "statement", "expected"), REFUSED)
def test_a_statement_is_refused_by_version(serve: Serve, version: str, statement: str, expected: str) -> None:
    served = serve(three_servers(version))
    served.change(served.cluster.with_alias("sales", "orders"))
    before = served.cluster

    assert expected in str(served.refusal(statement))
    assert served.cluster == before


@pytest.mark.parametrize(
    ("providers", "uri", "until", "expected"),
    [
        ("CloudSeedProvider", "{full}", "", "supports the scheme 'file'"),
        ("FileSeedProvider", "server://server-0/{name}", "", "supports the scheme 'server'"),
        ("ServerSeedProvider", "server://server-0/{name}", ", seedRestoreUntil: 15", "does not support seedRestoreUntil"),
        ("ServerSeedProvider", "server://server-1/{name}", "", "does not point to a valid location"),
        ("ServerSeedProvider", "server://nowhere/{name}", "", "no such server"),
        ("FileSeedProvider", "{full}", ", seedRestoreUntil: 15", "can only be fully restored"),
        ("FileSeedProvider", "{folder}", "", "Can't open seed file"),
        ("FileSeedProvider", "{folder}/orders.backup", "", "does not point to a valid location"),
    ],
)  # fmt: skip
def test_a_seed_that_cannot_be_used_fails_after_the_statement(
    start: Callable[..., Served], seeds: Seeds, providers: str, uri: str, until: str, expected: str
) -> None:
    served = start(providers=providers)
    text = uri.format(full=seeds.full.as_uri(), name=seeds.full.name, folder=seeds.folder.as_uri())
    answered = served.ask(f"CYPHER 25 CREATE DATABASE copy OPTIONS {{seedURI: '{text}'{until}}} WAIT")
    [row] = served.ask("SHOW DATABASE copy YIELD requestedStatus, currentStatus, statusMessage")

    assert [row["success"] for row in answered] == [False]
    assert (row["requestedStatus"], row["currentStatus"]) == ("online", "offline")
    assert "Unable to start" in row["statusMessage"]
    assert expected in debug_log(served)


@pytest.mark.parametrize("which", ["full", "differential"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_every_artifact_of_a_chain_is_read_to_its_end(
    start: Callable[..., Served], seeds: Seeds, which: str, damage: str
) -> None:
    path = seeds.full if which == "full" else seeds.differential
    if damage == "flipped":
        flip_byte(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    else:
        path.unlink()
    served = start()
    served.ask(f"CYPHER 25 CREATE DATABASE copy OPTIONS {{seedURI: '{seeds.differential.as_uri()}'}} WAIT")

    assert states(served, "copy") == {("online", "offline")}
    assert {"flipped": "Not a valid Neo4j archive", "cut": "Unexpected end"}.get(damage, "valid") in debug_log(served)


GRANT = "GRANT ACCESS ON DATABASE `orders` TO `readers`"
LOST = (
    "SHOW DATABASE orders YIELD name, aliases, options, access",
    "SHOW ALL PRIVILEGES AS COMMANDS YIELD command WHERE command CONTAINS 'orders'",
    "SHOW USERS YIELD user, home WHERE home = 'orders'",
)


def with_what_is_lost(served: Served) -> list[list[Row]]:
    """Give `orders` an alias, privileges, options and a user whose home database it is. Return what is listed of them."""
    users = (User("neo4j", "secret-password", manages_databases=True, home="orders"),)
    cluster = served.cluster.with_alias("sales", "orders").with_users(*users).with_privileges(GRANT)
    served.change(cluster.with_database("orders", options={"txLogEnrichment": "FULL"}, access="read-only"))
    return [served.ask(text) for text in LOST]


def test_recreating_keeps_the_definition_aliases_and_privileges_of_the_database(
    start: Callable[..., Served], seeds: Seeds
) -> None:
    served = start(cluster=five_servers)
    before = with_what_is_lost(served)
    old = online(served, "orders")
    assert served.ask(f"CALL dbms.recreateDatabase('orders', {{seedURI: '{seeds.differential.as_uri()}'}})") == []
    new = online(served, "orders")

    assert [served.ask(text) for text in LOST] == before
    assert [row["role"] for row in new] == [row["role"] for row in old]
    assert new[0]["databaseID"] != old[0]["databaseID"]
    assert new[0]["lastCommittedTxn"] == 17


def test_dropping_removes_aliases_and_privileges_which_can_be_created_again(start: Callable[..., Served]) -> None:
    served = start()
    before = with_what_is_lost(served)
    served.ask("DROP DATABASE orders CASCADE ALIASES")
    gone = [served.ask(text) for text in LOST]
    for statement in (
        "CREATE DATABASE orders TOPOLOGY 3 PRIMARIES WAIT",
        "ALTER DATABASE orders SET OPTION txLogEnrichment 'FULL'",
        "ALTER DATABASE orders SET ACCESS READ ONLY",
        "CYPHER 25 ALTER DATABASE orders SET DEFAULT LANGUAGE CYPHER 25",
        "CREATE ALIAS sales IF NOT EXISTS FOR DATABASE orders",
        "CREATE ALIAS sales IF NOT EXISTS FOR DATABASE orders",
        GRANT,
        "ALTER USER neo4j SET HOME DATABASE orders",
    ):
        served.ask(statement)

    assert gone == [[], [], []]
    assert [served.ask(text) for text in LOST] == before
    assert online(served, "orders")[0]["defaultLanguage"] == "CYPHER 25"


def test_recreating_from_surviving_copies_leaves_the_seed_unread(start: Callable[..., Served]) -> None:
    served = start()
    served.ask("CALL dbms.recreateDatabase('orders', {seedingServers: [], seedURI: 'file:/nowhere.backup'})")
    survived = online(served, "orders")[0]["lastCommittedTxn"]
    served.change(served.cluster.with_status("orders", "offline"))
    served.ask("CALL dbms.recreateDatabase('orders', {seedingServers: [], seedURI: 'file:/nowhere.backup'})")
    until(lambda: states(served, "orders") == {("online", "offline")}, "a failed seed")

    assert survived == 12


def test_recreating_from_surviving_copies_alone_is_refused_while_a_server_is_down(start: Callable[..., Served]) -> None:
    served = start()
    served.change(served.cluster.with_server_down("server-2"))

    assert "cordoned first" in str(served.refusal("CALL dbms.recreateDatabase('orders', {seedingServers: []})"))


def test_a_second_call_of_recreate_during_the_first_breaks_the_database(serve: Serve, seeds: Seeds) -> None:
    reads = threading.Event()

    def slow(_location: str) -> tuple[Folder, str]:
        assert reads.wait(timeout=30)
        return LocalFolder(seeds.folder), seeds.full.name

    served = serve(three_servers(), restoring=Restoring({"s3": slow}))
    call = "CALL dbms.recreateDatabase('orders', {seedURI: 's3://bucket/orders.backup'})"
    served.ask(call)
    assert states(served, "orders") == {("online", "starting")}
    refused = served.refusal(call)
    reads.set()
    until(lambda: states(served, "orders") == {("online", "offline")}, "a broken database")
    served.ask(call)
    until(lambda: states(served, "orders") == {("online", "offline")}, "a database that stays broken")

    assert "Could not acquire the lock" in str(refused)


def test_a_client_that_waits_for_a_seed_is_kept_connected(
    serve: Serve, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "KEEP_ALIVE_SECONDS", 0.01)
    reads = threading.Event()

    def slow(_location: str) -> tuple[Folder, str]:
        assert reads.wait(timeout=30)
        return LocalFolder(seeds.folder), seeds.full.name

    served = serve(three_servers(), restoring=Restoring({"s3": slow}))
    with served.client() as client:
        client.log_on()
        text = f"CYPHER 25 CREATE DATABASE copy OPTIONS {{seedURI: 's3://bucket/orders.backup'}} {WAIT}"
        client.send(RUN, text, {}, {"db": "system"})
        empty = client.chunks(1)
        reads.set()
        answer = unpack(until(lambda: client.chunks(1), "an answer"))

    assert empty == b""
    assert isinstance(answer, Structure)
    assert answer.tag == SUCCESS


def test_a_stopped_database_starts_again(start: Callable[..., Served]) -> None:
    served = start()
    served.ask("STOP DATABASE orders WAIT")
    stopped = states(served, "orders")
    served.ask("START DATABASE orders")

    assert stopped == {("offline", "offline")}
    assert states(served, "orders") == {("online", "online")}


@pytest.mark.parametrize(
    "statement", ["CREATE DATABASE copy", "CALL dbms.recreateDatabase('orders', {seedURI: 'x:y'})"]
)
def test_an_account_that_manages_no_databases_may_not_restore(serve: Serve, statement: str) -> None:
    served = serve(three_servers().with_users(User("neo4j", "secret-password")))

    assert served.code(statement) == "Neo.ClientError.Security.Forbidden"


# neo4j-admin database restore


def restore(served: Served, seeds: Seeds, *options: str, name: str = "copy", server: str = "server-0") -> Any:
    """Run `neo4j-admin database restore` on a server of the served cluster."""
    simulation = Simulation(served.folder, seeds.simulation.program, seeds.folder)
    command = ("database", "restore", f"--from-path={seeds.differential}", *options, name)
    return simulation.run(*command, **{SERVER: server})


def test_a_store_that_was_restored_on_one_server_seeds_the_others(start: Callable[..., Served], seeds: Seeds) -> None:
    served = start(LTS)
    completed = restore(served, seeds, "--restore-until=2026-11-23 02:01:30", server="server-1")
    server = served.cluster.server("server-1").id
    options = f"{{existingData: 'use', existingDataSeedServer: '{server}'}}"
    served.ask(f"CREATE DATABASE copy TOPOLOGY 3 PRIMARIES OPTIONS {options} {WAIT}")
    rows = online(served, "copy")

    assert completed.returncode == 0, completed.stderr
    assert [row["serverID"] for row in rows if row["writer"]] == [server]
    assert {row["lastCommittedTxn"] for row in rows} == {17}


def test_a_server_without_the_store_seeds_nothing(start: Callable[..., Served], seeds: Seeds) -> None:
    served = start(LTS)
    restore(served, seeds, server="server-1")
    options = f"{{existingData: 'use', existingDataSeedServer: '{served.cluster.servers[0].id}'}}"
    served.ask(f"CREATE DATABASE copy TOPOLOGY 3 PRIMARIES OPTIONS {options} {WAIT}")

    assert states(served, "copy") == {("online", "offline")}
    assert "No store found on any of the seeders" in debug_log(served)


def test_a_stopped_database_of_a_standalone_server_is_replaced(start: Callable[..., Served], seeds: Seeds) -> None:
    served = start(cluster=one_server)
    running = restore(served, seeds, "--overwrite-destination=true", name="orders")
    served.ask("STOP DATABASE orders")
    existing = restore(served, seeds, name="orders")
    completed = restore(served, seeds, "--overwrite-destination=true", name="orders")
    served.ask("START DATABASE orders")

    assert (running.returncode, existing.returncode, completed.returncode) == (1, 1, 0)
    assert "Stop database 'orders'" in running.stderr
    assert "Database already exists: orders" in existing.stderr
    assert [row["lastCommittedTxn"] for row in online(served, "orders")] == [17]


def test_neo4j_admin_refuses_a_full_that_is_to_be_cut_and_a_chain_with_a_hole(
    start: Callable[..., Served], seeds: Seeds
) -> None:
    served = start()
    differential = restore(served, seeds)
    seeds.full.rename(seeds.folder / "elsewhere")
    hole = restore(served, seeds, "--overwrite-destination")

    assert (differential.returncode, hole.returncode) == (0, 1)
    assert "not part of a valid backup chain" in hole.stderr
