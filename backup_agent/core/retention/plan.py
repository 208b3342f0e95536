"""What is kept of the artifacts at one place, and what goes: a plan that can be printed, tested, and then carried out.

What a newcomer would get wrong: rules pick restore points, never files. A differential that is kept keeps all it needs,
and a point that cannot be restored takes nobody's place. Ages count from the newest good point and never from now, so
that a database whose backups stopped loses nothing. The rules with a worked example: docs/retention.md.
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
from typing import Any, NamedTuple, Self
from zoneinfo import ZoneInfo

from backup_agent.core.artifacts.chains import Ancestry, as_entry
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.records import Record

Group = tuple[str, str]
"""A set and a database: what rules count in."""


class Rule(StrEnum):
    """Why an artifact is kept: those that count points, the floors, and what somebody said."""

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
    REFUSED = "refused"
    ADHOC = "adhoc"
    NO_POLICY = "no_policy"


SAID: Mapping[Rule, str] = {
    Rule.NEWEST: "newest point that can be restored",
    Rule.FUTURE: "taken in the future",
    Rule.HELD: "held",
    Rule.UNREADABLE: "a record or mark of its database cannot be read",
    Rule.OWED: "a copy of it is owed",
    Rule.NEEDED: "needed by",
    Rule.MIN_CHAINS: "one of the newest chains, always kept:",
    Rule.MIN_AGE: "younger than",
    Rule.BROKEN: "broken, may be healed until it is no longer",
    Rule.REFUSED: "its deletion is refused:",
    Rule.ADHOC: "ad hoc set,",
    Rule.NO_POLICY: "no retention is set",
}
"""What a rule is called where its name does not say it."""


class KeepReason(NamedTuple):
    """One reason to keep an artifact: `daily 3 of 14 (2026-11-20)`, `needed by default/orders/…`."""

    rule: Rule
    detail: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (SAID.get(self.rule, self.rule.value), self.detail)))


class Fate(StrEnum):
    """Why an artifact goes."""

    UNNEEDED = "unneeded"
    DAMAGED = "damaged"
    INCOMPLETE = "incomplete"
    FORGOTTEN = "forgotten"
    EXPIRED = "expired"


FATES: Mapping[Fate, str] = {
    Fate.UNNEEDED: "no rule keeps it, and nothing kept needs it",
    Fate.DAMAGED: "damaged, and no rule would keep it if it were whole",
    Fate.INCOMPLETE: "its chain is incomplete, and no rule would keep it if it were whole",
    Fate.FORGOTTEN: "its database was forgotten",
    Fate.EXPIRED: "its ad hoc set was not used for long enough",
}


class PlannedDeletion(NamedTuple):
    """One artifact to delete. Its record goes first, then its data, then its marks (invariant 2)."""

    key: str
    fate: Fate
    size: int
    """Bytes that this gives back."""

    def __str__(self) -> str:
        return FATES[self.fate]


@dataclass(frozen=True)
class RefusedSet:
    """A set of which too much would go at once: a wrong policy looks like this."""

    set: str
    deletions: tuple[PlannedDeletion, ...]
    """What would go, in order, by force."""
    artifacts: int
    """All of the set's at this place."""
    share: float
    """The most that may go."""

    def __str__(self) -> str:
        part = f"{len(self.deletions)} of {self.artifacts} artifacts"
        return (
            f"{self.set}: {part} would be deleted, more than the share of {self.share:g} that max_delete_share allows"
        )


