"""Chains: a full and the differentials that continue it, determined from the artifacts' headers.

The parent of a differential is not always the artifact taken before it. In these examples F is a full, D a
differential, and the numbers are append indexes. After F1 [1-10], D1 [11-15] and F2 [1-20], D2 [21-25] continues F2,
and D1 is the end of F1's chain. Since Neo4j 2026.02 the first differential after a full may overlap it: with D2
[16-25], both F1, D1, D2 and F2, D2 are chains. In older versions a full always ends the chain before it. An empty
differential [0-0] states that there were no new transactions: it may continue any artifact, and no artifact continues
it.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Generic, Literal

from backup_agent.core.artifacts.chain_limits import ChainLimits
from backup_agent.core.artifacts.entries import Entry, Member, as_entry
from backup_agent.core.artifacts.names import DEFAULT_SET
from backup_agent.core.artifacts.records import BackupType, Header, Record
from backup_agent.core.capabilities import may_overlap, same_line


class TypeReason(StrEnum):
    """Why a backup is FULL or DIFF: the values of a record's `type_reason` and of a metric label."""

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
    ADOPTED = "adopted"  # taken by another tool for an unknown reason


@dataclass(frozen=True)
class Hole(Generic[Member]):
    """A differential whose parent is missing."""

    record: Member
    after: int | None
    """Highest append index before the differential that any chain reaches; None if there is no such chain."""

    def __str__(self) -> str:
        start = f"{self.record.key} starts at append index {as_entry(self.record).lowest}"
        if self.after is None:
            return f"{start}, but no chain of its store ends before that"
        if self.after == as_entry(self.record).lowest - 1:
            return f"{start}, but a full was taken after the end of the previous chain"
        return f"{start}, but the previous chain ends at {self.after}"


@dataclass(frozen=True)
class Chain(Generic[Member]):
    """A full and a sequence of differentials, each of which starts where the previous one ends."""

    full: Member
    links: tuple[Member, ...] = ()
    """The non-empty differentials, in order."""
    empty: tuple[Member, ...] = ()
    """The empty differentials taken while the chain was live, by time."""
    hole: Hole[Member] | None = None
    """A differential that does not continue the chain, taken between the chain's end and the next full."""

    @property
    def last(self) -> Member:
        """The member that the next differential would continue."""
        return self.links[-1] if self.links else self.full

    @property
    def records(self) -> tuple[Member, ...]:
        """The full and the links. Empty differentials are left out, since no artifact needs them."""
        return (self.full, *self.links)

    @property
    def links_size(self) -> int:
        """Bytes of all links."""
        return sum(record.size for record in self.links)


@dataclass(frozen=True)
class TypeDecision:
    """The type of a backup, and the reason for it."""

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

    `chain` is the sound part of the live chain, and `broken` tells whether an artifact of that chain is damaged or
    missing. `database_id` is databaseID of SHOW DATABASES, and `version` the version of the servers; None means unknown
    and does not cause a FULL. AUTO and DIFF lead to the same type.
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
    """Return the keys of all artifacts that a restore of `entry` needs, parents first.

    `find` returns the entry for a key. If it returns None for a key, the result has that key but not its parents.
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


def chains(records: Iterable[Member]) -> tuple[Chain[Member], ...]:
    """Return the chains among the records of one set and database at one place, the live chain last.

    Each path from a full to an artifact that no other continues is a chain. A differential that may continue several
    artifacts is part of several chains, unless its record names its parent.
    """
    return _Graph(records).chains()


def live_chain(records: Iterable[Member]) -> Chain[Member] | None:
    """Return the chain that the next differential would continue: that of the newest non-empty artifact."""
    found = chains(records)
    return found[-1] if found else None


def histories(entries: Iterable[Entry]) -> tuple[tuple[Entry, ...], ...]:
    """Return the artifacts of each history of one database, the oldest first, and the present history last.

    A database that is replaced or created again begins a new history. The present one has the newest artifact.
    """
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in reversed(_by_time(entries)):
        found.setdefault(_history_id(entry), []).append(entry)
    return tuple(tuple(reversed(members)) for members in reversed(found.values()))


def history_id(entry: Entry) -> str:
    """Return the id of an artifact's history that is shown: eight hexadecimal digits of a SHA-256."""
    return hashlib.sha256(" ".join(_history_id(entry)).encode()).hexdigest()[:8]


def holes(records: Iterable[Member]) -> tuple[Hole[Member], ...]:
    """Return a hole for each differential that belongs to no chain, by time."""
    return _Graph(records).holes


