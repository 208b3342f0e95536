"""Chains: a full and the differentials that continue it, known by their headers and never by a file's name.

What a newcomer would get wrong: a parent is not the artifact before. F1 [1-10], D1 [11-15], F2 [1-20], D2 [21-25]:
D2 continues F2, and D1 is the end of F1's chain. From Neo4j 2026.02 on, the first differential after a full may overlap
it: with D2 [16-25] both F1, D1, D2 and F2, D2 are chains. Before, a full between two differentials ends the older one.
An empty differential [0-0] only says that nothing was new: it continues anything and nothing continues it.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Generic, Literal, TypeVar

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.records import BackupType, Header, Record
from backup_agent.core.capabilities import may_overlap, same_line

Member = TypeVar("Member", bound=Record | Entry)
"""What chains are made of: records, or the lines that a catalog keeps of them."""


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
    ADOPTED = "adopted"  # another tool took it, and nobody here knows why


@dataclass(frozen=True)
class Hole(Generic[Member]):
    """A differential whose parent is not there."""

    record: Member
    after: int | None
    """The last append index before it that a chain reaches; None where none does."""

    def __str__(self) -> str:
        lowest = as_entry(self.record).lowest
        if self.after is None:
            return f"{self.record.key} starts at {lowest}, and no chain of its store ends before"
        if self.after == lowest - 1:
            return f"{self.record.key} starts at {lowest}, and a full was taken since the chain before it ended"
        return f"{self.record.key} starts at {lowest}, and the chain before it ends at {self.after}"


@dataclass(frozen=True)
class Chain(Generic[Member]):
    """A full and one line of differentials; each starts where the one before ends."""

    full: Member
    links: tuple[Member, ...] = ()
    """The differentials that hold something, in order."""
    empty: tuple[Member, ...] = ()
    """The empty differentials taken along it, by time."""
    hole: Hole[Member] | None = None
    """A differential taken after its end and before the next full, which it cannot take up."""

    @property
    def last(self) -> Member:
        """The member that the next differential would continue."""
        return self.links[-1] if self.links else self.full

    @property
    def records(self) -> tuple[Member, ...]:
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
class TypeDecision:
    """What is taken, and why."""

    type: Literal[BackupType.FULL, BackupType.DIFF]
    reason: TypeReason


@dataclass(frozen=True)
class Objection:
    """Why a differential does not continue a chain."""

    reason: TypeReason
    text: str


def decide(
    requested: BackupType,
    chain: Chain[Record] | None,
    *,
    database_id: str | None,
    version: str | None,
    limits: ChainLimits,
    now: datetime,
    broken: bool = False,
) -> TypeDecision:
    """Decide between FULL and DIFF.

    `chain` is the live one of the set and database, as far as it is sound, and `broken` tells that something of it is
    damaged or missing; `database_id` is SHOW DATABASES' databaseID and `version` the
    servers', each None where unknown: then it is no reason for anything. AUTO and DIFF differ in a DIFF's reason alone.
    """
    if requested is BackupType.FULL:
        return TypeDecision(BackupType.FULL, TypeReason.ASKED)
    if chain is None:
        return TypeDecision(BackupType.FULL, TypeReason.CHAIN_BROKEN if broken else TypeReason.NO_CHAIN)
    known_id = _latest(record.database_id for record in chain.records)
    known_version = _latest(record.server_version for record in chain.records)
    reasons = (
        (TypeReason.DATABASE_RECREATED, None not in (known_id, database_id) and known_id != database_id),
        (TypeReason.VERSION_CHANGED, not same_line(known_version, version)),
        (TypeReason.CHAIN_BROKEN, broken or chain.hole is not None),
        (TypeReason.TOO_LONG, len(chain.links) >= limits.max_links),
        (TypeReason.TOO_OLD, now - chain.full.header.taken >= limits.max_age),
        (TypeReason.TOO_LARGE, chain.links_size > limits.max_diff_share * chain.full.size),
    )
    for reason, holds in reasons:
        if holds:
            return TypeDecision(BackupType.FULL, reason)
    asked = requested is BackupType.DIFF
    return TypeDecision(BackupType.DIFF, TypeReason.ASKED if asked else TypeReason.CHAIN_CONTINUES)


def everything_needed(
    entry: Entry, needed_keys: Callable[[Entry], Iterable[str]], find: Callable[[str], Entry | None]
) -> tuple[str, ...]:
    """Return the keys of everything that an artifact needs to be restored, parents first.

    `find` returns an artifact by its key; one that it does not know is in the result, but nothing that this one needs.
    """
    found: dict[str, None] = {}
    waiting = [entry]
    while waiting:
        for key in needed_keys(waiting.pop()):
            if key not in found:
                found[key] = None
                if parent := find(key):
                    waiting.append(parent)
    return tuple(reversed(found))


def as_entry(member: Record | Entry) -> Entry:
    """Return the catalog's line of a member."""
    return member if isinstance(member, Entry) else Entry.of(member)


