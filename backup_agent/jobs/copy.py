"""The child process that makes the missing copies at one destination.

Only this process loads a client library, not the process that runs beside a JVM. Parents are copied first. A record is
written at a destination only if the records and files of everything that the artifact needs exist there. Both are
checked before the first byte is sent and again before the record is written, because other programs can delete at the
destination. Whatever is missing is copied first. If it cannot be copied, the differential is not published, and its
copy stays missing. The destination is held (catalog.place_ownership) from the first copy to the last. The lease is
checked while an artifact is sent and before each record: an agent that has lost the lease ends its upload and writes no
record.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from backup_agent import quoting
from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import of_database
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.catalog.recognised import is_copy, read_record
from backup_agent.catalog.tenure import Held
from backup_agent.catalog.unsigned import unsigned_at
from backup_agent.core.artifacts.chains import Ancestry, everything_needed
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import artifact_key, database_prefix, record_key
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, SetName
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.neo4j.verdict import EndedBy
from backup_agent.core.reasons import ABOUT_ONE_ARTIFACT, BackupError, Failure, PermanentError, Reason, TransientError
from backup_agent.core.requests import events
from backup_agent.core.requests.events import ArtifactStored, ChildEvent, CopiesOwed, CopyReport, MalformedEvent, Warned
from backup_agent.core.requests.tasks import CopyTask
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.jobs.signing_state import tell_signing
from backup_agent.neo4j_admin import process
from backup_agent.processes import LOCK_DESCRIPTOR
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.store import ObjectTooLargeError, Store

TASK = "BACKUP_AGENT_COPY"
"""Environment variable with the task of a copy that a run starts: children of a run have no stdin.

