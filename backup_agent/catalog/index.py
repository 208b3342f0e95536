"""The index of a place: a file with one line for each artifact, so that a start does not read 100,000 records.

The index is a cache. It is made from the records and the notes on them (catalog.record_notes), and may be deleted at
any time. Records never change, so a record with the same key and size is taken to be the same. `catalog diff` and
`verify` read the records, and find those that were altered without a change of size.

The lines are sorted by the records' keys, like a listing. The index and the listing are read side by side, so that
neither is kept in memory. The index is rewritten only from the first difference on.
"""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from sys import intern
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self
from zlib import crc32

from backup_agent import durable
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.artifacts.records import Record
from backup_agent.core.json_reader import read_json

HEAD = b'{"index":1}\n'
"""The first line. An index with another first line is rebuilt."""

LARGEST = 1 << 30
"""Size of the largest index that is read, in bytes: about three million artifacts. A larger index is rebuilt."""

_MOST_DAMAGED = 64
"""Number of damaged lines in a row after which a binary search gives up the index. The records are read instead."""

_BLOCK = 1024 * 1024

_SEAL = 9  # eight digits and a blank
_VALUES = 13
"""Number of values that are read from a line; the last is the list of files. A newer agent may append others."""


def with_checksum(text: bytes) -> bytes:
    """Return a line with its CRC-32 before it. Deletions depend on the index, so a flipped bit must be noticed."""
    return b"%08x %b\n" % (crc32(text), text)


