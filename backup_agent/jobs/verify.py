"""The child process that verifies artifacts at one place: it reads a slice of them, and heals them if requested.

The artifacts that were not read for the longest time come first. Each reading is noted on the volume, so that
verification continues after a restart. Artifacts that could not be read come last in the next pass, so that bad blocks
do not delay the rest. If a reading is interrupted, the artifact is read again from its start, because SHA-256 cannot be
resumed. The listing and the index tell which artifacts exist; only the records of artifacts that are read are opened.

A request for more than one artifact (all, a database, a chain) is also read in slices. The outcome of each artifact is
noted for the request (catalog.reread_log), so that the next slice continues after the last outcome, even after a
restart. The result of a pass lists the artifacts that were not read, and why. All others were read.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backup_agent import processes
from backup_agent.catalog.contents import Contents, by_database, of_database
from backup_agent.catalog.damage_marks import is_believed
from backup_agent.catalog.place import Place, all_places, place_of
from backup_agent.catalog.record_notes import RecordNotes
from backup_agent.catalog.reread_log import ReadingLine, ReadOutcome, RequestReadings, SliceState
from backup_agent.core.artifacts.chains import Ancestry, everything_needed
from backup_agent.core.artifacts.keys import artifact_of, damage_key, database_of, record_key, split_key
from backup_agent.core.artifacts.names import VOLUME, lowered
from backup_agent.core.escaping import first_few
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.requests.answers import NotRead, Outcome, PlaceResult, Unread
from backup_agent.core.requests.events import (
    PassReport,
    PlaceJudged,
    ReadingBegun,
    SliceProgress,
    Warned,
)
from backup_agent.core.requests.tasks import VerifyTask
from backup_agent.core.retention.verify_slices import NEVER, KeptArtifact, Slice, estimated_seconds, next_slice
from backup_agent.jobs.event_writer import EventWriter, begin, cancel_on_sigterm
from backup_agent.jobs.summaries import tell_summary
from backup_agent.jobs.verify_artifact import ENOUGH_ERRORS, ArtifactVerifier
from backup_agent.jobs.verify_findings import RequestScope, why_not_read

LISTED = 20
"""Largest number of unread artifacts that an answer names for one reason."""

IDLE = timedelta(hours=1)
"""Time to the next pass if there is nothing to read."""


class Verifying:
    """One pass over one place."""

    def __init__(
        self, task: VerifyTask, place: Place, others: tuple[Place, ...], writer: EventWriter, cancel: threading.Event
    ) -> None:
        """`others` are the places to heal from. Setting `cancel` ends the pass at once."""
        self._task = task
        self._place = place
        self._settings = place.settings
        self._store = place.store
        self._writer = writer
        self._cancel = cancel
        self._ends = time.monotonic() + task.seconds
        self._journal = place.journal
        self._reader = ArtifactVerifier(task, place, others, writer, cancel)
        self._readings = self._reader.readings
        self._artifacts = self._reader.artifacts
        self._found = self._reader.found

    def run(self) -> None:
        """Verify the artifacts of the request, or those that are due. Raise BackupError if the place cannot be read."""
        task = self._task
        with self._reader.holding:
            if task.all or task.database is not None or task.chain:
                self._read_scope()
            elif task.artifact is None:
                self._read_due()
            else:
                self._read_one(task.artifact)

    def close(self) -> None:
        """Write into the audit log what was verified."""
        self._reader.tell_verified()

    def _read_one(self, key: str) -> None:
        """Verify one artifact, even if it is marked as damaged."""
        record = self._reader.known_record(key)
        if self._store.stat(damage_key(key)) is not None:
            believed = is_believed(self._place, self._reader.keyring, key)
            (self._artifacts.marked if believed else self._artifacts.unproven).add(key)
        self._reader.verify(KeptArtifact(key, record.size, NEVER), record)
        self._note_failures({key: record.size})
        self._tell_result(Slice((), 0, 0), remaining=0)

    def _read_due(self) -> None:
        """Read a slice. If healing is requested, first heal the artifacts known to be damaged or missing."""
        now = datetime.now(UTC)
        self._add(by_database(self._place, writes=False), now)
        if not self._place.is_volume:
            self._owe_again(self._place.record_notes)
        if self._task.heal:
            for key in sorted(self._artifacts.damaged, key=lambda each: (each in self._reader.unread, each)):
                if not self._reader.given_up:
                    self._reader.verify(KeptArtifact(key, 0, NEVER))
            self._found.unread = 0
        due = self._due(now)
        remaining = len(due.artifacts)
        for one in due.artifacts:
            if self._reader.given_up or self._time_is_over:
                break
            remaining -= self._reader.verify(one)
        self._leave(SliceState(started=now, read=self._found.read, pace=due.pace, rate=self._reader.rate))
        self._account_for_due(due)
        self._tell_faults()
        self._warn_of_faults()
        self._tell_result(due, remaining)

    def _add(self, parts: Iterable[Contents], now: datetime) -> None:
        """Add the contents of the place, except files that the agent is publishing or deleting."""
        own = {artifact_of(file) for intent in self._journal for file in intent.files}
        for part in parts:
            self._artifacts.add(part, self._readings.times, now)
        unrecorded = self._artifacts.unrecorded
        for artifact in list(unrecorded):
            # A backup may have recorded the artifact on the volume since the listing. The journal names new copies.
            recorded = self._task.place == VOLUME and self._store.stat(record_key(artifact)) is not None
            if artifact in own or recorded:
                del unrecorded[artifact]

    def _account_for_due(self, due: Slice) -> None:
        """Note which artifacts were not read, and why."""
        chosen = {one.key for one in due.artifacts}
        for key, one in self._artifacts.recorded.items():
            if key in self._found.done or key in self._found.failures:
                continue
            if key in self._artifacts.marked:
                why = NotRead.KNOWN_DAMAGED
            else:
                why = NotRead.NOT_REACHED if key in chosen else NotRead.NOT_DUE
            self._found.not_read[why][key] = one.size
        self._note_failures({key: one.size for key, one in self._artifacts.recorded.items()})
        self._note_unrecorded()

    def _note_failures(self, sizes: Mapping[str, int]) -> None:
        for key, failure in self._found.failures.items():
            self._found.not_read[why_not_read(failure)][key] = sizes.get(key, 0)

    def _note_unrecorded(self) -> None:
        self._found.not_read[NotRead.RECORD_UNREADABLE] |= dict.fromkeys(self._artifacts.unreadable_records, 0)
        self._found.not_read[NotRead.NO_RECORD] |= self._artifacts.unrecorded
        self._found.not_read[NotRead.UNRECOGNISED] |= dict.fromkeys(self._artifacts.unrecognised, 0)

    def _read_scope(self) -> None:
        """Read a slice of the artifacts of a request. First report their size and the estimated time."""
        now = datetime.now(UTC)
        scope = self._reader.scope = RequestScope(self._chosen(now), self._asked())
        scope.asked.keep_only({*self._task.open_requests, self._task.request or self._task.run})
        self._take_up(scope)
        state = self._readings.state()
        scope.estimated_seconds = estimated_seconds(
            scope.size, state.rate if state else None, self._settings.verify_at(self._place.name).bandwidth
        )
        self._writer.tell(SliceProgress(**scope.facts()))
        for number, one in enumerate(scope.left(self._artifacts, self._task.skipped)):
            # Read at least one artifact, however long the listing took: otherwise the request would never end.
            if self._reader.given_up or (number and self._time_is_over):
                break
            self._writer.tell(ReadingBegun(key=one.key))
            if not (self._reader.verify(one) or one.key in self._found.failures):
                break  # interrupted: the next slice reads this artifact again
            if not self._note_became(scope, one):
                break
            scope.count(one)
            self._writer.tell(SliceProgress(**scope.facts()))
        before = self._readings.state()
        if before is not None:
            self._leave(before.model_copy(update={"rate": self._reader.rate or before.rate}))
        self._account_for_scope(scope)
        if self._task.all:
            self._tell_faults()
        if not self._task.chain:
            self._warn_of_faults()
        self._tell_result(None, len(scope.remaining(self._task.skipped)))

    def _asked(self) -> RequestReadings:
        """Return the outcomes that earlier slices of the request have noted."""
        try:
            return self._place.request_readings(self._task.request or self._task.run)
        except OSError as error:
            text = f"{error.filename}: the notes of earlier slices cannot be read: {error.strerror}"
            raise PermanentError(Reason.STORAGE_UNREACHABLE, text, "check the health of the volume") from error

    def _chosen(self, now: datetime) -> dict[str, KeptArtifact]:
        """Return the artifacts that a request names. Raise PermanentError if the place has none of them."""
        task = self._task
        if task.chain:
            return self._chain(task.artifact or "", now)
        parts = by_database(self._place, writes=False)
        if task.database is None:
            self._add(parts, now)
            return self._artifacts.recorded
        database = lowered(task.database)
        self._add((part for part in parts if part.database == database), now)
        if self._artifacts.is_empty:
            raise PermanentError(
                Reason.NOT_FOUND,
                f"{task.place}: no artifact of the database {task.database} is stored there",
                "`backup-agent list` shows the databases",
            )
        return self._artifacts.recorded

    def _chain(self, key: str, now: datetime) -> dict[str, KeptArtifact]:
        """Return an artifact and everything that it needs. Note an error for each that has no readable record."""
        self._reader.known_record(key)
        set_name, database = database_of(key)
        part = of_database(self._place, set_name, database)
        if key not in part.entries:
            raise PermanentError(Reason.NOT_FOUND, f"{self._task.place}: {key} was deleted a moment ago")
        ancestry = Ancestry(part.entries.values())
        needed = everything_needed(part.entries[key], ancestry.needed_keys, part.entries.get)
        self._add([part.only({key, *needed})], now)
        for one in needed:
            if one not in part.entries:
                if one not in self._artifacts.unreadable_records:
                    self._found.not_read[NotRead.NOT_RECORDED][one] = 0
                text = f"{self._task.place}: {key} needs {one}, which is not recorded there or cannot be read"
                self._found.errors.append(Failure(Reason.CHAIN_BROKEN, text))
        return self._artifacts.recorded

    def _take_up(self, scope: RequestScope) -> None:
        """Add the findings of earlier slices of the request."""
        found, asked = self._found, scope.asked
        found.verified = len(asked.keys(ReadOutcome.VERIFIED))
        found.damaged = list(asked.keys(ReadOutcome.DAMAGED))
        found.healed = list(asked.keys(ReadOutcome.HEALED))
        for key in asked.keys(ReadOutcome.UNREAD):
            line = asked.lines[key]
            failure = Failure(line.reason or Reason.INTERNAL, line.error or "")
            self._found.not_read[line.why or NotRead.UNREADABLE][key] = line.size
            if line.why is NotRead.ARCHIVED:
                found.warnings.append(failure.error)
            else:
                found.errors.append(failure)

    def _note_became(self, scope: RequestScope, one: KeptArtifact) -> bool:
        """Note the outcome of an artifact for the request. Return False if it cannot be noted: the request must end."""
        found = self._found
        line = ReadingLine(key=one.key, became=ReadOutcome.VERIFIED, size=one.size)
        if failure := found.failures.get(one.key):
            changes = {
                "became": ReadOutcome.UNREAD,
                "why": why_not_read(failure),
                "reason": failure.reason,
                "error": failure.error,
            }
            line = line.model_copy(update=changes)
        else:
            lists = {ReadOutcome.HEALED: found.healed, ReadOutcome.DAMAGED: found.damaged, ReadOutcome.GONE: found.gone}
            became = next((became for became, keys in lists.items() if one.key in keys), ReadOutcome.VERIFIED)
            line = line.model_copy(update={"became": became})
        try:
            scope.asked.note(line)
        except OSError as error:
            text = f"the outcome of {one.key} cannot be noted on the volume: {error.strerror}"
            hint = "make room on the volume, then ask again"
            found.errors.append(Failure(Reason.DISK_FULL, text, hint))
            scope.stopped = True
            return False
        return True

    def _account_for_scope(self, scope: RequestScope) -> None:
        for one in scope.remaining(()):
            why = NotRead.INTERRUPTED if one.key in self._task.skipped else NotRead.NOT_REACHED
            self._found.not_read[why][one.key] = one.size
        self._note_failures({key: one.size for key, one in scope.chosen.items()})
        self._note_unrecorded()
        if interrupted := self._found.not_read[NotRead.INTERRUPTED]:
            self._found.warnings.append(
                f"{self._task.place}: not read, because backups interrupted every try: {first_few(interrupted)}; "
                f"repeat the request when no backup is due, or raise verify.bandwidth"
            )

    def _owe_again(self, notes: RecordNotes) -> None:
        """Count confirmed copies that no longer exist as missing: another program or a lifecycle rule deleted them."""
        there = self._artifacts.sound.keys() | self._artifacts.marked
        gone: list[str] = []
        for key in notes.noted():
            if self._reader.given_up or self._time_is_over:
                break
            if key not in there and self._is_gone(key, notes):
                notes.strike(key)
                gone.append(key)
        for set_name, database in sorted(set(map(database_of, gone))):
            tell_summary(set_name, database, self._settings, self._writer)
        if gone:
            text = (
                f"{self._task.place}: copies that another program deleted, now missing again ({len(gone)}): "
                f"{first_few(gone)}"
            )
            self._writer.tell(Warned(text="copies are gone", because=text))
            self._found.warnings.append(text)

    def _is_gone(self, key: str, notes: RecordNotes) -> bool:
        """Return whether the copy of an artifact on the volume is gone, although the agent did not delete the copy.

        The order of the checks matters: retention updates the note before it removes its intent from the journal, and a
        copy may have been made since the listing.
        """
        return (
            split_key(key).set in self._settings.declared_sets
            and (self._settings.storage.root / record_key(key)).exists()
            and self._store.stat(record_key(key)) is None
            and not self._journal.deletes(key)
            and notes.has(key)
        )

    def _due(self, now: datetime) -> Slice:
        """Return the next slice of artifacts that are due, followed by those that could not be read."""
        period = self._settings.verify_at(self._place.name).every
        if period is None:
            return Slice((), 0, 0)
        self._readings.keep_only(self._artifacts.sound.keys() | self._artifacts.marked)
        self._reader.unread &= self._artifacts.sound.keys()
        again = tuple(self._artifacts.sound[key] for key in sorted(self._reader.unread))
        due = next_slice(
            (one for one in self._artifacts.sound.values() if one.key not in self._reader.unread), now, period=period
        )
        state = self._readings.state()
        rests = state is not None and state.started <= now < state.finished_slice.rests_until(due.pace) and not due.late
        rests = rests and self._task.request is None  # a request does not wait for the next slice
        return replace(due, artifacts=again if rests else (*due.artifacts, *again))

    def _leave(self, state: SliceState) -> None:
        """Store the state of this slice for the next. If nothing was read, change only its unread artifacts."""
        before = self._readings.state()
        if not self._found.read and before is not None:
            state = before
        elif before is not None and state.rate is None:
            state = state.model_copy(update={"rate": before.rate})
        unread = tuple(sorted(self._reader.unread))
        if self._found.read or unread != (before.unread if before else ()):
            self._readings.leave(state.model_copy(update={"unread": unread}))

    @property
    def _time_is_over(self) -> bool:
        return time.monotonic() >= self._ends

    def _tell_faults(self) -> None:
        """Report which artifacts are damaged, which cannot be read, and which cannot be restored."""
        artifacts = self._artifacts
        self._judge_chains_again()
        unreadable = {
            NotRead.RECORD_UNREADABLE.value: tuple(sorted(artifacts.unreadable)),
            NotRead.UNREADABLE.value: tuple(sorted(self._reader.unread)),
            NotRead.NO_RECORD.value: tuple(sorted(artifacts.unrecorded)),
        }
        self._writer.tell(
            PlaceJudged(
                place=self._task.place,
                keys=tuple(artifacts.damaged),
                unreadable=unreadable,
                unrestorable=tuple(sorted(artifacts.gaps)),
            )
        )

    def _warn_of_faults(self) -> None:
        place, artifacts, warnings = self._task.place, self._artifacts, self._found.warnings
        if known := sorted(self._found.not_read[NotRead.KNOWN_DAMAGED]):
            warnings.append(f"{place}: artifacts marked as damaged, not read ({len(known)}): {first_few(known)}")
        if artifacts.unreadable:
            shown = first_few([f"{key} ({fault})" for key, fault in sorted(artifacts.unreadable.items())])
            warnings.append(f"{place}: records or marks that cannot be read ({len(artifacts.unreadable)}): {shown}")
        if unproven := sorted(artifacts.unproven - self._found.done):
            text = "artifacts with a damage mark that the agent did not write, to be verified first"
            warnings.append(f"{place}: {text} ({len(unproven)}): {first_few(unproven)}")
        if artifacts.unrecorded:
            shown = first_few(sorted(artifacts.unrecorded))
            warnings.append(f"{place}: artifacts without a record, not verified ({len(artifacts.unrecorded)}): {shown}")
        if artifacts.gaps:
            shown = first_few([f"{key} ({gap})" for key, gap in sorted(artifacts.gaps.items())])
            warnings.append(f"{place}: artifacts that cannot be restored from there ({len(artifacts.gaps)}): {shown}")

    def _judge_chains_again(self) -> None:
        """Check again the chains of each database with newly damaged or healed artifacts."""
        for set_name, database in sorted(set(map(database_of, (*self._found.damaged, *self._found.healed)))):
            before = [key for key in self._artifacts.gaps if database_of(key) == (set_name, database)]
            for key in before:
                del self._artifacts.gaps[key]
            part = of_database(self._place, set_name, database)
            self._artifacts.gaps |= {key: finding.text for key, finding in part.gaps.items()}

    def _tell_result(self, due: Slice | None, remaining: int) -> None:
        """Report the result of the pass. `due` is None for a slice of a request; `remaining` artifacts are left."""
        if self._task.place == VOLUME:
            for set_name, database in sorted(set(map(database_of, (*self._found.damaged, *self._found.healed)))):
                tell_summary(set_name, database, self._settings, self._writer)
        oldest = min((one.verified for one in self._artifacts.sound.values()), default=None)
        whole = self._task.artifact is None and self._task.database is None
        self._writer.tell(
            PassReport(
                result=self._result(remaining),
                oldest=oldest if whole else None,
                next_seconds=None if due is None else self._next_seconds(due, remaining, datetime.now(UTC)),
            )
        )

    def _result(self, remaining: int) -> PlaceResult:
        found, scope = self._found, self._reader.scope
        result = PlaceResult(
            outcome=Outcome.SUCCEEDED_WITH_WARNINGS if found.warnings else Outcome.SUCCEEDED,
            verified=found.verified,
            damaged=tuple(found.damaged),
            healed=tuple(found.healed),
            not_read=tuple(
                Unread(why=why, artifacts=len(keys), size=sum(keys.values()), keys=tuple(sorted(keys)[:LISTED]))
                for why, keys in found.not_read.items()
                if keys
            ),
            warnings=tuple(found.warnings),
            **(scope.facts() if scope else {}),
        )
        if scope is not None and remaining and found.unread < ENOUGH_ERRORS and not scope.stopped:
            return result.model_copy(update={"outcome": Outcome.WAITING})  # the next slice goes on
        if self._cancel.is_set() and (scope is None or remaining):
            return result.failed(Failure(Reason.CANCELLED, f"{self._task.place}: the verification was cancelled"))
        failures = self._failures(result)
        if not failures:
            return result
        first = failures[0]
        return result.failed(Failure(first.reason, "\n".join(one.error for one in failures), first.advice))

    def _failures(self, result: PlaceResult) -> list[Failure]:
        """Return why the pass failed, the most important first."""
        found, place = self._found, self._task.place
        failures = list(found.errors)
        if found.damaged and not self._task.heal:
            text = f"{place}: not as recorded: {', '.join(found.damaged)}"
            hint = "`backup-agent verify --heal` replaces them with another place's copy; if there is none, take a FULL"
            failures.insert(0, Failure(Reason.CHECKSUM_MISMATCH, text, hint))
        nothing = not (found.verified or found.damaged or found.healed or failures)
        if nothing and self._task.request is not None and result.not_read:
            counts = ", ".join(f"{one.artifacts} {one.why.value.replace('_', ' ')}" for one in result.not_read)
            failures.append(Failure(Reason.NOTHING_VERIFIED, f"{place}: no artifact was verified: {counts}"))
        return failures

    def _next_seconds(self, due: Slice, remaining: int, now: datetime) -> float:
        """Return the number of seconds to the next slice."""
        state = self._readings.state()
        if remaining > len(self._reader.unread):
            return 60.0
        if state is None or self._reader.unread:
            return IDLE.total_seconds()
        return max(60.0, (state.finished_slice.rests_until(due.pace) - now).total_seconds())


def perform(task: VerifyTask, place: Place, writer: EventWriter, cancel: threading.Event) -> None:
    """Carry out a task and report its result as the last event. SIGTERM cancels it."""
    cancel_on_sigterm(cancel)
    try:
        others = tuple(one for one in all_places(place.settings) if one.name != place.name)
        with closing(Verifying(task, place, others, writer, cancel)) as verifying:
            verifying.run()
    except BackupError as error:
        writer.tell(PassReport(result=PlaceResult().failed(error.failure)))


def main() -> None:
    """Run as a child process for one task: the task on stdin, events on stdout."""
    task, settings, writer = begin(VerifyTask)
    perform(task, place_of(task.place, settings), writer, threading.Event())


if __name__ == "__main__":
    main()
    processes.leave()
