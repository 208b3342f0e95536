"""The child process that applies retention at one place: it makes a plan (prune_plan) and carries it out.

The order of a deletion is the reverse of a backup's (invariant 2): an intent on the volume, the record, the data, the
marks. A crash in between leaves orphans that the intent names. The next pass deletes them.
"""

import math
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NamedTuple, Self

from backup_agent import durable, processes
from backup_agent.catalog import evidence, hold_marks, reported_drills, volume_records
from backup_agent.catalog.contents import Contents, of_database, survey
from backup_agent.catalog.holds import holds_at, remove_ended
from backup_agent.catalog.index import forget
from backup_agent.catalog.journal import Doing, Intent
from backup_agent.catalog.pending_evidence import pending_at
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.catalog.tenure import Held
from backup_agent.catalog.unsigned import sign_records, unsigned_at
from backup_agent.core.artifacts.keys import damage_key, database_of, evidence_key, hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.requests.answers import PlaceResult
from backup_agent.core.requests.events import (
    ArtifactDeleted,
    HoldEnded,
    NothingRecorded,
    PassReport,
    StraysFound,
    UnrecognisedFound,
    Warned,
)
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.core.retention.plan import Group, Plan
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.clock_trust import PassClock
from backup_agent.jobs.drill_evidence import DrillEvidence
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.jobs.prune_plan import apply_policy, as_result, claimed, expire_adhoc, with_lagging_records
from backup_agent.jobs.signing_state import tell_signing
from backup_agent.jobs.summaries import tell_summary
from backup_agent.signing.keyring import Keyring

ANNOUNCED = 1000
"""Number of deletions that the audit log announces at a time. It is a multiple of BATCH."""

BATCH = 100
"""Number of artifacts deleted between two checks of the lease and of the time."""


def prune(task: PruneTask, place: Place, writer: EventWriter) -> PlaceResult:
    """Apply retention at one place and return the result. Raise BackupError if nothing may be deleted there."""
    now = datetime.now(UTC)
    trail = AuditTrail(place, writer, request=task.request, claimed=task.requested_by)
    with hold_place(place) as held:
        for notice in held.notices:
            writer.tell(Warned(text="place held", because=notice))
        found = with_lagging_records(survey(place), place)
        tell_strays(found, place, writer)
        if not task.dry_run and DrillEvidence(place, trail, now).take(found):
            found = with_lagging_records(survey(place), place)
        clock = PassClock.of(place, task, found)
        if held.may_delete and not task.dry_run:
            if any(True for _ in place.journal):
                held.confirm()
            finish_interrupted(found, place, held, None if clock.wrong else now, trail)
            put_marks(found, place, held, None if clock.wrong else now, trail)
            sign_later(place, held, trail)
            trail.store_old(held)
            note_first_seen(found, place, now)
        planned = (apply_policy(task, found, place, now), *expire_adhoc(found, place, now))
        result = as_result(planned, place, found)
        if task.plan is not None and task.plan != result.plan:
            raise PermanentError(
                Reason.INVALID_REQUEST,
                f"{place.name}: the plan has changed: it is {result.plan} now, {task.plan} was requested",
                "show it by `backup-agent plan`, then repeat the request with the new id",
            )
        result = result.model_copy(update={"dropped": give_up_owed(task, place, trail)})
        if task.dry_run:
            return result
        clock.keep(place, idle=not result.deletions)
        if not result.deletions:
            return result
        if held.no_deletion is not None:
            raise PermanentError.of(held.no_deletion)
        if clock.wrong is not None:
            raise PermanentError(Reason.CLOCK, f"nothing is deleted: {clock.wrong}")
        done = carry_out(planned, found, place, held, trail, result.plan, seconds=task.seconds)
        changes = {"freed": done.freed, "kept_versions": done.kept_versions or None, "left": done.left or None}
        result = result.model_copy(update={"deleted": done.deleted, **changes})
        return result.failed(done.failure) if done.failure else result


class CarriedOut(NamedTuple):
    """The result of carrying out a plan."""

    deleted: int
    """Number of deleted artifacts."""
    freed: int
    """Number of bytes that became free."""
    kept_versions: int
    """Number of bytes of deleted artifacts that remain at the place as old versions."""
    left: int
    """Number of artifacts left for the next pass, because the time limit was reached."""
    failure: Failure | None
    """The first failure to delete an artifact, or None."""


