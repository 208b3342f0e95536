"""Reading the artifacts that neo4j-admin has written. Each artifact is read once, to its end, before the verdict."""

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
"""Called with a path and the file's first four bytes. Returns the header from `neo4j-admin backup inspect`.

Raises BackupError if the header cannot be read.
"""


@dataclass(frozen=True)
class ReadingResult:
    """One new artifact: its path, the facts for the verdict, and its reading if it is sound."""

    path: Path
    found: NewArtifact
    reading: ArtifactReading | None = None
    objection: Objection | None = None
    """Why a sound differential does not continue the chain."""


@dataclass(frozen=True)
class NewArtifactReader:
    """Reads the new artifacts of one run."""

    chain: Chain[Record] | None
    """The chain that a differential must continue."""
    admin_version: str | None
    cut: bool
    """Whether to compute the checksums of upload parts."""
    progress: Callable[[int], None]
    ask_admin: AskAdmin | None = None

    def read(self, path: Path) -> ReadingResult:
        """Read one artifact. Raise BackupError if it cannot be read: the artifact itself may be sound."""
        try:
            reading = read_through(path, part_size=part_size if self.cut else None, progress=self.progress)
        except UnknownFormatError as error:
            return self._unknown(path, error)
        except BackupError as error:
            if error.failure.reason is not Reason.BAD_ARTIFACT:
                raise
            return ReadingResult(path, NewArtifact(path.name, Condition.DAMAGED, _header(path), error.failure.error))
        return self._sound(path, reading)

    def _sound(self, path: Path, reading: ArtifactReading) -> ReadingResult:
        objection = None if reading.header.full else self._objection(reading.header)
        broken = objection.text if objection else None
        found = NewArtifact(path.name, Condition.SOUND, reading.header, warnings=reading.problems, chain_break=broken)
        return ReadingResult(path, found, reading, objection)

    def _unknown(self, path: Path, error: UnknownFormatError) -> ReadingResult:
        """Let neo4j-admin read the header of an artifact of unknown format, such as that of a newer version."""
        unreadable = ReadingResult(path, NewArtifact(path.name, Condition.UNREADABLE, error=error.failure.error))
        if self.ask_admin is None:
            return unreadable
        with open_file(path) as file:
            magic = file.read(4).decode("ascii", errors="replace")
        try:
            header = self.ask_admin(path, magic)
            files = digest(path, part_size=part_size if self.cut else None, progress=self.progress)
        except BackupError:
            return unreadable
        warning = f"{error.failure.error}: only the header was checked, by neo4j-admin, and not the content"
        return self._sound(path, ArtifactReading(header, files, raw_size=0, problems=(warning,)))

    def _objection(self, header: Header) -> Objection | None:
        if self.chain is None:
            return Objection(TypeReason.NO_CHAIN, "there is no chain to continue")
        return continues(self.chain, header, self.admin_version)


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except BackupError:
        return None
