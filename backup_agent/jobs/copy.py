"""Makes the missing copies at one destination.

The queue is the copies that are missing according to the notes on the volume. No other list of copies to make exists.
Databases take turns, artifact by artifact, those for whose copies requests wait (`CopyTask.awaited`) first. Within a
database parents are copied before their differentials. For each awaited artifact the pass says once how its copy ended,
also if an earlier pass made it, so that an event that was lost is made up for by the next pass.

A record is written at a destination only if the records and files of everything that the artifact needs exist there.
Both are checked before the first byte is sent and again before the record is written, because other programs can delete
at the destination. Whatever is missing is copied first. If it cannot be copied, the differential is not published, and
its copy stays missing. The destination is held (catalog.place_ownership) from the first copy to the last. The lease is
checked while an artifact is sent and before each record: an agent that has lost the lease ends its upload and writes no
record.

SIGTERM ends the process at once; the next pass resumes the upload. SIGUSR1 ends the pass after the artifact under way,
so that other work at the destination has its turn.
"""

import signal
import threading
from collections import deque
from collections.abc import Container, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from time import monotonic

from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import of_database
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.catalog.recognised import is_copy, read_record
from backup_agent.catalog.record_notes import GIVEN_UP, digest_of
from backup_agent.catalog.tenure import Held
from backup_agent.catalog.unsigned import unsigned_at
from backup_agent.core.artifacts.chains import Ancestry, everything_needed
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import artifact_key, database_prefix, record_key, split_database_key, split_key
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, SetName
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.artifacts.summarising import finished_first
from backup_agent.core.audit.lines import copied
from backup_agent.core.reasons import ABOUT_ONE_ARTIFACT, BackupError, Failure, PermanentError, Reason, TransientError
from backup_agent.core.requests.events import CopiesOwed, CopyBegun, CopyFailed, CopyReport, CopyStored, Warned
from backup_agent.core.requests.tasks import CopyTask
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.jobs.signing_state import tell_signing
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.store import ObjectTooLargeError, Store

AT_ONCE = 32
"""How many databases take turns at a time. The entries of each are in memory meanwhile."""


