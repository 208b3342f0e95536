"""What is restored in the golden files. `python -m tests.cli.restores` writes them anew: read each line again then."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from backup_agent.cli.restore_lines import ChainSource, script, steps
from backup_agent.core.artifacts.records import ArtifactFile, BackupType, Header, Record
from backup_agent.core.capabilities import Version

GOLDEN = Path(__file__).with_name("golden")
TAKEN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)

VOLUME = ChainSource("local", "/backups")
AWS = ChainSource("offsite", "s3://backups/neo4j/demo", region="eu-central-1")
OWN = ChainSource(
    "offsite",
    "s3://backups/neo4j/demo",
    endpoint_url="https://s3.example.com:9000",
    region="us-east-1",
    ca_file="/etc/backup-agent/ca.pem",
    path_style=True,
)

CASES: dict[str, tuple[str, str, ChainSource, ChainSource | None]] = {
    "5.26-volume": ("5.26.31", "orders", VOLUME, None),
    "5.26-volume-and-bucket": ("5.26.31", "orders", VOLUME, AWS),
    "5.26-bucket": ("5.26.31", "orders", OWN, OWN),
    "5.26-system": ("5.26.31", "system", VOLUME, AWS),
    "2025.01-volume-and-bucket": ("2025.01.0", "orders", VOLUME, AWS),
    "2025.05-bucket": ("2025.05.0", "orders", AWS, AWS),
    "2025.12-volume": ("2025.12.1", "orders", VOLUME, None),
    "2026.09-volume": ("2026.09.0", "orders", VOLUME, None),
    "2026.09-volume-and-bucket": ("2026.09.0", "orders", VOLUME, AWS),
    "2026.09-bucket": ("2026.09.0", "orders", OWN, OWN),
    "2026.09-system": ("2026.09.0", "system", AWS, AWS),
}
"""Name of the file -> version, database, place of the chain, bucket that the servers may read."""


def record(database: str = "orders", hour: int = 2, *, full: bool = True, version: str | None = "5.26.31") -> Record:
    taken = TAKEN.replace(hour=hour)
    name = f"{database}-{taken:%Y-%m-%dT%H-%M-%S}.backup"
    header = Header(
        magic="BZV2", database=database, database_id=UUID(int=7), store_id="1-2-record-aligned-1.1", taken=taken,
        lowest=1 if full else 11, highest=10 if full else 20, full=full, compressed=True, recovered=True,
    )  # fmt: skip
    return Record(
        key=f"default/{database}/{name}", cluster="demo", set="default", database=database,
        type=BackupType.FULL if full else BackupType.DIFF, type_reason="asked", header=header,
        files=(ArtifactFile(name=name, size=1000 * hour, sha256=f"{hour:02x}" * 32),), request="r", started=taken,
        finished=taken, admin_version=version,
    )  # fmt: skip


def text(name: str) -> str:
    version, database, source, seed = CASES[name]
    known = Version.parse(version)
    assert known is not None
    chain = [record(database), record(database, 3, full=False)]
    found = steps(chain, source=source, seed=seed, version=known)
    return script(chain[-1], found, source=source, version=known)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"restore-{case}.txt").write_text(text(case))