The task contains no secrets.
"""

LONGEST = timedelta(days=7)


class Copying:
    """One pass that makes the missing copies at one destination."""

    def __init__(self, task: CopyTask, place: Place, writer: EventWriter) -> None:
        """`place` is the destination."""
        self._task = task
        self._place = place
        self._volume = place_of(VOLUME, place.settings)
        self._root = place.root
        self._notes = place.record_notes
        self._journal = place.journal
        self._store = place.store
        self._keyring = Keyring(place.settings)
        self._writer = writer
        self._seen: set[str] = set()
        """Keys of the artifacts whose record this pass has found at the destination."""
        self.copied = 0

    def copy_all(self) -> Failure | None:
        """Make all missing copies. Return the first failure, or None.

        A failure of one database does not stop the others. If no copy is missing, nothing is sent to the destination.
        """
        first: Failure | None = None
        held: Held | None = None
        with ExitStack() as stack:
            for entries in self._databases():
                if held is None and first is None and self._notes.owed(entries):
                    try:
                        held = stack.enter_context(hold_place(self._place))
                        for notice in held.notices:
                            self._writer.tell(Warned(text="destination held", because=notice))
                    except BackupError as error:
                        first = error.failure
                if held is not None:
                    failure = self._copy_database(entries, held)
                    first = first or failure
                self._tell_owed(entries)
        return first

    def _tell_owed(self, entries: tuple[Entry, ...]) -> None:
        one, owed = entries[0], len(self._notes.owed(entries))
        self._writer.tell(CopiesOwed(set=one.set, database=one.database, destination=self._task.destination, owed=owed))

    def _databases(self) -> Iterator[tuple[Entry, ...]]:
        """Yield the entries of each database on the volume.

        The entries come from the index, because a record may have thousands of parts.
        """
        for set_name, database in volume_records.databases(self._root):
            if set_name in self._task.sets and self._task.database in (None, database):
                contents = of_database(self._volume, set_name, database)
                if contents.entries:
                    yield tuple(contents.entries.values())

    def _copy_database(self, entries: tuple[Entry, ...], held: Held) -> Failure | None:
        """Make the missing copies of one database. Return the first failure, or None.

        After a failure that concerns one artifact, only the artifacts that need it are skipped.
        """
        chain = _Needs(entries, self._place)
        there = _Folder(self._store, entries[0].set, entries[0].database)
        first: Failure | None = None
        failed: set[str] = set()
        for entry in self._notes.owed(entries):
            key = entry.key
            if not failed.isdisjoint(chain.of(entry)):
                failed.add(key)
                continue
            try:
                for key in (*self._lacking(entry, chain, there), entry.key):
                    self._copy(read_record(self._volume, key), chain, there, held)
            except BackupError as error:
                first = first or error.failure
                failed |= {key, entry.key}
                if error.failure.reason not in ABOUT_ONE_ARTIFACT:
                    return first
                self._writer.tell(Warned(text="copy not made", because=f"{entry.key}: {error.failure.error}"))
            except OSError as error:
                return first or Failure(Reason.INTERNAL, f"{entry.key}: {error.filename}: {error.strerror}")
        return first

    def _lacking(self, entry: Entry, chain: "_Needs", there: "_Folder") -> tuple[str, ...]:
        """Return the keys of needed artifacts that are missing or incomplete at the destination, parents first.

        Their copies count as missing again. Raise PermanentError if one is no longer on the volume.
        """
        lacking: list[str] = []
        for key in chain.of(entry):
            if key in self._seen:
                continue
            found = there.fault(self._needed_record(key, entry))
            if found is None:
                continue
            if not (self._root / record_key(key)).exists():
                raise self._gap(entry, key, "it is no longer on the volume")
            self._notes.strike(key)
            self._writer.tell(Warned(text="copied again", because=f"{key}: {found}, and {entry.key} needs it"))
            lacking.append(key)
        return tuple(lacking)

    def _needed_record(self, key: str, entry: Entry) -> Record:
        """Return the record of an artifact that `entry` needs, from the volume, else from the destination."""
        if (self._root / record_key(key)).exists():
            return read_record(self._volume, key)
        try:
            return read_record(self._place, key)
        except PermanentError as error:
            if error.failure.reason is Reason.NOT_FOUND:
                raise self._gap(entry, key, "it is neither on the volume nor at the destination") from error
            if error.failure.reason in ABOUT_ONE_ARTIFACT:
                raise self._gap(entry, key, error.failure.error) from error
            raise

    def _gap(self, entry: Entry, key: str, why: str) -> PermanentError:
        return PermanentError(
            Reason.CHAIN_BROKEN,
            f"{self._task.destination}: {entry.key} is not copied: it needs {key}, incomplete there, and {why}",
            "take a FULL, which starts a new chain there; `backup-agent prune --dry-run --force --drop-owed "
            f"{self._task.destination}` shows how to give up copies that cannot be made",
        )

    def _copy(self, record: Record, chain: "_Needs", there: "_Folder", held: Held) -> None:
        """Copy an artifact's files, then its record, then write the note on the record."""
        content = self._found_there(record)
        if content is None or there.fault(record) is not None:
            done = 0

            def progress(count: int) -> None:
                nonlocal done
                held.check()  # after a takeover the files would be orphans
                done += count
                self._writer.progress(done, record.size)

            folder = self._root / record.set / record.database
            keys = tuple(artifact_key(record.set, record.database, file.name) for file in record.files)
            # If the copy is cut off, the intent names its orphans. A full volume does not stop the copy.
            with suppress(OSError):
                self._journal.begin_publishing(self._store, record.key, keys, datetime.now(UTC))
            for key, file in zip(keys, record.files, strict=True):
                self._store.put_artifact(key, folder / file.name, file, progress)
            held.check()
        if content is None:
            self._still_whole(record, chain)
            content = self._record(self._keyring.sign(record.model_copy(update={"fencing": held.number})))
            if self._keyring.fault is not None:
                unsigned_at(self._place).add(record.key)
            tell_signing(self._keyring, self._writer)
        # Remove the intent before the note is written: after a crash without a note, the next pass copies again and
        # removes the intent.
        self._journal.done(record.key)
        self._notes.add(record.key, content)
        self._seen.add(record.key)
        self.copied += 1
        self._writer.tell(ArtifactStored(place=self._task.destination, type=record.type.value, bytes=record.size))

    def _still_whole(self, record: Record, chain: "_Needs") -> None:
        """Raise TransientError if an artifact that `record` needs was deleted while the files were sent."""
        entry = Entry.of(record)
        there = _Folder(self._store, record.set, record.database)
        for key in chain.of(entry):
            if found := there.fault(self._needed_record(key, entry)):
                self._seen.discard(key)
                raise TransientError(
                    Reason.CHAIN_BROKEN,
                    f"{self._task.destination}: {record.key} is not recorded: {key}, which it needs, was deleted "
                    f"during the copy: {found}",
                    "the next try copies both; find out which program deletes there",
                )

    def _record(self, record: Record) -> bytes:
        """Write a record. Return its stored content. If the record exists already, it must be the same."""
        content = record.to_json()
        try:
            self._store.create(record_key(record.key), content)
        except PermanentError as error:
            if error.failure.reason is Reason.ALREADY_EXISTS and (found := self._found_there(record)) is not None:
                return found
            raise
        return content

    def _found_there(self, record: Record) -> bytes | None:
        """Return the content of a record at the destination, or None. Raise PermanentError if the records differ.

        The fencing number may differ: then an earlier pass wrote the record, and the note on the copy was lost.
        """
        try:
            seen = self._store.look(record_key(record.key), LARGEST)
            if seen is None:
                return None
            if is_copy(seen.content, record):
                return seen.content
        except ObjectTooLargeError:
            pass
        raise PermanentError(
            Reason.ALREADY_EXISTS,
            f"{self._store.name}: {record_key(record.key)} exists with other content, and is not overwritten",
            "find out which program wrote it: another agent may have used this place; a record that is not recognised "
            "is removed by `backup-agent catalog accept --discard`, and then the copy is made",
        )