def carry_out(
    planned: Iterable[Plan],
    found: Contents,
    place: Place,
    held: Held,
    trail: AuditTrail,
    plan: str | None = None,
    *,
    seconds: float | None = None,
) -> CarriedOut:
    """Delete the artifacts of the plans, in order. A failure stops only the deletions of its database.

    Before the first, the audit log says which are meant, and after each batch, which are done.

    After `seconds` the rest is left for the next pass. The order makes it safe to stop at any point.
    """
    until = math.inf if seconds is None else time.monotonic() + seconds
    writer = trail.writer
    deletions = [one for each in planned for one in each.delete]
    count = freed = kept_versions = left = 0
    stuck: dict[Group, Failure | None] = {}
    try:
        for start in range(0, len(deletions), BATCH):
            batch = deletions[start : start + BATCH]
            if count and time.monotonic() >= until:
                left = len(deletions) - start
                break
            if not start % ANNOUNCED:
                announce(place, held, trail, {one.key: str(one) for one in deletions[start : start + ANNOUNCED]}, plan)
            held.confirm()
            forget(place.index, {one.key for one in batch})
            with Concluding(place, trail) as concluding:
                for one in batch:
                    database = database_of(one.key)
                    if database in stuck:  # artifacts must not be deleted before those that need them
                        continue
                    try:
                        deleted = delete(place, held, one.key, found.files[one.key])
                    except PermanentError as error:
                        stuck[database] = error.failure
                        writer.tell(Warned(text="artifact not deleted", because=f"{one.key}: {error.failure.error}"))
                        continue
                    if deleted is Deleted.NOT:
                        stuck[database] = None
                        writer.tell(
                            Warned(text="artifact not deleted", because=f"{one.key}: a hold was set after the plan")
                        )
                        continue
                    count += 1
                    if deleted is Deleted.FREED:
                        freed += one.size
                    else:
                        kept_versions += one.size
                    concluding.add(one.key, deleted, plan=plan)
                    event = ArtifactDeleted(
                        place=place.name,
                        key=one.key,
                        bytes=one.size,
                        reason=str(one),
                        freed=deleted is Deleted.FREED,
                    )
                    writer.tell(event)
    finally:  # also report deletions before a failure
        tell_summaries({database_of(one.key) for one in deletions}, place, writer)
    return CarriedOut(count, freed, kept_versions, left, next(filter(None, stuck.values()), None))


def announce(
    place: Place, held: Held, trail: AuditTrail, deletions: Mapping[str, str], plan: str | None = None
) -> None:
    """Write the intents into the audit log, and store it at the destination, before anything is deleted there.

    `deletions` are keys of artifacts with the reasons. Raise BackupError if that fails: then nothing may be deleted.
    """
    trail.note(
        *(
            AuditLine(
                kind=AuditKind.DELETING,
                place=place.name,
                key=key,
                digest=place.record_notes.digest(key),
                why=why,
                plan=plan,
            )
            for key, why in deletions.items()
        )
    )
    trail.store_all(held)


