"""The stand-in's `backup inspect` and `--inspect-path`; columns depend on the version."""

import json
from collections.abc import Callable

import pytest

from tests.standins.conftest import Simulation, create

COLUMNS = ["FILE", "DATABASE", "DATABASE ID", "TIME (UTC)", "FULL", "COMPRESSED", "LOWEST TX", "HIGHEST TX"]


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def names(table: str) -> list[str]:
    """Return the minutes in the names of the listed files."""
    return [row[0].removesuffix(".backup").split("-")[-2] for row in cells(table)[1:]]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """Create a FULL, two differentials and an empty one of orders, and a FULL of neo4j, at minutes 1 to 5. Read only."""
    simulation = create("2026.09.0", tmp_path_factory.mktemp("chain"))
    for transactions in (2, 2, 0):
        simulation.artifact()
        simulation.commit(transactions)
    simulation.artifact()
    simulation.artifact("--type=FULL", database="neo4j")
    return simulation


@pytest.mark.parametrize(
    ("version", "options", "columns"),
    [
        ("5.26.31", [], ["FILE"]),
        ("5.26.31", ["--show-metadata"], COLUMNS),
        ("2025.05.0", ["--show-metadata"], COLUMNS),
        ("2025.06.0", ["--show-metadata"], [*COLUMNS, "RECOVERED"]),
        ("2025.07.0", [], [*COLUMNS, "RECOVERED"]),
        ("2025.09.0", ["--show-metadata"], [*COLUMNS, "STORE ID HASH", "RECOVERED"]),
        ("2026.09.0", [], [*COLUMNS, "RECOVERED"]),
    ],
)
def test_the_columns_depend_on_the_version(
    simulate: Callable[[str], Simulation], version: str, options: list[str], columns: list[str]
) -> None:
    simulation = simulate(version)
    simulation.artifact()
    completed = simulation.run("backup", "inspect", *options, str(simulation.target))

    assert (completed.returncode, cells(completed.stdout)[0]) == (0, columns)


def test_a_row_shows_the_header_in_right_aligned_cells(simulation: Simulation) -> None:
    path, header = simulation.artifact()
    simulation.commit(3)
    simulation.artifact()
    table = simulation.run("backup", "inspect", str(simulation.target)).stdout

    assert cells(table)[2] == [
        path.as_uri(), "orders", str(header.database_id), "2026-11-23T02:01:00", "true", "true", "1", "12", "true",
    ]  # fmt: skip
    assert len({len(line) for line in table.splitlines()}) == 1
    assert "|  true |" in table.splitlines()[2]


@pytest.mark.parametrize(
    ("version", "options", "listed"),
    [
        pytest.param("2026.09.0", [], ["03", "02", "01", "05"], id="newest-first-without-empty-ones"),
        pytest.param("2026.09.0", ["--empty"], ["04", "03", "02", "01", "05"], id="empty-ones"),
        pytest.param("2026.09.0", ["--latest-backup"], ["03", "05"], id="latest-backup"),
        pytest.param("2026.09.0", ["--database=ORDERS", "--latest-backup", "--empty"], ["04"], id="one-database"),
        pytest.param("2026.09.0", ["--latest-chain", "--database=orders"], ["01", "02", "03"], id="chain-full-first"),
        pytest.param("5.26.31", ["--latest-chain", "--database=orders"], ["03", "02", "01"], id="chain-newest-first"),
        pytest.param(
            "2026.09.0", ["--latest-chain", "--empty", "--database=orders"], ["01", "02", "03", "04"], id="whole-chain"
        ),
    ],
)
def test_the_options_select_and_order_the_listed_artifacts(
    chain: Simulation, version: str, options: list[str], listed: list[str]
) -> None:
    completed = chain.run("backup", "inspect", *options, str(chain.target), version=version)

    assert names(completed.stdout) == listed


def test_inspecting_a_file_lists_its_chain_up_to_that_file(chain: Simulation) -> None:
    second = sorted(chain.target.glob("orders-*"))[1]

    assert names(chain.run("backup", "inspect", str(second)).stdout) == ["02"]
    assert names(chain.run("backup", "inspect", "--latest-chain", str(second)).stdout) == ["02", "01"]


def test_json_has_the_uri_of_each_artifact(simulation: Simulation) -> None:
    path, _ = simulation.artifact()
    completed = simulation.run("backup", "inspect", "--format=json", str(simulation.target))

    assert f'"uri":"{path.as_uri()}"' in completed.stdout
    assert [row["full"] for row in json.loads(completed.stdout)] == [True]


def test_inspect_path_shows_the_eight_columns_of_5_26(chain: Simulation) -> None:
    completed = chain.run("database", "backup", f"--inspect-path={chain.target}")

    assert cells(completed.stdout)[0] == [column.replace(" (UTC)", "") for column in COLUMNS]
    assert len(cells(completed.stdout)) == 6


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        ([], 64, "Missing required parameter: '<backup-path>'"),
        (["--latest-backup", "--latest-chain", "x"], 64, "are mutually exclusive"),
        (["/nowhere"], 1, "/nowhere does not exist"),
        (["s3://bucket/"], 1, "The stand-in reads local folders only"),
        (["a", "b"], 2, "Unmatched arguments from index 1: 'b'"),
        (["--format=XML", "x"], 64, "expected one of [JSON, TABULAR]"),
    ],
)
def test_invalid_arguments_of_inspect_are_refused(
    simulation: Simulation, options: list[str], exit_code: int, message: str
) -> None:
    completed = simulation.run("backup", "inspect", *options)

    assert completed.returncode == exit_code
    assert message in completed.stderr


def test_inspect_fails_if_the_folder_holds_a_file_that_is_not_an_artifact(simulation: Simulation) -> None:
    simulation.artifact()
    (simulation.target / "junk.backup").write_bytes(b"BZV3....")
    completed = simulation.run("backup", "inspect", str(simulation.target))

    assert completed.returncode == 1
    assert "Unsupported format backup format: BZV3" in completed.stderr