@dataclass(frozen=True)
class Plan:
    """What stays and what goes at one place. Every artifact is in `keep` or in `delete`."""

    keep: Mapping[str, tuple[KeepReason, ...]]
    """Key -> all reasons to keep it, by set, database and time."""
    delete: tuple[PlannedDeletion, ...]
    """In the order to carry out: cut short anywhere, nothing is left without what it needs."""
    refused: tuple[RefusedSet, ...] = ()
    broken: Mapping[str, Fate] = field(default_factory=dict)
    """Key -> DAMAGED or INCOMPLETE: no restore points, whether they are kept or go."""
    future: tuple[str, ...] = ()
    """Taken after `now`: kept, and no restore points yet. A clock is or was wrong."""

    @property
    def freed(self) -> int:
        """Bytes that carrying it out gives back."""
        return sum(deletion.size for deletion in self.delete)

    def why(self, key: str) -> tuple[str, ...]:
        """Return why an artifact is kept or goes, in sentences; raise KeyError where the plan does not know it."""
        if key in self.keep:
            return tuple(map(str, self.keep[key]))
        return tuple(str(deletion) for deletion in self.delete if deletion.key == key) or _unknown(key)


def _unknown(key: str) -> tuple[str, ...]:
    raise KeyError(key)


@dataclass(frozen=True)
class Policy:
    """Which points are kept: the keys of the settings' `retention`. Without a rule that picks points all are."""

    last: int | None = None
    hourly: int | None = None
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    yearly: int | None = None
    within: timedelta | None = None
    min_chains: int = 1
    min_age: timedelta = timedelta(0)
    timezone: str = "UTC"
    max_delete_share: float = 0.5

    @classmethod
    def of(cls, retention: Mapping[str, Any] | None) -> Self:
        """Return the policy that the settings' section says, `dict(settings.retention)`; None is the empty one."""
        return cls(**retention) if retention else cls()

    def __post_init__(self) -> None:
        for name in (*COUNTED, Rule.MIN_CHAINS):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name.value}: a number from 0 on (got {getattr(self, name)})")

    @property
    def empty(self) -> bool:
        """Whether nothing says what to keep: then nothing is deleted."""
        return not any(getattr(self, name) for name in (*COUNTED, Rule.WITHIN))


def _week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year}-W{week:02}"


COUNTED: Mapping[Rule, Callable[[Entry, datetime], str]] = {
    Rule.LAST: lambda point, _: point.key,
    # The offset tells the two hours apart that a clock set back shows alike.
    Rule.HOURLY: lambda _, local: local.isoformat(timespec="hours"),
    Rule.DAILY: lambda _, local: local.date().isoformat(),
    Rule.WEEKLY: lambda _, local: _week(local),
    Rule.MONTHLY: lambda _, local: f"{local.year}-{local.month:02}",
    Rule.YEARLY: lambda _, local: str(local.year),
}
"""Rule -> the bucket of a point, by its local time. Of the newest buckets with points, the newest point is kept."""


LONGER = frozenset({Rule.DAILY, Rule.WEEKLY, Rule.MONTHLY, Rule.YEARLY})
"""The last of them. On a day that a good point has settled they pick no other, so that nobody need ask."""


class _Row(NamedTuple):
    """A rule at work."""

    rule: Rule
    limit: int
    bucket_of: Callable[[Entry, datetime], str]
    filled: set[str]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python from looking for cycles meanwhile.

    Nothing here makes one, and each look walks through the lists of a million entries again: a third of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_uncollected()
def plan(
    records: Iterable[Record | Entry],
    policy: Policy,
    now: datetime,
    *,
    held: Collection[str] = (),
    damaged: Collection[str] = (),
    unreadable: Collection[Group] = (),
    owed: Collection[str] = (),
    forgotten: Mapping[str, datetime] | None = None,
    force: bool = False,
) -> Plan:
    """Decide what is kept and what goes of the artifacts at one place.

    `held`, `damaged` and `owed` are keys. Of a database in `unreadable`, where a record or mark cannot be
    read, nothing goes. `forgotten` is by database when it was forgotten: what was taken later is another one of that
    name. `force` lifts the limit on what goes at once, and nothing else.
    """
    said, broken_files = _said(held, owed, unreadable), _by_group(damaged)
    keep: dict[str, tuple[KeepReason, ...]] = {}
    delete: list[PlannedDeletion] = []
    broken: dict[str, Fate] = {}
    future: list[str] = []
    refused: list[RefusedSet] = []
    for set_name, databases in _sets(records).items():
        going: list[PlannedDeletion] = []
        for database, entries in databases.items():
            group = set_name, database
            points = _Points(entries, broken_files.get(group, ()), now, (forgotten or {}).get(database))
            kept = _kept(points, _ruled(points, policy), said.get(group, ()))
            keep |= kept
            going += _deletions(points, kept)
            broken |= points.broken
            future += points.future
        artifacts = sum(map(len, databases.values()))
        if going and len(going) / artifacts > policy.max_delete_share and not force:
            refused.append(RefusedSet(set_name, tuple(going), artifacts, policy.max_delete_share))
            keep |= {deletion.key: (KeepReason(Rule.REFUSED, str(deletion)),) for deletion in going}
        else:
            delete += going
    return Plan(keep, tuple(delete), tuple(refused), broken, tuple(future))


