"""The restores of the golden files. `python -m tests.cli.restores` rewrites the files: then read every line again."""

from pathlib import Path
from typing import Any

from backup_agent.cli.restore_lines import ChainSource, script, steps
from backup_agent.core.artifacts.names import DatabaseName, artifact_name
from backup_agent.core.artifacts.records import ArtifactFile, Record
from backup_agent.core.capabilities import Version
from backup_agent.settings.s3 import S3Destination
from backup_agent.stores.s3 import restore_access
from tests.builders import a_header, a_record

GOLDEN = Path(__file__).with_name("golden")

VOLUME = ChainSource("local", "/backups")


def in_bucket(place: str = "offsite", cluster: str = "demo", **destination: Any) -> ChainSource:
    """Return a source in a bucket."""
    access = restore_access(S3Destination(**destination), cluster)
    return ChainSource(place, access.uri, access)


AWS = in_bucket(bucket="backups", prefix="neo4j", region="eu-central-1")
OWN = in_bucket(
    bucket="backups",
    prefix="neo4j",
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
"""Name of the file -> version, database, place of the chain, bucket that the servers can read."""


def record(database: str = "orders", hour: int = 2, *, version: str | None = "5.26.31") -> Record:
    """Return the record of a full at two, or of the differential at three."""
    taken = a_header(hour - 2, database=database, recovered=True)
    file = ArtifactFile(
        name=artifact_name(DatabaseName(database), taken.taken), size=1000 * hour, sha256=f"{hour:02x}" * 32
    )
    return a_record(database=database, header=taken, files=(file,), admin_version=version)


def text(name: str) -> str:
    version, database, source, seed = CASES[name]
    known = Version.parse(version)
    assert known is not None
    chain = [record(database, 2), record(database, 3)]
    found = steps(chain, source=source, seed=seed, version=known)
    return script(chain[-1], found, source=source, version=known)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"restore-{case}.txt").write_text(text(case))
