"""The lines that restore a point, by version."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from backup_agent.core.capabilities import Version
from backup_agent.core.records import ArtifactFile, BackupType, Header, Record
from backup_agent.core.restoring import Step, steps

TAKEN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
SEED = "s3://backups/neo4j/demo"


def record(database: str = "orders", hour: int = 2, *, full: bool = True) -> Record:
    taken = TAKEN.replace(hour=hour)
    name = f"{database}-{taken:%Y-%m-%dT%H-%M-%S}.backup"
    header = Header(
        magic="BZV2", database=database, database_id=UUID(int=7), store_id="1-2-record-aligned-1.1", taken=taken,
        lowest=1 if full else 11, highest=10 if full else 20, full=full, compressed=True, recovered=True,
    )  # fmt: skip
    return Record(
        key=f"default/{database}/{name}", cluster="demo", set="default", database=database,
        type=BackupType.FULL if full else BackupType.DIFF, type_reason="asked", header=header,
        files=(ArtifactFile(name=name, size=5, sha256="ab" * 32),), request="r", started=taken, finished=taken,
    )  # fmt: skip


def lines(found: tuple[Step, ...]) -> list[str]:
    return [line for step in found for line in step.lines]


@pytest.mark.parametrize(
    ("version", "recreate", "create"),
    [
        ("5.26.31", "dbms.cluster.recreateDatabase", "CREATE DATABASE `orders` OPTIONS {existingData: 'use', seedURI:"),
        (
            "2025.03.0",
            "dbms.cluster.recreateDatabase",
            "CREATE DATABASE `orders` OPTIONS {existingData: 'use', seedURI:",
        ),
        ("2025.04.0", "dbms.recreateDatabase", "CREATE DATABASE `orders` OPTIONS {existingData: 'use', seedURI:"),
        ("2026.09.0", "dbms.recreateDatabase", "CYPHER 25 CREATE DATABASE `orders` OPTIONS {seedURI:"),
    ],
)
def test_a_cluster_is_seeded_in_the_words_of_its_version(version: str, recreate: str, create: str) -> None:
    full = record()
    found = lines(steps([full], root="/backups", seed=SEED, version=Version.parse(version)))

    assert f"CALL {recreate}('orders', {{seedURI: '{SEED}/{full.key}'}});" in found
    assert f"{create} '{SEED}/{full.key}'}};" in found


def test_the_chain_is_copied_and_checked_in_order_and_its_end_restored() -> None:
    full, differential = record(), record(hour=3, full=False)
    found = lines(steps([full, differential], root="/backups", seed=None, version=Version(5, 26)))

    assert [line for line in found if line.startswith("cp ")] == [
        f"cp -- '/backups/{full.key}' \"$FOLDER/\"",
        f"cp -- '/backups/{differential.key}' \"$FOLDER/\"",
    ]
    assert found.index(f"{'ab' * 32}  {full.files[0].name}") < found.index(f"{'ab' * 32}  {differential.files[0].name}")
    assert [line for line in found if "database restore" in line and differential.files[0].name not in line] == []


def test_a_cluster_without_s3_is_made_from_one_server_and_never_overwritten() -> None:
    found = steps([record()], root="/backups", seed=None, version=Version(5, 26))
    cluster = lines(found[[step.title.startswith("Cluster") for step in found].index(True) :])

    assert not any("--overwrite-destination" in line for line in cluster)
    assert any("existingDataSeedServer" in line for line in cluster)


@pytest.mark.parametrize(
    ("version", "aggregate"), [("5.26.31", "database aggregate-backup"), ("2026.09.0", "backup aggregate")]
)
def test_system_is_never_seeded(version: str, aggregate: str) -> None:
    chain = [record("system"), record("system", 3, full=False)]
    found = lines(steps(chain, root="/backups", seed=SEED, version=Version.parse(version)))

    assert not any("seedURI" in line for line in found)
    assert "neo4j-admin dbms unbind-system-db" in found
    assert any(line.startswith(f"neo4j-admin {aggregate} ") for line in found)
