"""Reading an artifact again and comparing it with its record: sizes, SHA-256, and the structure of the container.

A difference is damage, and so is a missing file. A failure to read (EIO, network) is an error, not damage: it is
raised, and nothing is marked. Healing also replaces files on bad blocks, because their bytes cannot be read.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedIOBase

from backup_agent.artifact.cursor import CHUNK, Cursor, DamagedError
from backup_agent.artifact.files import LEAD
from backup_agent.artifact.reading import judge
from backup_agent.artifact.zstd import UnknownFormatError
from backup_agent.core.artifacts.keys import artifact_key
from backup_agent.core.artifacts.records import ArtifactFile, Record
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.stores.store import Store

OnBytes = Callable[[int], None]
"""Called with the number of bytes just read. It may wait, and raises CancelledError to end the reading."""


@dataclass(frozen=True)
class Mismatch:
    """A difference from the record, and the file that has it."""

    found: str
    file: str | None = None


class MismatchError(Exception):
    """Raised as soon as the bytes are known to differ from the record."""

    def __init__(self, mismatch: Mismatch) -> None:
        super().__init__(mismatch.found)
        self.mismatch = mismatch


def reread(store: Store, record: Record, on_bytes: OnBytes) -> Mismatch | None:
    """Read all files of an artifact once. Return the first difference from its record, or None.

    Raise BackupError if a file cannot be read, CancelledError if `on_bytes` raises it.
    """
    chunks = _Chunks(store, record, on_bytes)
    try:
        fault = _fault_inside(chunks, record)
        while chunks.read(CHUNK):  # the checksums are complete only at the end
            pass
    except MismatchError as error:
        return error.mismatch
    finally:
        chunks.close()
    return Mismatch(f"its checksums are as recorded, but it is damaged: {fault}") if fault else None


def file_mismatch(store: Store, record: Record, file: ArtifactFile, on_bytes: OnBytes) -> Mismatch | None:
    """Like `reread`, for one file of an artifact and without checking the structure of the container."""
    try:
        for _ in contents(store, record, file, on_bytes):
            pass
    except MismatchError as error:
        return error.mismatch
    return None


def is_bad_block(error: BackupError) -> bool:
    """Return whether the error is EIO: the disk could not be read. A network fault does not cause EIO."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO


def _fault_inside(chunks: "_Chunks", record: Record) -> str | None:
    try:
        judge(Cursor(chunks, record.files[0].name))
    except UnknownFormatError:
        return None  # recorded as an unknown format, which neo4j-admin could read
    except DamagedError as error:
        return error.failure.error
    return None


class _Chunks:
    """The joined bytes of an artifact's files. Each file is compared with its record when its end is reached."""

    def __init__(self, store: Store, record: Record, on_bytes: OnBytes) -> None:
        self._all = self._join(store, record, on_bytes)

    def read(self, _size: int, /) -> bytes:
        return next(self._all, b"")

    def close(self) -> None:
        self._all.close()

    @staticmethod
    def _join(store: Store, record: Record, on_bytes: OnBytes) -> Generator[bytes]:
        lead = LEAD if len(record.files) > 1 else 0
        for file in record.files:
            done = 0
            for chunk in contents(store, record, file, on_bytes):
                if inside := chunk[max(0, lead - done) :]:
                    yield inside
                done += len(chunk)


def contents(store: Store, record: Record, file: ArtifactFile, on_bytes: OnBytes) -> Generator[bytes]:
    """Yield a file's bytes. Raise MismatchError as soon as the file is known to differ from its record.

    The bytes are known to be right only when the generator has ended.
    """
    key = artifact_key(record.set, record.database, file.name)
    digest, size = hashlib.sha256(), 0
    with _opened(store, key, file) as stream:
        while chunk := _read(store, stream, key):
            on_bytes(len(chunk))
            digest.update(chunk)
            size += len(chunk)
            if size > file.size:
                raise MismatchError(Mismatch(f"it has more than the recorded {file.size} bytes", file.name))
            yield chunk
    if size < file.size:
        raise MismatchError(Mismatch(f"it has {size} bytes, {file.size} were recorded", file.name))
    if digest.hexdigest() != file.sha256:
        raise MismatchError(Mismatch(f"it has the SHA-256 {digest.hexdigest()}, {file.sha256} was recorded", file.name))


def _opened(store: Store, key: str, file: ArtifactFile) -> BufferedIOBase:
    try:
        stream = store.open(key)
    except PermanentError as error:
        if error.failure.reason is not Reason.NOT_FOUND:
            raise
        raise MismatchError(Mismatch("its file is missing", file.name)) from error
    with suppress(OSError):  # an object at a destination has no descriptor
        # Read the disk, not the page cache.
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return stream


def _read(store: Store, stream: BufferedIOBase, key: str) -> bytes:
    try:
        return stream.read(CHUNK)
    except OSError as error:
        text = f"{store.name}: {key} cannot be read: {error.strerror}"
        raise TransientError(Reason.STORAGE_UNREACHABLE, text, "check the health of the volume") from error
