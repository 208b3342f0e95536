"""Applying retention at one place: a child, which plans, and carries out exactly that plan.

The order of a deletion is the reverse of a backup's (invariant 2): an intent on the volume, the record, the data, the
marks. What a crash cuts off there is an orphan of the agent's own, which the intent names, and the next pass ends it.
"""

import hashlib
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Self

from backup_agent import durable
from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import Contents, Unreadable, survey
from backup_agent.catalog.index import forget
from backup_agent.catalog.journal import Doing, Intent
from backup_agent.catalog.place import OWN, Place, destinations, place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.catalog.set_uses import uses
from backup_agent.catalog.tenure import Held
from backup_agent.core.artifacts.keys import artifact_of, damage_key, hold_key, record_key
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.requests.answers import Deletion, Outcome, PlaceResult
from backup_agent.core.requests.events import ArtifactDeleted, NothingRecorded, PassReport, StraysFound, Warned
from backup_agent.core.requests.schedules import expected_interval
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.core.retention.clock import BOOT_ID, SHOWN_SECONDS, ClockReading, ClockSighting, Gap, Shown, distrust
from backup_agent.core.retention.plan import Plan, expired_sets, plan
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.jobs.summaries import tell_summary
from backup_agent.stores.store import Store

BATCH = 100
"""Artifacts deleted between two looks at the lease, and at the time."""

SHOWN = 1000
"""Deletions that an answer repeats."""

NAMED = 20
"""Records that cannot be read, named in an answer."""


@dataclass(frozen=True)
class Clock:
    """The clock of this machine, and whether it can be trusted with deleting."""

    reading: ClockReading
    before: ClockReading | None
    """That of the pass before."""
    shown: dict[str, Shown]
    """What the destinations' clocks showed, this one's just now: the volume has none of its own."""
    reference: datetime | None
    """What another clock shows now, if one is known."""
    wrong: Failure | None
    """Why nothing may be deleted by it."""

    @classmethod
    def of(cls, place: Place, task: PruneTask, found: Contents) -> Self:
        """Hold it against the other clocks, and against what it showed in the pass before."""
        now, monotonic = datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME)
        reading = ClockReading(now=now, monotonic=monotonic, boot=Path(BOOT_ID).read_text().strip())
        last = None
        with suppress(OSError, ValueError):
            last = ClockSighting.model_validate_json(durable.read(cls._file(place)))
        known = last.shown if last and last.reading.boot == reading.boot else {}
        shown = {name: one for name, one in known.items() if monotonic - one.monotonic < SHOWN_SECONDS}
        if (told := place.store.now()) is not None:
            shown[place.name] = Shown(now=told, monotonic=monotonic)
        references = {f"{name}'s clock": one.by(monotonic) for name, one in shown.items()}
        if task.server_clock is not None:
            references["datetime() of the server"] = task.server_clock.by(monotonic)
        before = last.reading if last else None
        wrong = distrust(reading, references, last=before, gaps=_gaps(found, place, now))
        return cls(reading, before, shown, next(iter(references.values()), None), wrong)

    def keep(self, place: Place, *, idle: bool) -> None:
        """Let the next pass compare with this one.

        A reading that is not trusted is not kept, or the next pass would find no jump: instead of it the other clock's
        is, if one is known. A pass that has nothing to delete leaves it to the next to say that the clock was set.
        """
        reading = self.reading
        if self.wrong and self.before and (idle or self.reference is None):
            reading = self.before
        elif self.wrong and self.reference is not None:
            reading = self.reading.model_copy(update={"now": self.reference})
        with suppress(OSError):  # a full volume must not hinder what frees it
            durable.write(
                self._file(place), ClockSighting(reading=reading, shown=self.shown).model_dump_json().encode()
            )

    @staticmethod
    def _file(place: Place) -> Path:
        return place.root / OWN / "clock.json"


def prune(task: PruneTask, place: Place, teller: EventWriter) -> PlaceResult:
    """Apply retention at one place, in the order that is safe; raise BackupError where nothing may be deleted."""
    now = datetime.now(UTC)
    with hold_place(place) as held:
        for notice in held.notices:
            teller.tell(Warned(text="place held", because=notice))
        found = with_what_lags(survey(place.store, place.index), place.store)
        tell_strays(found, place, teller)
        clock = Clock.of(place, task, found)
        if held.may_delete and not task.dry_run:
            if any(True for _ in place.journal):
                held.confirm()
            end_what_was_begun(found, place, held, None if clock.wrong else now, teller)
            put_marks(found, place, held, teller)
        planned = (apply_policy(task, found, place, now), *expire_adhoc(found, place, now))
        result = told_of(planned, place, found)
        if task.plan is not None and task.plan != result.plan:
            raise PermanentError(
                Reason.INVALID_REQUEST,
                f"{place.name}: the plan is {result.plan} now, not {task.plan} as it was looked at",
                "look at it again by `backup-agent plan`, then ask for that one",
            )
        result = result.model_copy(update={"dropped": give_up_owed(task, place)})
        if task.dry_run:
            return result
        clock.keep(place, idle=not result.deletions)
        if not result.deletions:
            return result
        failure = held.no_deletion or clock.wrong
        if failure is not None:
            raise PermanentError(failure.reason, failure.error, failure.hint)
        done = carry_out(planned, found, place, held, teller, seconds=task.seconds)
        result = result.model_copy(update={"deleted": done.deleted, "freed": done.freed, "left": done.left or None})
        return result.failed(done.failure) if done.failure else result