def chains(records: Iterable[Member]) -> tuple[Chain[Member], ...]:
    """Return the chains among the records of one set and database at one place, the live one last.

    There is one for each full and each end that its differentials lead to. A differential that could continue several
    artifacts stands in the chains of all of them, unless its record says which one it does.
    """
    return _Graph(records).chains()


def live_chain(records: Iterable[Member]) -> Chain[Member] | None:
    """Return the chain that a next differential would extend: that of the newest artifact which holds something."""
    found = chains(records)
    return found[-1] if found else None


def holes(records: Iterable[Member]) -> tuple[Hole[Member], ...]:
    """Return the differentials that stand in no chain, by time."""
    return _Graph(records).holes


def parent_of(header: Header, records: Iterable[Member], version: str | None) -> Member | None:
    """Return the record which a differential of this header continues, or None.

    Of several the newest, as neo4j-admin picks it. `version` is that of the neo4j-admin which wrote the header; where
    it is unknown an overlap is no continuation.
    """
    child = _entry_of(header)
    overlap = may_overlap(version) is True
    members = {member.key: member for member in records}
    parent: Entry | None = None
    for entry in map(as_entry, members.values()):
        if _may_follow(entry, child, overlap=overlap):
            parent = _better(child, parent, entry)
    return members[parent.key] if parent else None


def possible_parents(record: Member, records: Iterable[Member]) -> tuple[Member, ...]:
    """Return every record which this differential may need, the newest first: who deletes spares them all."""
    child = as_entry(record)
    pairs = ((as_entry(other), other) for other in records if other.key != record.key)
    fits = [(_newest(entry), other) for entry, other in pairs if _may_follow(entry, child, overlap=True)]
    return tuple(other for _, other in sorted(fits, key=lambda pair: pair[0], reverse=True))


def continues(chain: Chain[Record], header: Header, version: str | None) -> Objection | None:
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


def _entry_of(header: Header) -> Entry:
    """Return what will be the line of an artifact that is not recorded yet, as far as its header knows it."""
    return Entry(
        key="",
        set="",
        database=header.database,
        full=header.full,
        taken=header.taken,
        finished=header.taken,
        lowest=header.lowest,
        highest=header.highest,
        database_id=str(header.database_id),
        store_id=header.store_id,
        size=0,
        parent=None,
        version=None,
    )


def _same_line(parent: Entry, child: Entry) -> bool:
    """Tell whether a chain may go from one store to the other: the minor version of its format may grow."""
    if parent.database_id != child.database_id:
        return False
    if parent.store_id == child.store_id:
        return True
    (before, _, minor), (after, _, next_minor) = parent.store_id.rpartition("."), child.store_id.rpartition(".")
    return before == after and _number(minor) <= _number(next_minor)


def _number(minor: str) -> int:
    return int(minor) if minor.isdecimal() else 0


_newest = attrgetter("taken", "highest", "key")
"""The order of entries in time."""


