"""Chains: a full and the differentials that continue it, known by their headers and never by a file's name.

What a newcomer would get wrong: a parent is not the artifact before. F1 [1-10], D1 [11-15], F2 [1-20], D2 [21-25]:
D2 continues F2, and D1 is the end of F1's chain. From Neo4j 2026.02 on, the first differential after a full may overlap
it: with D2 [16-25] both F1, D1, D2 and F2, D2 are chains. Before, a full between two differentials ends the older one.
An empty differential [0-0] only says that nothing was new: it continues anything and nothing continues it.
"""

import re
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from backup_agent.core.records import BackupType, Header, Record

OVERLAP_SINCE = (2026, 2)
"""Neo4j's first version whose differential may overlap its full (manual: scheduling for RPO and RTO)."""


class TypeReason(StrEnum):
    """Why a backup is FULL or DIFF. The closed list of a record's `type_reason` and of a metric's label."""

    ASKED = "asked"
    CHAIN_CONTINUES = "chain_continues"
    NO_CHAIN = "no_chain"
    DATABASE_RECREATED = "database_recreated"
    VERSION_CHANGED = "version_changed"
    CHAIN_BROKEN = "chain_broken"
    TOO_LONG = "too_long"
    TOO_OLD = "too_old"
    TOO_LARGE = "too_large"
    STORE_CHANGED = "store_changed"
    DIFF_FAILED = "diff_failed"
    DIFF_DOES_NOT_CONTINUE = "diff_does_not_continue"


@dataclass(frozen=True)
class Hole:
    """A differential whose parent is not there."""

    record: Record
    after: int | None
    """The last append index before it that a chain reaches; None where none does."""

    def __str__(self) -> str:
        lowest = self.record.header.lowest
        if self.after is None:
            return f"{self.record.key} starts at {lowest}, and no chain of its store ends before"
        if self.after == lowest - 1:
            return f"{self.record.key} starts at {lowest}, and a full was taken since the chain before it ended"
        return f"{self.record.key} starts at {lowest}, and the chain before it ends at {self.after}"


@dataclass(frozen=True)
class Chain:
    """A full and one line of differentials; each starts where the one before ends."""

    full: Record
    links: tuple[Record, ...] = ()
    """The differentials that hold something, in order."""
    empty: tuple[Record, ...] = ()
    """The empty differentials taken along it, by time."""
    hole: Hole | None = None
    """A differential taken after its end and before the next full, which it cannot take up."""

    @property
    def last(self) -> Record:
        """The member that the next differential would continue."""
        return self.links[-1] if self.links else self.full

    @property
    def records(self) -> tuple[Record, ...]:
        """The members, the full first; empty differentials left out, since nothing needs them."""
        return (self.full, *self.links)

    @property
    def links_size(self) -> int:
        """Bytes of its differentials, which a restore reads beside the full."""
        return sum(record.size for record in self.links)


@dataclass(frozen=True)
class ChainLimits:
    """When a chain is given up for a new full (`chain` of the settings)."""

    max_links: int
    max_age: timedelta
    max_diff_share: float
    """Size of all its differentials, as a share of its full's."""


@dataclass(frozen=True)
class Decision:
    """What is taken, and why."""

    type: Literal[BackupType.FULL, BackupType.DIFF]
    reason: TypeReason

    @property
    def promoted(self) -> bool:
        """Whether it is FULL though FULL was not asked for."""
        return self.type is BackupType.FULL and self.reason is not TypeReason.ASKED


@dataclass(frozen=True)
class Objection:
    """Why a differential does not continue a chain."""

    reason: TypeReason
    text: str


def decide(
    requested: BackupType,
    chain: Chain | None,
    *,
    database_id: str | None,
    version: str | None,
    limits: ChainLimits,
    now: datetime,
) -> Decision:
    """Decide between FULL and DIFF.

    `chain` is the live one of the set and database; `database_id` is SHOW DATABASES' databaseID and `version` the
    servers', each None where unknown: then it is no reason for anything. AUTO and DIFF differ in a DIFF's reason alone.
    """
    if requested is BackupType.FULL:
        return Decision(BackupType.FULL, TypeReason.ASKED)
    if chain is None:
        return Decision(BackupType.FULL, TypeReason.NO_CHAIN)
    known_id = _latest(record.database_id for record in chain.records)
    known_version = _latest(record.server_version for record in chain.records)
    reasons = (
        (TypeReason.DATABASE_RECREATED, None not in (known_id, database_id) and known_id != database_id),
        (TypeReason.VERSION_CHANGED, not same_line(known_version, version)),
        (TypeReason.CHAIN_BROKEN, chain.hole is not None),
        (TypeReason.TOO_LONG, len(chain.links) >= limits.max_links),
        (TypeReason.TOO_OLD, now - chain.full.header.taken >= limits.max_age),
        (TypeReason.TOO_LARGE, chain.links_size > limits.max_diff_share * chain.full.size),
    )
    for reason, holds in reasons:
        if holds:
            return Decision(BackupType.FULL, reason)
    asked = requested is BackupType.DIFF
    return Decision(BackupType.DIFF, TypeReason.ASKED if asked else TypeReason.CHAIN_CONTINUES)


