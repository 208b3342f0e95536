"""Reads an artifact again where it stands and compares it with its record: sizes, SHA-256, and the container's end.

What is not as recorded is damage, a missing file too. What cannot be read now (a disk's EIO, a network) is an error and
says nothing of the artifact: it is raised, and nobody marks anything for it. Healing that is asked for replaces such a
file all the same: the bytes that come are proven, and those that go cannot be had.
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
"""Called with the bytes just read; it may wait, and raises CancelledError to end the reading."""


@dataclass(frozen=True)
class Wrong:
    """What is not as recorded, and in which file."""

    found: str
    file: str | None = None


class WrongError(Exception):
    """Ends a reading where it is certain that the bytes are not those recorded."""

    def __init__(self, wrong: Wrong) -> None:
        super().__init__(wrong.found)
        self.wrong = wrong


def reread(store: Store, record: Record, on_bytes: OnBytes) -> Wrong | None:
    """Read all files of an artifact once; return what is wrong with it, None where it is as recorded.

    Raise BackupError where it cannot be read, CancelledError where `on_bytes` did.
    """
    chunks = _Chunks(store, record, on_bytes)
    try:
        fault = _fault_inside(chunks, record)
        while chunks.read(CHUNK):  # the checksums are complete at the end alone
            pass
    except WrongError as error:
        return error.wrong
    finally:
        chunks.close()
    return Wrong(f"its bytes are as recorded, and yet: {fault}") if fault else None


def wrong_file(store: Store, record: Record, file: ArtifactFile, on_bytes: OnBytes) -> Wrong | None:
    """Compare one file of an artifact with its record, as `reread` does, without looking inside."""
    try:
        for _ in contents(store, record, file, on_bytes):
            pass
    except WrongError as error:
        return error.wrong
    return None


def is_bad_block(error: BackupError) -> bool:
    """Tell whether it was the disk below that could not read: EIO, which a network's faults never are."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO


def _fault_inside(chunks: "_Chunks", record: Record) -> str | None:
    try:
        judge(Cursor(chunks, record.files[0].name))
    except UnknownFormatError:
        return None  # it was recorded as such: neo4j-admin read it
    except DamagedError as error:
        return error.failure.error
    return None


class _Chunks:
    """The artifact's bytes, its files joined and each compared with its record as it ends."""

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
    """Yield a file's bytes; raise WrongError as soon as it is certain that it is not what was recorded.

    Only who has read to the end knows that all of them were right.
    """
    key = artifact_key(record.set, record.database, file.name)
    digest, size = hashlib.sha256(), 0
    with _opened(store, key, file) as stream:
        while chunk := _read(store, stream, key):
            on_bytes(len(chunk))
            digest.update(chunk)
            size += len(chunk)
            if size > file.size:
                raise WrongError(Wrong(f"{file.size} bytes were recorded, it has more", file.name))
            yield chunk
    if size < file.size:
        raise WrongError(Wrong(f"{file.size} bytes were recorded, it has {size}", file.name))
    if digest.hexdigest() != file.sha256:
        raise WrongError(Wrong(f"SHA-256 {file.sha256} was recorded, it has {digest.hexdigest()}", file.name))


def _opened(store: Store, key: str, file: ArtifactFile) -> BufferedIOBase:
    try:
        stream = store.open(key)
    except PermanentError as error:
        if error.failure.reason is not Reason.NOT_FOUND:
            raise
        raise WrongError(Wrong("its file is missing", file.name)) from error
    with suppress(OSError):  # an object at a destination has no descriptor
        # The disk is to be read, not what the kernel remembers of it.
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return stream


def _read(store: Store, stream: BufferedIOBase, key: str) -> bytes:
    try:
        return stream.read(CHUNK)
    except OSError as error:
        text = f"{store.name}: {key} cannot be read: {error.strerror}"
        raise TransientError(Reason.STORAGE_UNREACHABLE, text, "look at the health of the volume") from error
