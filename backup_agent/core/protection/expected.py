"""What is expected of the backups of each database: by which schedules, how often, and since when.

A database is judged in each set by itself, because each set has chains of its own. The objectives of the settings apply
to the set that they name. If no objective states how old the newest restore point may become, it may be as old as the
longest time between two runs of the schedule of the set that runs most often.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache

from backup_agent.core.artifacts.names import BEFORE_RESTORE, DEFAULT_SET, DatabaseName, SetName, database_name, lowered
from backup_agent.core.neo4j.kinds import ExcludedKind
from backup_agent.core.neo4j.selection import is_glob, matches
from backup_agent.core.requests.schedules import Timetable, expected_interval

LEAST_GRACE = timedelta(minutes=15)
LARGEST_GRACE = timedelta(hours=2)

Pair = tuple[SetName, DatabaseName]
"""A set, and a database in lower case."""

REHEARSAL_GLOB = re.compile(r"[A-Za-z0-9.*?\[\]-]{1,128}")
"""A glob for names of rehearsals. In contrast to globs for databases, it may have ranges such as `[0-9]`."""


@dataclass(frozen=True)
class Objective:
    """What the settings expect of the databases that match `databases`, in one set."""

    databases: tuple[str, ...]
    set: SetName = DEFAULT_SET
    rpo: timedelta | None = None
    """Recovery point objective: how old the newest restore point may become."""
    rto: timedelta | None = None
    """Recovery time objective: how long a restore may take."""
    copies: int | None = None
    """Number of places that must have each artifact, the volume included."""
    drilled_every: timedelta | None = None
    """How old the last drill of a database may become."""
    grace: timedelta | None = None
    """How much later than due a backup may end."""


@dataclass(frozen=True)
class BackupSchedule:
    """A schedule of backups: when it is due, and the set and the databases of its requests."""

    timetable: Timetable
    set: SetName
    databases: tuple[str, ...]
    """Names, globs, and exclusions with `!`."""

    @property
    def name(self) -> str:
        """The name of the schedule."""
        return self.timetable.name

    def covers(self, database: DatabaseName) -> bool:
        """Return whether the requests of the schedule select a database."""
        return selects(self.databases, database)


@dataclass(frozen=True)
class Rules:
    """The part of the settings that says what is expected."""

    schedules: tuple[BackupSchedule, ...] = ()
    databases: tuple[str, ...] = ("*",)
    """The databases of the settings: an exclusion there says that a database needs no backup."""
    objectives: tuple[Objective, ...] = ()
    """For each database and set the first that matches applies."""
    rehearsals: tuple[str, ...] = ()
    """Globs for the names under which databases are restored beside the existing ones."""

    def objective(self, pair: Pair) -> Objective | None:
        """Return the objective of a database in a set, or None."""
        set_name, database = pair
        matching = (one for one in self.objectives if one.set == set_name and selects(one.databases, database))
        return next(matching, None)


@dataclass(frozen=True)
class Expectation:
    """What is expected of one database in one set."""

    schedules: tuple[Timetable, ...] = ()
    """The schedules that back the database up into the set, without suspended ones."""
    objective: Objective | None = None
    rpo: timedelta | None = None
    """How old the newest restore point may become; None if neither an objective nor a schedule says it."""
    grace: timedelta = LEAST_GRACE
    excluded: str | None = None
    """Why no backups are expected, as the end of a sentence that begins with the name of the database; or None."""

    def first_due(self, since: datetime) -> datetime | None:
        """Return when the first backup is expected if backups are expected since a moment; None if never."""
        starts = [_first_start(timetable, since) for timetable in self.schedules]
        if not starts:
            return None if self.rpo is None else since + self.rpo
        return min(starts)


@lru_cache(maxsize=1024)
def _first_start(timetable: Timetable, since: datetime) -> datetime:
    return timetable.start(timetable.cron.next_after(since))


def selects(patterns: Iterable[str], database: DatabaseName) -> bool:
    """Return whether names, globs, and exclusions with `!` select a database. Exclusions alone select all others.

    >>> selects(["orders*", "!orders-test"], database_name("orders-2024"))
    True
    """
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    return any(matches(database, pattern) for pattern in wanted or ["*"]) and not excludes(patterns, database)


def excludes(patterns: Iterable[str], database: DatabaseName) -> bool:
    """Return whether an exclusion with `!` names a database.

    >>> excludes(["*", "!scratch*"], database_name("scratch-1")), excludes(["orders"], database_name("scratch-1"))
    (True, False)
    """
    return any(matches(database, pattern[1:]) for pattern in patterns if pattern.startswith("!"))


def is_rehearsal(database: DatabaseName, rules: Rules) -> bool:
    """Return whether a database is named like one that was restored beside another."""
    return any(fnmatchcase(database.lower(), glob.lower()) for glob in rules.rehearsals)


def pairs(listed: Iterable[DatabaseName] | None, recorded: Iterable[Pair], rules: Rules) -> tuple[Pair, ...]:
    """Return each set and database that has a row in the status, in order.

    These are the sets of the schedules and objectives that match each listed database, or the default set; and what has
    records. If no topology is known (`listed` is None), the databases that schedules name count as listed.
    """
    names = set(map(lowered, _named(rules) if listed is None else listed))
    found = {(set_name, lowered(database)) for set_name, database in recorded}
    for name in names:
        found |= {(set_name, name) for set_name in _sets(name, rules)}
    return tuple(sorted(found))


def expectation(pair: Pair, kinds: Mapping[DatabaseName, ExcludedKind], rules: Rules, now: datetime) -> Expectation:
    """Return what is expected of a database in a set. `kinds` has the databases that cannot be backed up."""
    set_name, database = pair
    covering = [one for one in rules.schedules if one.set == set_name and one.covers(database)]
    running = tuple(one.timetable for one in covering if not one.timetable.suspend)
    objective = rules.objective(pair)
    excluded = _excluded(pair, kinds, rules, covering, objective)
    if excluded is not None:
        return Expectation(objective=objective, excluded=excluded)
    intervals = [expected_interval(timetable.cron, now) for timetable in running]
    rpo = objective.rpo if objective is not None and objective.rpo is not None else min(intervals, default=None)
    grace = objective.grace if objective is not None else None
    return Expectation(running, objective, rpo, usual_grace(rpo, running) if grace is None else grace)


def usual_grace(rpo: timedelta | None, schedules: Collection[Timetable]) -> timedelta:
    """Return how much later than due a backup may end if no objective says it.

    It is half the RPO, at least LEAST_GRACE and at most LARGEST_GRACE, and the largest jitter of the schedules.

    >>> usual_grace(timedelta(hours=1), []), usual_grace(timedelta(days=1), [])
    (datetime.timedelta(seconds=1800), datetime.timedelta(seconds=7200))
    """
    half = LEAST_GRACE if rpo is None else min(max(rpo / 2, LEAST_GRACE), LARGEST_GRACE)
    return half + max((timetable.jitter for timetable in schedules), default=timedelta(0))


def _named(rules: Rules) -> Iterator[DatabaseName]:
    for schedule in rules.schedules:
        for pattern in schedule.databases:
            if not is_glob(pattern) and not pattern.startswith("!"):
                yield database_name(pattern)


def _sets(database: DatabaseName, rules: Rules) -> set[SetName]:
    found = {one.set for one in rules.schedules if one.covers(database)}
    found |= {one.set for one in rules.objectives if one.rpo is not None and selects(one.databases, database)}
    return found or {DEFAULT_SET}


def _excluded(
    pair: Pair,
    kinds: Mapping[DatabaseName, ExcludedKind],
    rules: Rules,
    covering: Collection[BackupSchedule],
    objective: Objective | None,
) -> str | None:
    """Return why no backups of a database are expected in a set, or None if they are, or if no schedule matches."""
    set_name, database = pair
    if set_name == BEFORE_RESTORE:
        return "was backed up into this set before a restore replaced it"
    if database in kinds:
        return kinds[database].why
    if is_rehearsal(database, rules):
        return "is named like a database that was restored beside another (restore.rehearsals)"
    if any(not one.timetable.suspend for one in covering):
        return None
    if covering:
        return f"has only suspended schedules: {', '.join(one.name for one in covering)}"
    elsewhere = {one.set for one in rules.schedules if one.covers(database)}
    expected = objective is not None and objective.rpo is not None
    if elsewhere and not expected:
        return f"is not expected in the set {set_name}: schedules back it up into {', '.join(sorted(elsewhere))}"
    return None if elsewhere else _excluded_by_name(database, rules)


def _excluded_by_name(database: DatabaseName, rules: Rules) -> str | None:
    if excludes(rules.databases, database):
        return 'is excluded by "!" in databases'
    names = [one.name for one in rules.schedules if excludes(one.databases, database)]
    return f'is excluded by "!" in schedule {", ".join(names)}' if names else None