def with_what_lags(found: Contents, store: Store) -> Contents:
    """Return what stands there with the records that a listing has not shown yet, though it has shown their data.

    They count as unreadable: nothing of their databases goes, or a full might go before what continues it.
    """
    hidden = [
        Unreadable(record_key(artifact), artifact, "it stands there, and the listing does not show it yet")
        for artifact in sorted({artifact_of(one.key) for one in found.orphans} - found.entries.keys())
        if store.stat(record_key(artifact)) is not None
    ]
    return replace(found, unreadable=(*found.unreadable, *hidden)) if hidden else found


def apply_policy(task: PruneTask, found: Contents, place: Place, now: datetime) -> Plan:
    """Return the plan for the sets that are kept for good; at a destination those are all."""
    declared = place.settings.declared_sets
    return plan(
        [one for one in found.entries.values() if not place.is_volume or one.set in declared],
        place.policy,
        now,
        held=_held(found, place),
        damaged=_unsound(found),
        unreadable=_left_alone(found),
        owed=_owed(found, place, given_up=task.drop_owed),
        forgotten=task.forgotten,
        force=task.force,
    )


def expire_adhoc(found: Contents, place: Place, now: datetime) -> tuple[Plan, ...]:
    """Return the plan for the ad hoc sets, which stand on the volume alone."""
    if not place.is_volume:
        return ()
    settings = place.settings
    return (
        expired_sets(
            found.entries.values(),
            settings.declared_sets,
            settings.limits.keep_adhoc,
            now,
            used=_used(found, place, now),
            held=_held(found, place),
            damaged=_unsound(found),
            unreadable=_left_alone(found),
        ),
    )


def told_of(planned: Iterable[Plan], place: Place, found: Contents) -> PlaceResult:
    """Return what the plans come to, as an answer shows it: refused sets make it fail, and nothing of them goes."""
    plans = tuple(planned)
    deletions = [one for each in plans for one in each.delete]
    digest = hashlib.sha256("\n".join((place.name, *(one.key for one in deletions))).encode()).hexdigest()[:16]
    refused = [str(one) for each in plans for one in each.refused]
    warnings = [f"{key}: taken in the future, and kept" for each in plans for key in each.future]
    warnings += [f"{one}; nothing of {one.artifact.rpartition('/')[0]} goes" for one in found.unreadable[:NAMED]]
    result = PlaceResult(
        outcome=Outcome.SUCCEEDED_WITH_WARNINGS if warnings else Outcome.SUCCEEDED,
        plan=digest,
        kept=sum(len(each.keep) for each in plans),
        deletions=tuple(Deletion(key=one.key, size=one.size, reason=str(one)) for one in deletions[:SHOWN]),
        warnings=tuple(warnings),
    )
    if not refused:
        return result
    hint = (
        "look at the policy, and at what would go by `backup-agent plan --force` with --place; "
        "`backup-agent prune --force --plan ID` does it all the same"
    )
    return result.failed(Failure(Reason.INVALID_REQUEST, "\n".join(refused), hint))


class Carried(NamedTuple):
    """What came of a plan."""

    deleted: int
    """Artifacts."""
    freed: int
    """Bytes."""
    left: int
    """Artifacts for the next pass, since the time was over."""
    failure: Failure | None
    """Why something could not be deleted that should have been."""


