"""Decide which artifacts at one place are kept and which are deleted.

Rules pick restore points, not files: a differential that is kept also keeps every artifact it needs. A broken artifact
does not use up a slot of a rule. Ages are measured from the newest restorable point, not from now, so a database whose
backups have stopped loses nothing. docs/retention.md describes the rules with a worked example.
"""

import gc
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backup_agent.core.artifacts.chains import Ancestry
from backup_agent.core.artifacts.entries import Entry, as_entry
from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.artifacts.names import BEFORE_RESTORE, DatabaseName, SetName
from backup_agent.core.artifacts.records import Record
from backup_agent.core.durations import written_duration
from backup_agent.core.quantities import second
from backup_agent.core.retention.policy import Policy

Group = tuple[SetName, DatabaseName]
"""A set and a database. Each rule counts the points of one group."""


class Rule(StrEnum):
    """Why an artifact is kept: a retention rule, a floor, or a protection such as a hold."""

    LAST = "last"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    WITHIN = "within"
    NEWEST = "newest"
    MIN_CHAINS = "min_chains"
    MIN_AGE = "min_age"
    NEEDED = "needed"
    BROKEN = "broken"
    FUTURE = "future"
    HELD = "held"
    UNREADABLE = "unreadable"
    OWED = "owed"
    CLAIMED = "claimed"
    REFUSED = "refused"
    ADHOC = "adhoc"
    SAFETY = "safety"
    NO_POLICY = "no_policy"


RULE_TEXTS: Mapping[Rule, str] = {
    Rule.NEWEST: "newest point that can be restored",
    Rule.FUTURE: "taken in the future",
    Rule.HELD: "held",
    Rule.UNREADABLE: "a record or mark of its database cannot be read",
    Rule.OWED: "a copy is missing",
    Rule.CLAIMED: "named as its parent by a record that is not recognised",
    Rule.NEEDED: "needed by",
    Rule.MIN_CHAINS: "one of the newest chains, always kept:",
    Rule.MIN_AGE: "younger than",
    Rule.BROKEN: "broken, kept for healing by:",
    Rule.REFUSED: "its deletion is refused:",
    Rule.ADHOC: "ad hoc set, kept",
    Rule.SAFETY: "taken before a restore, kept",
    Rule.NO_POLICY: "no retention rule is set",
}
"""Texts for the rules whose name is not clear enough."""


class KeepReason(NamedTuple):
    """One reason to keep an artifact: `daily 3 of 14 (2026-11-20)`, `needed by default/orders/…`."""

    rule: Rule
    detail: str = ""
    until: datetime | None = None
    """When the reason ends, if that is known."""

    def text(self, time: Callable[[datetime], str]) -> str:
        """Return the reason for people. `time` shows a time."""
        until = f"until {time(self.until)}" if self.until is not None else ""
        return " ".join(filter(None, (RULE_TEXTS.get(self.rule, self.rule.value), self.detail, until)))

    def __str__(self) -> str:
        return self.text(second)


class Fate(StrEnum):
    """Why an artifact is deleted."""

    UNNEEDED = "unneeded"
    DAMAGED = "damaged"
    INCOMPLETE = "incomplete"
    FORGOTTEN = "forgotten"
    EXPIRED = "expired"
    SAFETY = "safety"


FATE_TEXTS: Mapping[Fate, str] = {
    Fate.UNNEEDED: "no rule keeps it, and nothing kept needs it",
    Fate.DAMAGED: "damaged, and no rule would keep it if it were whole",
    Fate.INCOMPLETE: "its chain is incomplete, and no rule would keep it if it were whole",
    Fate.FORGOTTEN: "its database was forgotten",
    Fate.EXPIRED: "its ad hoc set has not been used for limits.keep_adhoc",
    Fate.SAFETY: "it was taken before a restore, restore.keep_safety ago",
}


class PlannedDeletion(NamedTuple):
    """One artifact to delete: its record first, then its data, then its marks (invariant 2)."""

    key: str
    fate: Fate
    size: int
    """Bytes that the deletion frees."""

    def __str__(self) -> str:
        return FATE_TEXTS[self.fate]


