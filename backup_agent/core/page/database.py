"""One database on the status page: its restore points, the times that can be restored, and what is deleted next."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from backup_agent.core.artifacts.chains import Ancestry, chains, histories, history_id
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.escaping import shortened
from backup_agent.core.page.timeline import Marks, Stretch
from backup_agent.core.quantities import age, counted, minute, size
from backup_agent.core.retention.plan import plan
from backup_agent.core.retention.policy import Policy

LONGEST_NOTE = 120
"""Largest number of characters of a fault or a reason in a note."""


@dataclass(frozen=True)
class StoredArtifacts:
    """The artifacts of one database in one set at one place."""

    place: PlaceName
    entries: Sequence[Entry]
    unsound: Mapping[str, str] = field(default_factory=dict)
    """Key of a damaged or missing artifact -> its fault."""
    holds: Mapping[str, Hold] = field(default_factory=dict)
    owed: Sequence[str] = ()
    """Keys of artifacts on the volume whose copies are missing at this destination."""
    policy: Policy | None = None
    """The retention rules; None if nothing of the database is deleted here by rules."""


class PointRow(NamedTuple):
    """One artifact in the list of a database."""

    taken: str
    type: str
    size: str
    notes: str
    command: str
    """The command that prints the plan of its restore; empty if it cannot be restored."""


class ComingBackup(NamedTuple):
    """The next run of a schedule that backs up a database."""

    at: datetime
    schedule: str
    full: bool


class NextDeletion(NamedTuple):
    """What retention deletes of a database at a place next."""

    place: PlaceName
    key: str
    """The first artifact that is deleted."""
    artifacts: int
    size: int
    why: str
    after: ComingBackup | None
    """The backup after which it is deleted; None: the next pass deletes it."""


@dataclass(frozen=True)
class DatabasePoints:
    """The restore points of one database in one set."""

    set: SetName
    database: DatabaseName
    summary: str
    """How many restore points there are, and when they were taken."""
    window: str
    """Which moments between them can be restored."""
    rows: tuple[PointRow, ...]
    """The newest artifacts, the newest first."""
    older: int
    """Number of older artifacts, which have no row."""
    marks: Marks
    oldest: datetime | None
    """Time of the oldest artifact."""
    deletions: tuple[NextDeletion, ...]

    @property
    def caption(self) -> str:
        """What the list is about."""
        artifacts = "1 artifact" if len(self.rows) == 1 else f"{len(self.rows)} artifacts, the newest first"
        return f"{artifacts}, with the command for each restore"


def points_of(
    set_name: SetName,
    database: DatabaseName,
    stored: Sequence[StoredArtifacts],
    drills: Sequence[DatabaseDrills],
    now: datetime,
    *,
    most: int,
    command: Callable[[str], str],
    coming: Sequence[ComingBackup] = (),
    late_since: datetime | None = None,
) -> DatabasePoints:
    """Return the restore points of a database at all places, with at most `most` rows.

    `stored` has the volume first. `command` returns the command for a key, and `coming` has the
    next runs of the schedules of the database.
    """
    at: dict[str, list[PlaceName]] = {}
    entries: dict[str, Entry] = {}
    restorable: set[str] = set()
    stretches: list[Stretch] = []
    for one in stored:
        restorable |= Ancestry(one.entries, one.unsound).roots.keys()
        for entry in one.entries:
            at.setdefault(entry.key, []).append(one.place)
            entries.setdefault(entry.key, entry)
        stretches += _stretches(one)
    ordered = sorted(entries.values(), key=lambda entry: (entry.taken, entry.key), reverse=True)
    stretches = _merged(stretches)
    notes = _Notes(stored, drills, at, restorable, ordered)
    unsound = {key for one in stored for key in one.unsound}
    drilled = {one.last_done.key for one in drills if one.last_done is not None}
    return DatabasePoints(
        set=set_name,
        database=database,
        summary=_summary([entry for entry in ordered if entry.key in restorable], len(ordered)),
        window=_window(stretches),
        rows=tuple(
            PointRow(
                minute(entry.taken),
                BackupType.FULL.value if entry.full else BackupType.DIFF.value,
                size(entry.size),
                "; ".join(notes.of(entry, now)),
                command(entry.key) if entry.key in restorable else "",
            )
            for entry in ordered[:most]
        ),
        older=max(0, len(ordered) - most),
        marks=Marks(
            stretches=tuple(stretches),
            fulls=tuple(entry.taken for entry in ordered if entry.full and entry.key in restorable),
            differentials=tuple(entry.taken for entry in ordered if not entry.full and entry.key in restorable),
            broken=tuple(entry.taken for entry in ordered if entry.key not in restorable or entry.key in unsound),
            held=tuple(entry.taken for entry in ordered if notes.hold(entry.key, now) is not None),
            drilled=tuple(entry.taken for entry in ordered if entry.key in drilled),
            late_since=late_since,
        ),
        oldest=ordered[-1].taken if ordered else None,
        deletions=tuple(found for one in stored if (found := _next_deletion(one, stored, coming, now)) is not None),
    )


class _Notes:
    """The notes on single artifacts."""

    def __init__(
        self,
        stored: Sequence[StoredArtifacts],
        drills: Iterable[DatabaseDrills],
        at: Mapping[str, Sequence[PlaceName]],
        restorable: set[str],
        ordered: Sequence[Entry],
    ) -> None:
        self._stored = stored
        self._at = at
        self._restorable = restorable
        self._drills = [one for one in drills if one.last_done is not None]
        past = histories(ordered)[:-1] if ordered else ()
        self._earlier = {entry.key: history_id(entry) for history in past for entry in history}

    def of(self, entry: Entry, now: datetime) -> Iterator[str]:
        """Yield the notes on an artifact, the most important first."""
        key = entry.key
        faults = [
            f"at {one.place}: {shortened(one.unsound[key], LONGEST_NOTE)}" for one in self._stored if key in one.unsound
        ]
        yield from faults
        if key not in self._restorable and not faults:
            yield "cannot be restored: a part of its chain is missing or damaged"
        yield from self._of_copies(key)
        if (hold := self.hold(key, now)) is not None:
            yield f"{hold}: {shortened(hold.reason, LONGEST_NOTE)}"
        for drills in self._drills:
            if (last := drills.last_done) is not None and last.key == key:
                outcome = "passed" if last.outcome is DrillOutcome.PASSED else last.outcome.value.replace("_", " ")
                yield f"drill {last.level.value} {outcome} {minute(last.at)} UTC at {drills.place}"
        if key in self._earlier:
            yield f"earlier history {self._earlier[key]}"

    def hold(self, key: str, now: datetime) -> Hold | None:
        """Return a hold that keeps an artifact at some place."""
        holds = (one.holds[key] for one in self._stored if key in one.holds)
        return next((hold for hold in holds if not hold.ended(now)), None)

    def _of_copies(self, key: str) -> Iterator[str]:
        if VOLUME not in self._at[key]:
            yield f"at {', '.join(self._at[key])} only"
        for one in self._stored:
            if key in one.owed:
                yield f"copy missing at {one.place}"


def _stretches(one: StoredArtifacts) -> Iterator[Stretch]:
    """Yield the time that each chain covers: from the end of its full to its last differential."""
    for chain in chains(entry for entry in one.entries if entry.key not in one.unsound):
        if differentials := (*chain.links, *chain.empty):
            yield Stretch(chain.full.finished, max(entry.taken for entry in differentials))


def _merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return the same times without overlaps, the oldest first."""
    found: list[Stretch] = []
    for one in sorted(stretches):
        if found and one.begin <= found[-1].end:
            found[-1] = Stretch(found[-1].begin, max(found[-1].end, one.end))
        else:
            found.append(one)
    return found