class _Needs:
    """What each artifact of one database needs to be restored, according to the volume and the destination."""

    def __init__(self, entries: tuple[Entry, ...], destination: Place) -> None:
        """The destination is asked about artifacts that are no longer on the volume."""
        self._known = {entry.key: entry for entry in entries}
        self._ancestry = Ancestry(entries)
        self._destination = destination

    def of(self, entry: Entry) -> tuple[str, ...]:
        """Return the keys of the artifacts that an artifact needs, parents first."""
        return everything_needed(
            entry, self._ancestry.needed_keys, lambda key: self._known.get(key) or self._elsewhere(key)
        )

    def _elsewhere(self, key: str) -> Entry | None:
        """Return the entry of the record at the destination, or None if there is no recognised record."""
        try:
            return Entry.of(read_record(self._destination, key))
        except PermanentError as error:
            if error.failure.reason in (Reason.NOT_FOUND, *ABOUT_ONE_ARTIFACT):
                return None
            raise


class _Folder:
    """The files of one database's folder at a destination: one listing, made when first needed."""

    def __init__(self, store: Store, set_name: SetName, database: DatabaseName) -> None:
        """Send no request yet."""
        self._store = store
        self._prefix = database_prefix(set_name, database)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return {one.key: one.size for one in self._store.list(self._prefix)}

    def fault(self, record: Record) -> str | None:
        """Return what is missing of an artifact, or None if its record and files exist with the recorded sizes."""
        if self._size(record_key(record.key)) is None:
            return "its record is missing"
        for file in record.files:
            size = self._size(self._prefix + file.name)
            if size is None:
                return f"its file {file.name} is missing"
            if size != file.size:
                return f"its file {file.name} has {size} bytes, {file.size} were recorded"
        return None

    def _size(self, key: str) -> int | None:
        if key in self._sizes:
            return self._sizes[key]
        found = self._store.stat(key)  # a listing may lag behind
        return None if found is None else found.size


def in_child(
    task: CopyTask, root: Path, writer: EventWriter, cancel: threading.Event, *, stall: timedelta
) -> Failure | None:
    """Run a copy pass as a child of this run and forward its events. Return its failure, or None.

    The pass is ended if it makes no progress for `stall`.
    """
    report: CopyReport | None = None

    def on_line(line: str) -> None:
        nonlocal report
        report = pass_on(line, writer) or report

    lock = os.environ.get(LOCK_DESCRIPTOR)
    completed = process.run(
        [sys.executable, "-m", "backup_agent.jobs.copy"],
        env={**os.environ, TASK: task.model_dump_json()},
        cwd=root,
        timeout=LONGEST,
        stall=lambda: stall,
        cancel=cancel,
        on_line=on_line,
        pass_fds=(int(lock),) if lock else (),
    )
    if report is not None:
        return report.failure
    if completed.ended_by is EndedBy.STALLED:
        return Failure(Reason.STORAGE_UNREACHABLE, f"no progress for {stall}: the copy was ended")
    if completed.ended_by is EndedBy.CANCELLED:
        return Failure(Reason.CANCELLED, "the copy was ended with its request")
    last = completed.last_lines[-1] if completed.last_lines else "no output"
    return Failure(Reason.INTERNAL, f"the copy ended with {completed.exit_code or completed.signal}: {last}")


def pass_on(line: str, writer: EventWriter) -> CopyReport | None:
    """Forward one line of a copy's output to the supervisor. If it is the report, return it instead."""
    match events.parse(line.encode()):
        case CopyReport() as event:
            return event
        case MalformedEvent() as event:
            because = f"{event.kind or 'event'}: {quoting.shown(event.error)}"
            writer.tell(Warned(text="event not understood", because=because))
        case ChildEvent() as event:
            writer.tell(event)
    return None


def perform(task: CopyTask, place: Place, writer: EventWriter, _cancel: threading.Event) -> None:
    """Carry out a task and report its result. SIGTERM ends the process at once: an upload is resumed later."""
    try:
        copying = Copying(task, place, writer)
        failure = copying.copy_all()
    except BackupError as error:
        writer.tell(CopyReport(copied=0, failure=error.failure))
        return
    writer.tell(CopyReport(copied=copying.copied, counted=True, failure=failure))


def main() -> None:
    """Run as a child process of a run, with the task in the environment."""
    task, settings, writer = begin(CopyTask, os.environ.get(TASK))
    perform(task, place_of(task.destination, settings), writer, threading.Event())


if __name__ == "__main__":
    main()