@_uncollected()
def expired_sets(
    records: Iterable[Record | Entry],
    declared: Collection[str],
    keep_adhoc: timedelta,
    now: datetime,
    *,
    used: Mapping[str, datetime],
    held: Collection[str] = (),
    damaged: Collection[str] = (),
    unreadable: Collection[Group] = (),
    owed: Collection[str] = (),
) -> Plan:
    """Decide which ad hoc sets go: whole, `keep_adhoc` after their last use, and no share limits it.

    `records` are those of the declared sets too: a database without a good point in one of them keeps its newest chain,
    in whichever ad hoc set that is. `used` is when a set was last asked for, where that is later than its newest
    artifact. The plan holds the artifacts of ad hoc sets alone.
    """
    said, broken_files = _said(held, owed, unreadable), _by_group(damaged)
    judged = {
        (set_name, database): _Points(entries, broken_files.get((set_name, database), ()), now, None)
        for set_name, databases in _sets(records).items()
        for database, entries in databases.items()
    }
    adhoc = {group: points for group, points in judged.items() if group[0] not in declared}
    floor = _newest_chains(judged, declared)
    goes: dict[str, datetime] = {}
    for (set_name, _), points in adhoc.items():
        last = max(entry.finished for entry in points.entries)
        goes[set_name] = max(goes.get(set_name, last), last)
    goes = {set_name: max(last, used.get(set_name, last)) + keep_adhoc for set_name, last in goes.items()}
    keep: dict[str, tuple[KeepReason, ...]] = {}
    delete: list[PlannedDeletion] = []
    for group, points in adhoc.items():
        until = goes[group[0]]
        grounds = [(entry.key, KeepReason(Rule.NEWEST)) for entry in points.entries if entry.key in floor]
        if now < until:
            ground = KeepReason(Rule.ADHOC, f"until {until.isoformat(timespec='seconds')}")
            grounds += [(entry.key, ground) for entry in points.entries]
        kept = _kept(points, grounds, said.get(group, ()))
        keep |= kept
        delete += _deletions(points, kept, Fate.EXPIRED)
    broken = {key: fate for points in adhoc.values() for key, fate in points.broken.items()}
    return Plan(keep, tuple(delete), (), broken, tuple(key for points in adhoc.values() for key in points.future))


def _newest_chains(judged: Mapping[Group, "_Points"], declared: Collection[str]) -> frozenset[str]:
    """Return the newest good point of each database that has none in a declared set."""
    newest: dict[str, Entry] = {}
    safe = set()
    for (set_name, database), points in judged.items():
        if points.newest is None:
            continue
        if set_name in declared:
            safe.add(database)
        elif database not in newest or newest[database].taken < points.newest.taken:
            newest[database] = points.newest
    return frozenset(point.key for database, point in newest.items() if database not in safe)