def parent_of(header: Header, records: Iterable[Member], version: str | None) -> Member | None:
    """Return the record of the artifact that a differential with this header continues, or None.

    If there are several, return the newest, as neo4j-admin does. `version` is that of the neo4j-admin that wrote the
    header. If `version` is unknown, a differential that overlaps a full does not continue that full.
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
    """Return every record that a differential may continue, the newest first. Deletion must spare all of them."""
    child = as_entry(record)
    pairs = ((as_entry(other), other) for other in records if other.key != record.key)
    fits = [(_age(entry), other) for entry, other in pairs if _may_follow(entry, child, overlap=True)]
    return tuple(other for _, other in sorted(fits, key=lambda pair: pair[0], reverse=True))


def continues(chain: Chain[Record], header: Header, version: str | None) -> Objection | None:
    """Return why a new differential does not continue the chain, or None if it does.

    This check is stricter than `possible_parents`: a needless full costs less than a chain that cannot be restored.
    """
    full = chain.full.header
    if header.full:
        return Objection(TypeReason.DIFF_DOES_NOT_CONTINUE, "it is a full and continues no artifact")
    if header.database_id != full.database_id:
        text = f"its database id is {header.database_id}, but the chain has {full.database_id}"
        return Objection(TypeReason.DATABASE_RECREATED, text)
    if header.store_id != full.store_id:
        text = f"its store id is {header.store_id}, but the chain has {full.store_id}"
        return Objection(TypeReason.STORE_CHANGED, text)
    if parent_of(header, chain.records, version) is None:
        text = (
            f"it holds append indexes {header.lowest} to {header.highest}, "
            f"but the chain ends at {chain.last.header.highest}"
        )
        return Objection(TypeReason.DIFF_DOES_NOT_CONTINUE, text)
    return None


def _entry_of(header: Header) -> Entry:
    """Return an entry for an artifact that has no record yet."""
    return Entry(
        key="",
        set=DEFAULT_SET,
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


def _same_history(parent: Entry, child: Entry) -> bool:
    """Return whether a chain may lead from parent to child: only the minor version of the store format may grow."""
    if parent.database_id != child.database_id:
        return False
    if parent.store_id == child.store_id:
        return True
    (before, _, minor), (after, _, next_minor) = parent.store_id.rpartition("."), child.store_id.rpartition(".")
    return before == after and _number(minor) <= _number(next_minor)


def _number(minor: str) -> int:
    return int(minor) if minor.isdecimal() else 0


_age = attrgetter("taken", "highest", "key")
"""Sort key of entries, the oldest first."""


def _by_time(entries: Iterable[Entry]) -> list[Entry]:
    """Sort entries, the oldest first."""
    ordered = sorted(entries, key=attrgetter("taken"))
    # Sorting by the time alone avoids a million key tuples. Two artifacts of one second are rare.
    if any(before.taken == after.taken for before, after in pairwise(ordered)):
        ordered.sort(key=_age)
    return ordered


def _latest(values: Iterable[str | None]) -> str | None:
    """Return the last value that is not None."""
    latest = None
    for value in values:
        latest = value or latest
    return latest


def _may_follow(parent: Entry, child: Entry, *, overlap: bool) -> bool:
    """Return whether `child` can continue `parent`, judged by ids and append indexes."""
    if child.full or (not parent.highest and parent.empty) or not _same_history(parent, child):
        return False
    if not child.highest and child.empty:
        return True
    if child.lowest > child.highest or parent.lowest > parent.highest:
        return False
    if child.lowest == parent.highest + 1:
        return True
    # Without the comparison of times, a full could become the parent of differentials taken before the full.
    return overlap and parent.full and child.lowest <= parent.highest and parent.taken <= child.taken


class _History:
    """The non-empty artifacts of one database id and store, indexed by time and by append index."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self.fulls = [entry for entry in entries if entry.full]
        self.differentials = [entry for entry in entries if not entry.full]

    # The indexes are made on first use: they are not needed if every record names its parent.
    @cached_property
    def _times(self) -> list[datetime]:
        return [entry.taken for entry in self._entries]

    @cached_property
    def _full_times(self) -> list[datetime]:
        return [entry.taken for entry in self.fulls]

    @cached_property
    def _reached(self) -> list[int]:
        return list(accumulate((entry.highest for entry in self.fulls), max))

    @cached_property
    def _by_end(self) -> list[Entry]:
        return sorted(self._entries, key=attrgetter("highest"))

    @cached_property
    def _ends(self) -> list[int]:
        return [entry.highest for entry in self._by_end]

    def newest_at(self, time: datetime) -> Entry | None:
        """Return the newest artifact taken at or before a time."""
        index = bisect_right(self._times, time)
        return self._entries[index - 1] if index else None

    def newest_full_at(self, time: datetime) -> Entry | None:
        """Return the newest full taken at or before a time."""
        index = bisect_right(self._full_times, time)
        return self.fulls[index - 1] if index else None

    def possible_parents(self, child: Entry) -> tuple[Entry, ...]:
        """Return the artifacts that end just before a differential, and the earlier fulls that overlap it."""
        first, last = bisect_left(self._ends, child.lowest - 1), bisect_right(self._ends, child.lowest - 1)
        found = self._by_end[first:last]
        index = bisect_right(self._full_times, child.taken) - 1
        while index >= 0 and self._reached[index] >= child.lowest:
            found.append(self.fulls[index])
            index -= 1
        return tuple(parent for parent in found if _may_follow(parent, child, overlap=True))


