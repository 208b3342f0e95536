"""Looking at what neo4j-admin left: each new artifact is read once, to its end, before anything is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backup_agent.artifact.files import open_file
from backup_agent.artifact.header import read_header
from backup_agent.artifact.reading import ArtifactReading, digest, read_through
from backup_agent.artifact.zstd import UnknownFormatError
from backup_agent.core.artifacts.chains import Chain, Objection, TypeReason, continues
from backup_agent.core.artifacts.parts import part_size
from backup_agent.core.artifacts.records import Header, Record
from backup_agent.core.neo4j.verdict import Condition, NewArtifact
from backup_agent.core.reasons import BackupError, Reason

AskAdmin = Callable[[Path, str], Header]
"""Asks `neo4j-admin backup inspect` for the header of an artifact, given its magic; raises BackupError."""


@dataclass(frozen=True)
class Looked:
    """One new artifact: where it is, what the verdict needs of it, and its reading where it is sound."""

    path: Path
    found: NewArtifact
    reading: ArtifactReading | None = None
    objection: Objection | None = None
    """Why a sound differential does not continue the chain."""


@dataclass(frozen=True)
class Looking:
    """How artifacts of one run are looked at."""

    chain: Chain[Record] | None
    """The chain that a differential must continue."""
    admin_version: str | None
    cut: bool
    """Whether checksums of upload parts are wanted."""
    progress: Callable[[int], None]
    ask_admin: AskAdmin | None = None

    def at(self, path: Path) -> Looked:
        """Read one artifact. Raise BackupError where reading itself fails: that says nothing of the artifact."""
        try:
            reading = read_through(path, part_size=part_size if self.cut else None, progress=self.progress)
        except UnknownFormatError as error:
            return self._unknown(path, error)
        except BackupError as error:
            if error.failure.reason is not Reason.BAD_ARTIFACT:
                raise
            return Looked(path, NewArtifact(path.name, Condition.DAMAGED, _header(path), error.failure.error))
        return self._sound(path, reading)

    def _sound(self, path: Path, reading: ArtifactReading) -> Looked:
        objection = None if reading.header.full else self._objection(reading.header)
        broken = objection.text if objection else None
        found = NewArtifact(path.name, Condition.SOUND, reading.header, warnings=reading.problems, chain_break=broken)
        return Looked(path, found, reading, objection)

    def _unknown(self, path: Path, error: UnknownFormatError) -> Looked:
        """Let neo4j-admin say what it is: a newer one may write what nobody here knows yet."""
        unreadable = Looked(path, NewArtifact(path.name, Condition.UNREADABLE, error=error.failure.error))
        if self.ask_admin is None:
            return unreadable
        with open_file(path) as file:
            magic = file.read(4).decode("ascii", errors="replace")
        try:
            header = self.ask_admin(path, magic)
            files = digest(path, part_size=part_size if self.cut else None, progress=self.progress)
        except BackupError:
            return unreadable
        warning = f"{error.failure.error}: its container was not walked; neo4j-admin read its header"
        return self._sound(path, ArtifactReading(header, files, raw_size=0, problems=(warning,)))

    def _objection(self, header: Header) -> Objection | None:
        if self.chain is None:
            return Objection(TypeReason.NO_CHAIN, "there is no chain it could continue")
        return continues(self.chain, header, self.admin_version)


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except BackupError:
        return None
