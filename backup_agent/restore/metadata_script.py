"""The metadata script of an artifact at a place. The script restores users and roles; the agent never executes it."""

from collections.abc import Generator
from contextlib import closing

from backup_agent.artifact.cursor import DamagedError
from backup_agent.artifact.files import LEAD
from backup_agent.artifact.metadata import read_script
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.keys import artifact_key
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import PermanentError, Reason

_ELSEWHERE = "`backup-agent fetch --from` reads another place, `backup-agent verify --heal` repairs the artifact"
_BLOCK = 1 << 16


class _Content:
    """The bytes of an artifact at a place, with its parts joined."""

    def __init__(self, place: Place, record: Record) -> None:
        self._chunks = self._read(place, record)

    def read(self, _size: int, /) -> bytes:
        return next(self._chunks, b"")

    def close(self) -> None:
        self._chunks.close()

    def _read(self, place: Place, record: Record) -> Generator[bytes]:
        lead = LEAD if len(record.files) > 1 else 0
        for file in record.files:
            with closing(place.store.open(artifact_key(record.set, record.database, file.name), lead)) as content:
                while chunk := content.read(_BLOCK):
                    yield chunk


def metadata_script(place: Place, record: Record) -> str:
    """Return the metadata script of an artifact. Only the header is read, so no SHA-256 is compared.

    Raise PermanentError if the header has no script, differs from the record or is damaged, and other BackupErrors if
    the place cannot be read.
    """
    try:
        with closing(_Content(place, record)) as content:
            header, script = read_script(content, record.files[0].name)
    except DamagedError as error:
        raise PermanentError(Reason.BAD_ARTIFACT, f"{place.name}: {error.failure.error}", _ELSEWHERE) from error
    if header != record.header:
        text = f"{place.name}: {record.key} differs from its record: it has another header"
        raise PermanentError(Reason.CHECKSUM_MISMATCH, text, _ELSEWHERE)
    if script is None:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{place.name}: {record.key} has no metadata script",
            "it was taken with neo4j.include_metadata: none, or is of `system`, whose store has the users and roles",
        )
    return script