class IndexLine(NamedTuple):
    """A line of the index: entry, bytes of the record, names and sizes of its files, whether it is recognised."""

    entry: Entry
    record_size: int
    files: tuple[tuple[str, int], ...]
    recognised: bool
    """Whether the agent recognises the record (catalog.recognition)."""

    @classmethod
    def of(cls, record: Record, record_size: int, *, recognised: bool) -> Self:
        """Return the line of a record."""
        files = tuple((file.name, file.size) for file in record.files)
        return cls(Entry.of(record), record_size, files, recognised)

    def to_bytes(self) -> bytes:
        """Return the stored form of the line. The same record always gives the same bytes."""
        one = self.entry
        times = (one.taken.isoformat(), one.finished.isoformat())
        ids = (one.database_id, one.store_id, one.parent, one.version)
        files = [*chain(*self.files)]
        values = (one.key, self.record_size, self.recognised, one.full, *times, one.lowest, one.highest, *ids, files)
        return with_checksum(json.dumps(values, separators=(",", ":")).encode())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Parse a stored line. Raise ValueError if it is damaged."""
        text = raw[_SEAL:-1]
        if raw != with_checksum(text):
            raise ValueError("not a line of an index: its checksum is wrong")
        try:
            key, record_size, recognised, full, taken, finished, lowest, highest, *ids, files = islice(
                read_json(text), _VALUES
            )
            database_id, store_id, parent, version = ids
            set_name, database = database_of(key)
            # By position, because keyword arguments take twice as long.
            entry = Entry(
                key,
                set_name,
                database,  # cached by core.artifacts.keys
                full,
                datetime.fromisoformat(taken),
                datetime.fromisoformat(finished),
                lowest,
                highest,
                intern(database_id),
                intern(store_id),
                sum(files[1::2]),
                parent,
                intern(version) if version else None,
            )
            return cls(entry, record_size, tuple(zip(files[::2], files[1::2], strict=True)), recognised is True)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a line of an index: {error}") from None


class LocatedLine(NamedTuple):
    """A line of the index file, with its offset and its length in bytes."""

    line: IndexLine
    offset: int
    length: int


def forget(index: Path, keys: Collection[str]) -> None:
    """Remove artifacts from an index. Call this before deleting their records, or they are reported as missing."""
    if not index.exists():
        return
    with Rewriting(index) as old:
        for known in old.rest():
            if known.line.entry.key not in keys:
                old.keep(known)
        old.commit()


def faults(index: Path) -> Iterator[str]:
    """Yield the faults of an index. A missing index has none."""
    if not index.exists():
        return
    with _opened(index) as file:
        if _line(file) != HEAD:
            yield "it is not an index of this version"
            return
        for number, raw in enumerate(iter(partial(_line, file), b""), start=2):
            try:
                IndexLine.from_bytes(raw)
            except ValueError:
                yield f"line {number} cannot be read"


def lines_of(index: Path, prefix: str) -> dict[str, LocatedLine]:
    """Return the lines of a folder, `<set>/<database>/`, by artifact. The lines are found by a binary search.

    If the index is not sorted, some lines are not found: then their records are read.
    """
    found: dict[str, LocatedLine] = {}
    with suppress(FileNotFoundError, durable.RefusedFileError), _opened(index) as file:
        if _line(file) != HEAD:
            return found
        low, high = len(HEAD), os.fstat(file.fileno()).st_size
        while low < high:
            middle = (low + high) // 2
            known = _first_from(file, middle)
            if known is None or known.line.entry.key >= prefix:
                high = middle
            else:
                low = known.offset + known.length
        while (known := _first_from(file, low)) and known.line.entry.key.startswith(prefix):
            found[known.line.entry.key] = known
            low = known.offset + known.length
    return found


def _first_from(file: BinaryIO, offset: int) -> LocatedLine | None:
    """Return the first undamaged line that begins at `offset` or later, or None."""
    file.seek(offset - 1)
    offset += len(_line(file)) - 1  # skip the rest of the line before
    for raw in islice(iter(partial(_line, file), b""), _MOST_DAMAGED):
        with suppress(ValueError):
            return LocatedLine(IndexLine.from_bytes(raw), offset, len(raw))
        offset += len(raw)
    return None


def _opened(index: Path) -> BinaryIO:
    """Open an index. Raise FileNotFoundError if it does not exist, RefusedFileError if it is too large."""
    try:
        descriptor = durable.open_regular(index)
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(index)) from error
    if os.fstat(descriptor).st_size > LARGEST:
        os.close(descriptor)
        raise durable.TooLargeError(index, LARGEST)
    return os.fdopen(descriptor, "rb")


def _line(file: BinaryIO) -> bytes:
    """Return the next line. A line longer than `durable.LIMIT` is returned in pieces, whose checksums are wrong."""
    return file.readline(durable.LIMIT)


class Rewriting:
    """Reads an index and writes its successor at the same time. Nothing is written before the first difference.

    If `path` is None, there is no index. If `writes` is false, the index is only read. If the index cannot be written,
    for example on a full volume, the old one stays as it is, and what it lacks is read from the records. If `required`
    is true, OSError is raised instead.
    """

    def __init__(self, path: Path | None, *, writes: bool = True, required: bool = False) -> None:
        """Open no file yet."""
        self._required = required
        self._path = path
        self._writes = writes and path is not None
        self._old: BinaryIO | None = None
        self._draft: _Draft | None = None
        self._next: LocatedLine | None = None
        self._offset = 0
        self._same = 0
        """Number of bytes at the start of the old index that are the same in the new index."""

    def __enter__(self) -> Self:
        """Open the old index. An index of another format is ignored."""
        with suppress(FileNotFoundError, durable.RefusedFileError):
            self._old = None if self._path is None else _opened(self._path)
        if self._old is not None and _line(self._old) == HEAD:
            self._offset = self._same = len(HEAD)
            self._read_on()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Discard a new index that was not committed."""
        if self._draft is not None:
            self._draft.discard()
        if self._old is not None:
            self._old.close()

    def before(self, prefix: str) -> Iterator[LocatedLine]:
        """Yield the lines before those of a folder, `<set>/<database>/`."""
        while (known := self._next) and known.line.entry.key < prefix:
            self._read_on()
            yield known

    def of(self, prefix: str) -> dict[str, LocatedLine]:
        """Return the lines of a folder, by artifact."""
        found: dict[str, LocatedLine] = {}
        while (known := self._next) and known.line.entry.key.startswith(prefix):
            found[known.line.entry.key] = known
            self._read_on()
        return found

    def rest(self) -> Iterator[LocatedLine]:
        """Yield the remaining lines."""
        while known := self._next:
            self._read_on()
            yield known

    def keep(self, known: LocatedLine) -> None:
        """Copy a line of the old index to the new one."""
        if self._draft is None and known.offset == self._same:
            self._same += known.length
        else:
            self.write(known.line)

    def write(self, line: IndexLine) -> None:
        """Write a line that the old index does not have at this position."""
        with self._giving_up():
            if draft := self._begun():
                draft.file.write(line.to_bytes())

    def commit(self) -> None:
        """Replace the old index by the new one if they differ."""
        with self._giving_up():
            if (self._draft or not self._all_kept()) and (draft := self._begun()):
                draft.publish()

    def _read_on(self) -> None:
        """Advance to the next valid line and skip damaged ones."""
        self._next = None
        while self._old is not None and self._next is None and (raw := _line(self._old)):
            offset, self._offset = self._offset, self._offset + len(raw)
            with suppress(ValueError):
                self._next = LocatedLine(IndexLine.from_bytes(raw), offset, len(raw))

    def _all_kept(self) -> bool:
        """Return whether the new index has exactly the lines of the old one."""
        return self._old is not None and self._same == os.fstat(self._old.fileno()).st_size

    def _begun(self) -> "_Draft | None":
        """Return the new index, started with the lines it shares with the old one; None if nothing is to be written."""
        if self._draft is None and self._path is not None and self._writes:
            self._draft = _Draft(self._path)
            self._draft.begin(self._old, self._same)
        return self._draft

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """On OSError, discard the new index and write nothing more; raise the error only if `required`."""
        try:
            yield
        except OSError:
            if self._draft is not None:
                self._draft.discard()
            self._draft, self._writes = None, False
            if self._required:
                raise


class _Draft:
    """A new index beside the old one. It is not synced: lines that a power cut damages are ignored."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._temporary = path.with_name(f"{durable.TEMPORARY}{os.getpid()}-{path.name}")
        self._temporary.unlink(missing_ok=True)  # an earlier process with this id may have left it
        self.file = self._temporary.open("xb")

    def begin(self, old: BinaryIO | None, same: int) -> None:
        if old is None or not same:
            self.file.write(HEAD)
            return
        done = 0
        while done < same and (block := os.pread(old.fileno(), min(_BLOCK, same - done), done)):
            self.file.write(block)
            done += len(block)

    def publish(self) -> None:
        self.file.close()
        self._temporary.rename(self._path)

    def discard(self) -> None:
        with suppress(OSError):  # buffered lines may not fit on the volume
            self.file.close()
        self._temporary.unlink(missing_ok=True)
