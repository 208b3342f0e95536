"""Reading again what stands at one place: a child, which reads a slice, tells what it found, and heals where asked.

The longest unread comes first, and what was read is noted on the volume after each artifact, so that a restart goes on
there. What could not be read comes last the next time: a disk's bad blocks must not keep the rest from being read. An
artifact is read whole or once more: a SHA-256 cannot be taken up in its middle. What stands at the place is told by its
listing and index; of all records only those of what is read are opened.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from backup_agent import quoting
from backup_agent.catalog import damages, records
from backup_agent.catalog.copies import Notes
from backup_agent.catalog.holdings import Holdings, by_database
from backup_agent.catalog.index import index_of
from backup_agent.catalog.journal import Journal
from backup_agent.catalog.lease import Held
from backup_agent.catalog.verified import State, Verified
from backup_agent.core.answers import Outcome, PlaceResult
from backup_agent.core.escaping import shell_word
from backup_agent.core.names import damage_key, is_record_key, record_key
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.records import LARGEST, Record
from backup_agent.core.scrub import NEVER, Kept, Slice, next_slice, verified
from backup_agent.core.tasks import VerifyTask
from backup_agent.run.healing import Healing
from backup_agent.run.places import Opened, hold_place, opening
from backup_agent.run.rereading import Wrong, is_bad_block, reread
from backup_agent.run.summing import tell_summary
from backup_agent.run.telling import Teller, cancel_on_sigterm, first_line, hold_lifeline
from backup_agent.settings.model import VOLUME, Settings
from backup_agent.stores.part_body import Throttle

ENOUGH_ERRORS = 3
"""Artifacts in a row that cannot be read: the place is down, and the rest need not be tried."""

SHOWN = 5
"""Artifacts that a warning names; the log of the copies names them all."""

IDLE = timedelta(hours=1)
"""When to ask again where nothing is kept, or nothing is to be read."""


@dataclass
class Standing:
    """What stands at the place: of each artifact what a slice needs, and which are no restore points."""

    sound: dict[str, Kept] = field(default_factory=dict)
    """All that are not marked."""
    marked: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    """Artifacts of which the listing lacks a file, or has another size of one."""

    def add(self, part: Holdings, read: Mapping[str, datetime], now: datetime) -> None:
        """Take one database's folder. The name of a mark is enough, whether it can be read or not."""
        unreadable = {one.artifact for one in part.unreadable if one.key == damage_key(one.artifact)}
        marked = part.damages.keys() | unreadable
        self.marked |= marked
        self.missing |= part.without_artifact.keys()
        for key, entry in part.entries.items():
            if key not in marked:
                # That something is missing is known before it is read: it is read before all else.
                at = NEVER if key in self.missing else verified(entry.finished, read.get(key), now)
                self.sound[key] = Kept(key, entry.size, at)

    @property
    def damaged(self) -> list[str]:
        """All that are no restore points."""
        return sorted(self.marked | self.missing)


@dataclass
class Found:
    """What one pass has come to."""

    verified: int = 0
    damaged: list[str] = field(default_factory=list)
    """Found so, or asked to be healed in vain."""
    healed: list[str] = field(default_factory=list)
    errors: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unread: int = 0
    """How many in a row could not be read."""
    read: int = 0
    """Bytes, as the slice counts them."""


