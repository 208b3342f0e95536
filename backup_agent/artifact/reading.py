"""Reads back a finished artifact: checksums, header, and the proof that the container is complete.

Neo4j's own `load` accepts an artifact whose tail is missing, and one with a flipped byte. If the artifact were not read
back, the damage would be found only by a restore. Each file is read once.

The decoder runs in the calling thread and reads the bytes. Two more threads compute the SHA-256 of files and of upload
parts, a few chunks behind. All three release the interpreter's lock, so that two cores are used with little memory.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_agent.artifact import tar
from backup_agent.artifact.bounds import Bounds, Stopwatch, TooLongError
from backup_agent.artifact.cursor import CHUNK, Cursor, DamagedError
from backup_agent.artifact.files import Content, Files, locate
from backup_agent.artifact.header import Layout, open_frame, read_fields, read_magic, skip_map
from backup_agent.artifact.zstd import Frame
from backup_agent.core.artifacts.records import ArtifactFile, Header

PartSize = Callable[[int], int]
"""Size of a file -> size of its upload parts, both in bytes."""

Progress = Callable[[int], None]
"""Called with the bytes read since the last call."""

_BEHIND = 4  # chunks by which a hash may be behind: enough to keep its thread busy, 4 MiB at most
_COUNTS_VERSION = b"\0\0\0\1"
_COUNTS = 4 + 8 + 8

BOUNDS = Bounds()


@dataclass(frozen=True)
class ArtifactReading:
    """The result of reading an undamaged artifact. For a damaged one DamagedError is raised."""

    header: Header
    files: tuple[ArtifactFile, ...]
    raw_size: int
    """Number of unpacked bytes after the magic: header and tar."""
    problems: tuple[str, ...] = ()
    """Unexpected content for which the artifact is not rejected."""


def read_through(
    path: Path,
    *,
    part_size: PartSize | None = None,
    progress: Progress | None = None,
    bounds: Bounds = BOUNDS,
) -> ArtifactReading:
    """Read all files of the artifact at `path` once, to the end.

    A full must be a complete tar in a complete container. For a differential only container and header are checked,
    since the format of its content is not known: unknown content is listed as a problem. With `part_size`, the result
    also has the checksums of a file's upload parts, unless the file fits in one part.

    Raise DamagedError or UnknownFormatError, reason `bad_artifact`, at the first fault; also raise the errors of
    `files.locate`. For an unknown format, call `digest` to get the checksums.
    """
    files = locate(path)
    with _checksums(part_size, progress) as checksums:
        content = Content(files, checksums.begin, checksums.add)
        try:
            packed = Cursor(content, files.name, files.unit)
            header, raw_size, problems = judge(packed, bounds)
        finally:
            content.close()
        more = tuple(f"{name} belongs to no artifact: the manifest states fewer parts" for name in files.left_over)
        return ArtifactReading(header=header, files=checksums.finish(), raw_size=raw_size, problems=problems + more)


def read_container(path: Path, progress: Progress) -> Header:
    """Like `read_through`, without checksums: of an artifact whose bytes were just compared with its record.

    Return its header.
    """
    files = locate(path)
    content = Content(files, on_bytes=lambda chunk: progress(len(chunk)))
    try:
        return judge(Cursor(content, files.name, files.unit))[0]
    finally:
        content.close()


def digest(
    path: Path, *, part_size: PartSize | None = None, progress: Progress | None = None
) -> tuple[ArtifactFile, ...]:
    """Return the checksums of the files of an artifact of any format; raise the errors of `files.locate`."""
    files = locate(path)
    with _checksums(part_size, progress) as checksums:
        _drain(Content(Files(files.paths, lead=0), checksums.begin, checksums.add))
        return checksums.finish()


def judge(packed: Cursor, bounds: Bounds = BOUNDS) -> tuple[Header, int, tuple[str, ...]]:
    """Read the joined parts of an artifact to the end; return its header, its unpacked size and its problems.

    Raise the errors of `read_through`. No checksums are computed: a caller that reads from a store computes its own.
    """
    check = Stopwatch(bounds, packed).check
    magic, layout = read_magic(packed)
    inside, frame = open_frame(packed, check=check) if layout.header_in_frame else (packed, None)
    header = read_fields(inside, magic, layout)
    if layout.version > 1:
        skip_map(inside)
    # `raw_size` counts what follows the magic. An offset in a frame does not include the bytes before the frame.
    raw_before = -len(magic) if inside is packed else 0
    if layout.frame and frame is None:
        raw_before += inside.offset
        inside, frame = open_frame(packed, check=check)
    problems = list(_oddities(header, frame))
    try:
        counted = _walk(inside, header, layout, frame, problems)
    except TooLongError as error:
        problems.append(error.failure.error)
        _drain(packed)
    else:
        problems.extend(bounds.exceeded(packed.offset, raw_before + inside.offset, counted.entries))
    return header, raw_before + inside.offset, tuple(problems)


def _walk(inside: Cursor, header: Header, layout: Layout, frame: Frame | None, problems: list[str]) -> tar.Counted:
    """Read what follows the header to the end of the artifact; return its counts, and add to `problems`."""
    counted = tar.Counted()
    try:
        counted = _walk_tar(inside, header, layout)
    except tar.InsideError as error:
        # Without a frame, only the tar shows whether a file is complete: what begins as a tar must end as a tar.
        if header.full or (frame is None and error.entries):
            raise
        problems.append(f"the inside of this differential is unknown: {error}")
        _drain(inside)
    if frame is not None:
        frame.finish()
    return counted


def _walk_tar(inside: Cursor, header: Header, layout: Layout) -> tar.Counted:
    if header.empty and not inside.peek(1):
        return tar.Counted()
    if layout.frame:
        if inside.peek(4) == _COUNTS_VERSION:
            inside.skip(_COUNTS, "the counts of files and bytes")
        elif layout.header_in_frame:
            raise tar.InsideError(inside.where, "the counts of files and bytes expected (version 1)", 0)
    counted = tar.walk(inside)
    if not counted.files and header.full:
        raise DamagedError(inside.where, "the tar of this full backup holds no file")
    return counted


def _oddities(header: Header, frame: Frame | None) -> Iterator[str]:
    if header.lowest > header.highest:
        yield f"append indexes run backwards: lowest {header.lowest}, highest {header.highest}"
    if frame is not None and not frame.checked:
        yield "the zstd frame has no checksum: a flipped byte in it may not be noticed"


def _drain(source: Cursor | Content) -> None:
    while source.read(CHUNK):
        pass


class _Lane:
    """A thread that processes chunks in order, at most `_BEHIND` chunks behind the reader."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._pending: deque[Future[None]] = deque()

    def add(self, work: Callable[[bytes], None], chunk: bytes) -> None:
        if len(self._pending) >= _BEHIND:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(work, chunk))

    def wait(self) -> None:
        while self._pending:
            self._pending.popleft().result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Parts:
    """The checksum of each upload part of a file."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._current = hashlib.sha256()
        self._done: list[str] = []

    def update(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            self._current.update(rest[: self._left])
            step = min(self._left, len(rest))
            rest = rest[step:]
            self._left -= step
            if not self._left:
                self._close()

    def finish(self) -> tuple[str, ...]:
        if self._left < self._size:
            self._close()
        return tuple(self._done)

    def _close(self) -> None:
        self._done.append(self._current.hexdigest())
        self._current, self._left = hashlib.sha256(), self._size


class _Checksums:
    """Computes the checksums of files while their bytes are read."""

    def __init__(self, part_size: PartSize | None, progress: Progress | None, whole: _Lane, parts: _Lane) -> None:
        self._part_size = part_size
        self._progress = progress
        self._lanes = (whole, parts)
        self._files: list[tuple[Path, int, int, hashlib._Hash, _Parts | None]] = []

    def begin(self, path: Path, size: int) -> None:
        part = self._part_size(size) if self._part_size else 0
        parts = _Parts(part) if 0 < part < size else None
        self._files.append((path, size, part if parts else 0, hashlib.sha256(), parts))

    def add(self, chunk: bytes) -> None:
        whole, parts = self._lanes
        *_, checksum, of_parts = self._files[-1]
        whole.add(checksum.update, chunk)
        if of_parts:
            parts.add(of_parts.update, chunk)
        if self._progress:
            self._progress(len(chunk))

    def finish(self) -> tuple[ArtifactFile, ...]:
        for lane in self._lanes:
            lane.wait()
        return tuple(
            ArtifactFile(
                name=path.name,
                size=size,
                sha256=checksum.hexdigest(),
                part_size=part,
                parts=parts.finish() if parts else (),
            )
            for path, size, part, checksum, parts in self._files
        )


@contextmanager
def _checksums(part_size: PartSize | None, progress: Progress | None) -> Iterator[_Checksums]:
    whole, parts = _Lane("sha256"), _Lane("sha256-parts")
    try:
        yield _Checksums(part_size, progress, whole, parts)
    finally:
        whole.close()
        parts.close()
