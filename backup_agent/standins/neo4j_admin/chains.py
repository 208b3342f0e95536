"""Chains as `neo4j-admin` sees them: by what headers in one folder say, never by file names, never in sub-folders.

A newcomer would take the newest artifact for the parent. It must belong to a chain that starts with a FULL of the same
database id and store id; and empty differentials (0 to 0) are never a parent. From 2026.02 a FULL taken between two
differentials breaks nothing: the next differential goes on where the last one ended, so it overlaps the FULL. (That
the default does so is read out of the manual's "Scheduling for RPO and RTO".)
"""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from backup_agent.standins.neo4j_admin.artifacts import SUFFIX, Header, NotAnArtifactError, StoreId, read_header
from backup_agent.standins.neo4j_admin.versions import Version

OVERLAP_SINCE: Version = (2026, 2)


@dataclass(frozen=True)
class Artifact:
    """An artifact in the folder."""

    path: Path
    header: Header

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts older before newer."""
        return (self.header.taken, self.header.highest, self.path.name)


@dataclass(frozen=True)
class Parent:
    """What a differential continues, and the transaction it starts with."""

    artifact: Artifact
    first: int
    after_full: int
    """Where it would start without overlap, should the logs not reach back to `first`."""


def scan(folder: Path) -> tuple[list[Artifact], list[tuple[Path, str]]]:
    """Read the headers of a folder's artifacts, oldest first; return with them what could not be read, and why."""
    artifacts, strangers = [], []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            artifacts.append(Artifact(path, read_header(path)))
        except (NotAnArtifactError, OSError) as error:
            strangers.append((path, str(error)))
    return sorted(artifacts, key=lambda artifact: artifact.age), strangers


def continues(later: Header, earlier: Header, version: Version) -> bool:
    """Tell whether a differential can be applied right after another artifact of its database and store."""
    if (later.database_id, later.store) != (earlier.database_id, earlier.store) or later.full or earlier.empty:
        return False
    if later.lowest == earlier.highest + 1:
        return True
    return version >= OVERLAP_SINCE and earlier.full and later.lowest <= earlier.highest <= later.highest


def chained(artifacts: list[Artifact], version: Version) -> list[Artifact]:
    """Return those artifacts that lead back to a FULL without a hole, empty ones left out, oldest first."""
    found: list[Artifact] = []
    for artifact in artifacts:
        header = artifact.header
        if header.full or any(continues(header, one.header, version) for one in found):
            found.append(artifact)
    return found


def parent(  # what a parent depends on is named, not bundled
    artifacts: list[Artifact], database_id: UUID, store: StoreId, version: Version, *, prefer_diff: bool
) -> Parent | None:
    """Choose what a differential continues; None where the folder has no usable chain."""
    ours = [one for one in artifacts if (one.header.database_id, one.header.store) == (database_id, store)]
    usable = chained(ours, version)
    if not usable:
        return None
    newest = usable[-1]
    diffs = [one for one in usable if not one.header.full]
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
    """Return the chain that ends with an artifact, FULL first, as far back as it can be followed."""
    chain = [end]
    older = [one for one in artifacts if one.age < end.age and one.header.database_id == end.header.database_id]
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
