"""Finding what a person names: an artifact, or a restore point of a database, at one place or at the first that has it.

Places where the agent recognises the records are preferred. At a place without notes, such as a copy of a lost volume,
unrecognised records are used, and the result says so.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import Contents, by_database, of_database
from backup_agent.catalog.place import Place, all_places, place_of
from backup_agent.catalog.recognised import read_record
from backup_agent.core.artifacts.chains import histories, history_id
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import is_key, record_key, split_key
from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, SetName, lowered
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.escaping import did_you_mean, first_few, quoted
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.restore.asked import AskedArtifact, AskedDatabase
from backup_agent.core.restore.moments import Moment, in_utc
from backup_agent.core.restore.points import NoPoint, Points, RestorePoint
from backup_agent.settings.model import Settings

Asked = AskedArtifact | AskedDatabase

HEAL = "`backup-agent verify --heal` repairs artifacts from another place"


@dataclass(frozen=True)
class Cut:
    """Where a person wants to cut, and in which set and history of a database."""

    set: SetName = DEFAULT_SET
    before_tx: int | None = None
    history: str | None = None
    """Id of a history (`chains.history_id`); None: the present one."""


@dataclass(frozen=True)
class FoundPoint:
    """A restore point at a place."""

    place: Place
    chain: tuple[Record, ...]
    """In the order of the restore: the full first."""
    point: RestorePoint
    proven: bool
    """Whether the agent recognises every record of the chain."""
    by_cut: bool = False
    """Whether the last artifact continues two fulls, so that only the cut says from which one it is restored."""
    history: str | None = None
    """The history that a person named."""
    remarks: tuple[str, ...] = ()
    """What a person should know: other histories, and newer artifacts that cannot be restored."""


@dataclass(frozen=True)
class FoundHeader:
    """An artifact whose header can be read."""

    place: Place
    record: Record
    proven: bool
    """Whether the agent recognises the record."""
    has_chain: bool = True
    """Whether the artifact can be restored."""


def find_point(settings: Settings, asked: Asked, cut: Cut, *, place: str | None = None) -> FoundPoint:
    """Return a restore point at `place`, or at the first place that has it if `place` is None.

    If no place has it, raise PermanentError with the fault of each place.
    """
    failures: list[Failure] = []
    second: FoundPoint | None = None
    for one in all_places(settings) if place is None else (place_of(place, settings),):
        try:
            found = _point_at(one, asked, cut)
        except BackupError as error:
            failures.append(error.failure)
            continue
        if found.proven and found.point.lacking_since is None:
            return found
        second = second if second is not None and (second.proven or not found.proven) else found
    if second is not None:
        return second
    # The error of a place where the artifact is recorded but cannot be restored is more useful than "not recorded".
    first = next((one for one in failures if one.reason is not Reason.NOT_FOUND), failures[0])
    raise PermanentError(first.reason, "\n".join(one.error for one in failures), first.advice)


def find_artifact(place: Place, asked: AskedArtifact) -> tuple[Contents, str] | None:
    """Return the contents of the artifact's folder, and the artifact's key; None if no such artifact is recorded.

    Artifacts with a recognised record are preferred. Raise PermanentError if the record cannot be read, or if the text
    names several artifacts.
    """
    recognised: list[tuple[Contents, str]] = []
    unrecognised: list[tuple[Contents, str]] = []
    for part in _folders(place, asked.text):
        recognised += [(part, each) for each in part.entries if asked.names(each)]
        unrecognised += [(part, each) for each in part.unrecognised if asked.names(each)]
        for fault in part.unreadable:
            if fault.key == record_key(fault.artifact) and asked.names(fault.artifact):
                raise PermanentError(
                    Reason.UNREADABLE, f"the record cannot be read: {fault}", f"check the health of {place.name}"
                )
    found = recognised or unrecognised
    if len(found) > 1:
        raise ambiguous(asked.text, [each for _, each in found])
    return found[0] if found else None


def ambiguous(text: str, keys: Collection[str]) -> PermanentError:
    """Return the error for a text that names several artifacts."""
    return PermanentError(
        Reason.INVALID_REQUEST, f"{quoted(text)} names several artifacts: {first_few(keys)}", "give the whole key"
    )


def _folders(place: Place, text: str) -> Iterator[Contents]:
    key = text.removeprefix(f"{place.root}/")
    return by_database(place, sets={split_key(key).set} if is_key(key) else None, writes=False, read_all=True)


def read_any_record(place: Place, key: str) -> Record:
    """Return an artifact's record, even if not recognised. Raise BackupError if it is unreadable or was replaced."""
    if place.record_notes.has(key):
        return read_record(place, key)
    try:
        return volume_records.parse(place.store.read(record_key(key), LARGEST), key)
    except ValueError as error:
        text = f"{place.name}: {record_key(key)} cannot be read: {error}"
        raise PermanentError(Reason.UNREADABLE, text, "check the health of that place") from None


