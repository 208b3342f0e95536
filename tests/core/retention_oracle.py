"""An independent implementation of retention: slow, simple, and written from docs/retention.md alone.

It uses neither `plan` nor `chains`, except for the names of rules and fates. Each answer is computed anew for every
artifact, from all artifacts.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.names import DatabaseName, SetName

COUNTED = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


@dataclass(frozen=True)
class Asked:
    """The arguments of a plan."""

    entries: tuple[Entry, ...]
    policy: dict[str, Any]
    now: datetime
    held: dict[str, datetime | None] = field(default_factory=dict)
    """Key -> end of the hold."""
    damaged: frozenset[str] = frozenset()
    unreadable: frozenset[tuple[SetName, DatabaseName]] = frozenset()
    owed: frozenset[str] = frozenset()
    forgotten: dict[DatabaseName, datetime] = field(default_factory=dict)
    force: bool = False


@dataclass
class Expected:
    """The contents that a plan must have."""

    keep: dict[str, set[str]] = field(default_factory=dict)
    delete: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    future: set[str] = field(default_factory=set)


def in_force(asked: Asked, key: str) -> bool:
    """Return whether an artifact is held now."""
    until = asked.held.get(key)
    return key in asked.held and (until is None or not asked.now > until)


class Artifacts:
    """The artifacts of one set and database."""

    def __init__(self, entries: Iterable[Entry], damaged: Collection[str] = ()) -> None:
        self.entries = list(entries)
        self._damaged = damaged
        self._good: dict[str, bool] = {}
        self._through: dict[str, list[Entry]] = {}

    def named(self, key: str | None) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)

    def stated(self, child: Entry) -> Entry | None:
        """Return the parent that the record names, if it exists and the append indexes fit."""
        parent = self.named(child.parent)
        return parent if parent and continues(parent, child, overlap=not before_overlap(child)) else None

    def restored_through(self, child: Entry) -> list[Entry]:
        """Return the artifacts on top of which a differential can be restored."""
        if child.key not in self._through:
            self._through[child.key] = self._find_through(child)
        return self._through[child.key]

    def _find_through(self, child: Entry) -> list[Entry]:
        if child.full:
            return []
        if is_empty(child):
            anchor = self.anchor(child)
            return [anchor] if anchor else []
        stated = self.stated(child)
        if stated:
            return [stated]
        fulls = [entry for entry in self.same_line(child) if entry.full and entry.taken <= child.taken]
        newest_full = max(fulls, key=order, default=None)
        found = []
        for parent in self.entries:
            adjoins = continues(parent, child, overlap=False)
            overlaps = parent is newest_full and continues(parent, child, overlap=not before_overlap(child))
            a_full_between = newest_full is not None and newest_full.taken > parent.taken and not parent.full
            if (adjoins and not (a_full_between and before_overlap(child))) or overlaps:
                found.append(parent)
        return found

    def may_need(self, child: Entry) -> list[Entry]:
        """Return every artifact that a differential may continue, which deletion must spare, whatever the version."""
        if child.full or is_empty(child):
            return self.restored_through(child)
        stated = self.stated(child)
        if stated:
            return [stated]
        return [entry for entry in self.entries if continues(entry, child, overlap=True)]

    def anchor(self, empty: Entry) -> Entry | None:
        """Return the artifact that an empty differential continues."""
        if empty.parent is not None:
            return self.stated(empty)
        earlier = [one for one in self.same_line(empty) if not is_empty(one) and one.taken <= empty.taken]
        return max(earlier, key=order, default=None)

    def same_line(self, entry: Entry) -> list[Entry]:
        return [one for one in self.entries if line(one) == line(entry)]

    def good(self, entry: Entry) -> bool:
        """Return whether an artifact can be restored."""
        if entry.key not in self._good:
            restorable = entry.full or any(self.good(parent) for parent in self.restored_through(entry))
            self._good[entry.key] = restorable and entry.key not in self._damaged
        return self._good[entry.key]

    def full_of(self, entry: Entry) -> str:
        """Return the key of the full with which a restore begins."""
        if entry.full:
            return entry.key
        parents = [parent for parent in self.restored_through(entry) if self.good(parent)]
        fulls = [parent for parent in parents if parent.full]
        return self.full_of(max(fulls or parents, key=lambda one: (one.taken <= entry.taken, order(one))))


def order(entry: Entry) -> tuple[datetime, int, str]:
    return entry.taken, entry.highest, entry.key


def is_empty(entry: Entry) -> bool:
    return not entry.full and (entry.lowest, entry.highest) == (0, 0)


def line(entry: Entry) -> tuple[str, str]:
    return entry.database_id, entry.store_id[: entry.store_id.rindex(".")]


def before_overlap(entry: Entry) -> bool:
    """Return whether the version is known to be older than 2026.02."""
    if entry.version is None:
        return False
    year, month = entry.version.split(".")[:2]
    return int(year) * 100 + int(month) < 202602


def continues(parent: Entry, child: Entry, *, overlap: bool) -> bool:
    if child.full or is_empty(parent) or line(parent) != line(child):
        return False
    if int(parent.store_id.rsplit(".", 1)[1]) > int(child.store_id.rsplit(".", 1)[1]):
        return False
    if is_empty(child):
        return True
    if parent.lowest > parent.highest or child.lowest > child.highest:
        return False
    reaches_into = parent.full and parent.highest >= child.lowest and parent.taken <= child.taken
    return parent.highest + 1 == child.lowest or (overlap and reaches_into)


def bucket(rule: str, entry: Entry, zone: str) -> object:
    """Return what a rule counts: the point, or its hour, day, week, month or year in a zone."""
    local = entry.taken.astimezone(ZoneInfo(zone))
    day = local.date()
    return {
        "last": entry.key,
        "hourly": (day, local.hour, local.utcoffset()),
        "daily": day,
        "weekly": day - timedelta(days=day.weekday()),
        "monthly": (day.year, day.month),
        "yearly": day.year,
    }[rule]


def expected(asked: Asked) -> Expected:
    """Return the contents that a plan must have."""
    answer = Expected()
    for set_name in {entry.set for entry in asked.entries}:
        of_set = [entry for entry in asked.entries if entry.set == set_name]
        going: dict[str, str] = {}
        for database in {entry.database for entry in of_set}:
            going |= add_database(asked, [entry for entry in of_set if entry.database == database], answer)
        if len(going) > asked.policy["max_delete_share"] * len(of_set) and not asked.force:
            answer.refused.add(set_name)
            answer.keep |= {key: {"refused"} for key in going}
        else:
            answer.delete |= going
    return answer


def add_database(asked: Asked, entries: list[Entry], answer: Expected) -> dict[str, str]:
    """Add the kept artifacts to the answer. Return the deleted ones with their fates."""
    policy = asked.policy
    artifacts = Artifacts(entries, asked.damaged)
    good = [entry for entry in entries if artifacts.good(entry)]
    since = asked.forgotten.get(entries[0].database)
    forgotten = [entry for entry in entries if since and entry.taken <= since]
    future = [entry for entry in entries if entry.taken > asked.now]
    candidates = [entry for entry in entries if entry not in forgotten and entry not in future]
    points = [entry for entry in candidates if entry in good]
    newest = max(points, key=order, default=None)
    reasons = {entry.key: protections(entry, asked) for entry in entries}
    for entry in future:
        reasons[entry.key].add("future")
    for entry in candidates if any(policy[rule] for rule in (*COUNTED, "within")) else ():
        mine = reasons[entry.key]
        picked = rules_that_pick(entry, points, newest, policy)
        if entry in good:
            mine |= picked
        elif picked:
            mine.add("broken")
        if newest and policy["min_age"] and newest.taken - entry.taken < policy["min_age"]:
            mine.add("min_age")
        if entry is newest:
            mine.add("newest")
        elif entry in points and ends_one_of_the_newest_chains(entry, points, artifacts, policy["min_chains"]):
            mine.add("min_chains")

    more = True
    while more:
        more = False
        for entry in entries:
            for parent in artifacts.may_need(entry) if reasons[entry.key] else ():
                more |= "needed" not in reasons[parent.key]
                reasons[parent.key].add("needed")

    damaged = {entry.key: "damaged" for entry in entries if entry.key in asked.damaged}
    broken = {entry.key: "incomplete" for entry in entries if entry not in good} | damaged
    answer.broken |= broken
    answer.future |= {entry.key for entry in future}
    answer.keep |= {key: found for key, found in reasons.items() if found}
    return {
        entry.key: "forgotten" if entry in forgotten else broken.get(entry.key, "unneeded")
        for entry in entries
        if not reasons[entry.key]
    }


def protections(entry: Entry, asked: Asked) -> set[str]:
    """Return the reasons that do not depend on the rules."""
    found = {
        "no_policy": not any(asked.policy[rule] for rule in (*COUNTED, "within")),
        "held": in_force(asked, entry.key),
        "owed": entry.key in asked.owed,
        "unreadable": (entry.set, entry.database) in asked.unreadable,
    }
    return {word for word, holds in found.items() if holds}


def rules_that_pick(entry: Entry, points: list[Entry], newest: Entry | None, policy: dict[str, Any]) -> set[str]:
    """Return the rules that pick an artifact: it is the newest in one of the newest buckets with restorable points."""
    found = set()
    newer = [point for point in points if order(point) > order(entry)]
    for rule in COUNTED:
        if policy[rule]:
            buckets = {bucket(rule, point, policy["timezone"]) for point in newer}
            if bucket(rule, entry, policy["timezone"]) not in buckets and len(buckets) < policy[rule]:
                found.add(rule)
    if policy["within"] and (newest is None or newest.taken - entry.taken <= policy["within"]):
        found.add("within")
    return found


def ends_one_of_the_newest_chains(entry: Entry, points: list[Entry], artifacts: Artifacts, count: int) -> bool:
    """Return whether an artifact is the newest point of one of the `count` newest fulls."""
    newer = {artifacts.full_of(point) for point in points if order(point) > order(entry)}
    return artifacts.full_of(entry) not in newer and len(newer) < count
