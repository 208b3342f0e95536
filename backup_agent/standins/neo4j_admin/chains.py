"""Chains as `neo4j-admin` finds them: from the headers of one folder, without file names and sub-folders.

The parent of a differential must belong to a chain that begins with a FULL of the same database id and store id. An
empty differential (0 to 0) is never a parent. From 2026.02 on, a FULL between two differentials does not interrupt the
chain: the next differential starts where the last one ended, so it overlaps the FULL. That this is the default is
inferred from "Scheduling for RPO and RTO" in Neo4j's manual.
"""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from backup_agent.standins.neo4j_admin.artifacts import SUFFIX, Header, NotAnArtifactError, StoreId, read_header
from backup_agent.standins.neo4j_admin.versions import Version

OVERLAP_SINCE: Version = (2026, 2)


@dataclass(frozen=True)
class Artifact:
    """An artifact of a folder."""

    path: Path
    header: Header

    @property
    def age(self) -> tuple[int, int, str]:
        """The sort key from older to newer artifacts."""
        return (self.header.taken, self.header.highest, self.path.name)


@dataclass(frozen=True)
class Parent:
    """The artifact that a differential continues. `first` is the first transaction of the differential."""

    artifact: Artifact
    first: int
    after_full: int
    """The first transaction without overlap, used if the server's logs no longer hold `first`."""


def scan(folder: Path) -> tuple[list[Artifact], list[tuple[Path, str]]]:
    """Return the artifacts of a folder, oldest first, and the files that could not be read, each with the reason."""
    artifacts, unreadable = [], []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            artifacts.append(Artifact(path, read_header(path)))
        except (NotAnArtifactError, OSError) as error:
            unreadable.append((path, str(error)))
    return sorted(artifacts, key=lambda artifact: artifact.age), unreadable


def continues(later: Header, earlier: Header, version: Version) -> bool:
    """Tell whether `later` is a differential that can be applied directly after `earlier`."""
    if (later.database_id, later.store) != (earlier.database_id, earlier.store) or later.full or earlier.empty:
        return False
    if later.lowest == earlier.highest + 1:
        return True
    return version >= OVERLAP_SINCE and earlier.full and later.lowest <= earlier.highest <= later.highest


def chained(artifacts: list[Artifact], version: Version) -> list[Artifact]:
    """Return the artifacts that lead back to a FULL without a gap, oldest first, without empty differentials."""
    found: list[Artifact] = []
    for artifact in artifacts:
        header = artifact.header
        if header.full or any(continues(header, earlier.header, version) for earlier in found):
            found.append(artifact)
    return found


def parent(
    artifacts: list[Artifact], database_id: UUID, store: StoreId, version: Version, *, prefer_diff: bool
) -> Parent | None:
    """Choose the parent of the next differential; None if the folder has no usable chain."""
    matching = [found for found in artifacts if (found.header.database_id, found.header.store) == (database_id, store)]
    usable = chained(matching, version)
    if not usable:
        return None
    newest = usable[-1]
    diffs = [artifact for artifact in usable if not artifact.header.full]
    after = newest.header.highest + 1
    if not diffs or newest is diffs[-1]:
        return Parent(newest, after, after)
    last = diffs[-1]
    if prefer_diff:
        first = last.header.highest + 1
        return Parent(last, first, first)
    if version >= OVERLAP_SINCE:
        return Parent(newest, min(last.header.highest + 1, after), after)
    return Parent(newest, after, after)


def latest_chain(artifacts: list[Artifact], end: Artifact, version: Version) -> list[Artifact]:
    """Return the chain that ends with `end`, FULL first, as far back as it can be followed."""
    chain = [end]
    older = [
        artifact
        for artifact in artifacts
        if artifact.age < end.age and artifact.header.database_id == end.header.database_id
    ]
    link = end
    while older and not link.header.full:
        before = older.pop()
        if link.header.empty and before.header.store == link.header.store:
            chain.insert(0, before)
            link = before
        elif before.header.empty:
            chain.insert(0, before)
        elif continues(link.header, before.header, version):
            chain.insert(0, before)
            link = before
    while len(chain) > 1 and chain[0].header.empty:
        chain.pop(0)
    return chain