def find_header(settings: Settings, asked: Asked, cut: Cut, *, place: str | None = None) -> FoundHeader:
    """Return the last artifact of a restore point. Without a restore point, return the newest complete artifact.

    A header needs no chain. With a moment or a transaction there must be a restore point. If no place has an artifact,
    raise PermanentError as `find_point` does.
    """
    try:
        found = find_point(settings, asked, cut, place=place)
    except BackupError:
        if cut.before_tx is not None or (isinstance(asked, AskedDatabase) and asked.moment is not None):
            raise
        for one in all_places(settings) if place is None else (place_of(place, settings),):
            with suppress(BackupError):
                if (alone := _whole_artifact(one, asked, cut)) is not None:
                    return alone
        raise
    return FoundHeader(found.place, found.chain[-1], found.proven)


def _whole_artifact(place: Place, asked: Asked, cut: Cut) -> FoundHeader | None:
    seen = _look(place, asked, cut)
    for entry in sorted(seen.members, key=lambda entry: entry.taken, reverse=True):
        if entry.key not in seen.damaged and seen.key in (None, entry.key):
            record = read_any_record(place, entry.key)
            return FoundHeader(place, record, proven=entry.key in seen.folder.entries, has_chain=False)
    return None


@dataclass(frozen=True)
class _DatabaseThere:
    """What a place has of a database."""

    folder: Contents
    key: str | None
    """The artifact that a person named, if one."""
    usable: list[Entry]
    """The artifacts from which may be restored: the recognised ones, or all if none is recognised."""
    members: tuple[Entry, ...]
    """Those of the history that is asked for."""
    damaged: frozenset[str]


def _look(place: Place, asked: Asked, cut: Cut) -> _DatabaseThere:
    folder, key = _folder_of(place, asked, cut)
    usable = list(folder.entries.values())
    if key in folder.unrecognised or not usable:
        usable += [one.entry for one in folder.unrecognised.values() if one.entry is not None]
    damaged = {*folder.unsound, *(one.artifact for one in folder.unrecognised.values() if one.fault)}
    return _DatabaseThere(folder, key, usable, _history(place, usable, key, cut), frozenset(damaged))


def _point_at(place: Place, asked: Asked, cut: Cut) -> FoundPoint:
    """Return a restore point at one place. Raise BackupError if it has none."""
    seen = _look(place, asked, cut)
    folder, key, members = seen.folder, seen.key, seen.members

    @cache
    def record(key: str) -> Record:
        return read_any_record(place, key)

    points = Points(
        members,
        seen.damaged,
        started=lambda entry: record(entry.key).started,
        last_tx=lambda entry: record(entry.key).last_committed_tx,
        offset=lambda entry: timedelta(seconds=record(entry.key).clock_offset or 0),
    )
    found = _choose(points, asked, key, cut)
    if not isinstance(found, RestorePoint):
        raise _no_point(place, folder, points, key, found)
    older = [group for group in histories(seen.usable) if group != members]
    remarks = [
        f"the artifacts are those of the history {history_id(members[0])}. Another one is {history_id(group[0])}, "
        f"{in_utc(group[0].taken)} to {in_utc(group[-1].taken)}: --history selects it"
        for group in older
    ]
    if key is None and found == points.newest():
        remarks += [
            f"{entry.key} is newer and cannot be restored from here: {folder.fault(entry.key)}. {HEAL}"
            for entry in members
            if entry.taken > found.last.taken and not entry.empty
        ]
    shortest = points.of(found.last.key)
    by_cut = shortest is not None and shortest.way != found.way
    if shortest is not None and by_cut:
        remarks.append(
            f"{found.last.key} also continues {shortest.way[0].key}, from which this point cannot be reached: it must "
            f"be restored from {found.way[0].key}. Neo4j may choose the other one: put only {found.way[0].key} and the "
            "differentials into the folder from which it reads"
        )
    proven = all(entry.key in folder.entries for entry in found.way)
    return FoundPoint(
        place=place,
        chain=tuple(record(entry.key) for entry in found.way),
        point=found,
        proven=proven,
        by_cut=by_cut,
        history=cut.history,
        remarks=tuple(remarks),
    )