def _by_time(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries in that order, the oldest first."""
    ordered = sorted(entries, key=attrgetter("taken"))
    # Hardly ever two in one second, and a million tuples as keys are a burden to the garbage collection.
    if any(before.taken == after.taken for before, after in pairwise(ordered)):
        ordered.sort(key=_newest)
    return ordered


def _latest(values: Iterable[str | None]) -> str | None:
    """Return the last value that is known."""
    latest = None
    for value in values:
        latest = value or latest
    return latest


def _may_follow(parent: Entry, child: Entry, *, overlap: bool) -> bool:
    """Tell whether a differential can continue an artifact, by ids and ranges."""
    if child.full or (not parent.highest and parent.empty) or not _same_line(parent, child):
        return False
    if not child.highest and child.empty:
        return True
    if child.lowest > child.highest or parent.lowest > parent.highest:
        return False
    if child.lowest == parent.highest + 1:
        return True
    # The time keeps a full from becoming the parent of all that was taken before it.
    return overlap and parent.full and child.lowest <= parent.highest and parent.taken <= child.taken


class _Line:
    """The artifacts of one database id and store that hold something, by time, as a child looks for its parents."""

    def __init__(self, holding: list[Entry]) -> None:
        self._holding = holding
        self.fulls = [entry for entry in holding if entry.full]
        self.differentials = [entry for entry in holding if not entry.full]

    # Made when first asked for: where every record states its parent nobody does.
    @cached_property
    def _times(self) -> list[datetime]:
        return [entry.taken for entry in self._holding]

    @cached_property
    def _full_times(self) -> list[datetime]:
        return [entry.taken for entry in self.fulls]

    @cached_property
    def _reached(self) -> list[int]:
        return list(accumulate((entry.highest for entry in self.fulls), max))

    @cached_property
    def _by_end(self) -> list[Entry]:
        return sorted(self._holding, key=attrgetter("highest"))

    @cached_property
    def _ends(self) -> list[int]:
        return [entry.highest for entry in self._by_end]

    def by(self, moment: datetime) -> Entry | None:
        """Return the newest that was taken by a moment."""
        at = bisect_right(self._times, moment)
        return self._holding[at - 1] if at else None

    def full_by(self, moment: datetime) -> Entry | None:
        """Return the newest full that was taken by a moment."""
        at = bisect_right(self._full_times, moment)
        return self.fulls[at - 1] if at else None

    def possible_parents(self, child: Entry) -> tuple[Entry, ...]:
        """Return what ends where a differential begins, and the fulls taken before it that reach into it."""
        first, last = bisect_left(self._ends, child.lowest - 1), bisect_right(self._ends, child.lowest - 1)
        found = self._by_end[first:last]
        at = bisect_right(self._full_times, child.taken) - 1
        while at >= 0 and self._reached[at] >= child.lowest:
            found.append(self.fulls[at])
            at -= 1
        return tuple(parent for parent in found if _may_follow(parent, child, overlap=True))


class Ancestry:
    """Which artifact continues which, among those of one set and database at one place.

    Two answers to one question: `parents` is what a restore goes by, and `needs` is what may be meant, which whoever
    deletes must spare. Linear in the artifacts, as long as few of them end at the same append index.
    """

    def __init__(self, entries: Iterable[Entry], damaged: Collection[str] = ()) -> None:
        self._by_key = {entry.key: entry for entry in _by_time(entries)}
        self.entries = tuple(self._by_key.values())
        """By time, the oldest first."""
        self.roots: dict[str, Entry] = {}
        """Of each artifact that can be restored, the full that a restore begins with: of two the shorter way."""
        self._stated: dict[str, Entry] = {}
        empty = []
        lines: dict[tuple[str, str], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.parent is not None and (parent := self._named(entry)):
                self._stated[entry.key] = parent
            if not entry.highest and entry.empty:
                empty.append(entry)
            else:
                lines[_line_of(entry)].append(entry)
        self._lines = {name: _Line(members) for name, members in lines.items()}
        self._possible = {
            link.key: line.possible_parents(link)
            for line in self._lines.values()
            for link in line.differentials
            if link.key not in self._stated
        }
        for line in self._lines.values():
            self.roots |= {full.key: full for full in line.fulls if full.key not in damaged}
            # A parent ends before its child begins, so that each meets its parents already judged.
            for link in sorted(line.differentials, key=attrgetter("lowest")):
                if link.key not in damaged and (parents := self._parents(line, link)):
                    self.roots[link.key] = self.roots[parents[0].key]
        for entry in empty:
            if entry.key not in damaged and (anchor := self.anchor(entry)) and anchor.key in self.roots:
                self.roots[entry.key] = self.roots[anchor.key]

    def parents(self, link: Entry) -> tuple[Entry, ...]:
        """Return what a differential continues, as far as that can be restored; the full first, if it may be either."""
        return () if link.full or link.empty else self._parents(self._line(link), link)

    def needs(self, entry: Entry) -> tuple[Entry, ...]:
        """Return every artifact which this one may continue; the stated one alone where it fits.

        Else an idle database's equal fulls would all be kept for one differential.
        """
        if stated := self._stated.get(entry.key):
            return (stated,)
        if entry.full:
            return ()
        if entry.empty:
            anchor = self.anchor(entry)
            return (anchor,) if anchor else ()
        return self._possible.get(entry.key, ())

    def gap(self, entry: Entry, unsound: Mapping[str, str]) -> str | None:
        """Say what keeps an artifact from being restored, beside its own faults; None if nothing does.

        `unsound` are the damaged artifacts that this ancestry was made with, and what is wrong with each.
        """
        if entry.key in self.roots or entry.full:
            return None
        for link in self._way_to_gap(entry):
            needed = self.needs(link)
            if not needed:
                return f"it needs {link.parent}, which is not there" if link.parent else _no_parent(link)
            if faults := [f"it needs {one.key}: {unsound[one.key]}" for one in needed if one.key in unsound]:
                return faults[0]
        return "the artifacts that end where it starts are not of its chain"

    def _way_to_gap(self, entry: Entry) -> Iterator[Entry]:
        """Yield an artifact that cannot be restored, and what it needs that cannot be restored either."""
        at: Entry | None = entry
        while at is not None:
            yield at
            at = next((one for one in self.needs(at) if one.key not in self.roots), None)

    def needed_keys(self, entry: Entry) -> tuple[str, ...]:
        """Return the keys of what an artifact continues: what its record names, there or not, else `needs`."""
        if entry.full:
            return ()
        if entry.parent is not None and (entry.key in self._stated or entry.key not in self.roots):
            return (entry.parent,)
        return tuple(one.key for one in self.needs(entry))

    def anchor(self, empty: Entry) -> Entry | None:
        """Return what an empty differential says is still all there is; None where that is gone.

        Ranges say nothing of it: where its record names what it continues, only that will do.
        """
        if empty.parent is not None:
            return self._stated.get(empty.key)
        return self._line(empty).by(empty.taken)

    def _line(self, entry: Entry) -> _Line:
        return self._lines.get(_line_of(entry)) or _Line([])

    def _named(self, child: Entry) -> Entry | None:
        """Return the parent that a record names, where it fits."""
        named = self._by_key.get(child.parent or "")
        if named and _may_follow(named, child, overlap=may_overlap(child.version) is not False):
            return named
        return None

    def _parents(self, line: _Line, child: Entry) -> tuple[Entry, ...]:
        """Return the same, of a differential that holds something."""
        if stated := self._stated.get(child.key):
            return (stated,) if stated.key in self.roots else ()
        overlap = may_overlap(child.version) is not False
        newest_full = line.full_by(child.taken)
        full = link = None
        for parent in self._possible[child.key]:
            if parent.key not in self.roots:
                continue
            if not parent.full:
                if overlap or newest_full is None or newest_full.taken <= parent.taken:
                    link = _better(child, link, parent)
            elif parent.highest + 1 == child.lowest or (overlap and parent is newest_full):
                full = _better(child, full, parent)
        return tuple(parent for parent in (full, link) if parent)


class _Graph(Generic[Member]):
    """The chains that an ancestry makes, told in the records that were given."""

    def __init__(self, records: Iterable[Member]) -> None:
        self._members: dict[str, Member] = {record.key: record for record in records}
        self._ancestry = Ancestry(map(as_entry, self._members.values()))
        entries = self._ancestry.entries
        self._fulls = [entry for entry in entries if entry.full]
        children: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            for parent in self._ancestry.parents(entry):
                children[parent.key].append(entry)
        self._ways = [way for full in self._fulls for way in _ways(full, children)]
        self._loose = [entry for entry in entries if not entry.empty and entry.key not in self._ancestry.roots]
        self.holes: tuple[Hole[Member], ...] = tuple(self._find_holes())

    def chains(self) -> tuple[Chain[Member], ...]:
        empty: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._ancestry.entries:
            if entry.empty and (anchor := self._ancestry.anchor(entry)):
                empty[anchor.key].append(entry)
        # D2 of F1, D1, D2 and of F2, D2 is the same newest artifact: the newer full has the shorter way to it.
        ways = sorted(self._ways, key=lambda way: (max(map(_newest, way)), _newest(way[0])))
        return tuple(
            Chain(
                full=self._members[way[0].key],
                links=self._given(way[1:]),
                empty=self._given(sorted((entry for member in way for entry in empty[member.key]), key=_newest)),
                hole=self._hole_after(way[-1]),
            )
            for way in ways
        )

    def _given(self, entries: Iterable[Entry]) -> tuple[Member, ...]:
        return tuple(self._members[entry.key] for entry in entries)

    def _find_holes(self) -> Iterator[Hole[Member]]:
        ends: dict[tuple[str, str], list[int]] = defaultdict(list)
        for entry in self._ancestry.entries:
            if not entry.empty and entry.key in self._ancestry.roots:
                ends[_line_of(entry)].append(entry.highest)
        for line in ends.values():
            line.sort()
        for entry in self._loose:
            below = ends[_line_of(entry)]
            at = bisect_right(below, entry.lowest - 1)
            yield Hole(self._members[entry.key], below[at - 1] if at else None)

    def _hole_after(self, last: Entry) -> Hole[Member] | None:
        at = bisect_right(self._loose, last.taken, key=_taken)
        if at == len(self._loose):
            return None
        next_full = bisect_right(self._fulls, last.taken, key=_taken)
        full_between = bisect_right(self._fulls, self._loose[at].taken, key=_taken) > next_full
        return None if full_between else self.holes[at]


def _taken(entry: Entry) -> datetime:
    return entry.taken


def _no_parent(link: Entry) -> str:
    if link.empty:
        return "nothing was taken before it that it could continue"
    return f"it starts at append index {link.lowest}, and nothing there ends at {link.lowest - 1}"


def _line_of(entry: Entry) -> tuple[str, str]:
    """Return what a chain never crosses: the database id, and the store's up to its format's minor version."""
    return entry.database_id, _format_line(entry.store_id)


@lru_cache(maxsize=256)
def _format_line(store_id: str) -> str:
    return store_id.rpartition(".")[0] or store_id  # one that names no version is compared whole


def _better(child: Entry, one: Entry | None, other: Entry) -> Entry:
    """Return the newer parent; one taken after its child (a clock was set) only where there is no other."""
    if one is None:
        return other
    return max(one, other, key=lambda entry: (entry.taken <= child.taken, _newest(entry)))


def _ways(full: Entry, children: dict[str, list[Entry]]) -> Iterator[tuple[Entry, ...]]:
    """Yield the shortest way from a full to each end of its differentials."""
    before: dict[str, Entry | None] = {full.key: None}
    queue = deque([full])
    while queue:
        entry = queue.popleft()
        new = [child for child in children.get(entry.key, ()) if child.key not in before]
        before.update((child.key, entry) for child in new)
        queue.extend(new)
        if not new:
            yield tuple(reversed(list(_way_back(entry, before))))


def _way_back(entry: Entry | None, before: dict[str, Entry | None]) -> Iterator[Entry]:
    while entry:
        yield entry
        entry = before[entry.key]