def carry_out(
    planned: Iterable[Plan],
    found: Contents,
    place: Place,
    held: Held,
    teller: EventWriter,
    *,
    seconds: float | None = None,
) -> Carried:
    """Delete what the plans say, in their order; a database of which something cannot be deleted stops no other.

    After `seconds` the rest is left: the order is safe wherever it is cut short.
    """
    until = math.inf if seconds is None else time.monotonic() + seconds
    deletions = [one for each in planned for one in each.delete]
    count = freed = left = 0
    stuck: dict[str, Failure | None] = {}
    try:
        for start in range(0, len(deletions), BATCH):
            batch = deletions[start : start + BATCH]
            if count and time.monotonic() >= until:
                left = len(deletions) - start
                break
            held.confirm()
            forget(place.index, {one.key for one in batch})
            for one in batch:
                folder = one.key.rpartition("/")[0]
                if folder in stuck:  # what it needs must not go before it
                    continue
                try:
                    deleted = delete(place, held, one.key, found.files[one.key])
                except PermanentError as error:
                    stuck[folder] = error.failure
                    teller.tell(Warned(text="artifact not deleted", because=f"{one.key}: {error.failure.error}"))
                    continue
                if not deleted:
                    stuck[folder] = None
                    teller.tell(Warned(text="artifact not deleted", because=f"{one.key}: held since it was planned"))
                    continue
                count, freed = count + 1, freed + one.size
                teller.tell(ArtifactDeleted(place=place.name, key=one.key, bytes=one.size, reason=str(one)))
    finally:  # also of what was deleted before something failed
        tell_summaries({tuple(one.key.split("/")[:2]) for one in deletions}, place, teller)
    return Carried(count, freed, left, next(filter(None, stuck.values()), None))


def delete(place: Place, held: Held, key: str, files: tuple[str, ...]) -> bool:
    """Delete one artifact: intent, record, data, marks. Tell whether: not where it has been held meanwhile.

    The lease is looked after before each: a process that was stopped in between may have lost it, and what it would
    delete may be another agent's by then. Costs nothing while the last renewal is young.
    """
    place.journal.begin(Intent(key=key, doing=Doing.DELETING, files=files, since=datetime.now(UTC)))
    # After the intent: who holds an artifact looks for one after he has put his mark (catalog.holds).
    if held_now(place, key):
        place.journal.done(key)
        return False
    held.check()
    place.store.delete(record_key(key))
    _delete_data(place, held, key, files, Doing.DELETING)
    return True


def held_now(place: Place, key: str) -> bool:
    """Tell whether somebody holds an artifact: by a mark, which a listing may not have shown, or by a wish."""
    if not place.is_volume and place.wanted_holds.wants(key):
        return True
    return place.store.stat(hold_key(key)) is not None


def _delete_data(place: Place, held: Held, key: str, files: tuple[str, ...], doing: Doing) -> None:
    for file in (*reversed(files), damage_key(key), hold_key(key)):
        held.check()
        place.store.delete(file)
    if place.is_volume:
        # Before the intent goes: else a crash would leave the empty folders of a set for ever.
        for folder in ((place.root / key).parent, (place.root / key).parent.parent):
            with suppress(OSError):  # something else lies in it
                folder.rmdir()
    elif doing is Doing.DELETING:
        # Else the note would go on saying that a copy is there, to be held or restored from.
        place.copy_notes.give_up(key)
    place.journal.done(key)


def end_what_was_begun(found: Contents, place: Place, held: Held, now: datetime | None, teller: EventWriter) -> None:
    """End the deletions that a crash has cut off, and remove what was never recorded, past its grace period.

    Without a `now` that can be trusted no grace period is over. What cannot be removed stays begun, and is told.
    """
    ended: set[tuple[str, ...]] = set()
    unreadable = {one.artifact for one in found.unreadable}
    grace = place.settings.limits.keep_orphans
    for intent in place.journal:
        if intent.key in unreadable:
            continue
        if intent.key in found.entries or place.store.stat(record_key(intent.key)) is not None:
            # Its record stands, even where a listing that lags does not show it: the deletion never began, and is
            # decided anew; or the artifact was recorded after all.
            place.journal.done(intent.key)
        elif intent.doing is Doing.DELETING or (now is not None and now - intent.since > grace):
            try:
                _delete_data(place, held, intent.key, intent.files, intent.doing)
            except PermanentError as error:
                teller.tell(Warned(text="artifact not deleted", because=f"{intent.key}: {error.failure.error}"))
                continue
            ended.add(tuple(intent.key.split("/")[:2]))
    tell_summaries(ended, place, teller)


def put_marks(found: Contents, place: Place, held: Held, teller: EventWriter) -> None:
    """Put the holds that are wanted at a destination beside their artifacts, and take away those that are not.

    One that cannot be put stays wanted, which keeps its artifact all the same, and is told.
    """
    if place.is_volume:
        return
    wanted = place.wanted_holds
    for key, hold in wanted:
        held.check()
        try:
            if hold is None:
                place.store.delete(hold_key(key))
                found.holds.pop(key, None)
            elif key not in found.entries:
                continue
            elif key not in found.holds:
                place.store.create(hold_key(key), hold.to_json())
                found.holds[key] = hold
        except PermanentError as error:
            teller.tell(Warned(text="hold not settled", because=f"{key}: {error.failure.error}"))
            continue
        wanted.settle(key, hold)


