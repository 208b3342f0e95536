"""Which artifacts bring a database back to a moment, or to the state before a transaction.

A differential can be cut: `seedRestoreUntil` and `--restore-until` apply its transactions up to a moment. A full cannot
be cut. The content of an artifact is the state of the database at one unknown time between the start of neo4j-admin and
the time at which the artifact was recorded: neither the manual nor Neo4j's sources say which time the header has.

So a differential certainly reaches a moment if it was started later, and a full certainly ends before a moment if it
was recorded earlier. A later differential is always right, because it is cut. An earlier one would silently lose data.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf

from backup_agent.core.artifacts.chains import Ancestry
from backup_agent.core.artifacts.entries import Entry

LEAST_SLACK = timedelta(seconds=60)
"""Smallest difference between two times that counts, since the clocks of the servers and of the agent differ."""


@dataclass(frozen=True)
class RestorePoint:
    """The artifacts to restore, and where to cut the last one."""

    way: tuple[Entry, ...]
    """A full, then the differentials in the order in which they are applied."""
    until: datetime | None = None
    """Restore the transactions committed before this moment only; None if nothing is to be cut."""
    before_tx: int | None = None
    """Restore the transactions before this one only."""
    lacking_since: datetime | None = None
    """Time after which wanted transactions may be missing, because no artifact has them; None if none is missing."""

    @property
    def last(self) -> Entry:
        """The artifact whose restore applies all others."""
        return self.way[-1]


class Why(StrEnum):
    """Why there is no restore point for a moment or a transaction."""

    NO_ARTIFACT = "there is no artifact that can be restored"
    TOO_EARLY = "it is before the first restore point"
    INSIDE_FULL = "it is inside a full, which cannot be cut"


@dataclass(frozen=True)
class NoPoint:
    """There is no restore point for a moment or a transaction. `before` and `after` are the nearest artifacts."""

    why: Why
    before: Entry | None = None
    after: Entry | None = None


class Points:
    """The restore points of one history of one database in one set, at one place."""

    def __init__(
        self,
        entries: Iterable[Entry],
        damaged: Collection[str] = (),
        *,
        started: Callable[[Entry], datetime] = lambda entry: entry.taken,
        last_tx: Callable[[Entry], int | None] = lambda _entry: None,
        offset: Callable[[Entry], timedelta] = lambda _entry: timedelta(0),
    ) -> None:
        """`damaged` are the keys of artifacts that cannot be restored.

        `started`, `last_tx` and `offset` return fields of an artifact's record: when neo4j-admin was started, the last
        transaction that the artifact certainly contains, and by how much the servers' clock was ahead of the agent's.
        They are called for as few artifacts as possible.
        """
        self._ancestry = Ancestry(entries, damaged)
        self._offset = offset
        self._started = started
        self._last_tx = last_tx
        self._restorable = [entry for entry in self._ancestry.entries if entry.key in self._ancestry.roots]

    def newest(self) -> RestorePoint | None:
        """Return the newest restore point, or None if no artifact can be restored."""
        return self.of(self._restorable[-1].key) if self._restorable else None

    def of(self, key: str) -> RestorePoint | None:
        """Return the state of one artifact as a restore point, or None if the artifact cannot be restored."""
        entry = next((entry for entry in self._restorable if entry.key == key), None)
        return RestorePoint(next(self._ways(entry))) if entry is not None else None

    def window(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last moment that a differential certainly reaches, or None if no differential does.

        Moments inside a full lie between them and cannot be restored.
        """
        fulls = (entry for entry in self._restorable if entry.full)
        first = next((entry.finished + self._slack(entry) for entry in fulls), None)
        last = next(
            (self._started(entry) - self._slack(entry) for entry in reversed(self._restorable) if not entry.full), None
        )
        return (first, last) if first is not None and last is not None and first < last else None

    def at(self, moment: datetime) -> RestorePoint | NoPoint:
        """Return the restore point for a moment: every transaction that was committed before it, and no other."""

        def reaches(entry: Entry) -> bool:
            return entry.taken > moment + LEAST_SLACK and self._started(entry) > moment + self._slack(entry)

        def ends_before(entry: Entry) -> bool:
            return entry.finished + LEAST_SLACK < moment and entry.finished + self._slack(entry) < moment

        found = self._find(reaches, starts=ends_before)
        if found is None or (found.later_full and found.entry.taken < moment):
            return self._none(lambda entry: entry.taken <= moment)
        cut = not found.last.full and not ends_before(found.last)
        lacking = None if found.complete else self._started(found.entry)
        return RestorePoint(found.way, until=moment if cut else None, lacking_since=lacking)

    def before(self, transaction: int) -> RestorePoint | NoPoint:
        """Return the restore point with every transaction before the given one, and no other.

        A full may contain transactions that were committed while it was taken. How many these are is not recorded.
        """

        def among(entry: Entry, lowest: int, highest: float) -> bool:
            last = self._last_tx(entry)
            return last is not None and lowest <= last < highest

        found = self._find(
            reaches=lambda entry: among(entry, transaction - 1, inf),
            starts=lambda full: among(full, 0, transaction),
        )
        if found is None or found.later_full:
            return self._none(lambda entry: among(entry, 0, transaction))
        return RestorePoint(
            found.way,
            before_tx=None if found.last.full else transaction,
            lacking_since=None if found.complete else self._started(found.entry),
        )

    def _slack(self, entry: Entry) -> timedelta:
        """Return how much the clocks may have differed when an artifact was taken."""
        return max(abs(self._offset(entry)), LEAST_SLACK)

    def _find(self, reaches: Callable[[Entry], bool], starts: Callable[[Entry], bool]) -> "_Way | None":
        """Return the first way whose last differential reaches far enough and whose full can be its start.

        If no differential reaches far enough, return the newest way whose full can be its start, or None.
        """
        newest: _Way | None = None
        fulls: list[Entry] = []
        for entry in self._restorable:
            way = next((way for way in self._ways(entry) if starts(way[0])), None)
            if entry.full and way is None:
                fulls.append(entry)
            if way is not None:
                if not entry.full and reaches(entry):
                    return _Way(entry, way, complete=True)
                newest = _Way(entry, way)
        if newest is not None and fulls:
            return replace(newest, later_full=fulls[-1].taken > newest.entry.taken)
        return newest

    def _none(self, is_earlier: Callable[[Entry], bool]) -> NoPoint:
        if not self._restorable:
            return NoPoint(Why.NO_ARTIFACT)
        before = next((entry for entry in reversed(self._restorable) if is_earlier(entry)), None)
        after = next((entry for entry in self._restorable if not is_earlier(entry)), None)
        return NoPoint(Why.INSIDE_FULL if before else Why.TOO_EARLY, before, after)

    def _ways(self, entry: Entry | None) -> Iterator[tuple[Entry, ...]]:
        """Yield the ways to an artifact, the shortest first. An empty differential has the ways of its anchor."""
        if entry is not None and entry.empty:
            entry = self._ancestry.anchor(entry)
        way: deque[Entry] = deque()
        while entry is not None:
            way.appendleft(entry)
            if entry.full:
                yield tuple(way)
                return
            parents = self._ancestry.parents(entry)
            yield from ((parent, *way) for parent in parents if parent.full)
            entry = next((parent for parent in parents if not parent.full), None)


@dataclass(frozen=True)
class _Way:
    """The way to an artifact."""

    entry: Entry
    """The artifact. If it is an empty differential, the way ends with the artifact that it continues."""
    way: tuple[Entry, ...]
    complete: bool = False
    """Whether the artifact reaches far enough."""
    later_full: bool = False
    """Whether there is a newer full."""

    @property
    def last(self) -> Entry:
        return self.way[-1]