def chains(records: Iterable[Record]) -> tuple[Chain, ...]:
    """Return the chains among the records of one set and database at one place, the live one last.

    There is one for each full and each end that its differentials lead to. A differential that could continue several
    artifacts stands in the chains of all of them, unless its record says which one it does.
    """
    return _Graph(records).chains()


def live_chain(records: Iterable[Record]) -> Chain | None:
    """Return the chain that a next differential would extend: that of the newest artifact which holds something."""
    found = chains(records)
    return found[-1] if found else None


def holes(records: Iterable[Record]) -> tuple[Hole, ...]:
    """Return the differentials that stand in no chain, by time."""
    return _Graph(records).holes


def parent_of(header: Header, records: Iterable[Record], version: str | None) -> Record | None:
    """Return the record which a differential of this header continues, or None.

    Of several the newest, as neo4j-admin picks it. `version` is that of the neo4j-admin which wrote the header; where
    it is unknown an overlap is no continuation.
    """
    overlap = may_overlap(version) is True
    return _best(header, (record for record in records if _may_follow(record.header, header, overlap=overlap)))


def possible_parents(record: Record, records: Iterable[Record]) -> tuple[Record, ...]:
    """Return every record which this differential may need, the newest first: who deletes spares them all."""
    others = (other for other in records if other.key != record.key)
    fits = (other for other in others if _may_follow(other.header, record.header, overlap=True))
    return tuple(sorted(fits, key=_newest, reverse=True))


def continues(chain: Chain, header: Header, version: str | None) -> Objection | None:
    """Return why a differential just taken does not continue the chain, or None where it does.

    Strict where `possible_parents` is lenient: a full taken needlessly costs less than a chain that cannot be restored.
    """
    full = chain.full.header
    if header.full:
        return Objection(TypeReason.DIFF_DOES_NOT_CONTINUE, "it is a full, which continues nothing")
    if header.database_id != full.database_id:
        text = f"its database id is {header.database_id}, that of the chain {full.database_id}"
        return Objection(TypeReason.DATABASE_RECREATED, text)
    if header.store_id != full.store_id:
        text = f"its store id is {header.store_id}, that of the chain {full.store_id}"
        return Objection(TypeReason.STORE_CHANGED, text)
    if parent_of(header, chain.records, version) is None:
        text = f"it holds {header.lowest} to {header.highest}, and the chain ends at {chain.last.header.highest}"
        return Objection(TypeReason.DIFF_DOES_NOT_CONTINUE, text)
    return None


def version_line(version: str | None) -> tuple[int, int] | None:
    """Return the line of a version, inside which only patches differ; None where it cannot be read.

    >>> version_line("5.26.31"), version_line("2026.09.0"), version_line("unknown")
    ((5, 26), (2026, 9), None)
    """
    found = re.match(r"(\d{1,6})\.(\d{1,6})", version or "")
    return (int(found[1]), int(found[2])) if found else None


def same_line(one: str | None, other: str | None) -> bool:
    """Tell whether two versions are of one line; what is unknown differs from nothing."""
    lines = version_line(one), version_line(other)
    return None in lines or lines[0] == lines[1]


def may_overlap(version: str | None) -> bool | None:
    """Tell whether a neo4j-admin's first differential may overlap its full; None where the version is unknown."""
    line = version_line(version)
    return None if line is None else line >= OVERLAP_SINCE


_Line = tuple[str, str]
"""Database id and store id up to the minor version of its format, which may grow within a chain."""


def _line(header: Header) -> _Line:
    return str(header.database_id), header.store_id.rpartition(".")[0]


def _minor(header: Header) -> int:
    minor = header.store_id.rpartition(".")[2]
    return int(minor) if minor.isdecimal() else 0


def _newest(record: Record) -> tuple[datetime, int, str]:
    return record.header.taken, record.header.highest, record.key


def _latest(values: Iterable[str | None]) -> str | None:
    """Return the last value that is known."""
    latest = None
    for value in values:
        latest = value or latest
    return latest


def _may_follow(parent: Header, child: Header, *, overlap: bool) -> bool:
    """Tell whether a differential can continue an artifact, by ids and ranges."""
    if child.full or parent.empty or _line(parent) != _line(child) or _minor(parent) > _minor(child):
        return False
    if child.empty:
        return True
    if child.lowest > child.highest or parent.lowest > parent.highest:
        return False
    if child.lowest == parent.highest + 1:
        return True
    # The time keeps a full from becoming the parent of all that was taken before it.
    return overlap and parent.full and child.lowest <= parent.highest and parent.taken <= child.taken


