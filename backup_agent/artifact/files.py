"""The files of an artifact: one, or a manifest and its numbered parts (Neo4j 2026, `--experimental-split-size`).

    NAME.backup     "SMV1" int32 parts  uuid16      24 bytes, nothing else
    NAME.backup.k   "SDV1" int32 k      uuid16      then the next bytes of the artifact; k from 1

A manifest without its parts is not a backup: always copy, check and delete all files of an artifact together.
"""

import errno
import os
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backup_agent import durable
from backup_agent.artifact.cursor import DamagedError
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError

_SPLIT = struct.Struct(">4si16s")
_MANIFEST, _PART = b"SMV1", b"SDV1"

LEAD = _SPLIT.size
"""Bytes at the start of each file of a split artifact that are not content."""

_MOST_PARTS = 10_000  # a part has 1 GiB or more, so this is 10 TiB; more would be opened for a forged manifest

_PERMANENT = {
    errno.ENOENT: Reason.NOT_FOUND,
    errno.ENOTDIR: Reason.NOT_FOUND,
    errno.ENAMETOOLONG: Reason.NOT_FOUND,
    errno.EACCES: Reason.STORAGE_AUTH,
    errno.EPERM: Reason.STORAGE_AUTH,
}
"""errno -> reason of a permanent error. All other errors (EIO, ESTALE, EMFILE …) are transient."""


@dataclass(frozen=True)
class Files:
    """The files of one artifact, in order. Each begins with `lead` bytes that are not content."""

    paths: tuple[Path, ...]
    lead: int
    left_over: tuple[str, ...] = ()
    """Names of files that look like further parts and do not belong to the artifact."""

    @property
    def name(self) -> str:
        """The file name of the artifact."""
        return self.paths[0].name

    @property
    def unit(self) -> str:
        """What an offset in the artifact counts: bytes of the file, or of the joined parts."""
        return "byte of the joined parts" if self.lead else "byte"


def locate(path: Path) -> Files:
    """Find the files that belong to the artifact at `path`.

    Raise DamagedError if a split artifact is incomplete or `path` is one of its parts. If a file cannot be read, raise
    PermanentError, reason `not_found` or `storage_auth`, or TransientError.
    """
    with open_file(path) as file, classified(path):
        start = file.read(_SPLIT.size + 1)
    if start[:4] == _PART:
        raise DamagedError(f"{path.name}, at byte 0", "this is one part of a split artifact: name its manifest instead")
    if start[:4] != _MANIFEST:
        return Files(paths=(path,), lead=0)
    if len(start) != _SPLIT.size:
        size = f"{len(start)}" if len(start) < _SPLIT.size else "more"
        raise DamagedError(f"{path.name}, at byte 0", f"a manifest of {_SPLIT.size} bytes expected, found {size}")
    _, count, identity = _SPLIT.unpack(start)
    if not 1 <= count <= _MOST_PARTS:
        raise DamagedError(f"{path.name}, at byte 4", f"1 to {_MOST_PARTS} parts expected, found {count}")
    parts = tuple(path.with_name(f"{path.name}.{index}") for index in range(1, count + 1))
    for index, part in enumerate(parts, start=1):
        _check_part(path, part, index, count, identity)
    beyond = path.with_name(f"{path.name}.{count + 1}")
    return Files(paths=(path, *parts), lead=_SPLIT.size, left_over=(beyond.name,) if os.path.lexists(beyond) else ())


def _check_part(manifest: Path, part: Path, index: int, count: int, identity: bytes) -> None:
    try:
        with open_file(part) as file, classified(part):
            start = file.read(_SPLIT.size)
    except PermanentError as error:
        if error.failure.reason is not Reason.NOT_FOUND:
            raise
        raise DamagedError(manifest.name, f"part {index} of {count} is missing: {part.name}") from error
    where = f"{part.name}, at byte 0"
    if len(start) < _SPLIT.size or start[:4] != _PART:
        raise DamagedError(where, f"a part's header expected ({_PART.decode()}, {_SPLIT.size} bytes)")
    _, found, own = _SPLIT.unpack(start)
    if found != index:
        raise DamagedError(where, f"part {index} expected, found part {found}")
    if own != identity:
        raise DamagedError(where, f"a part with the id {identity.hex()} expected, found the id {own.hex()}")


class Content:
    """A source of an artifact's bytes, with its parts joined. It reports what it reads to `on_file` and `on_bytes`."""

    def __init__(
        self,
        files: Files,
        on_file: Callable[[Path, int], None] = lambda _path, _size: None,
        on_bytes: Callable[[bytes], None] = lambda _chunk: None,
    ) -> None:
        self._ask = 0
        self._chunks = self._read(files)
        self._on_file = on_file
        self._on_bytes = on_bytes

    def read(self, size: int, /) -> bytes:
        """Return up to `size` of the next bytes, all from one file; no bytes at the end."""
        self._ask = size
        return next(self._chunks, b"")

    def close(self) -> None:
        """Close the open file. Later calls of `read` return no bytes."""
        self._chunks.close()

    def _read(self, files: Files) -> Generator[bytes]:
        for path in files.paths:
            with open_file(path) as file, classified(path):
                size = os.fstat(file.fileno()).st_size
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                self._on_file(path, size)
                done = 0
                while chunk := file.read(self._ask):
                    self._on_bytes(chunk)
                    inside = chunk[max(0, files.lead - done) :]
                    done += len(chunk)
                    if inside:
                        yield inside
                if done != size:
                    raise DamagedError(path.name, f"its size changed while it was read: {size} bytes, then {done}")


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading, unbuffered. Raise DamagedError for a link, FIFO, device or directory.

    Neo4j writes regular files only. A link could lead out of the volume, and a FIFO would block the reader.
    """
    with classified(path):
        try:
            return open(durable.open_regular(path), "rb", buffering=0)  # noqa: PTH123  a descriptor, and the caller closes it
        except durable.RefusedFileError as error:
            raise DamagedError(path.name, str(error.strerror)) from error


@contextmanager
def classified(path: Path) -> Iterator[None]:
    """Turn OSErrors of a file into the agent's errors."""
    try:
        yield
    except OSError as error:
        raise _error_of(path, error) from error


def _error_of(path: Path, error: OSError) -> BackupError:
    text = f"{path.name} cannot be read: {error.strerror}"
    if reason := _PERMANENT.get(error.errno or 0):
        return PermanentError(reason, text, "check the path, and that the agent's user may read it")
    return TransientError(Reason.STORAGE_UNREACHABLE, text, "check the health of the volume")