class _Points:
    """The artifacts of one set and database, judged: which are restore points, and what each needs."""

    def __init__(
        self, entries: Iterable[Entry], damaged: Collection[str], now: datetime, forgotten: datetime | None
    ) -> None:
        ancestry = Ancestry(entries, damaged)
        self.entries = ancestry.entries
        """By time, the oldest first."""
        self.roots = ancestry.roots
        """Of each good one, the full that its restore begins with."""
        self.needs = ancestry.needs
        """Returns what an artifact continues, in doubt all it may continue; of a broken one, as far as it is there."""
        first = bisect_right(self.entries, forgotten, key=attrgetter("taken")) if forgotten else 0
        end = bisect_right(self.entries, now, key=attrgetter("taken"))
        self.forgotten = frozenset(entry.key for entry in self.entries[:first])
        self.future = tuple(entry.key for entry in self.entries[end:])
        self.judged = self.entries[first:end][::-1]
        """What the rules are about, the newest first."""
        self.newest = next((entry for entry in self.judged if entry.key in self.roots), None)
        self.broken = {
            entry.key: Fate.DAMAGED if entry.key in damaged else Fate.INCOMPLETE
            for entry in (self.entries if len(self.roots) < len(self.entries) else ())
            if entry.key not in self.roots
        }


def _kept(
    points: _Points, grounds: Iterable[tuple[str, KeepReason]], said: Iterable[tuple[str | None, Rule]]
) -> dict[str, tuple[KeepReason, ...]]:
    """Return what is kept of one set and database, by time: for these grounds, by what was said, and for need."""
    found: dict[str, list[KeepReason]] = defaultdict(list)
    everybody = [entry.key for entry in points.entries]
    for key, ground in grounds:
        found[key].append(ground)
    for key in points.future:
        found[key].append(KeepReason(Rule.FUTURE))
    for named, rule in said:
        for key in everybody if named is None else (named,):
            found[key].append(KeepReason(rule))
    _keep_parents(points, found)
    return {key: tuple(found[key]) for key in everybody if key in found}


def _ruled(points: _Points, policy: Policy) -> Iterator[tuple[str, KeepReason]]:
    """Yield what the policy keeps: all where it says nothing."""
    if policy.empty:
        for entry in points.entries:
            yield entry.key, KeepReason(Rule.NO_POLICY)
        return
    yield from _picked(points, policy)
    yield from _floors(points, policy)


def _picked(points: _Points, policy: Policy) -> Iterator[tuple[str, KeepReason]]:
    """Yield what the rules pick, as `ApplyPolicy` of restic does: the newest first, each rule by itself."""
    zone = ZoneInfo(policy.timezone)
    rows = [_Row(rule, limit, bucket, set()) for rule, bucket in COUNTED.items() if (limit := getattr(policy, rule))]
    oldest = points.newest.taken - policy.within if points.newest and policy.within else None
    last_day = None
    for point in points.judged:
        near = policy.within and (oldest is None or point.taken >= oldest)
        if not rows and not near:
            return
        good = point.key in points.roots
        local = point.taken.astimezone(zone)
        day = local.date()
        taking = []
        if policy.within and near:
            taking.append(KeepReason(Rule.WITHIN, f"{span(policy.within)} of the newest"))
        for rule, limit, bucket_of, filled in rows:
            if day == last_day and rule in LONGER:
                break
            if (bucket := bucket_of(point, local)) not in filled:
                place = f"{len(filled) + 1} of {limit}"
                taking.append(KeepReason(rule, place if rule is Rule.LAST else f"{place} ({bucket})"))
                if good:
                    filled.add(bucket)
        if good:
            last_day = day
            if taking:
                rows = [row for row in rows if len(row.filled) < row.limit]
        if good:
            yield from ((point.key, ground) for ground in taking)
        elif taking:
            # It takes nobody's place, and goes when it would go if it were whole: until then a copy may heal it.
            yield point.key, KeepReason(Rule.BROKEN, ", ".join(ground.rule for ground in taking))


