"""The stand-in finds parents by headers, as the manual says. F: full, D: differential, E: empty differential."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.standins.neo4j_admin import chains
from backup_agent.standins.neo4j_admin.artifacts import Header, StoreId
from backup_agent.standins.neo4j_admin.chains import Artifact
from backup_agent.standins.neo4j_admin.versions import parse
from tests.standins.conftest import Simulation

ID, OTHER = uuid.UUID(int=7), uuid.UUID(int=8)
STORE = StoreId(1, 2)


def folder(text: str, database_id: uuid.UUID = ID, store: StoreId = STORE) -> list[Artifact]:
    """Return the artifacts of a text such as `F1-10 D11-12 E`, dated a minute apart."""
    made = []
    for number, word in enumerate(text.split()):
        lowest, _, highest = (word[1:] or "0-0").partition("-")
        header = Header("orders", database_id, store, 60 * number, int(lowest), int(highest), full=word[0] == "F")
        made.append(Artifact(Path(f"/{number}-{word}"), header))
    return made


@pytest.mark.parametrize(
    ("text", "version", "prefer_diff", "parent", "first"),
    [
        pytest.param("", "2026.09.0", False, None, None, id="empty-folder"),
        pytest.param("D11-12", "2026.09.0", False, None, None, id="differential-without-a-full"),
        pytest.param("F1-10", "5.26.31", False, "F1-10", 11, id="full"),
        pytest.param("F1-10 D11-12", "5.26.31", False, "D11-12", 13, id="differential"),
        pytest.param("F1-10 D11-12 E E", "5.26.31", False, "D11-12", 13, id="empty-ones-are-no-parents"),
        pytest.param("F1-10 D12-13", "5.26.31", False, "F1-10", 11, id="after-a-gap-nothing-counts"),
        pytest.param("F1-10 D11-12 F1-15", "5.26.31", False, "F1-15", 16, id="before-2026.02-a-full-breaks-the-chain"),
        pytest.param("F1-10 D11-12 F1-15", "2026.01.0", False, "F1-15", 16, id="the-month-before-too"),
        pytest.param("F1-10 D11-12 F1-15", "2026.02.0", False, "F1-15", 13, id="from-2026.02-it-overlaps"),
        pytest.param("F1-10 D11-12 F1-15", "2025.04.0", True, "D11-12", 13, id="differential-preferred"),
        pytest.param("F1-10 F1-15", "2026.02.0", True, "F1-15", 16, id="preferred-but-there-is-none"),
        pytest.param("F1-10 D11-12 F1-15 D13-20", "2026.02.0", False, "D13-20", 21, id="after-the-overlap"),
    ],
)
def test_the_parent_is_the_last_usable_artifact_of_the_chain(
    text: str, version: str, prefer_diff: bool, parent: str | None, first: int | None
) -> None:
    found = chains.parent(folder(text), ID, STORE, parse(version), prefer_diff=prefer_diff)

    assert (parent, first) == ((found.artifact.path.name.partition("-")[2], found.first) if found else (None, None))


@pytest.mark.parametrize(
    "foreign",
    [folder("F1-10", database_id=OTHER), folder("F1-10", store=StoreId(1, 3))],
    ids=["other database", "other store"],
)
def test_an_artifact_of_another_database_or_store_is_not_a_parent(foreign: list[Artifact]) -> None:
    assert chains.parent(foreign, ID, STORE, (2026, 9), prefer_diff=False) is None


@pytest.mark.parametrize(
    ("text", "version", "chain"),
    [
        ("F1-10 D11-12 D13-14", "5.26.31", "F1-10 D11-12 D13-14"),
        ("F1-10 D11-12 E", "5.26.31", "F1-10 D11-12 E"),
        ("F1-10 E D11-12", "5.26.31", "F1-10 E D11-12"),
        ("F1-10 D11-12 F1-12 D13-14", "5.26.31", "F1-12 D13-14"),
        ("F1-10 D11-12 F1-15 D13-20", "5.26.31", "F1-10 D11-12 D13-20"),
        ("F1-10 D11-12 F1-15 D13-20", "2026.02.0", "F1-15 D13-20"),
        ("F1-10 D12-13", "2026.02.0", "D12-13"),
        ("F1-10", "2026.02.0", "F1-10"),
    ],
)
def test_the_latest_chain_is_followed_back_to_its_full(text: str, version: str, chain: str) -> None:
    artifacts = folder(text)
    found = chains.latest_chain(artifacts, artifacts[-1], parse(version))

    assert chain == " ".join(artifact.path.name.partition("-")[2] for artifact in found)


def test_a_chain_does_not_cross_stores() -> None:
    full, diff = folder("F1-10")[0], folder("E D11-12", store=StoreId(1, 3))[1]

    assert chains.latest_chain([full, diff], diff, (2026, 9)) == [diff]


def ranges(header: Header) -> tuple[bool, int, int]:
    return header.full, header.lowest, header.highest


@pytest.mark.parametrize("version", ["5.26.31", "2026.09.0"])
def test_each_differential_continues_the_last_one(simulate: Callable[[str], Simulation], version: str) -> None:
    simulation = simulate(version)
    headers = [simulation.artifact()[1]]
    for transactions in (3, 0, 2):
        simulation.commit(transactions)
        headers.append(simulation.artifact()[1])

    assert [ranges(header) for header in headers] == [(True, 1, 12), (False, 13, 15), (False, 0, 0), (False, 16, 17)]
    assert len({(header.database_id, header.store) for header in headers}) == 1
    assert [header.recovered for header in headers] == [True, False, False, False]


@pytest.mark.parametrize(
    ("version", "first"), [("2026.01.0", 15), ("2026.02.0", 14)], ids=["broken before 2026.02", "overlaps from 2026.02"]
)
def test_a_full_between_two_differentials_is_overlapped_from_2026_02_on(
    simulate: Callable[[str], Simulation], version: str, first: int
) -> None:
    simulation = simulate(version)
    for kind in ("FULL", "DIFF", "FULL"):
        simulation.artifact(f"--type={kind}")
        simulation.commit(1)
    simulation.commit(1)

    assert ranges(simulation.artifact("--type=DIFF")[1]) == (False, first, 16)


def test_a_differential_without_a_full_is_refused(simulation: Simulation) -> None:
    completed = simulation.backup("--type=DIFF")

    assert (completed.returncode, list(simulation.target.iterdir())) == (1, [])
    assert (
        "Reason: Differential backups require that a full backup of the same database exists in the folder defined in "
        f"--to-path. No existing backup found here: {simulation.target}"
    ) in completed.stdout


def test_auto_falls_back_to_a_full_and_logs_it(simulation: Simulation) -> None:
    completed = simulation.backup("--type=AUTO")

    assert completed.returncode == 0
    assert "Falling back to full backup of database 'orders'." in completed.stdout
    assert "Finished full backup of database 'orders'. Downloaded from tx -1 to tx 12." in completed.stdout


def test_with_pruned_logs_a_diff_fails_and_auto_takes_a_full(simulation: Simulation) -> None:
    simulation.artifact()
    simulation.change(lambda cluster: cluster.with_database("orders", last_transaction=40, pruned_below=14))
    refused = simulation.backup("--type=DIFF")
    _, header = simulation.artifact("--type=AUTO")

    assert refused.returncode == 1
    assert "no longer has the transaction logs that start at 13" in refused.stdout
    assert ranges(header) == (True, 1, 40)


def test_there_is_no_overlap_if_the_logs_are_pruned(simulation: Simulation) -> None:
    for kind in ("FULL", "DIFF", "FULL"):
        simulation.artifact(f"--type={kind}")
        simulation.commit(2)
    simulation.change(lambda cluster: cluster.with_database("orders", pruned_below=16))

    assert ranges(simulation.artifact("--type=DIFF")[1]) == (False, 17, 18)


def test_a_recreated_database_starts_a_new_chain(simulation: Simulation) -> None:
    simulation.artifact()
    simulation.change(lambda cluster: cluster.with_database_recreated("orders"))

    assert simulation.backup("--type=DIFF").returncode == 1
    assert simulation.artifact("--type=AUTO")[1].full


def test_a_copy_that_lags_has_fewer_transactions(simulation: Simulation) -> None:
    simulation.artifact()
    simulation.commit(5)
    simulation.change(lambda cluster: cluster.with_copy("orders", "server-0", lag=-3))

    assert ranges(simulation.artifact()[1]) == (False, 13, 14)
    assert ranges(simulation.artifact()[1]) == (False, 0, 0)
    assert ranges(simulation.artifact(source="server-1:6362")[1]) == (False, 15, 17)


def test_sub_folders_and_files_that_are_not_artifacts_are_ignored(simulation: Simulation) -> None:
    path, _ = simulation.artifact()
    (simulation.target / "below").mkdir()
    path.rename(simulation.target / "below" / path.name)
    (simulation.target / "junk.backup").write_bytes(b"junk")
    completed = simulation.backup("--type=DIFF")

    assert completed.returncode == 1
    assert "junk.backup: Unsupported format backup format: junk" in completed.stdout
