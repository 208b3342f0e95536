"""Fetch artifacts from a place, into a folder or as a tar. Every byte is compared with the record as it is written.

In a folder, a file has the suffix `.part` until its SHA-256 was found to be that of the record. A tar ends with
`SHA256SUMS`, by which the receiver checks the files. If it is missing, the tar was cut off.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

from backup_agent import durable
from backup_agent.catalog.place import Place
from backup_agent.catalog.space import space
from backup_agent.cgroup import memory_limit
from backup_agent.core.artifacts.keys import artifact_key
from backup_agent.core.artifacts.records import ArtifactFile, Record
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import Settings

UNCHECKED = ".part"
"""Suffix of a file that was not compared with its record to its end."""

SUMS = "SHA256SUMS"

_BLOCK = 1 << 18
_MODE = 0o600

RANGES = 2
"""Ranges of an object that are read at a time, unless the settings say it. A fetch then takes 59 MiB."""

SCARCE = 96 << 20
"""Memory limit in bytes below which one range is read at a time. A fetch then takes 55 MiB."""

Progress = Callable[[int], None]
"""Called with the number of bytes fetched since the last call."""


class _Source(NamedTuple):
    """One file of an artifact at a place."""

    place: Place
    key: str
    file: ArtifactFile


class _Reading:
    """Reads one file of an artifact, and compares it with its record."""

    def __init__(
        self, source: _Source, progress: Progress, start: int = 0, digest: "hashlib._Hash | None" = None
    ) -> None:
        """Continue at `start`, if `digest` is the SHA-256 of the bytes before."""
        self._source = source
        self._progress = progress
        self._left = source.file.size - start
        self._digest = digest or hashlib.sha256()
        self._content = source.place.store.open(source.key, start) if self._left or not start else io.BytesIO()

    def read(self, size: int = _BLOCK, /) -> bytes:
        """Return `size` bytes, fewer at the end. Raise PermanentError if the file is shorter than recorded."""
        wanted = min(size, self._left)
        chunk = self._content.read(wanted)
        self._left -= len(chunk)
        if len(chunk) < wanted:
            raise self._differs(f"it ends {self._left} bytes too early")
        self._digest.update(chunk)
        self._progress(len(chunk))
        return chunk

    def finish(self) -> None:
        """Raise PermanentError unless the bytes are those of the record."""
        if self._content.read(1):
            raise self._differs(f"it is longer than the recorded {self._source.file.size} bytes")
        if (found := self._digest.hexdigest()) != self._source.file.sha256:
            raise self._differs(f"SHA-256 {self._source.file.sha256} was recorded, it has {found}")

    def close(self) -> None:
        self._content.close()

    def _differs(self, how: str) -> PermanentError:
        place = self._source.place.name
        return PermanentError(
            Reason.CHECKSUM_MISMATCH,
            f"{place}: {self._source.key} differs from its record: {how}",
            "fetch from another place with --from, or repair with `backup-agent verify --heal`",
        )


def with_few_ranges(settings: Settings) -> Settings:
    """Return settings with which few ranges of an object are in memory, for destinations without `parallel_parts`."""
    limit = memory_limit()
    few = RANGES if limit is None or limit >= SCARCE else 1
    narrow = {
        name: one if one.parallel_parts else one.model_copy(update={"parallel_parts": few})
        for name, one in settings.storage.destinations.items()
    }
    return settings.model_copy(update={"storage": settings.storage.model_copy(update={"destinations": narrow})})


def fetch_to_stream(place: Place, records: Sequence[Record], stream: BinaryIO, progress: Progress) -> None:
    """Write the artifacts as a tar: their files, and then `SHA256SUMS` of them.

    Raise BackupError if the place does not have what the records say; then the tar is cut off.
    """
    with tarfile.open(mode="w|", fileobj=stream, bufsize=_BLOCK) as tar:
        for source in _sources(place, records):
            with closing(_Reading(source, progress)) as reading:
                tar.addfile(_member(source.file.name, source.file.size), reading)
                reading.finish()
        sums = "".join(f"{one.file.sha256}  {one.file.name}\n" for one in _sources(place, records)).encode()
        tar.addfile(_member(SUMS, len(sums)), io.BytesIO(sums))


def fetch_to_folder(place: Place, records: Sequence[Record], folder: Path, progress: Progress) -> None:
    """Write the artifacts into a folder, which only this user can read. Continue where an earlier call was interrupted.

    A file that has the recorded content already is left as it is. Raise PermanentError if a file of that name has other
    content, if there is no room, or if the place does not have what the records say.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        missing = [one for one in _sources(place, records) if not _is_there(folder / one.file.name, one.file, progress)]
        _check_room(folder, sum(one.file.size - _size(folder / (one.file.name + UNCHECKED)) for one in missing))
        for source in missing:
            _fetch(source, folder, progress)
        durable.sync_folder(folder)
    except OSError as error:
        reason = Reason.DISK_FULL if durable.is_full(error) else Reason.INTERNAL
        where = error.filename or folder
        raise PermanentError(reason, f"{where}: {error.strerror}", "fetch into a folder that you may write") from error


def _sources(place: Place, records: Sequence[Record]) -> Iterator[_Source]:
    for record in records:
        for file in record.files:
            yield _Source(place, artifact_key(record.set, record.database, file.name), file)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, _MODE
    return member


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _is_there(path: Path, file: ArtifactFile, progress: Progress) -> bool:
    """Return whether a file with the recorded content exists. Raise PermanentError if its content is another one."""
    try:
        descriptor = durable.open_regular(path)
    except FileNotFoundError:
        return False
    with os.fdopen(descriptor, "rb") as content:
        if os.fstat(descriptor).st_size == file.size and _digest(content, progress).hexdigest() == file.sha256:
            return True
    raise PermanentError(
        Reason.ALREADY_EXISTS, f"{path} exists with other content, and is not overwritten", "fetch into an empty folder"
    )


def _digest(content: BinaryIO, progress: Progress) -> "hashlib._Hash":
    digest = hashlib.sha256()
    while chunk := content.read(_BLOCK):
        digest.update(chunk)
        progress(len(chunk))
    return digest


def _check_room(folder: Path, need: int) -> None:
    free = space(folder).free
    if free < need:
        raise PermanentError(
            Reason.DISK_FULL, f"{folder}: {free} bytes free, {need} needed", "fetch into a folder on a larger volume"
        )


def _fetch(source: _Source, folder: Path, progress: Progress) -> None:
    """Fetch one file. What an earlier call has left of it is kept if the whole then has the recorded content."""
    path = folder / (source.file.name + UNCHECKED)
    descriptor = durable.open_regular(path, os.O_RDWR | os.O_CREAT, mode=_MODE)
    with os.fdopen(descriptor, "r+b") as target:
        if not 0 < _size(path) <= source.file.size or not _append(source, target, progress):
            target.truncate(0)
            target.seek(0)
            _append(source, target, progress, fresh=True)
        target.flush()
        os.fsync(descriptor)
    durable.publish(path, folder / source.file.name)
    path.unlink(missing_ok=True)


def _append(source: _Source, target: BinaryIO, progress: Progress, *, fresh: bool = False) -> bool:
    """Write the rest of a file. Return False if the bytes that were there already are not those of the record."""
    digest = _digest(target, progress)
    with closing(_Reading(source, progress, target.tell(), digest)) as reading:
        while chunk := reading.read(_BLOCK):
            target.write(chunk)
        try:
            reading.finish()
        except PermanentError:
            if fresh:
                raise
            return False
    return True