def _floors(points: _Points, policy: Policy) -> Iterator[tuple[str, KeepReason]]:
    """Yield what no rule goes below: the newest chains that can be restored, and what is too young."""
    if points.newest is None:
        return
    yield points.newest.key, KeepReason(Rule.NEWEST)
    fulls = {points.roots[points.newest.key].key}
    for point in points.judged:
        if len(fulls) >= policy.min_chains:
            break
        if (root := points.roots.get(point.key)) and root.key not in fulls:
            fulls.add(root.key)
            yield point.key, KeepReason(Rule.MIN_CHAINS, f"{len(fulls)} of {policy.min_chains}")
    if policy.min_age:
        young = points.newest.taken - policy.min_age
        for point in points.judged:
            if point.taken > young:
                yield point.key, KeepReason(Rule.MIN_AGE, span(policy.min_age))


def _keep_parents(points: _Points, grounds: dict[str, list[KeepReason]]) -> None:
    """Keep all that something kept needs (invariant 3); each is told which newest one needs it."""
    needed: set[str] = set()
    for point in [entry for entry in reversed(points.entries) if entry.key in grounds]:
        ground = KeepReason(Rule.NEEDED, point.key)
        waiting = [point]
        while waiting:
            for parent in points.needs(waiting.pop()):
                if parent.key not in needed:
                    needed.add(parent.key)
                    grounds[parent.key].append(ground)
                    waiting.append(parent)


def _deletions(points: _Points, kept: Collection[str], whole: Fate | None = None) -> Iterator[PlannedDeletion]:
    """Yield what goes, chain by chain, the oldest first; in each the newest link first and the full last.

    `whole` is why, where all of it goes for one reason.
    """
    fulls: list[Entry] = []
    links: list[Entry] = []
    empty: list[Entry] = []
    for entry in reversed(points.entries):
        if entry.key not in kept:
            (fulls if entry.full else links if entry.highest or not entry.empty else empty).append(entry)
    links.sort(key=attrgetter("highest"), reverse=True)
    # Each stands before all that it may need, whatever the clocks said.
    differentials = empty + links
    # What continues several goes with the oldest of them, and so before each.
    begun = {full.key: full.taken for full in fulls}
    going: dict[datetime, list[Entry]] = defaultdict(list)
    for full in reversed(fulls):
        going[full.taken].append(full)
    for entry in reversed(differentials):
        start = entry.taken
        for parent in points.needs(entry):
            if (older := begun.get(parent.key, start)) < start:
                start = older
        begun[entry.key] = start
        going[start].append(entry)
    # There are far fewer beginnings to sort than artifacts.
    for entry in (entry for start in sorted(going) for entry in reversed(going[start])):
        fate = Fate.FORGOTTEN if entry.key in points.forgotten else points.broken.get(entry.key, Fate.UNNEEDED)
        yield PlannedDeletion(entry.key, whole or fate, entry.size)


def _sets(records: Iterable[Record | Entry]) -> dict[str, dict[str, list[Entry]]]:
    """Return the entries by set and database, both sorted."""
    found: dict[Group, list[Entry]] = defaultdict(list)
    for record in records:
        entry = as_entry(record)
        found[entry.set, entry.database].append(entry)
    sets: dict[str, dict[str, list[Entry]]] = defaultdict(dict)
    for set_name, database in sorted(found):
        sets[set_name][database] = found[set_name, database]
    return sets


def _by_group(keys: Iterable[str]) -> dict[Group, set[str]]:
    """Return keys by set and database."""
    found: dict[Group, set[str]] = defaultdict(set)
    for key in keys:
        found[_group(key)].add(key)
    return found


def _said(
    held: Iterable[str], owed: Iterable[str], unreadable: Iterable[Group]
) -> dict[Group, list[tuple[str | None, Rule]]]:
    """Return what may not go whatever the rules say, by set and database; None stands for all of it."""
    found: dict[Group, list[tuple[str | None, Rule]]] = defaultdict(list)
    for rule, names in ((Rule.HELD, held), (Rule.OWED, owed)):
        for name in names:
            found[_group(name)].append((name, rule))
    for group in unreadable:
        found[group].append((None, Rule.UNREADABLE))
    return found


def _group(key: str) -> Group:
    set_name, database, _ = key.split("/")
    return set_name, database


def span(time: timedelta) -> str:
    """Return a duration as the settings write it, in its largest unit."""
    seconds = int(time.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