class _Graph:
    """Which artifact continues which. Linear in the records: each differential has two possible parents at most."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = {record.key: record for record in sorted(records, key=_newest)}
        holding = [record for record in self._records.values() if not record.header.empty]
        self._fulls = [record for record in holding if record.header.full]
        self._differentials = [record for record in holding if not record.header.full]
        self._ends: dict[tuple[_Line, int], list[Record]] = defaultdict(list)
        self._fulls_of: dict[_Line, list[Record]] = defaultdict(list)
        self._holding_of: dict[_Line, list[Record]] = defaultdict(list)
        for record in holding:
            line = _line(record.header)
            self._ends[line, record.header.highest].append(record)
            self._holding_of[line].append(record)
            if record.header.full:
                self._fulls_of[line].append(record)
        children: dict[str, list[Record]] = defaultdict(list)
        for record in self._differentials:
            for parent in self._parents(record):
                children[parent.key].append(record)
        self._lines = [line for full in self._fulls for line in _lines(full, children)]
        self.holes = tuple(self._find_holes())

    def chains(self) -> tuple[Chain, ...]:
        empty: dict[str, list[Record]] = defaultdict(list)
        for record in self._records.values():
            if record.header.empty and (anchor := self._anchor(record)):
                empty[anchor.key].append(record)
        found = [
            Chain(
                full=members[0],
                links=members[1:],
                empty=tuple(sorted((record for member in members for record in empty[member.key]), key=_newest)),
                hole=self._hole_after(members[-1]),
            )
            for members in self._lines
        ]
        # D2 of F1, D1, D2 and of F2, D2 is the same newest artifact: the newer full has the shorter way to it.
        return tuple(sorted(found, key=lambda chain: (max(map(_newest, chain.records)), _newest(chain.full))))

    def _parents(self, child: Record) -> tuple[Record, ...]:
        header = child.header
        overlap = may_overlap(child.admin_version or child.server_version)
        stated = self._records.get(child.parent or "")
        if stated and _may_follow(stated.header, header, overlap=overlap is not False):
            return (stated,)
        fulls = self._fulls_of[_line(header)]
        newest_full = _taken_by(fulls, header.taken)
        adjoining = self._ends[_line(header), header.lowest - 1]
        fitting = [
            record
            for record in (*adjoining, *((newest_full,) if newest_full else ()))
            if _may_follow(record.header, header, overlap=overlap is not False)
        ]
        full = _best(header, (record for record in fitting if record.header.full))
        link = _best(header, (record for record in fitting if not record.header.full))
        ended = overlap is False and link and newest_full and newest_full.header.taken > link.header.taken
        return tuple(record for record in (full, None if ended else link) if record)

    def _anchor(self, empty: Record) -> Record | None:
        """Return what an empty differential says is still all there is."""
        stated = self._records.get(empty.parent or "")
        if stated and _may_follow(stated.header, empty.header, overlap=False):
            return stated
        return _taken_by(self._holding_of[_line(empty.header)], empty.header.taken)

    def _find_holes(self) -> Iterator[Hole]:
        reached = {record.key for line in self._lines for record in line}
        ends: dict[_Line, list[int]] = defaultdict(list)
        for record in self._fulls + self._differentials:
            if record.key in reached:
                ends[_line(record.header)].append(record.header.highest)
        for line in ends.values():
            line.sort()
        for record in self._differentials:
            if record.key not in reached:
                below = ends[_line(record.header)]
                at = bisect_right(below, record.header.lowest - 1)
                yield Hole(record, below[at - 1] if at else None)

    def _hole_after(self, last: Record) -> Hole | None:
        at = bisect_right(self.holes, last.header.taken, key=lambda hole: hole.record.header.taken)
        if at == len(self.holes):
            return None
        next_full = bisect_right(self._fulls, last.header.taken, key=_taken)
        full_between = bisect_right(self._fulls, self.holes[at].record.header.taken, key=_taken) > next_full
        return None if full_between else self.holes[at]


def _taken(record: Record) -> datetime:
    return record.header.taken


def _taken_by(records: list[Record], moment: datetime) -> Record | None:
    """Return the newest of the records, sorted by time, that was taken by a moment."""
    at = bisect_right(records, moment, key=_taken)
    return records[at - 1] if at else None


def _best(child: Header, parents: Iterable[Record]) -> Record | None:
    """Return the newest parent; one taken after its child (a clock was set) only where there is no other."""
    return max(parents, key=lambda record: (record.header.taken <= child.taken, _newest(record)), default=None)


def _lines(full: Record, children: dict[str, list[Record]]) -> Iterator[tuple[Record, ...]]:
    """Yield the shortest way from a full to each end of its differentials."""
    before: dict[str, Record | None] = {full.key: None}
    queue = deque([full])
    while queue:
        record = queue.popleft()
        new = [child for child in children.get(record.key, ()) if child.key not in before]
        before.update((child.key, record) for child in new)
        queue.extend(new)
        if not new:
            yield tuple(reversed(list(_way_back(record, before))))


def _way_back(record: Record | None, before: dict[str, Record | None]) -> Iterator[Record]:
    while record:
        yield record
        record = before[record.key]
