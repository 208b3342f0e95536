"""Artifacts written by Neo4j's own classes, out of the Community jars of a version (see ArtifactWriter.java)."""

import base64
import hashlib
import subprocess
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.components.cache import cached
from tests.components.java import compile_java, java_home
from tests.components.neo4j_community import JVM, jars

_SOURCE = Path(__file__).with_name("ArtifactWriter.java")
_SOME_ID = uuid.UUID("5c34d31c-0d3e-4ba6-8bd1-c7e4f3f7a1b2")


@dataclass(frozen=True)
class Written:
    """One artifact to write; the store id is record-aligned-1.1 with these two numbers."""

    file: str
    database: str = "neo4j"
    database_id: uuid.UUID = _SOME_ID
    created: int = 1_764_000_000_123
    random: int = -8_123_456_789_012_345_678
    taken: int = 1_795_398_400
    lowest: int = 1
    highest: int = 15
    recovered: bool = True
    compressed: bool = True
    full: bool = True
    script: str = ""

    def to_line(self, folder: Path) -> str:
        """Return it as ArtifactWriter reads it."""
        fields = (
            folder / self.file, self.database, self.database_id, self.created, self.random, self.taken, self.lowest,
            self.highest, self.recovered, self.compressed, self.full, base64.b64encode(self.script.encode()).decode(),
        )  # fmt: skip
        return "\t".join(map(str, fields)) + "\n"


def write(version: str, store: Path, folder: Path, artifacts: Iterable[Written]) -> None:
    """Have a version's classes write artifacts around a store's files into a folder."""
    neo4j = jars(version)
    # Compiling takes 5 s: kept for as long as the source is the same.
    source = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    writer = cached(f"artifact-writer-{version}-{source}", lambda target: compile_java(_SOURCE, neo4j, target))
    subprocess.run(
        (str(java_home() / "bin/java"), *JVM, "-cp", f"{writer}:{neo4j}/*", "ArtifactWriter", str(store)),
        input="".join(artifact.to_line(folder) for artifact in artifacts),
        text=True,
        check=True,
        timeout=120,
    )