class Ancestry:
    """The parents of each artifact of one set and database at one place.

    `parents` is strict: it returns only artifacts from which a restore is certain to work. `needs` is lenient: it
    returns every artifact that a differential may continue, and deletion must spare all of them. Time is linear in the
    number of artifacts, unless many of them end at the same append index.
    """

    def __init__(self, entries: Iterable[Entry], damaged: Collection[str] = ()) -> None:
        self._by_key = {entry.key: entry for entry in _by_time(entries)}
        self.entries = tuple(self._by_key.values())
        """All artifacts, the oldest first."""
        self.roots: dict[str, Entry] = {}
        """Key of a restorable artifact -> the full where its restore begins; of two fulls, the one with fewer links."""
        self._stated: dict[str, Entry] = {}
        empty = []
        histories: dict[tuple[str, str], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.parent is not None and (parent := self._stated_parent(entry)):
                self._stated[entry.key] = parent
            if not entry.highest and entry.empty:
                empty.append(entry)
            else:
                histories[_history_id(entry)].append(entry)
        self._histories = {name: _History(members) for name, members in histories.items()}
        self._possible = {
            link.key: history.possible_parents(link)
            for history in self._histories.values()
            for link in history.differentials
            if link.key not in self._stated
        }
        for history in self._histories.values():
            self.roots |= {full.key: full for full in history.fulls if full.key not in damaged}
            # A parent ends before its child begins, so in this order the roots of parents are known.
            for link in sorted(history.differentials, key=attrgetter("lowest")):
                if link.key not in damaged and (parents := self._parents(history, link)):
                    self.roots[link.key] = self.roots[parents[0].key]
        for entry in empty:
            if entry.key not in damaged and (anchor := self.anchor(entry)) and anchor.key in self.roots:
                self.roots[entry.key] = self.roots[anchor.key]

    def parents(self, link: Entry) -> tuple[Entry, ...]:
        """Return the restorable artifacts that a non-empty differential continues: a full, a link or both."""
        return () if link.full or link.empty else self._parents(self._history(link), link)

    def needs(self, entry: Entry) -> tuple[Entry, ...]:
        """Return the parent that the record of `entry` names if that fits, or else every artifact that it may continue.

        Without this preference, all equal fulls of an idle database would be kept for one differential.
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
        """Describe what is missing or damaged in the chain of `entry`, or return None if it is complete.

        `unsound` maps each artifact that was passed as `damaged` to a description of its damage.
        """
        if entry.key in self.roots or entry.full:
            return None
        for link in self._path_to_gap(entry):
            needed = self.needs(link)
            if not needed:
                return f"it needs {link.parent}, which is missing" if link.parent else _no_parent(link)
            if faults := [
                f"it needs {parent.key}: {unsound[parent.key]}" for parent in needed if parent.key in unsound
            ]:
                return faults[0]
        return "the artifacts that end where it starts do not belong to its chain"

    def _path_to_gap(self, entry: Entry) -> Iterator[Entry]:
        """Yield `entry` and its ancestors, as long as they are not restorable."""
        link: Entry | None = entry
        while link is not None:
            yield link
            link = next((parent for parent in self.needs(link) if parent.key not in self.roots), None)

    def needed_keys(self, entry: Entry) -> tuple[str, ...]:
        """Return the key of the parent that the record names, even if it is missing, or else the keys of `needs`."""
        if entry.full:
            return ()
        if entry.parent is not None and (entry.key in self._stated or entry.key not in self.roots):
            return (entry.parent,)
        return tuple(parent.key for parent in self.needs(entry))

    def anchor(self, empty: Entry) -> Entry | None:
        """Return the artifact that an empty differential continues, or None if it is missing.

        An empty differential has no append indexes. So the artifact is the parent that the record names, or else the
        newest one taken at or before the time of the differential.
        """
        if empty.parent is not None:
            return self._stated.get(empty.key)
        return self._history(empty).newest_at(empty.taken)

    def _history(self, entry: Entry) -> _History:
        return self._histories.get(_history_id(entry)) or _History([])

    def _stated_parent(self, child: Entry) -> Entry | None:
        """Return the parent that the record names, if it exists and fits."""
        stated = self._by_key.get(child.parent or "")
        if stated and _may_follow(stated, child, overlap=may_overlap(child.version) is not False):
            return stated
        return None

    def _parents(self, history: _History, child: Entry) -> tuple[Entry, ...]:
        """Return the restorable parents of a non-empty differential, the full first."""
        if stated := self._stated.get(child.key):
            return (stated,) if stated.key in self.roots else ()
        overlap = may_overlap(child.version) is not False
        newest_full = history.newest_full_at(child.taken)
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
    """The chains and holes of an ancestry, with the caller's records as members."""

    def __init__(self, records: Iterable[Member]) -> None:
        self._members: dict[str, Member] = {record.key: record for record in records}
        self._ancestry = Ancestry(map(as_entry, self._members.values()))
        entries = self._ancestry.entries
        self._fulls = [entry for entry in entries if entry.full]
        children: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            for parent in self._ancestry.parents(entry):
                children[parent.key].append(entry)
        self._paths = [path for full in self._fulls for path in _paths(full, children)]
        self._loose = [entry for entry in entries if not entry.empty and entry.key not in self._ancestry.roots]
        """Non-empty differentials that belong to no chain."""
        self.holes: tuple[Hole[Member], ...] = tuple(self._find_holes())

    def chains(self) -> tuple[Chain[Member], ...]:
        empty: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._ancestry.entries:
            if entry.empty and (anchor := self._ancestry.anchor(entry)):
                empty[anchor.key].append(entry)
        # If two chains end with the same artifact, as F1, D1, D2 and F2, D2 do, the one with the newer full comes last.
        paths = sorted(self._paths, key=lambda path: (max(map(_age, path)), _age(path[0])))
        return tuple(
            Chain(
                full=self._members[path[0].key],
                links=self._members_of(path[1:]),
                empty=self._members_of(sorted((entry for member in path for entry in empty[member.key]), key=_age)),
                hole=self._hole_after(path[-1]),
            )
            for path in paths
        )

    def _members_of(self, entries: Iterable[Entry]) -> tuple[Member, ...]:
        return tuple(self._members[entry.key] for entry in entries)

    def _find_holes(self) -> Iterator[Hole[Member]]:
        ends: dict[tuple[str, str], list[int]] = defaultdict(list)
        for entry in self._ancestry.entries:
            if not entry.empty and entry.key in self._ancestry.roots:
                ends[_history_id(entry)].append(entry.highest)
        for indexes in ends.values():
            indexes.sort()
        for entry in self._loose:
            indexes = ends[_history_id(entry)]
            below = bisect_right(indexes, entry.lowest - 1)
            yield Hole(self._members[entry.key], indexes[below - 1] if below else None)

    def _hole_after(self, last: Entry) -> Hole[Member] | None:
        index = bisect_right(self._loose, last.taken, key=_taken)
        if index == len(self._loose):
            return None
        next_full = bisect_right(self._fulls, last.taken, key=_taken)
        full_between = bisect_right(self._fulls, self._loose[index].taken, key=_taken) > next_full
        return None if full_between else self.holes[index]


def _taken(entry: Entry) -> datetime:
    return entry.taken


def _no_parent(link: Entry) -> str:
    if link.empty:
        return "no artifact of its store was taken before it"
    return f"it starts at append index {link.lowest}, but no artifact ends at {link.lowest - 1}"


def _history_id(entry: Entry) -> tuple[str, str]:
    """Return what all members of a chain share: the database id, and the store id without the minor version."""
    return entry.database_id, _without_minor_version(entry.store_id)


@lru_cache(maxsize=256)
def _without_minor_version(store_id: str) -> str:
    return store_id.rpartition(".")[0] or store_id  # a store id without a version is used whole


def _better(child: Entry, one: Entry | None, other: Entry) -> Entry:
    """Return the newer parent, but prefer one that was taken before the child."""
    if one is None:
        return other
    return max(one, other, key=lambda entry: (entry.taken <= child.taken, _age(entry)))


def _paths(full: Entry, children: dict[str, list[Entry]]) -> Iterator[tuple[Entry, ...]]:
    """Yield the shortest path from a full to each last differential."""
    before: dict[str, Entry | None] = {full.key: None}
    queue = deque([full])
    while queue:
        entry = queue.popleft()
        new = [child for child in children.get(entry.key, ()) if child.key not in before]
        before.update((child.key, entry) for child in new)
        queue.extend(new)
        if not new:
            yield tuple(reversed(list(_path_back(entry, before))))


def _path_back(entry: Entry | None, before: dict[str, Entry | None]) -> Iterator[Entry]:
    while entry:
        yield entry
        entry = before[entry.key]
