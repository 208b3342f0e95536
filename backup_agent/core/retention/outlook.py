"""Predict until when an artifact is kept.

Retention rules have no dates: a point leaves `daily: 14` when fourteen newer days have a point, and never if backups
stop. A predicted date therefore assumes that backups continue at their recent pace, and states that pace.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backup_agent.core.artifacts.chains import Ancestry
from backup_agent.core.artifacts.entries import Entry, as_entry
from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.artifacts.records import Record
from backup_agent.core.durations import written_duration
from backup_agent.core.retention.plan import COUNTED, Fate, Plan, Rule
from backup_agent.core.retention.policy import Policy

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
"""Rules that keep an artifact regardless of later backups."""

PACE_POINTS = 20
"""Number of newest points, and of newest fulls, from which the pace is computed."""

MOST_POINTS = 100_000
"""Limit of simulated future points: eleven years of hourly ones."""

WINDOWS = {
    Rule.LAST: timedelta(0),
    Rule.HOURLY: timedelta(hours=1),
    Rule.DAILY: timedelta(days=1),
    Rule.WEEKLY: timedelta(days=7),
    Rule.MONTHLY: timedelta(days=31),
    Rule.YEARLY: timedelta(days=366),
}
"""Longest duration of one bucket of a rule."""


class Pace(NamedTuple):
    """How often backups were taken recently."""

    points: timedelta
    """Time between two restore points."""
    fulls: timedelta | None
    """Time between two fulls; None if there is only one."""

    def __str__(self) -> str:
        fulls = f", a full every {written_duration(self.fulls)}" if self.fulls else ""
        return f"backups continue at their pace: a point every {written_duration(self.points)}{fulls}"


@dataclass(frozen=True)
class Outlook:
    """Until when an artifact is kept."""

    text: str
    """The prediction for users, such as `daily until 2026-12-07`."""
    when: datetime | None = None
    """Time of the backup after which a plan deletes the artifact; None if it cannot be predicted."""
    pace: Pace | None = None
    """The pace that `when` assumes."""


def predict(planned: Plan, key: str, records: Iterable[Record | Entry], policy: Policy) -> Outlook:
    """Predict until when an artifact of a plan is kept. Raise KeyError if it is not in the plan.

    `records` and `policy` are those from which the plan was made.
    """
    if key not in planned.keep:
        return Outlook(f"deleted when the plan is carried out: {planned.why(key)[0]}")
    group = database_of(key)
    damaged = {broken for broken, fate in planned.broken.items() if fate is Fate.DAMAGED}
    entries = (entry for entry in map(as_entry, records) if (entry.set, entry.database) == group)
    ancestry = Ancestry(entries, damaged)
    dependants = [entry for entry in _dependants(ancestry, key) if entry.key in planned.keep]
    for entry in dependants:
        for reason in planned.keep[entry.key]:
            if reason.rule in PINNED:
                return Outlook(f"no date: {reason if entry.key == key else f'needed by {entry.key} ({reason})'}")
    future = frozenset(planned.future)
    points = [entry for entry in ancestry.entries if entry.key in ancestry.roots and entry.key not in future]
    pace = _pace(points)
    if pace is None:
        return Outlook("no date: with fewer than two restore points the pace is unknown")
    newest = points[-1]
    live = any(entry.key == newest.key for entry in dependants)
    if live and pace.fulls is None:
        return Outlook("no date: it belongs to the newest chain, and one full alone does not tell when the next is due")
    prediction = _Prediction(points, {point.key: ancestry.roots[point.key] for point in points}, pace, policy)
    last = max((*dependants, *(prediction.live_links if live else ())), key=prediction.end)
    when, rule = prediction.end(last)
    if when == datetime.max.replace(tzinfo=newest.taken.tzinfo):
        return Outlook(f"{rule.value} until after {prediction.horizon:%Y-%m-%d}", pace=pace)
    needed = "" if last.key == key else "needed by an artifact kept as "
    return Outlook(f"{needed}{rule.value} until {when.astimezone(ZoneInfo(policy.timezone)):%Y-%m-%d}", when, pace)


def _dependants(ancestry: Ancestry, key: str) -> Iterator[Entry]:
    """Yield an artifact and every artifact that needs it, directly or not."""
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
    interval = _median_gap([point.taken for point in points])
    return Pace(interval, _median_gap([point.taken for point in points if point.full])) if interval else None


def _median_gap(times: list[datetime]) -> timedelta | None:
    """Return the median gap between the last `PACE_POINTS` times, or None if there is no gap."""
    gaps = sorted(after - before for before, after in pairwise(times[-PACE_POINTS:]) if after > before)
    return gaps[len(gaps) // 2] if gaps else None


class _Prediction:
    """Restorable points, present and simulated, and until when the rules keep each of them."""

    def __init__(self, points: list[Entry], roots: Mapping[str, Entry], pace: Pace, policy: Policy) -> None:
        newest = points[-1]
        live_full = roots[newest.key]
        fulls = pace.fulls or pace.points
        duration = live_full.taken + fulls - newest.taken + policy.min_chains * fulls + policy.min_age
        duration += max(policy.within or timedelta(0), *(self._window(rule, pace, policy) for rule in COUNTED))
        count = min(MOST_POINTS, int(duration / pace.points) + 2)
        simulated = [
            newest._replace(key=f"{newest.key} + {number}", taken=newest.taken + number * pace.points)
            for number in range(1, count + 1)
        ]
        self._policy = policy
        self._zone = ZoneInfo(policy.timezone)
        self._points = points + simulated
        self._times = [point.taken for point in self._points]
        self.horizon = self._times[-1]
        self._chains = {key: root.key for key, root in roots.items()}
        for point in simulated:
            number = (point.taken - live_full.taken) // fulls
            self._chains[point.key] = f"simulated full {number}" if number > 0 else live_full.key
        self.live_links = [point for point in simulated if self._chains[point.key] == live_full.key]
        """Simulated points that continue the live chain."""
        limits = {rule: getattr(policy, rule) or 0 for rule in (*COUNTED, Rule.MIN_CHAINS)}
        self._starts = {rule: (limit, self._bucket_starts(rule)) for rule, limit in limits.items() if limit}

    @staticmethod
    def _window(rule: Rule, pace: Pace, policy: Policy) -> timedelta:
        return ((getattr(policy, rule) or 0) + 1) * max(WINDOWS[rule], pace.points)

    def end(self, entry: Entry) -> tuple[datetime, Rule]:
        """Return the time of the backup after which no rule keeps a point, and the last rule that keeps it."""
        after = bisect_right(self._times, entry.taken)
        ends = [(self._time(after), Rule.NEWEST)]
        for rule, (limit, starts) in self._starts.items():
            bucket = self._bucket(rule, entry)
            if not bucket:  # a broken artifact belongs to no chain
                continue
            if after < len(self._points) and self._bucket(rule, self._points[after]) == bucket:
                ends.append((self._time(after), rule))
            else:
                # The next start at or after `after` is that of the first newer bucket.
                index = bisect_right(starts, after - 1) + limit - 1
                ends.append((self._time(starts[index] if index < len(starts) else len(self._points)), rule))
        if self._policy.within:
            ends.append((self._time(bisect_right(self._times, entry.taken + self._policy.within)), Rule.WITHIN))
        if self._policy.min_age:
            still_young = entry.taken + self._policy.min_age - timedelta(microseconds=1)
            ends.append((self._time(bisect_right(self._times, still_young)), Rule.MIN_AGE))
        return max(ends, key=lambda item: item[0])

    def _time(self, index: int) -> datetime:
        return self._times[index] if index < len(self._times) else datetime.max.replace(tzinfo=self.horizon.tzinfo)

    def _bucket(self, rule: Rule, entry: Entry) -> str:
        if rule is Rule.MIN_CHAINS:
            return self._chains.get(entry.key, "")
        return COUNTED[rule](entry, entry.taken.astimezone(self._zone))

    def _bucket_starts(self, rule: Rule) -> list[int]:
        """Return the index of the first point of each bucket."""
        buckets = [self._bucket(rule, point) for point in self._points]
        return [index for index, bucket in enumerate(buckets) if index == 0 or bucket != buckets[index - 1]]
