"""Until when an artifact stays, as far as that can be said.

What a newcomer would get wrong: no rule has a date. A point leaves `daily: 14` when fourteen newer days have a point,
and if backups stop it never does. So a date is told with what it assumes: that backups go on at the pace they had.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backup_agent.core.artifacts.chains import Ancestry, as_entry
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.records import Record
from backup_agent.core.retention.plan import COUNTED, Fate, Plan, Policy, Rule, span

PINNED = frozenset(
    {
        Rule.HELD,
        Rule.UNREADABLE,
        Rule.OWED,
        Rule.FUTURE,
        Rule.REFUSED,
        Rule.NO_POLICY,
        Rule.ADHOC,
    }
)
"""Reasons that no backup to come takes away."""

LOOKED_AT = 20
"""So many of the newest points, and of the newest fulls, tell the pace."""

MOST_POINTS = 100_000
"""So many points to come are thought of: eleven years of hourly ones."""

WINDOWS = {
    Rule.LAST: timedelta(0),
    Rule.HOURLY: timedelta(hours=1),
    Rule.DAILY: timedelta(days=1),
    Rule.WEEKLY: timedelta(days=7),
    Rule.MONTHLY: timedelta(days=31),
    Rule.YEARLY: timedelta(days=366),
}
"""How long a bucket is at most."""


class Pace(NamedTuple):
    """How backups came lately."""

    points: timedelta
    fulls: timedelta | None
    """None: there is one full, which says nothing of the next."""

    def __str__(self) -> str:
        fulls = f", a full every {span(self.fulls)}" if self.fulls else ""
        return f"backups go on at their pace: a point every {span(self.points)}{fulls}"


@dataclass(frozen=True)
class Outlook:
    """Until when an artifact stays."""

    text: str
    """A sentence: `daily until 2026-12-07`."""
    when: datetime | None = None
    """The backup after which a plan lets it go; None where no date can be said."""
    pace: Pace | None = None
    """What is assumed for that date."""


def until(planned: Plan, key: str, records: Iterable[Record | Entry], policy: Policy) -> Outlook:
    """Say until when an artifact of a plan stays; raise KeyError where the plan does not know it.

    `records` and `policy` are what the plan was made from.
    """
    if key not in planned.keep:
        return Outlook(f"goes when the plan is carried out: {planned.why(key)[0]}")
    group = key.rsplit("/", 1)[0]
    damaged = {broken for broken, fate in planned.broken.items() if fate is Fate.DAMAGED}
    same = (entry for entry in map(as_entry, records) if f"{entry.set}/{entry.database}" == group)
    ancestry = Ancestry(same, damaged)
    dependants = [entry for entry in _dependants(ancestry, key) if entry.key in planned.keep]
    for entry in dependants:
        for ground in planned.keep[entry.key]:
            if ground.rule in PINNED:
                needed = "" if entry.key == key else f", by {entry.key}, which needs it"
                return Outlook(f"no date: {ground}{needed}")
    late = frozenset(planned.future)
    points = [entry for entry in ancestry.entries if entry.key in ancestry.roots and entry.key not in late]
    pace = _pace(points)
    if pace is None:
        return Outlook("no date: fewer than two points say no pace")
    newest = points[-1]
    live = any(entry.key == newest.key for entry in dependants)
    if live and pace.fulls is None:
        return Outlook("no date: its chain is the newest, and no second full says when another begins")
    times = _Times(points, {point.key: ancestry.roots[point.key] for point in points}, pace, policy)
    last = max((*dependants, *(times.of_chain if live else ())), key=times.leaves)
    when, rule = times.leaves(last)
    if when == datetime.max.replace(tzinfo=newest.taken.tzinfo):
        return Outlook(f"{rule.value} for longer than until {times.horizon:%Y-%m-%d}", pace=pace)
    through = "" if last.key == key else "needed by what is kept as "
    return Outlook(f"{through}{rule.value} until {when.astimezone(ZoneInfo(policy.timezone)):%Y-%m-%d}", when, pace)


def _dependants(ancestry: Ancestry, key: str) -> Iterator[Entry]:
    """Yield the artifact, and all that need it, however indirectly."""
    children: dict[str, list[Entry]] = defaultdict(list)
    for entry in ancestry.entries:
        for parent in ancestry.needs(entry):
            children[parent.key].append(entry)
    waiting = [entry for entry in ancestry.entries if entry.key == key]
    seen = {key}
    while waiting:
        entry = waiting.pop()
        yield entry
        new = [child for child in children.get(entry.key, ()) if child.key not in seen]
        seen.update(child.key for child in new)
        waiting += new


def _pace(points: Sequence[Entry]) -> Pace | None:
    each = _gap([point.taken for point in points])
    return Pace(each, _gap([point.taken for point in points if point.full])) if each else None


def _gap(times: list[datetime]) -> timedelta | None:
    """Return the usual time between the last of these, or None where there is none."""
    gaps = sorted(after - before for before, after in pairwise(times[-LOOKED_AT:]) if after > before)
    return gaps[len(gaps) // 2] if gaps else None


class _Times:
    """The good points, those to come too, and when each rule lets go of one."""

    def __init__(self, points: list[Entry], roots: Mapping[str, Entry], pace: Pace, policy: Policy) -> None:
        newest = points[-1]
        begins, fulls = roots[newest.key].taken, pace.fulls or pace.points
        reach = begins + fulls - newest.taken + policy.min_chains * fulls + policy.min_age
        reach += max(policy.within or timedelta(0), *(self._window(rule, pace, policy) for rule in COUNTED))
        count = min(MOST_POINTS, int(reach / pace.points) + 2)
        coming = [
            newest._replace(key=f"{newest.key} + {number}", taken=newest.taken + number * pace.points)
            for number in range(1, count + 1)
        ]
        self._policy = policy
        self._zone = ZoneInfo(policy.timezone)
        self._points = points + coming
        self._moments = [point.taken for point in self._points]
        self.horizon = self._moments[-1]
        self._chains = {key: root.key for key, root in roots.items()}
        for point in coming:
            number = (point.taken - begins) // fulls
            self._chains[point.key] = f"{number}. full to come" if number > 0 else roots[newest.key].key
        self.of_chain = [point for point in coming if self._chains[point.key] == roots[newest.key].key]
        """The points to come that continue the newest chain."""
        limits = {rule: getattr(policy, rule) or 0 for rule in (*COUNTED, Rule.MIN_CHAINS)}
        self._runs = {rule: (limit, self._run_starts(rule)) for rule, limit in limits.items() if limit}

    @staticmethod
    def _window(rule: Rule, pace: Pace, policy: Policy) -> timedelta:
        return ((getattr(policy, rule) or 0) + 1) * max(WINDOWS[rule], pace.points)

    def leaves(self, entry: Entry) -> tuple[datetime, Rule]:
        """Return the backup after which nothing keeps a point, and the rule that kept it until then."""
        after = bisect_right(self._moments, entry.taken)
        found = [(self._at(after), Rule.NEWEST)]
        for rule, (limit, starts) in self._runs.items():
            mine = self._bucket(rule, entry)
            if not mine:  # it cannot be restored, and so ends no chain
                continue
            if after < len(self._points) and self._bucket(rule, self._points[after]) == mine:
                found.append((self._at(after), rule))
            else:
                # The first run that begins from there on is the first newer bucket.
                place = bisect_right(starts, after - 1) + limit - 1
                found.append((self._at(starts[place] if place < len(starts) else len(self._points)), rule))
        if self._policy.within:
            found.append((self._at(bisect_right(self._moments, entry.taken + self._policy.within)), Rule.WITHIN))
        if self._policy.min_age:
            just = entry.taken + self._policy.min_age - timedelta(microseconds=1)
            found.append((self._at(bisect_right(self._moments, just)), Rule.MIN_AGE))
        return max(found, key=lambda item: item[0])

    def _at(self, place: int) -> datetime:
        return self._moments[place] if place < len(self._moments) else datetime.max.replace(tzinfo=self.horizon.tzinfo)

    def _bucket(self, rule: Rule, entry: Entry) -> str:
        if rule is Rule.MIN_CHAINS:
            return self._chains.get(entry.key, "")
        return COUNTED[rule](entry, entry.taken.astimezone(self._zone))

    def _run_starts(self, rule: Rule) -> list[int]:
        """Return where each bucket begins."""
        buckets = [self._bucket(rule, point) for point in self._points]
        return [place for place, bucket in enumerate(buckets) if place == 0 or bucket != buckets[place - 1]]
