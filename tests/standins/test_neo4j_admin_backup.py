"""The stand-in's `database backup`: servers, databases, errors, output and exit codes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.standins.cluster import Copy, new_database
from backup_agent.standins.neo4j_admin.artifacts import read_header
from tests.standins.conftest import Simulation

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000 (INFO |WARN |ERROR) \[c\.n\.b\.b\.BackupOutputMonitor\] (?P<text>.+)"
)


def databases(folder: Path) -> set[str]:
    return {read_header(path).database for path in folder.glob("*.backup")}


@pytest.mark.parametrize("version", ["5.26.31", "2025.06.0", "2026.09.0"])
def test_a_full_logs_its_steps_on_stdout(simulate: Callable[[str], Simulation], version: str) -> None:
    simulation = simulate(version)
    completed = simulation.backup("--type=FULL")
    lines = [LINE.fullmatch(line) for line in completed.stdout.splitlines()]

    assert (completed.returncode, completed.stderr) == (0, "")
    texts = [re.sub(r"took \d+ms", "took", line["text"]) for line in lines if line]
    assert len(texts) == len(lines)
    assert texts[:4] == [
        "Starting backup of database 'orders' from servers: [server-0:6362]",
        "Start backup of database 'orders'.",
        "Using remote server server-0:6362 for backup of database 'orders'.",
        "Start full backup of database 'orders'.",
    ]
    assert texts[-1] == "Finished artifact creation 'orders-2026-11-23T02-01-00.backup' for database 'orders', took."


def test_a_database_without_new_transactions_is_logged_by_its_id(simulation: Simulation) -> None:
    _, header = simulation.artifact()
    completed = simulation.backup()

    idle = f"DatabaseId{{{str(header.database_id)[:8]}[orders]}}"
    assert f"The remote server (server-0:6362) has not any recent data for database '{idle}'." in completed.stdout


@pytest.mark.parametrize(
    ("zone", "stamp"), [("UTC", "2026-11-23T02-01-00"), ("Asia/Tokyo", "2026-11-23T11-01-00")], ids=["UTC", "Tokyo"]
)
def test_the_file_name_holds_local_time_and_the_header_utc(simulation: Simulation, zone: str, stamp: str) -> None:
    simulation.later()
    simulation.run(*simulation.command()[1:], TZ=zone)
    (path,) = simulation.target.iterdir()

    assert path.name == f"orders-{stamp}.backup"
    assert read_header(path).taken == 1795399260  # 2026-11-23T02:01:00Z


def test_the_second_backup_within_a_second_fails(simulation: Simulation) -> None:
    path, _ = simulation.artifact()
    kept = path.read_bytes()
    completed = simulation.run(*simulation.command()[1:])

    assert completed.returncode == 1
    assert f"FileAlreadyExistsException: {path}" in completed.stdout
    assert path.read_bytes() == kept


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("5.26.31", "Backup failed for databases: 'nope'\nRun with '--verbose' for a more detailed error message.\n"),
        (
            "2026.09.0",
            f"{'-' * 53}\nCommand Failed\nBackup failed for databases: 'nope'\n\nDatabase does not exist: nope\n{'-' * 53}\n",
        ),
    ],
)
def test_a_failure_is_printed_in_the_layout_of_the_version(
    simulate: Callable[[str], Simulation], version: str, expected: str
) -> None:
    completed = simulate(version).backup(database="nope")

    assert (completed.returncode, completed.stderr) == (1, expected)
    assert "Failed to back up database 'nope': Database does not exist: nope" in completed.stdout


def test_the_failure_of_one_database_does_not_stop_the_others(simulation: Simulation) -> None:
    completed = simulation.backup("neo4j", "nope")

    assert completed.returncode == 1
    assert databases(simulation.target) == {"neo4j", "orders"}


def test_the_default_database_is_neo4j(simulation: Simulation) -> None:
    simulation.run("database", "backup", "--from=server-0:6362", f"--to-path={simulation.target}")

    assert databases(simulation.target) == {"neo4j"}


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [("*", {"neo4j", "orders", "system"}), ("o*", {"orders"}), ("n?o4j", {"neo4j"}), ("ORDERS", {"orders"})],
)
def test_a_pattern_is_matched_against_the_cluster(simulation: Simulation, pattern: str, matched: set[str]) -> None:
    assert simulation.backup(database=pattern).returncode == 0
    assert databases(simulation.target) == matched


def test_a_pattern_that_matches_nothing_fails(simulation: Simulation) -> None:
    completed = simulation.backup(database="x*")

    assert completed.returncode == 1
    assert "Pattern 'x*' did not match any database" in completed.stdout


@pytest.mark.parametrize(
    ("sources", "exit_code", "used"),
    [
        pytest.param("server-1:6362,server-2:6362", 0, "server-1:6362", id="the-first-is-used"),
        pytest.param("SERVER-1:6362", 0, "SERVER-1:6362", id="names-ignore-case"),
        pytest.param("server-1", 0, "server-1:6362", id="the-port-has-a-default"),
        pytest.param("server-0:6362,server-1:6362", 1, "server-1:6362", id="one-is-down"),
        pytest.param("server-1:6362,server-0:6362", 0, "server-1:6362", id="one-is-down-but-was-not-needed"),
        pytest.param("nowhere:1,server-1:6362", 1, "server-1:6362", id="one-is-unknown"),
        pytest.param("server-1:6000,server-2:6362", 1, "server-2:6362", id="a-wrong-port-is-unknown"),
    ],
)
def test_servers_are_tried_in_order_and_one_without_answer_makes_the_exit_code_1(
    simulation: Simulation, sources: str, exit_code: int, used: str
) -> None:
    simulation.change(lambda cluster: cluster.with_server_down("server-0"))
    completed = simulation.backup(source=sources)

    assert (completed.returncode, databases(simulation.target)) == (exit_code, {"orders"})
    assert f"Using remote server {used} for backup of database 'orders'." in completed.stdout
    assert ("Backup succeeded but encountered problems" in completed.stderr) == (exit_code == 1)


def test_nothing_is_written_if_no_server_answers(simulation: Simulation) -> None:
    completed = simulation.backup(source="nowhere:1,nobody:2")

    assert (completed.returncode, list(simulation.target.iterdir())) == (1, [])
    assert "No server could be reached: nowhere:1, nobody:2: Connection refused" in completed.stdout


def test_the_default_source_is_the_local_server(simulation: Simulation) -> None:
    simulation.change(lambda cluster: cluster.with_server("server-1", backup="127.0.0.1:6362"))
    completed = simulation.run("database", "backup", f"--to-path={simulation.target}", "orders")

    assert completed.returncode == 0
    assert "Using remote server localhost:6362" in completed.stdout


def test_a_server_that_does_not_host_the_database_is_skipped(simulation: Simulation) -> None:
    simulation.change(
        lambda cluster: cluster.with_database_added(new_database("sales", [Copy("server-2", writer=True)]))
    )
    completed = simulation.backup(database="sales", source="server-0:6362,server-2:6362")

    assert completed.returncode == 0
    assert "Using remote server server-2:6362" in completed.stdout


def test_an_offline_database_cannot_be_backed_up(simulation: Simulation) -> None:
    simulation.change(lambda cluster: cluster.with_status("orders", "offline"))

    assert simulation.backup().returncode == 1
    assert simulation.backup(database="*").returncode == 0
    assert databases(simulation.target) == {"neo4j", "system"}


def test_aliases_and_composite_databases_are_refused(simulation: Simulation) -> None:
    copies = [Copy("server-0", writer=True)]
    simulation.change(lambda cluster: cluster.with_alias("shop", "orders"))
    simulation.change(lambda cluster: cluster.with_database_added(new_database("all", copies, type="composite")))

    assert "aliases cannot be backed up" in simulation.backup(database="shop").stdout
    assert "composite databases cannot be backed up" in simulation.backup(database="all").stdout
    assert list(simulation.target.iterdir()) == []
    assert "Pattern 'a*' did not match any database" in simulation.backup(database="a*").stdout


def test_remote_address_resolution_prefers_secondaries_then_followers(simulation: Simulation) -> None:
    simulation.change(lambda cluster: cluster.with_leader("orders", "server-0"))
    follower = simulation.backup("--remote-address-resolution", source="server-0:6362")
    simulation.change(lambda cluster: cluster.with_copy("orders", "server-2", role="secondary"))
    secondary = simulation.backup("--remote-address-resolution=true", source="server-0:6362")

    assert "Using remote server server-1:6362" in follower.stdout
    assert "Using remote server server-2:6362" in secondary.stdout


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        pytest.param(["--to-path=/nowhere"], 1, "/nowhere is not an existing directory", id="no-folder"),
        pytest.param(["--to-path=s3://bucket/x"], 1, "please add a terminal '/' to your path", id="cloud-file"),
        pytest.param(["--to-path=s3://bucket/x/"], 1, "The stand-in writes to local folders only", id="cloud-folder"),
        pytest.param([], 64, "Missing required option: '--to-path=<path>'", id="no-to-path"),
        pytest.param(["--to-path=.", "--temp-path=/nowhere"], 1, "staging path does not exist", id="no-temp-folder"),
        pytest.param(["--to-path=.", "--temp-path=."], 1, "staging path is not empty", id="temp-folder-not-empty"),
        pytest.param(["--to-path=.", "--additional-config=/no"], 1, "File /no does not exist", id="no-extra-settings"),
        pytest.param(["--to-path=.", "--from=host:x"], 64, "'host:x' is not host:port", id="no-port"),
        pytest.param(["--to-path=.", "--include-metadata=some"], 64, "but was 'some'", id="metadata"),
        pytest.param(["--to-path=.", "bad_name"], 64, "Database name 'bad_name' contains illegal", id="name"),
        pytest.param(["--to-path=.", "a,b"], 64, "Database name 'a,b' contains illegal", id="no-comma-list"),
    ],
)
def test_invalid_arguments_of_backup_are_refused(
    simulation: Simulation, options: list[str], exit_code: int, message: str
) -> None:
    completed = simulation.run("database", "backup", *options)

    assert completed.returncode == exit_code
    assert message in completed.stderr


def test_the_filter_for_users_is_known_from_2025_10_on(simulate: Callable[[str], Simulation]) -> None:
    simulation = simulate("2025.10.0")
    assert simulation.backup("--include-metadata=users=alice").returncode == 0

    simulation.change(lambda cluster: type(cluster)(**{**vars(cluster), "version": "2025.09.0"}))
    assert simulation.backup("--include-metadata=users=alice").returncode == 64


@pytest.mark.parametrize(
    ("file", "line", "known"),
    [
        ("neo4j.conf", "server.memory.pagecache.size=8m", True),
        ("neo4j-admin.conf", "dbms.ssl.policy.backup.trust_all=true", True),
        ("neo4j-admin.conf", "dbms.ssl.policy.backup.trust_everything=true", False),
        ("neo4j-admin-database-backup.conf", "sever.memory.pagecache.size=8m", False),
    ],
)
def test_an_unknown_setting_fails_the_command(simulation: Simulation, file: str, line: str, known: bool) -> None:
    (simulation.folder / file).write_text(f"# settings\n\n{line}\n")
    simulation.later()
    completed = simulation.run(*simulation.command()[1:], NEO4J_CONF=str(simulation.folder))

    assert completed.returncode == (0 if known else 1)
    assert (f"Failed to read config {simulation.folder / file}: Unrecognized setting" in completed.stderr) != known


def test_a_missing_settings_folder_is_not_an_error(simulation: Simulation) -> None:
    assert simulation.run(*simulation.command()[1:], NEO4J_CONF="/nowhere").returncode == 0


def test_the_temp_folder_is_empty_after_a_backup(simulation: Simulation, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()

    assert simulation.backup(f"--temp-path={staging}").returncode == 0
    assert list(staging.iterdir()) == []


def test_the_header_of_an_unrecovered_full_says_so(simulation: Simulation) -> None:
    assert not simulation.artifact("--type=FULL", "--skip-recovery")[1].recovered


def test_the_program_imports_no_large_library(simulation: Simulation) -> None:
    heavy = {"pydantic", "neo4j", "boto3", "yaml", "click", "asyncio", "argparse", "subprocess"}
    launcher = simulation.program.read_text()
    start = launcher.replace("main(sys.argv[1:]", "print(*sys.modules, file=sys.stderr); main(sys.argv[1:]")
    simulation.program.write_text(start)
    completed = subprocess.run((str(simulation.program), "--version"), capture_output=True, text=True, check=True)
    loaded = set(completed.stderr.split())

    assert "backup_agent.standins.neo4j_admin.backup" in loaded
    assert loaded & heavy == set()


def test_the_program_can_be_started_as_a_module(simulation: Simulation) -> None:
    completed = subprocess.run(
        (sys.executable, "-m", "backup_agent.standins.neo4j_admin", "--version"),
        env={**os.environ, "NEO4J_ADMIN_STANDIN_CLUSTER": str(simulation.folder)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert completed.stdout == "2026.09.0\n"
