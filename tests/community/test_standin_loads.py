"""Real Neo4j Community loads the artifacts of the neo4j-admin stand-in, finds them consistent, and serves their data.

Community can only describe a differential; only Enterprise can restore it.
"""

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.standins import cluster
from backup_agent.standins.neo4j_admin import install
from tests.components.neo4j_community import CommunityHome, CommunityServer
from tests.components.pins import NEO4J_VERSIONS

pytestmark = pytest.mark.components

Home = Callable[[str], CommunityHome]

OLDER, NEWER = NEO4J_VERSIONS

newer_line = pytest.mark.parametrize(
    "neo4j_version", [pytest.param(OLDER, marks=pytest.mark.nightly), NEWER], indirect=True
)
"""Marks a test that `make test` runs with the newer line of Neo4j only, and `make long` with both."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A simulated cluster of one version, and its stand-in."""

    folder: Path
    program: Path

    @classmethod
    def create(cls, version: str, folder: Path, **database: int) -> "Source":
        folder.mkdir()
        cluster.save(cluster.three_servers(version, ("neo4j",)).with_database("neo4j", **database), folder)
        return cls(folder, install(folder, folder))

    def backup(self, target: Path, *options: str, database: str = "neo4j") -> Path:
        """Take a backup into a folder and return the new artifact."""
        target.mkdir(exist_ok=True)
        before = set(target.glob("*.backup"))
        command = (str(self.program), "database", "backup", "--from=server-0:6362", f"--to-path={target}")
        subprocess.run((*command, *options, database), check=True, capture_output=True, timeout=60)
        (artifact,) = set(target.glob("*.backup")) - before
        return artifact

    def commit(self, transactions: int) -> None:
        cluster.save(cluster.load(self.folder).with_transactions("neo4j", transactions), self.folder)

    def at(self, clock: str) -> None:
        """Set the stand-in's clock, which names artifacts by the second."""
        (self.folder / "clock").write_text(clock)


@newer_line
def test_a_full_loads_is_consistent_and_serves_its_data(
    community_home: Home, neo4j_version: str, tmp_path: Path
) -> None:
    home = community_home(neo4j_version)
    server = CommunityServer(home)
    source = Source.create(neo4j_version, tmp_path / "source")
    artifact = source.backup(tmp_path / "artifacts", "--type=FULL", "--include-metadata=all")

    _loads_and_is_consistent(home, artifact)
    server.start()
    try:
        rows = server.query(
            "MATCH (p:Person)-[:PLACED]->(o:Order) RETURN o.number AS number, p.name AS name ORDER BY number"
        )
    finally:
        server.stop()

    assert rows == [{"number": number, "name": f"Person {number}"} for number in range(1, 13)]


@newer_line
def test_an_uncompressed_full_of_a_chosen_size_loads(community_home: Home, neo4j_version: str, tmp_path: Path) -> None:
    source = Source.create(neo4j_version, tmp_path / "source", store_bytes=3_000_000)

    _loads_and_is_consistent(
        community_home(neo4j_version), source.backup(tmp_path / "artifacts", "--type=FULL", "--compress=false")
    )


def test_a_full_of_the_older_line_loads_into_the_newer(community_home: Home, tmp_path: Path) -> None:
    source = Source.create(OLDER, tmp_path / "source")

    _loads_and_is_consistent(community_home(NEWER), source.backup(tmp_path / "artifacts", "--type=FULL"))


@newer_line
def test_the_system_database_loads(community_home: Home, neo4j_version: str, tmp_path: Path) -> None:
    artifact = Source.create(neo4j_version, tmp_path / "source").backup(tmp_path / "artifacts", database="system")

    _loads_and_is_consistent(community_home(neo4j_version), artifact, "system")


@newer_line
def test_neo4j_describes_full_and_differential(community_home: Home, neo4j_version: str, tmp_path: Path) -> None:
    source, target = Source.create(neo4j_version, tmp_path / "source"), tmp_path / "artifacts"
    source.at("2026-11-23T02:00:00")
    source.backup(target, "--type=FULL")
    source.commit(5)
    source.at("2026-11-23T03:00:00")
    source.backup(target, "--type=DIFF")

    described = community_home(neo4j_version).describe(target)

    assert described.returncode == 0, described.stderr
    assert "Neo4j Full Backup" in described.stdout
    assert "Neo4j Differential Backup" in described.stdout


def _loads_and_is_consistent(home: CommunityHome, artifact: Path, database: str = "neo4j") -> None:
    loaded = home.load(artifact, database)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr

    checked = home.check(database)
    assert checked.returncode == 0, checked.stdout + checked.stderr