class Verifying:
    """One pass over one place."""

    def __init__(
        self, task: VerifyTask, settings: Settings, opened: Opened, teller: Teller, cancel: threading.Event
    ) -> None:
        """`cancel` ends the pass where it stands."""
        self._task = task
        self._settings = settings
        self._store = opened(task.place)
        self._teller = teller
        self._cancel = cancel
        self._ends = time.monotonic() + task.seconds
        bandwidth = settings.verify.bandwidth
        self._throttle = Throttle(bandwidth) if bandwidth else None
        destination = settings.storage.destinations.get(task.place)
        identity = VOLUME if destination is None else destination.identity
        self._readings = Verified(settings.storage.root, task.place, identity)
        self._notes = None if destination is None else Notes(settings.storage.root, task.place, identity)
        self._journal = Journal(settings.storage.root, task.place, identity)
        self._healing = Healing(task.place, settings, opened, self._on_bytes)
        self._holding = ExitStack()
        self._held: Held | None = None
        self._standing = Standing()
        self._found = Found()
        state = self._readings.state()
        self._unread = set(state.unread if state else ())
        """Artifacts that could not be read when they were last tried."""

    def run(self) -> None:
        """Read what is asked for, or what is due; tell the result. Raise BackupError where the place cannot be read."""
        with self._holding:
            if self._task.artifact is None:
                self._read_what_is_due()
            else:
                self._read_one(self._task.artifact)

    def _read_one(self, key: str) -> None:
        """Read one artifact again, whether it is marked or not."""
        record = self._record(key) if is_record_key(record_key(key)) else None
        if record is None:
            raise PermanentError(
                Reason.NOT_FOUND,
                f"{self._task.place}: no artifact {key} is recorded there",
                "write the whole key, <set>/<database>/<artifact>, as `backup-agent list` shows it",
            )
        if self._store.stat(damage_key(key)) is not None:
            self._standing.marked.add(key)
        self._verify(Kept(key, record.size, NEVER), record)
        self._tell_result(Slice((), 0, 0), remaining=0)

    def _read_what_is_due(self) -> None:
        """Read a slice; before it, where that is asked, heal all that is known to be damaged or missing."""
        now = datetime.now(UTC)
        for part in by_database(self._store, index_of(self._task.place, self._settings), writes=False):
            self._standing.add(part, self._readings.times, now)
        if self._notes is not None:
            self._owe_again(self._notes)
        if self._task.heal:
            for key in sorted(self._standing.damaged, key=lambda each: (each in self._unread, each)):
                if not self._given_up:
                    self._verify(Kept(key, 0, NEVER))
            self._found.unread = 0
        due = self._due(now)
        remaining = len(due.artifacts)
        for one in due.artifacts:
            if self._given_up or time.monotonic() >= self._ends:
                break
            remaining -= self._verify(one)
        self._leave(State(started=now, read=self._found.read, pace=due.pace))
        self._tell("damages", keys=self._standing.damaged)
        self._tell_result(due, remaining)

    def _owe_again(self, notes: Notes) -> None:
        """Let copies be owed that were confirmed and are gone: others can empty a bucket, or a lifecycle rule does."""
        there = self._standing.sound.keys() | self._standing.marked
        gone: list[str] = []
        for key in notes.noted():
            if self._given_up or time.monotonic() >= self._ends:
                break
            if key not in there and self._is_gone(key, notes):
                notes.strike(key)
                gone.append(key)
        for set_name, database in sorted({(one[0], one[1]) for one in (key.split("/") for key in gone)}):
            tell_summary(set_name, database, self._settings, self._teller)
        if gone:
            shown = ", ".join(gone[:SHOWN]) + (", …" if len(gone) > SHOWN else "")
            text = f"gone from {self._task.place}, not by the agent, and owed again ({len(gone)}): {shown}"
            self._teller.tell("warning", text="copies are gone", because=text)
            self._found.warnings.append(text)

    def _is_gone(self, key: str, notes: Notes) -> bool:
        """Tell whether the volume has an artifact, the place has no record of it, and the agent did not delete that.

        Asked in this order, since retention notes what it deleted before it strikes out that it is about to, and a copy
        may have come since the listing.
        """
        return (
            key.partition("/")[0] in self._settings.declared_sets
            and (self._settings.storage.root / record_key(key)).exists()
            and self._store.stat(record_key(key)) is None
            and not self._journal.deletes(key)
            and notes.has(key)
        )

    def _due(self, now: datetime) -> Slice:
        period = self._settings.verify.every
        if period is None:
            return Slice((), 0, 0)
        self._readings.keep_only(self._standing.sound.keys() | self._standing.marked)
        self._unread &= self._standing.sound.keys()
        again = tuple(self._standing.sound[key] for key in sorted(self._unread))
        due = next_slice(
            (one for one in self._standing.sound.values() if one.key not in self._unread), now, period=period
        )
        state = self._readings.state()
        rests = state is not None and state.started <= now < state.done.rests_until(due.pace) and not due.late
        return replace(due, artifacts=again if rests else (*due.artifacts, *again))

    def _leave(self, state: State) -> None:
        """Leave what this slice came to; where nothing was read, only what could not be."""
        before = self._readings.state()
        if not self._found.read and before is not None:
            state = before
        unread = tuple(sorted(self._unread))
        if self._found.read or unread != (before.unread if before else ()):
            self._readings.leave(state.model_copy(update={"unread": unread}))

    def _verify(self, one: Kept, record: Record | None = None) -> bool:
        """Read one artifact again, and heal it where that is asked; tell whether it could be read."""
        try:
            record = record or self._record(one.key)
            if record is not None:
                self._judge(record)
            self._found.unread = 0
            self._found.read += one.cost
            self._unread.discard(one.key)
        except CancelledError:
            return False
        except BackupError as error:
            self._found.errors.append(error.failure)
            self._found.unread += 1
            self._unread.add(one.key)
            self._tell("unread", key=one.key, reason=error.failure.reason, error=error.failure.error)
            return False
        return True

    def _record(self, key: str) -> Record | None:
        """Return a record; None where it has been deleted. Raise PermanentError where it cannot be read."""
        try:
            return records.parse(self._store.read(record_key(key), LARGEST), key)
        except ValueError as error:
            raise PermanentError(
                Reason.CHECKSUM_MISMATCH,
                f"{self._task.place}: {record_key(key)} cannot be read: {error}",
                "`backup-agent catalog diff` tells more; run the newest agent",
            ) from error
        except PermanentError as error:
            if error.failure.reason is Reason.NOT_FOUND:
                return None
            raise

    def _judge(self, record: Record) -> None:
        key, marked = record.key, record.key in self._standing.marked
        if not (marked and self._task.heal):
            started = time.monotonic()
            try:
                wrong = self._reread(record)
            except BackupError as error:
                if not (self._task.heal and is_bad_block(error)):
                    raise
                self._heal(record)
                return
            if wrong is None:
                self._sound(record, time.monotonic() - started)
                if marked:
                    self._found.warnings.append(
                        f"{key}: as recorded now, and marked as damaged before: "
                        f"`backup-agent verify --heal {shell_word(key)}` takes the mark away, once it is read as "
                        f"recorded again"
                    )
                return
            if self._store.stat(record_key(key)) is None:
                return  # deleted meanwhile
            self._damaged(record, wrong)
        if self._task.heal:
            self._heal(record)

    def _reread(self, record: Record) -> Wrong | None:
        """Read twice before anything is called damaged: what is altered on the way is not altered where it stands."""
        return reread(self._store, record, self._on_bytes) and reread(self._store, record, self._on_bytes)

    def _sound(self, record: Record, seconds: float) -> None:
        now = datetime.now(UTC)
        self._readings.note(record.key, now)
        self._standing.missing.discard(record.key)
        if record.key in self._standing.sound:
            self._standing.sound[record.key] = Kept(record.key, record.size, now)
        self._found.verified += 1
        self._tell("verified", key=record.key, seconds=round(seconds, 3), bytes=record.size)

    def _damaged(self, record: Record, wrong: Wrong) -> None:
        """Mark an artifact, while the place is held. What cannot be marked is told all the same."""
        self._standing.sound.pop(record.key, None)
        self._found.damaged.append(record.key)
        try:
            held = self._hold()
            held.check()
            damages.mark(self._store, record.key, found=wrong.found, file=wrong.file, now=datetime.now(UTC))
        except BackupError as error:
            self._found.errors.append(error.failure)
        if record.key not in self._standing.marked:
            self._tell("damaged", key=record.key, found=wrong.found, file=wrong.file)
        self._standing.marked.add(record.key)

    def _heal(self, record: Record) -> None:
        key = record.key
        if key not in self._found.damaged:
            self._found.damaged.append(key)
        try:
            sources = self._healing.heal(record, self._hold())
        except BackupError as error:
            self._found.errors.append(error.failure)
            self._tell("not_healed", key=key, reason=error.failure.reason, error=error.failure.error)
            return
        now = datetime.now(UTC)
        self._readings.note(key, now)
        self._standing.marked.discard(key)
        self._standing.missing.discard(key)
        self._standing.sound[key] = Kept(key, record.size, now)
        self._found.damaged.remove(key)
        self._found.healed.append(key)
        self._tell("healed", key=key, sources=sources)

    def _hold(self) -> Held:
        """Hold the place from the first thing that is written there to the end of the pass."""
        if self._held is None:
            self._held = self._holding.enter_context(hold_place(self._task.place, self._settings, self._store))
            for notice in self._held.notices:
                self._teller.tell("warning", text="place held", because=notice)
        return self._held

    def _on_bytes(self, count: int) -> None:
        if self._cancel.is_set():
            raise CancelledError
        if self._throttle:
            self._throttle.wait(count)

    @property
    def _given_up(self) -> bool:
        return self._cancel.is_set() or self._found.unread >= ENOUGH_ERRORS

    def _tell(self, event: str, **fields: object) -> None:
        self._teller.tell(event, place=self._task.place, **fields)

    def _tell_result(self, due: Slice, remaining: int) -> None:
        if self._task.place == VOLUME:
            for folder in sorted({key.rpartition("/")[0] for key in (*self._found.damaged, *self._found.healed)}):
                set_name, _, database = folder.partition("/")
                tell_summary(set_name, database, self._settings, self._teller)
        oldest = min((one.verified for one in self._standing.sound.values()), default=None)
        self._teller.tell(
            "result",
            result=self._result().model_dump(mode="json"),
            verified=self._found.verified,
            damaged=len(self._standing.damaged),
            remaining=remaining,
            oldest=None if oldest is None or self._task.artifact is not None else oldest.isoformat(),
            next_seconds=self._next_seconds(due, remaining, datetime.now(UTC)),
        )

    def _result(self) -> PlaceResult:
        found = self._found
        result = PlaceResult(
            outcome=Outcome.SUCCEEDED_WITH_WARNINGS if found.warnings else Outcome.SUCCEEDED,
            verified=found.verified,
            damaged=tuple(found.damaged),
            healed=tuple(found.healed),
            warnings=tuple(found.warnings),
        )
        if self._cancel.is_set():
            return result.failed(Failure(Reason.CANCELLED, f"reading {self._task.place} again was ended"))
        failures = list(found.errors)
        if found.damaged and not self._task.heal:
            text = f"{self._task.place}: not as recorded: {', '.join(found.damaged)}"
            hint = "`backup-agent verify --heal` replaces it by another place's copy; where none is good, take a FULL"
            failures.insert(0, Failure(Reason.CHECKSUM_MISMATCH, text, hint))
        if not failures:
            return result
        first = failures[0]
        return result.failed(Failure(first.reason, "\n".join(one.error for one in failures), first.advice))

    def _next_seconds(self, due: Slice, remaining: int, now: datetime) -> float:
        state = self._readings.state()
        if remaining > len(self._unread):
            return 60.0
        if state is None or self._unread:
            return IDLE.total_seconds()
        return max(60.0, (state.done.rests_until(due.pace) - now).total_seconds())


def main() -> None:
    """Run as a child: the task on stdin, events on stdout."""
    quoting.guard_stderr()
    task = VerifyTask.model_validate_json(first_line())
    hold_lifeline()
    cancel = cancel_on_sigterm()
    settings = Settings.model_validate(task.settings)
    teller = Teller()
    try:
        Verifying(task, settings, opening(settings), teller, cancel).run()
    except BackupError as error:
        teller.tell("result", result=PlaceResult().failed(error.failure).model_dump(mode="json"), oldest=None)


if __name__ == "__main__":
    main()