class Copying:
    """One pass that makes the missing copies at one destination."""

    def __init__(self, task: CopyTask, place: Place, writer: EventWriter, yields: threading.Event) -> None:
        """`place` is the destination. If `yields` is set, the pass ends after the artifact under way."""
        self._task = task
        self._place = place
        self._volume = place_of(VOLUME, place.settings)
        self._root = place.root
        self._notes = place.record_notes
        self._journal = place.journal
        self._store = place.store
        self._keyring = Keyring(place.settings)
        self._writer = writer
        self._trail = AuditTrail(place, writer)
        self._yields = yields
        self._unanswered = dict.fromkeys(task.awaited)
        self._seen: set[str] = set()
        """Keys of the artifacts whose record this pass has found at the destination."""
        self._failure: Failure | None = None
        self._ended_early = False
        self._copied = 0

    def copy_all(self) -> CopyReport:
        """Make all missing copies.

        A failure that concerns one artifact does not stop the others; any other failure ends the pass. If no copy is
        missing, nothing is sent to the destination.
        """
        self._answer_known()
        lines = self._lines()
        turns = deque(islice(lines, AT_ONCE))
        try:
            with ExitStack() as stack:
                held = self._hold(stack) if turns else None
                while turns and held is not None and not self._yields.is_set():
                    line = turns.popleft()
                    turns.append(line)
                    self._copy_next(line, held)
                    if not line.pending:
                        turns.pop()
                        self._tell_owed(line.entries)
                        turns.extend(islice(lines, 1))
                if held is not None:
                    self._trail.store_old(held)
        except BackupError as error:
            self._failure, self._ended_early = error.failure, True
        for line in (*turns, *lines):
            self._tell_owed(line.entries)
        if not (self._ended_early or self._yields.is_set()):
            for key in tuple(self._unanswered):
                self._tell_failed(key, Failure(Reason.UNREADABLE, f"{key}: its record on the volume cannot be used"))
        counted = self._task.databases is None
        return CopyReport(copied=self._copied, counted=counted, failure=self._failure, ended_early=self._ended_early)

    def _hold(self, stack: ExitStack) -> Held:
        held = stack.enter_context(hold_place(self._place))
        for notice in held.notices:
            self._writer.tell(Warned(text="destination held", because=notice))
        return held

    def _answer_known(self) -> None:
        """Report how the wait for a copy ended, if the pass need not make the copy."""
        for key in self._task.awaited:
            note = self._notes.note(key)
            if note == GIVEN_UP:
                text = "a request to `prune` with `drop_owed`, or retention, has given it up"
                self._tell_failed(key, Failure(Reason.CANCELLED, text))
            elif note is not None:
                self._tell_stored(CopyStored(key=key))
            elif (set_name := split_key(key).set) not in self._task.sets:
                self._tell_failed(key, Failure(Reason.NOT_FOUND, f"the settings do not declare the set {set_name}"))
            elif not (self._root / record_key(key)).exists():
                self._tell_failed(key, Failure(Reason.NOT_FOUND, f"{key} is not on the volume any more"))

    def _tell_stored(self, event: CopyStored) -> None:
        self._unanswered.pop(event.key, None)
        self._writer.tell(event)

    def _tell_failed(self, key: str, failure: Failure) -> None:
        if key in self._unanswered:
            del self._unanswered[key]
            self._writer.tell(CopyFailed(key=key, failure=failure))

    def _tell_owed(self, entries: tuple[Entry, ...]) -> None:
        one, missing = entries[0], self._notes.owed(entries)
        self._writer.tell(
            CopiesOwed(
                set=one.set,
                database=one.database,
                destination=self._place.name,
                owed=len(missing),
                oldest=finished_first(missing),
            )
        )

    def _lines(self) -> Iterator["_Line"]:
        """Yield the databases with missing copies, those first for whose copies requests wait.

        The entries come from the index, because a record may have thousands of parts.
        """
        awaited = dict.fromkeys((split_key(key).set, split_key(key).database) for key in self._task.awaited)
        known = self._task.databases
        listed = volume_records.databases(self._root) if known is None else map(split_database_key, known)
        others = (one for one in listed if one not in awaited)
        for set_name, database in (*awaited, *others):
            if set_name not in self._task.sets:
                continue
            entries = tuple(of_database(self._volume, set_name, database).entries.values())
            line = _Line(entries, self._place, self._unanswered) if entries else None
            if line is not None and line.pending:
                yield line
            elif line is not None:
                self._tell_owed(entries)

    def _copy_next(self, line: "_Line", held: Held) -> None:
        """Copy the next artifact of a database, after everything that it needs and that is missing there.

        Raise BackupError for a failure that concerns the whole destination. A failure that concerns one artifact is
        noted; the artifacts that need it are passed over.
        """
        entry = line.pending.popleft()
        if (failed := line.failed_need(entry)) is not None:
            line.failed[entry.key] = failed
            self._tell_failed(entry.key, failed)
            return
        key = entry.key
        try:
            for key in (*self._lacking(entry, line), entry.key):
                self._copy(read_record(self._volume, key), line, held)
        except BackupError as error:
            if error.failure.reason not in ABOUT_ONE_ARTIFACT:
                raise
            failure = error.failure
        except OSError as error:
            failure = Failure(Reason.INTERNAL, f"{entry.key}: {error.filename}: {error.strerror}")
        else:
            return
        line.failed |= dict.fromkeys((key, entry.key), failure)
        self._failure = self._failure or failure
        self._writer.tell(Warned(text="copy not made", because=f"{entry.key}: {failure.error}"))
        self._tell_failed(entry.key, failure)

    def _lacking(self, entry: Entry, line: "_Line") -> tuple[str, ...]:
        """Return the keys of needed artifacts that are missing or incomplete at the destination, parents first.

        Their copies count as missing again. Raise PermanentError if one is no longer on the volume.
        """
        lacking: list[str] = []
        for key in line.needs.of(entry):
            if key in self._seen:
                continue
            found = line.there.fault(self._needed_record(key, entry))
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
            f"{self._place.name}: {entry.key} is not copied: it needs {key}, incomplete there, and {why}",
            "take a FULL, which starts a new chain there; `backup-agent prune --dry-run --force --drop-owed "
            f"{self._place.name}` shows how to give up copies that cannot be made",
        )

    def _copy(self, record: Record, line: "_Line", held: Held) -> None:
        """Copy an artifact's files, then its record, then write the note on the record."""
        started = monotonic()
        self._writer.tell(CopyBegun(key=record.key, bytes=record.size))
        content = self._found_there(record)
        if content is None or line.there.fault(record) is not None:
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
            self._still_whole(record, line.needs)
            content = self._record(self._keyring.sign(record.model_copy(update={"fencing": held.number})))
            if self._keyring.fault is not None:
                unsigned_at(self._place).add(record.key)
            tell_signing(self._keyring, self._writer)
        # Remove the intent before the note is written: after a crash without a note, the next pass copies again and
        # removes the intent.
        self._trail.tell(copied(record, self._place.name, digest_of(content)))
        self._journal.done(record.key)
        self._notes.add(record.key, content)
        self._seen.add(record.key)
        self._copied += 1
        seconds = round(monotonic() - started, 3)
        self._tell_stored(CopyStored(key=record.key, type=record.type.value, bytes=record.size, seconds=seconds))

    def _still_whole(self, record: Record, needs: "_Needs") -> None:
        """Raise TransientError if an artifact that `record` needs was deleted while the files were sent."""
        entry = Entry.of(record)
        there = _Folder(self._store, record.set, record.database)
        for key in needs.of(entry):
            if found := there.fault(self._needed_record(key, entry)):
                self._seen.discard(key)
                raise TransientError(
                    Reason.CHAIN_BROKEN,
                    f"{self._place.name}: {record.key} is not recorded: {key}, which it needs, was deleted "
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


class _Line:
    """The artifacts of one database whose copies are missing, in the order in which they are copied."""

    def __init__(self, entries: tuple[Entry, ...], destination: Place, awaited: Container[str]) -> None:
        """Send no request. `entries` are the artifacts of the database on the volume.

        The `awaited` ones come first, after what they need; then the others, each after its parent.
        """
        self.entries = entries
        self.needs = _Needs(entries, destination)
        self.there = _Folder(destination.store, entries[0].set, entries[0].database)
        owed = {entry.key: entry for entry in destination.record_notes.owed(entries)}
        first = [key for one in owed.values() if one.key in awaited for key in (*self.needs.on_volume(one), one.key)]
        self.pending = deque(owed[key] for key in dict.fromkeys((*first, *owed)) if key in owed)
        self.failed: dict[str, Failure] = {}
        """Artifacts that could not be copied in this pass -> why."""

    def failed_need(self, entry: Entry) -> Failure | None:
        """Return why an artifact that `entry` needs could not be copied, or None."""
        if not self.failed:
            return None
        return next((self.failed[key] for key in self.needs.of(entry) if key in self.failed), None)


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

    def on_volume(self, entry: Entry) -> tuple[str, ...]:
        """Return the keys of the artifacts that an artifact needs, as far as the volume has them, parents first."""
        return everything_needed(entry, self._ancestry.needed_keys, self._known.get)

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


def perform(task: CopyTask, place: Place, writer: EventWriter, _cancel: threading.Event) -> None:
    """Carry out a task and report its result. SIGTERM ends the process at once: an upload is resumed later."""
    yields = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: yields.set())
    try:
        report = Copying(task, place, writer, yields).copy_all()
    except BackupError as error:
        report = CopyReport(copied=0, failure=error.failure, ended_early=True)
    writer.tell(report)