@dataclass(frozen=True)
class RefusedSet:
    """A set whose deletions exceed `max_delete_share`, perhaps because of a mistake in the policy."""

    set: SetName
    deletions: tuple[PlannedDeletion, ...]
    """The deletions that `force` would carry out, in order."""
    artifacts: int
    """Number of artifacts of the set at this place."""
    share: float
    """The value of `max_delete_share`."""

    def __str__(self) -> str:
        part = f"{len(self.deletions)} of {self.artifacts} artifacts"
        return f"{self.set}: {part} would be deleted, more than max_delete_share ({self.share:g}) allows"


@dataclass(frozen=True)
class Plan:
    """The decision for one place. Every artifact is either in `keep` or in `delete`."""

    keep: Mapping[str, tuple[KeepReason, ...]]
    """Key -> all reasons to keep it, ordered by set, database and time."""
    delete: tuple[PlannedDeletion, ...]
    """Deletions in order. If they stop at any point, no remaining artifact lacks an artifact that it needs."""
    refused: tuple[RefusedSet, ...] = ()
    broken: Mapping[str, Fate] = field(default_factory=dict)
    """Key -> DAMAGED or INCOMPLETE, for kept and deleted artifacts that are not restore points."""
    future: tuple[str, ...] = ()
    """Keys of artifacts taken after `now`, which means that a clock is or was wrong. They are kept."""

    @property
    def freed(self) -> int:
        """Bytes that all deletions free."""
        return sum(deletion.size for deletion in self.delete)

    def why(self, key: str) -> tuple[str, ...]:
        """Return why an artifact is kept or deleted. Raise KeyError if it is not in the plan."""
        if key in self.keep:
            return tuple(map(str, self.keep[key]))
        return tuple(str(deletion) for deletion in self.delete if deletion.key == key) or _unknown(key)


def _unknown(key: str) -> tuple[str, ...]:
    raise KeyError(key)


def _week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year}-W{week:02}"


COUNTED: Mapping[Rule, Callable[[Entry, datetime], str]] = {
    Rule.LAST: lambda point, _: point.key,
    # isoformat includes the UTC offset, which distinguishes the repeated hour when daylight saving ends.
    Rule.HOURLY: lambda _, local: local.isoformat(timespec="hours"),
    Rule.DAILY: lambda _, local: local.date().isoformat(),
    Rule.WEEKLY: lambda _, local: _week(local),
    Rule.MONTHLY: lambda _, local: f"{local.year}-{local.month:02}",
    Rule.YEARLY: lambda _, local: str(local.year),
}
"""Rule -> function from a point and its local time to its bucket. `daily: 14` keeps the newest point of the 14 newest
buckets that hold a restorable point."""


DAY_OR_LONGER = frozenset({Rule.DAILY, Rule.WEEKLY, Rule.MONTHLY, Rule.YEARLY})
"""Rules that pick no second point on a day that already has a restorable point. They come last in COUNTED."""


class _RuleState(NamedTuple):
    """A counting rule with the buckets that it has filled so far."""

    rule: Rule
    limit: int
    bucket_of: Callable[[Entry, datetime], str]
    filled: set[str]


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Pause Python's cyclic garbage collection.

    Planning makes no reference cycles. With a million entries, collection would take a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_garbage_collection_paused()
def plan(
    records: Iterable[Record | Entry],
    policy: Policy,
    now: datetime,
    *,
    held: Mapping[str, datetime | None] | None = None,
    damaged: Collection[str] = (),
    unreadable: Collection[Group] = (),
    owed: Collection[str] = (),
    claimed: Collection[str] = (),
    forgotten: Mapping[DatabaseName, datetime] | None = None,
    force: bool = False,
) -> Plan:
    """Decide which artifacts at one place are kept and which are deleted.

    `held` maps the key of an artifact to the end of its hold, if it has one. `damaged`, `owed` and `claimed` are keys
    of artifacts: `owed` are artifacts whose copy is missing at a destination, and `claimed` are artifacts that an
    unrecognised record names as its parent.
    `unreadable` are databases with a record or mark that cannot be read: all their artifacts are kept. `forgotten`
    maps a database to the time when it was forgotten; artifacts taken later belong to a new database of that name.
    `force` lifts `max_delete_share` and nothing else.
    """
    protections, damaged_keys = _protections(held or {}, owed, claimed, unreadable, now), _by_group(damaged)
    keep: dict[str, tuple[KeepReason, ...]] = {}
    delete: list[PlannedDeletion] = []
    broken: dict[str, Fate] = {}
    future: list[str] = []
    refused: list[RefusedSet] = []
    for set_name, databases in _sets(records).items():
        deletions: list[PlannedDeletion] = []
        for database, entries in databases.items():
            group = set_name, database
            points = _Points(entries, damaged_keys.get(group, ()), now, (forgotten or {}).get(database))
            kept = _keep(points, _policy_reasons(points, policy), protections.get(group, ()))
            keep |= kept
            deletions += _deletions(points, kept)
            broken |= points.broken
            future += points.future
        artifacts = sum(map(len, databases.values()))
        if deletions and len(deletions) / artifacts > policy.max_delete_share and not force:
            refused.append(RefusedSet(set_name, tuple(deletions), artifacts, policy.max_delete_share))
            keep |= {deletion.key: (KeepReason(Rule.REFUSED, str(deletion)),) for deletion in deletions}
        else:
            delete += deletions
    return Plan(keep, tuple(delete), tuple(refused), broken, tuple(future))