def give_up_owed(task: PruneTask, place: Place) -> int | None:
    """Give up the copies that are owed to a destination, because somebody said so; return how many."""
    if task.drop_owed is None or not place.is_volume:
        return None
    if task.drop_owed not in place.settings.storage.destinations:
        raise PermanentError(Reason.NOT_FOUND, f"drop_owed: there is no destination {task.drop_owed!r}")
    if task.dry_run:
        return None
    notes = place_of(task.drop_owed, place.settings).copy_notes
    count = 0
    for set_name, database in volume_records.databases(place.root):
        if set_name in place.settings.declared_sets:
            for record in notes.owed(volume_records.of_database(place.root, set_name, database).records):
                notes.give_up(record.key)
                count += 1
    return count


def tell_strays(found: Contents, place: Place, teller: EventWriter) -> None:
    """Tell what does not fit."""
    begun = {file for intent in place.journal for file in intent.files}
    teller.tell(
        StraysFound(
            orphans=tuple(one.key for one in found.orphans if one.key in begun)[:10],
            unknown=tuple(one.key for one in found.orphans if one.key not in begun)[:10],
            foreign=tuple(one.key for one in found.foreign)[:10],
            unreadable=tuple(str(one) for one in found.unreadable)[:10],
        )
    )


def tell_summaries(folders: Iterable[tuple[str, ...]], place: Place, teller: EventWriter) -> None:
    """Tell what stands on the volume now of each database that lost something."""
    if not place.is_volume:
        return
    for set_name, database in sorted(folders):
        if not tell_summary(set_name, database, place.settings, teller):
            teller.tell(NothingRecorded(set=set_name, database=database))


def _held(found: Contents, place: Place) -> set[str]:
    """Return what is held: here, and where a hold is wanted that is not here yet."""
    held = set(found.holds) | {one.artifact for one in found.unreadable if one.key == hold_key(one.artifact)}
    if not place.is_volume:
        held |= {key for key, hold in place.wanted_holds if hold is not None}
    return held


def _unsound(found: Contents) -> set[str]:
    return {*found.damages, *found.without_artifact}


def _left_alone(found: Contents) -> set[tuple[str, str]]:
    """Return the databases of which something cannot be read: a newer agent may know better what they need."""
    return {(set_name, database) for one in found.unreadable for set_name, database, *_ in [one.artifact.split("/")]}


def _owed(found: Contents, place: Place, *, given_up: str | None = None) -> set[str]:
    """Return what is kept because a copy of it is owed to a destination, but for the one whose copies are given up."""
    if not place.is_volume:
        return set()
    kept = [one for one in found.entries.values() if one.set in place.settings.declared_sets]
    return {
        one.key
        for destination in destinations(place.settings)
        if destination.name != given_up
        for one in destination.copy_notes.owed(kept)
    }


def _used(found: Contents, place: Place, now: datetime) -> dict[str, datetime]:
    """Return when each ad hoc set was last asked for, as far as that is known."""
    noted = uses(place.root, now)
    sets = {one.set for one in found.entries.values()} - place.settings.declared_sets
    return {name: at for name in sets if (at := noted.of(name)) is not None}


def _gaps(found: Contents, place: Place, now: datetime) -> Iterator[Gap]:
    """Yield the time between the two newest points of each database whose set has a schedule."""
    expected: dict[str, timedelta] = {}
    for timetable_name, timetable in place.settings.timetables().items():
        path = place.settings.schedules[timetable_name].path
        interval = expected_interval(timetable.cron, now)
        expected[path] = min(expected.get(path, interval), interval)
    taken: dict[tuple[str, str], list[datetime]] = {}
    for one in found.entries.values():
        taken.setdefault((one.set, one.database), []).append(one.taken)
    for (set_name, database), moments in taken.items():
        if set_name in expected and len(moments) > 1:
            before, newest = sorted(moments)[-2:]
            yield Gap(f"{set_name}/{database}", before, newest, expected[set_name])


def main() -> None:
    """Run as a child: the task on stdin, events on stdout, the result the last of them."""
    task, settings, teller = begin(PruneTask)
    try:
        result = prune(task, place_of(task.place, settings), teller)
    except BackupError as error:
        result = PlaceResult().failed(error.failure)
    except OSError as error:
        reason = Reason.DISK_FULL if durable.is_full(error) else Reason.STORAGE_UNREACHABLE
        result = PlaceResult().failed(Failure(reason, f"{error.filename or task.place}: {error.strerror}"))
    teller.tell(PassReport(result=result))


if __name__ == "__main__":
    main()