def _summary(points: Sequence[Entry], artifacts: int) -> str:
    if not points:
        return "No restore point." if not artifacts else f"No restore point: {artifacts} artifacts cannot be restored."
    fulls = sum(point.full for point in points)
    kinds = f"{fulls} FULL, {len(points) - fulls} DIFF"
    broken = artifacts - len(points)
    rest = f" {counted(broken, 'artifact', 'artifacts')} cannot be restored." if broken else ""
    times = f"from {minute(points[-1].taken)} to {minute(points[0].taken)} UTC"
    if len(points) == 1:
        return f"1 restore point ({kinds}), of {minute(points[0].taken)} UTC.{rest}"
    return f"{len(points)} restore points ({kinds}), {times}.{rest}"


def _window(stretches: Sequence[Stretch]) -> str:
    if not stretches:
        return "No moment between restore points: that takes differentials."
    text = f"Any moment from {minute(stretches[0].begin)} to {minute(stretches[-1].end)} UTC"
    gaps = [after.begin - before.end for before, after in pairwise(stretches)]
    if not gaps:
        return f"{text}."
    longest = f"the longest of {age(max(gaps))}" if len(gaps) > 1 else f"of {age(gaps[0])}"
    return f"{text}, except {counted(len(gaps), 'gap', 'gaps')}, {longest}."


def _next_deletion(
    one: StoredArtifacts, stored: Sequence[StoredArtifacts], coming: Iterable[ComingBackup], now: datetime
) -> NextDeletion | None:
    """Return what the plan for a place deletes now, or else after the first coming backup that makes it delete."""
    if one.policy is None or not one.policy.rules or not one.entries:
        return None
    owed = {key for other in stored for key in other.owed} if one.place == VOLUME else set()
    held = {key: hold.until for key, hold in one.holds.items()}
    known = {entry.key for entry in one.entries}
    entries = list(one.entries)
    for backup in (None, *sorted(coming)):
        if backup is not None:
            entries.append(_simulated(entries, backup))
        at = backup.at if backup else now
        planned = plan(entries, one.policy, at, held=held, damaged=one.unsound.keys(), owed=owed, force=True)
        deleted = [deletion for deletion in planned.delete if deletion.key in known]
        if deleted:
            freed = sum(deletion.size for deletion in deleted)
            return NextDeletion(one.place, deleted[0].key, len(deleted), freed, str(deleted[0]), backup)
    return None


def _simulated(entries: Sequence[Entry], backup: ComingBackup) -> Entry:
    """Return the artifact that a coming backup will add."""
    last = max((entry for entry in entries if not entry.empty), key=lambda entry: entry.taken, default=entries[-1])
    return last._replace(
        key=f"{last.key} + {backup.at.isoformat()}",
        full=backup.full,
        taken=backup.at,
        finished=backup.at,
        lowest=1 if backup.full else last.highest + 1,
        highest=last.highest + 1,
        parent=None if backup.full else last.key,
    )