@_garbage_collection_paused()
def expired_sets(
    records: Iterable[Record | Entry],
    declared: Collection[str],
    keep_adhoc: timedelta,
    now: datetime,
    *,
    keep_safety: timedelta,
    used: Mapping[str, datetime],
    held: Mapping[str, datetime | None] | None = None,
    damaged: Collection[str] = (),
    unreadable: Collection[Group] = (),
    owed: Collection[str] = (),
    claimed: Collection[str] = (),
) -> Plan:
    """Decide which ad hoc sets are deleted: each as a whole, `keep_adhoc` after its last use.

    In the set `before-restore`, each artifact is deleted `keep_safety` after it was taken.

    `records` must include the declared sets: the newest chain of a database is kept in its ad hoc set if no declared
    set has a restorable point of that database. `used` maps a set to the time of its last request. The plan covers the
    artifacts of ad hoc sets only, and `max_delete_share` does not apply.
    """
    protections, damaged_keys = _protections(held or {}, owed, claimed, unreadable, now), _by_group(damaged)
    groups = {
        (set_name, database): _Points(entries, damaged_keys.get((set_name, database), ()), now, None)
        for set_name, databases in _sets(records).items()
        for database, entries in databases.items()
    }
    adhoc = {group: points for group, points in groups.items() if group[0] not in declared}
    floor = _only_points(groups, declared)
    expiry: dict[str, datetime] = {}
    for (set_name, _), points in adhoc.items():
        last = max(entry.finished for entry in points.entries)
        expiry[set_name] = max(expiry.get(set_name, last), last)
    expiry = {set_name: max(last, used.get(set_name, last)) + keep_adhoc for set_name, last in expiry.items()}
    keep: dict[str, tuple[KeepReason, ...]] = {}
    delete: list[PlannedDeletion] = []
    for group, points in adhoc.items():
        safety = group[0] == BEFORE_RESTORE
        reasons = [(entry.key, KeepReason(Rule.NEWEST)) for entry in points.entries if entry.key in floor]
        for entry in points.entries:
            until = entry.finished + keep_safety if safety else expiry[group[0]]
            if now < until:
                reasons.append((entry.key, KeepReason(Rule.SAFETY if safety else Rule.ADHOC, until=until)))
        kept = _keep(points, reasons, protections.get(group, ()))
        keep |= kept
        delete += _deletions(points, kept, Fate.SAFETY if safety else Fate.EXPIRED)
    broken = {key: fate for points in adhoc.values() for key, fate in points.broken.items()}
    return Plan(keep, tuple(delete), (), broken, tuple(key for points in adhoc.values() for key in points.future))


def _only_points(groups: Mapping[Group, "_Points"], declared: Collection[str]) -> frozenset[str]:
    """Return the newest restorable point of each database that has none in a declared set."""
    newest: dict[DatabaseName, Entry] = {}
    safe = set()
    for (set_name, database), points in groups.items():
        if points.newest is None:
            continue
        if set_name in declared:
            safe.add(database)
        elif database not in newest or newest[database].taken < points.newest.taken:
            newest[database] = points.newest
    return frozenset(point.key for database, point in newest.items() if database not in safe)