class Concluding:
    """Writes deletions into the audit log when they are done, and then removes their intents from the journal.

    After a crash in between, the next pass finds the intents, and writes the lines.
    """

    def __init__(self, place: Place, trail: AuditTrail) -> None:
        self._place = place
        self._trail = trail
        self._lines: list[AuditLine] = []

    def add(self, key: str, deleted: "Deleted", *, plan: str | None = None, why: str | None = None) -> None:
        """Add the deletion of an artifact."""
        facts = {} if deleted is Deleted.FREED else {"kept_as_version": True}
        self._lines.append(
            AuditLine(kind=AuditKind.DELETED, place=self._place.name, key=key, plan=plan, why=why, facts=facts)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._trail.note(*self._lines)
        for line in self._lines:
            self._place.journal.done(line.key or "")


class Deleted(Enum):
    """The outcome of a deletion."""

    NOT = auto()
    """It is held; the hold may have been set meanwhile."""
    FREED = auto()
    AS_VERSION = auto()
    """The artifact is deleted, and the place keeps at least one of its files as an old version."""


def delete(place: Place, held: Held, key: str, files: tuple[str, ...], *, also_held: bool = False) -> Deleted:
    """Delete one artifact: intent, record, data, marks. If it is held, nothing is deleted, unless `also_held`.

    The intent stays in the journal: the caller removes it by `Concluding`.

    The lease is checked before each deletion: if the process was suspended, it may have lost the lease, and the object
    may belong to another agent. The check sends no request while the last renewal is recent.
    """
    place.journal.begin(Intent(key=key, doing=Doing.DELETING, files=files, since=datetime.now(UTC)))
    # Check after the intent is written: `hold` writes its mark or note first and then looks for an intent
    # (catalog.holds). A listing may omit a mark.
    if not also_held and hold_marks.is_recognised(place, Keyring(place.settings), key):
        place.journal.done(key)
        return Deleted.NOT
    held.check()
    place.store.delete(record_key(key))
    freed = _delete_data(place, held, key, files, Doing.DELETING)
    return Deleted.FREED if freed else Deleted.AS_VERSION


def _delete_data(place: Place, held: Held, key: str, files: tuple[str, ...], doing: Doing) -> bool:
    """Delete the files that belong to a deleted record; return whether all their space is freed."""
    freed = True
    reported = (reported_drills.reported_key(key),) if reported_drills.notes_at(place).has(key) else ()
    for file in (*reversed(files), damage_key(key), evidence_key(key), *reported, hold_key(key)):
        held.check()
        freed &= place.store.delete(file)
    if place.is_volume:
        # Do this before the intent is removed: otherwise a crash would leave the empty folders of a set.
        place.record_notes.strike(key)
        for folder in ((place.root / key).parent, (place.root / key).parent.parent):
            with suppress(OSError):  # the folder is not empty
                folder.rmdir()
    elif doing is Doing.DELETING and place.record_notes.has(key):
        # Otherwise the note would still say that the copy exists. A record without a note was another program's: the
        # volume may have the artifact of this key, and its copy is still missing.
        place.record_notes.give_up(key)
    place.wanted_holds.strike(key)
    place.claims.strike(key)
    place.strange_holds.strike(key)
    place.damage_notes.strike(key)
    evidence.notes_at(place).strike(key)
    reported_drills.notes_at(place).strike(key)
    pending_at(place).strike(key)
    unsigned_at(place).strike(key)
    return freed


_UNFINISHED = {
    Doing.DELETING: "its deletion was interrupted",
    Doing.PUBLISHING: "its files were written and never recorded",
}


def finish_interrupted(found: Contents, place: Place, held: Held, now: datetime | None, trail: AuditTrail) -> None:
    """Finish deletions that a crash interrupted, and remove files that were never recorded, after their grace period.

    `now` is None if the clock cannot be trusted: then no grace period is over. An intent whose files cannot be removed
    is kept, with a warning.
    """
    ended: set[Group] = set()
    unreadable = {one.artifact for one in found.unreadable}
    grace = place.settings.limits.keep_orphans
    for intent in place.journal:
        if intent.key in unreadable:
            continue
        if intent.key in found.entries or place.store.stat(record_key(intent.key)) is not None:
            # The record exists, even if a lagging listing omits it: the deletion has not begun and is decided again, or
            # the artifact was recorded after all.
            place.journal.done(intent.key)
        elif intent.doing is Doing.DELETING or (now is not None and now - intent.since > grace):
            try:
                freed = _delete_data(place, held, intent.key, intent.files, intent.doing)
            except PermanentError as error:
                trail.writer.tell(Warned(text="artifact not deleted", because=f"{intent.key}: {error.failure.error}"))
                continue
            with Concluding(place, trail) as concluding:
                concluding.add(
                    intent.key, Deleted.FREED if freed else Deleted.AS_VERSION, why=_UNFINISHED[intent.doing]
                )
            ended.add(database_of(intent.key))
    tell_summaries(ended, place, trail.writer)


def put_marks(found: Contents, place: Place, held: Held, now: datetime | None, trail: AuditTrail) -> None:
    """Write the marks of the holds that are wanted at a destination. Remove those of released and ended holds.

    `now` is None if the clock cannot be trusted: then no hold has ended. A mark that cannot be written is tried again
    by the next pass, with a warning. Even without a mark, a wanted hold keeps its artifact.
    """
    over = {key: hold for key, hold in holds_at(place, found.holds).items() if now is not None and hold.ended(now)}
    if place.is_volume and now is not None:
        for key in over:
            _replace(found.holds, key, remove_ended(place, key, now))
    keyring, writer = Keyring(place.settings), trail.writer
    for key, hold in () if place.is_volume else place.wanted_holds:
        held.check()
        try:
            written = _put_mark(found, place, key, None if key in over else hold, keyring, writer)
        except PermanentError as error:
            writer.tell(Warned(text="hold not applied", because=f"{key}: {error.failure.error}"))
            over.pop(key, None)
            continue
        if written and (hold is None or key in over):
            place.wanted_holds.settle(key, hold)
    for key, hold in over.items():
        if key not in found.holds:
            trail.tell(AuditLine(kind=AuditKind.HOLD_ENDED, place=place.name, key=key, why=hold.reason))
            writer.tell(HoldEnded(place=place.name, key=key, because=str(hold)))


def _put_mark(
    found: Contents, place: Place, key: str, hold: Hold | None, keyring: Keyring, writer: EventWriter
) -> bool:
    """Write the mark of one artifact at a destination, or replace one that differs. If `hold` is None, remove the mark.

    Return False if the artifact of a wanted hold has no record.
    """
    mark = found.holds.get(key)
    if hold is not None:
        if key not in found.entries:
            return False
        if mark is not None and mark.model_copy(update={"signature": None}) == hold:
            return True
    if hold is None or mark is not None or any(one.key == hold_key(key) for one in found.unreadable):
        place.store.delete(hold_key(key))
    if hold is not None:
        place.store.create(hold_key(key), keyring.sign(hold).to_json())
        tell_signing(keyring, writer)
    _replace(found.holds, key, hold)
    return True


def _replace(holds: dict[str, Hold], key: str, hold: Hold | None) -> None:
    holds.pop(key, None)
    if hold is not None:
        holds[key] = hold


def sign_later(place: Place, held: Held, trail: AuditTrail) -> None:
    """Sign records at a destination that were written without a signature. A failure leaves them for the next pass."""
    keyring = Keyring(place.settings)
    writer = trail.writer
    try:
        if signed := sign_records(place, held, keyring):
            trail.tell(
                *(
                    AuditLine(kind=AuditKind.RECORD_SIGNED, place=place.name, key=key, digest=digest)
                    for key, digest in signed.items()
                )
            )
            tell_signing(keyring, writer)
    except BackupError as error:
        writer.tell(Warned(text="records not signed", because=f"{place.name}: {error.failure.error}"))


def note_first_seen(found: Contents, place: Place, now: datetime) -> None:
    """Note `now` for each artifact that an unrecognised record or hold keeps for the first time."""
    for keys, notes in ((claimed(found), place.claims), (found.strange_holds, place.strange_holds)):
        for key in keys:
            if notes.first(key) is None:
                notes.note(key, now)


def give_up_owed(task: PruneTask, place: Place, trail: AuditTrail) -> int | None:
    """Give up the missing copies at the destination `task.drop_owed`. Return their number, or None if not requested."""
    if task.drop_owed is None or not place.is_volume:
        return None
    if task.drop_owed not in place.settings.storage.destinations:
        raise PermanentError(Reason.NOT_FOUND, f"no copies are given up: there is no destination {task.drop_owed!r}")
    if task.dry_run:
        return None
    notes = place_of(task.drop_owed, place.settings).record_notes
    count = 0
    for set_name, database in volume_records.databases(place.root):
        if set_name in place.settings.declared_sets:
            owed = [one.key for one in notes.owed(of_database(place, set_name, database).entries.values())]
            trail.note(
                *(
                    AuditLine(kind=AuditKind.COPY_GIVEN_UP, place=task.drop_owed, key=key, why="requested")
                    for key in owed
                )
            )
            for key in owed:
                notes.give_up(key)
            count += len(owed)
    return count


def tell_strays(found: Contents, place: Place, writer: EventWriter) -> None:
    """Report which files at the place have no record or cannot be read, the first ten of each kind."""
    begun = {file for intent in place.journal for file in intent.files}
    writer.tell(
        StraysFound(
            orphans=tuple(one.key for one in found.orphans if one.key in begun)[:10],
            unknown=tuple(one.key for one in found.orphans if one.key not in begun)[:10],
            foreign=tuple(one.key for one in found.foreign)[:10],
            more=found.more_orphans + found.more_foreign,
            unreadable=tuple(str(one) for one in found.unreadable)[:10],
        )
    )
    first = tuple(found.unrecognised)[:10]
    writer.tell(UnrecognisedFound(place=place.name, records=found.number_unrecognised, first=first))


def tell_summaries(databases: Iterable[Group], place: Place, writer: EventWriter) -> None:
    """Report the new summaries of databases on the volume after deletions. For a destination, do nothing."""
    if not place.is_volume:
        return
    for set_name, database in sorted(databases):
        if not tell_summary(set_name, database, place.settings, writer):
            writer.tell(NothingRecorded(set=set_name, database=database))


def perform(task: PruneTask, place: Place, writer: EventWriter, _cancel: threading.Event) -> None:
    """Carry out a task and report its result as the last event. SIGTERM ends the process at once."""
    try:
        result = prune(task, place, writer)
    except BackupError as error:
        result = PlaceResult().failed(error.failure)
    except OSError as error:
        reason = Reason.DISK_FULL if durable.is_full(error) else Reason.STORAGE_UNREACHABLE
        result = PlaceResult().failed(Failure(reason, f"{error.filename or task.place}: {error.strerror}"))
    writer.tell(PassReport(result=result))


def main() -> None:
    """Run as a child process for one task: the task on stdin, events on stdout."""
    task, settings, writer = begin(PruneTask)
    perform(task, place_of(task.place, settings), writer, threading.Event())


if __name__ == "__main__":
    main()
    processes.leave()