def _choose(points: Points, asked: Asked, key: str | None, cut: Cut) -> RestorePoint | NoPoint | None:
    if key is not None:
        return points.of(key)
    if cut.before_tx is not None:
        return points.before(cut.before_tx)
    moment: Moment | None = asked.moment if isinstance(asked, AskedDatabase) else None
    return points.at(moment.at) if moment is not None else points.newest()


def _folder_of(place: Place, asked: Asked, cut: Cut) -> tuple[Contents, str | None]:
    """Return the contents of a database's folder, and the artifact that is named, if one is."""
    if isinstance(asked, AskedDatabase):
        folder = of_database(place, cut.set, lowered(asked.database), read_all=True)
        if folder.entries or folder.unrecognised or folder.unreadable:
            return folder, None
        if asked.artifact is None:
            raise PermanentError(
                Reason.NOT_FOUND,
                f"{place.name}: no artifact of {asked.database} is recorded in the set {cut.set}"
                + did_you_mean(asked.database, _databases(place, cut.set)),
                "`backup-agent list` shows what is on the volume; --set names another set",
            )
        asked = asked.artifact
    found = find_artifact(place, asked)
    if found is None:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{place.name}: no artifact {quoted(asked.text)} is recorded there",
            "`backup-agent list` shows what is on the volume",
        )
    return found


def _databases(place: Place, set_name: SetName) -> set[DatabaseName]:
    """Return the databases of a set that have a recognised record at a place."""
    listed = by_database(place, sets={set_name}, writes=False)
    return {entry.database for contents in listed for entry in contents.entries.values()}


def _history(place: Place, entries: list[Entry], key: str | None, cut: Cut) -> tuple[Entry, ...]:
    """Return the artifacts of the history that is asked for: that of the artifact, or the present one."""
    groups = histories(entries)
    if key is not None:
        return next((group for group in groups if any(entry.key == key for entry in group)), ())
    if cut.history is None:
        return groups[-1] if groups else ()
    found = next((group for group in groups if history_id(group[0]) == cut.history), None)
    if found is None:
        known = ", ".join(history_id(group[0]) for group in groups)
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{place.name}: there is no history {quoted(cut.history)} of this database",
            f"there are: {known}" if known else "",
        )
    return found


def _window(points: Points) -> str:
    """Return the moments that can be restored, as the end of a sentence."""
    window = points.window()
    if window is None:
        return ""
    return f"; moments from {in_utc(window[0])} to {in_utc(window[1])} can be restored, except inside a full"


def _no_point(place: Place, folder: Contents, points: Points, key: str | None, found: NoPoint | None) -> PermanentError:
    """Return the error for a moment or an artifact that cannot be restored from a place."""
    newest = points.newest()
    other = f"the newest restore point there is {newest.last.key}" if newest else "no other artifact there can be"
    if isinstance(found, NoPoint):
        near = [f"{entry.key} ({in_utc(entry.taken)})" for entry in (found.before, found.after) if entry is not None]
        nearest = f"; the nearest restore points are {' and '.join(near)}" if near else ""
        return PermanentError(
            Reason.NOT_FOUND if not near else Reason.INVALID_REQUEST,
            f"{place.name}: it cannot be restored to that point: {found.why}{nearest}{_window(points)}",
            "name one of these artifacts instead, or another moment" if near else HEAL,
        )
    if key is None:
        return PermanentError(
            Reason.CHAIN_BROKEN, f"{place.name}: no artifact of this database can be restored from there", HEAL
        )
    fault = folder.fault(key)
    if key in folder.gaps:
        fault = folder.gaps[key].text
    return PermanentError(
        Reason.CHAIN_BROKEN,
        f"{place.name}: {key} cannot be restored from there: a part of its chain is missing or damaged: {fault}",
        f"{other}; {HEAL}" if newest else f"{HEAL}; {other}",
    )