class _Points:
    """The artifacts of one set and database: which are restore points, and what each needs."""

    def __init__(
        self, entries: Iterable[Entry], damaged: Collection[str], now: datetime, forgotten: datetime | None
    ) -> None:
        ancestry = Ancestry(entries, damaged)
        self.entries = ancestry.entries
        """All artifacts, the oldest first."""
        self.roots = ancestry.roots
        """Key of a restorable artifact -> the full with which its restore begins."""
        self.needs = ancestry.needs
        first = bisect_right(self.entries, forgotten, key=attrgetter("taken")) if forgotten else 0
        end = bisect_right(self.entries, now, key=attrgetter("taken"))
        self.forgotten = frozenset(entry.key for entry in self.entries[:first])
        self.future = tuple(entry.key for entry in self.entries[end:])
        self.candidates = self.entries[first:end][::-1]
        """The artifacts to which the rules apply, the newest first."""
        self.newest = next((entry for entry in self.candidates if entry.key in self.roots), None)
        self.broken = {
            entry.key: Fate.DAMAGED if entry.key in damaged else Fate.INCOMPLETE
            for entry in (self.entries if len(self.roots) < len(self.entries) else ())
            if entry.key not in self.roots
        }


def _keep(
    points: _Points, reasons: Iterable[tuple[str, KeepReason]], protections: Iterable[tuple[str | None, KeepReason]]
) -> dict[str, tuple[KeepReason, ...]]:
    """Return the kept artifacts of one group by time, with the given reasons, the protections, and NEEDED."""
    found: dict[str, list[KeepReason]] = defaultdict(list)
    keys = [entry.key for entry in points.entries]
    for key, reason in reasons:
        found[key].append(reason)
    for key in points.future:
        found[key].append(KeepReason(Rule.FUTURE))
    for protected, reason in protections:
        for key in keys if protected is None else (protected,):
            found[key].append(reason)
    _keep_parents(points, found)
    return {key: tuple(found[key]) for key in keys if key in found}


def _policy_reasons(points: _Points, policy: Policy) -> Iterator[tuple[str, KeepReason]]:
    """Yield the keys that the policy keeps, each with a reason; an empty policy keeps all."""
    if not policy.rules:
        for entry in points.entries:
            yield entry.key, KeepReason(Rule.NO_POLICY)
        return
    yield from _rule_reasons(points, policy)
    yield from _floor_reasons(points, policy)


def _rule_reasons(points: _Points, policy: Policy) -> Iterator[tuple[str, KeepReason]]:
    """Yield what the rules pick. As in restic's `ApplyPolicy`, each rule goes from the newest point to the oldest."""
    zone = ZoneInfo(policy.timezone)
    states = [
        _RuleState(rule, limit, bucket, set()) for rule, bucket in COUNTED.items() if (limit := getattr(policy, rule))
    ]
    oldest = points.newest.taken - policy.within if points.newest and policy.within else None
    last_day = None
    for point in points.candidates:
        within = policy.within and (oldest is None or point.taken >= oldest)
        if not states and not within:
            return
        restorable = point.key in points.roots
        local = point.taken.astimezone(zone)
        day = local.date()
        reasons = []
        if policy.within and within:
            reasons.append(KeepReason(Rule.WITHIN, f"{written_duration(policy.within)} of the newest"))
        for rule, limit, bucket_of, filled in states:
            if day == last_day and rule in DAY_OR_LONGER:
                break
            if (bucket := bucket_of(point, local)) not in filled:
                count = f"{len(filled) + 1} of {limit}"
                reasons.append(KeepReason(rule, count if rule is Rule.LAST else f"{count} ({bucket})"))
                if restorable:
                    filled.add(bucket)
        if restorable:
            last_day = day
            if reasons:
                states = [state for state in states if len(state.filled) < state.limit]
        if restorable:
            yield from ((point.key, reason) for reason in reasons)
        elif reasons:
            # A broken point fills no bucket. It is kept as long as a sound one would be, since it may be healed.
            yield point.key, KeepReason(Rule.BROKEN, ", ".join(reason.rule for reason in reasons))


def _floor_reasons(points: _Points, policy: Policy) -> Iterator[tuple[str, KeepReason]]:
    """Yield what is kept regardless of the rules: the newest restorable chains, and points younger than `min_age`."""
    if points.newest is None:
        return
    yield points.newest.key, KeepReason(Rule.NEWEST)
    fulls = {points.roots[points.newest.key].key}
    for point in points.candidates:
        if len(fulls) >= policy.min_chains:
            break
        if (root := points.roots.get(point.key)) and root.key not in fulls:
            fulls.add(root.key)
            yield point.key, KeepReason(Rule.MIN_CHAINS, f"{len(fulls)} of {policy.min_chains}")
    if policy.min_age:
        oldest = points.newest.taken - policy.min_age
        for point in points.candidates:
            if point.taken > oldest:
                yield point.key, KeepReason(Rule.MIN_AGE, written_duration(policy.min_age))


def _keep_parents(points: _Points, kept: dict[str, list[KeepReason]]) -> None:
    """Add every artifact that a kept one needs (invariant 2). Its reason names the newest artifact that needs it."""
    needed: set[str] = set()
    for point in [entry for entry in reversed(points.entries) if entry.key in kept]:
        reason = KeepReason(Rule.NEEDED, point.key)
        waiting = [point]
        while waiting:
            for parent in points.needs(waiting.pop()):
                if parent.key not in needed:
                    needed.add(parent.key)
                    kept[parent.key].append(reason)
                    waiting.append(parent)


def _deletions(points: _Points, kept: Collection[str], fate: Fate | None = None) -> Iterator[PlannedDeletion]:
    """Yield what is deleted, the oldest chain first, and within a chain the newest link first and the full last.

    `fate` replaces the fate that each artifact would have by itself.
    """
    fulls: list[Entry] = []
    links: list[Entry] = []
    empty: list[Entry] = []
    for entry in reversed(points.entries):
        if entry.key not in kept:
            (fulls if entry.full else links if entry.highest or not entry.empty else empty).append(entry)
    links.sort(key=attrgetter("highest"), reverse=True)
    # Ordered by append index, each entry precedes everything it may need, even if clocks were wrong.
    differentials = empty + links
    # A differential that may continue several chains is deleted with the oldest of them, so before the full of each.
    chain_starts = {full.key: full.taken for full in fulls}
    chains: dict[datetime, list[Entry]] = defaultdict(list)
    for full in reversed(fulls):
        chains[full.taken].append(full)
    for entry in reversed(differentials):
        start = entry.taken
        for parent in points.needs(entry):
            if (older := chain_starts.get(parent.key, start)) < start:
                start = older
        chain_starts[entry.key] = start
        chains[start].append(entry)
    # Sorting the starts is cheaper than sorting the artifacts.
    for entry in (entry for start in sorted(chains) for entry in reversed(chains[start])):
        own = Fate.FORGOTTEN if entry.key in points.forgotten else points.broken.get(entry.key, Fate.UNNEEDED)
        yield PlannedDeletion(entry.key, fate or own, entry.size)


def _sets(records: Iterable[Record | Entry]) -> dict[SetName, dict[DatabaseName, list[Entry]]]:
    """Group entries by set and database, both sorted."""
    found: dict[Group, list[Entry]] = defaultdict(list)
    for record in records:
        entry = as_entry(record)
        found[entry.set, entry.database].append(entry)
    sets: dict[SetName, dict[DatabaseName, list[Entry]]] = defaultdict(dict)
    for set_name, database in sorted(found):
        sets[set_name][database] = found[set_name, database]
    return sets


def _by_group(keys: Iterable[str]) -> dict[Group, set[str]]:
    found: dict[Group, set[str]] = defaultdict(set)
    for key in keys:
        found[database_of(key)].add(key)
    return found


def _protections(
    held: Mapping[str, datetime | None],
    owed: Iterable[str],
    claimed: Iterable[str],
    unreadable: Iterable[Group],
    now: datetime,
) -> dict[Group, list[tuple[str | None, KeepReason]]]:
    """Return, for each group, the keys that must be kept, with reasons. A key of None means the whole group."""
    found: dict[Group, list[tuple[str | None, KeepReason]]] = defaultdict(list)
    for key, until in held.items():
        if until is None or now <= until:
            found[database_of(key)].append((key, KeepReason(Rule.HELD, until=until)))
    for reason, names in ((KeepReason(Rule.OWED), owed), (KeepReason(Rule.CLAIMED), claimed)):
        for name in names:
            found[database_of(name)].append((name, reason))
    for group in unreadable:
        found[group].append((None, KeepReason(Rule.UNREADABLE)))
    return found
