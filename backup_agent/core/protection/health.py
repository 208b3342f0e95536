"""The health of the whole agent in one word, and the problems that cause it.

Each kind of problem has a rank, which is its place in every list, and a level: DEGRADED if something needs attention
and backups go on, FAILING if the databases are not protected now, or if backed up data is lost. docs/health.md has the
table. A problem counts once it has lasted `LASTING`, so that a short fault changes nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from backup_agent.core.artifacts.keys import database_key, database_of, name_of, split_database_key
from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, PlaceName, lowered, time_of_artifact
from backup_agent.core.artifacts.records import BackupType, Value
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.escaping import first_few, shortened
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.protection.expected import Pair
from backup_agent.core.protection.judging import DatabaseProtection, Protection

LASTING = timedelta(minutes=5)
"""How long a problem lasts before it changes the health."""

COPY_PATIENCE = timedelta(hours=6)
"""How long a copy may be missing if no objective has a grace for its database."""

LARGEST_OFFSET = timedelta(minutes=5)
"""Largest difference between the clocks of the servers and of the agent."""

NEARLY_FULL = timedelta(days=1)
"""How long before the volume is full that is a problem."""

LONGEST_ERROR = 200
"""Largest number of characters of an error that are shown in a problem. An answer has all of it."""

LEAST_FREE = 0.05
"""Share of the volume that should be free."""


class HealthState(StrEnum):
    """The state of the agent in one word."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    FAILING = "FAILING"


class ProblemKind(StrEnum):
    """What is wrong, the most important first."""

    NOT_READY = "not_ready"
    UNPROTECTED = "unprotected"
    REFUSED = "refused"
    """Databases are listed whose names the agent refuses, so they are not backed up."""
    LATE = "late"
    FAILED = "failed"
    REPLACED = "replaced"
    """A database was replaced or created again, and has no FULL since."""
    DAMAGED = "damaged"
    UNRESTORABLE = "unrestorable"
    UNREADABLE = "unreadable"
    MISSING = "missing"
    COPY_MISSING = "copy_missing"
    UNRECOGNISED = "unrecognised"
    CLOCK = "clock"
    DISK_FULL = "disk_full"
    PAUSED = "paused"
    RETENTION_BLOCKED = "retention_blocked"
    BOLT = "bolt"
    SETTINGS = "settings"
    UNSIGNED = "unsigned"
    DRILL = "drill"
    CHECK = "check"


class Problem(Value):
    """One problem."""

    kind: ProblemKind
    level: HealthState
    subject: str = Field(description="`<set>/<database>`, a place, or the name of a check; empty for the agent itself")
    text: str = Field(description="what is wrong, as a sentence without its full stop")
    short: str = Field(description="what is wrong, for the first line")
    since: datetime | None = Field(default=None, description="since when, as far as it is known")

    @property
    def identity(self) -> tuple[ProblemKind, str]:
        """What stays the same as long as the problem lasts."""
        return self.kind, self.subject


class Health(Value):
    """The health of the agent."""

    state: HealthState
    text: str = Field(description="`OK`, or the state and what is wrong in one line")
    problems: tuple[Problem, ...] = Field(
        default=(), description="all problems, the most important first, also those that do not count yet"
    )


class FailedCheck(NamedTuple):
    """A check of `doctor` that failed twice."""

    name: str
    text: str
    since: datetime


class OverdueDrill(NamedTuple):
    """A drill that failed, or that is older than its objective allows."""

    subject: str
    """`<set>/<database>`"""
    text: str
    since: datetime


@dataclass(frozen=True)
class PlaceFacts:
    """What passes found at a place."""

    damaged: Sequence[str] = ()
    unrestorable: Sequence[str] = ()
    unreadable: Sequence[str] = ()
    unrecognised: int = 0
    blocked: str | None = None
    """Why nothing is deleted at the place, or None."""


@dataclass(frozen=True)
class HealthFacts:
    """The facts from which the health follows. A field that is None or empty is unknown, or without a problem."""

    now: datetime
    not_ready: Sequence[str] = ()
    protection: Sequence[DatabaseProtection] = ()
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    """`<set>/<database>` -> the last attempt."""
    summaries: Sequence[DatabaseSummary] = ()
    places: Mapping[PlaceName, PlaceFacts] = field(default_factory=dict)
    """The volume and each destination."""
    copies: Mapping[Pair, "CopyRule"] = field(default_factory=dict)
    """Set and database -> its rule for missing copies, if it has an objective."""
    without_full: Mapping[DatabaseName, datetime] = field(default_factory=dict)
    """Replaced databases without a FULL since -> when the new history was first seen."""
    refused: int = 0
    """Number of listed databases with names that the agent refuses."""
    clock_offset: timedelta = timedelta(0)
    full_on: datetime | None = None
    free_share: float = 1.0
    """Free share of the volume, from 0 to 1."""
    paused: str | None = None
    paused_since: datetime | None = None
    bolt: str | None = None
    """Why Bolt does not answer, or None."""
    settings: str | None = None
    """The faults of the settings file, or None."""
    unsigned: str | None = None
    """Why records are not signed, or None."""
    checks: Sequence[FailedCheck] = ()
    drills: Sequence[OverdueDrill] = ()


class CopyRule(NamedTuple):
    """How many places must have each artifact of a database, and how long a copy may be missing."""

    places: int | None = None
    """Number of places, the volume included; None: every place."""
    grace: timedelta | None = None


EXPECTED = frozenset({Protection.PROTECTED, Protection.WAITING, Protection.LATE, Protection.UNPROTECTED})
"""The states of databases of which backups are expected."""


COUNTED = {
    ProblemKind.LATE: "late",
    ProblemKind.UNPROTECTED: "unprotected",
    ProblemKind.FAILED: "failed",
    ProblemKind.REPLACED: "replaced and without a FULL since",
    ProblemKind.MISSING: "no longer listed",
    ProblemKind.COPY_MISSING: "without a copy",
    ProblemKind.DRILL: "not drilled",
}
"""The kinds whose problems are counted by database, in the order of the first line."""


def find_problems(facts: HealthFacts) -> tuple[Problem, ...]:
    """Return every problem, the most important first."""
    found = [*_of_agent(facts), *_of_databases(facts), *_of_histories(facts), *_of_copies(facts)]
    for place, one in facts.places.items():
        found += _of_place(place, one, facts)
    for check in facts.checks:
        short = f"check {check.name} failed"
        found.append(_problem(ProblemKind.CHECK, check.name, f"{short}: {check.text}", short, since=check.since))
    found += [_problem(ProblemKind.DRILL, drill.subject, drill.text, since=drill.since) for drill in facts.drills]
    ranks = list(ProblemKind)
    return tuple(sorted(found, key=lambda one: (ranks.index(one.kind), one.subject)))


def assess(problems: Sequence[Problem], protection: Iterable[DatabaseProtection], now: datetime) -> Health:
    """Return the health. A problem counts once it has lasted `LASTING`; one without `since` counts at once."""
    counted = [one for one in problems if one.since is None or now - one.since >= LASTING]
    if not counted:
        return Health(state=HealthState.OK, text=_text_of_ok(len(problems)), problems=tuple(problems))
    expected = {one.database for one in protection if one.state in EXPECTED}
    failing = any(one.level is HealthState.FAILING for one in counted) or _is_general(counted, expected)
    state = HealthState.FAILING if failing else HealthState.DEGRADED
    return Health(state=state, text=f"{state}: {', '.join(_phrases(counted, len(expected)))}", problems=tuple(problems))


def _text_of_ok(new: int) -> str:
    if not new:
        return HealthState.OK.value
    return f"{HealthState.OK}: {new} {'problem' if new == 1 else 'problems'} began less than 5 minutes ago"


def _is_general(counted: Iterable[Problem], expected: Collection[str]) -> bool:
    """Return whether the cause seems to be common: half of the databases are not protected, or the last of all failed.

    A database that is late or unprotected counts as one whose last backup failed.
    """
    named: dict[ProblemKind, set[str]] = defaultdict(set)
    for one in counted:
        if one.kind in COUNTED:
            named[one.kind].add(_database(one))
    old = (named[ProblemKind.LATE] | named[ProblemKind.UNPROTECTED]) & set(expected)
    failed = (old | named[ProblemKind.FAILED]) & set(expected)
    return bool(expected) and (2 * len(old) >= len(expected) or len(failed) == len(expected))


def _database(problem: Problem) -> str:
    return split_database_key(problem.subject)[1]


def _phrases(counted: Sequence[Problem], databases: int) -> Iterator[str]:
    """Yield what the first line says of these problems: numbers of databases, then what concerns the whole agent."""
    of = f" of {databases} databases"
    for kind, word in COUNTED.items():
        if number := len({_database(one) for one in counted if one.kind is kind}):
            yield f"{number}{of} {word}"
            of = ""
    yield from dict.fromkeys(one.short for one in counted if one.kind not in COUNTED)


def _problem(
    kind: ProblemKind,
    subject: str,
    text: str,
    short: str = "",
    *,
    since: datetime | None = None,
    level: HealthState = HealthState.DEGRADED,
) -> Problem:
    return Problem(kind=kind, level=level, subject=subject, text=text, short=short or text, since=since)


def _of_agent(facts: HealthFacts) -> Iterator[Problem]:
    if facts.not_ready:
        text = f"the agent is not ready: {'; '.join(facts.not_ready)}"
        yield _problem(ProblemKind.NOT_READY, "", text, "not ready", level=HealthState.FAILING)
    if facts.refused:
        text = f"databases with names that the agent refuses are listed and not backed up: {facts.refused}"
        yield _problem(ProblemKind.REFUSED, "", text, "databases with refused names")
    if abs(facts.clock_offset) > LARGEST_OFFSET:
        text = f"the clocks of the servers and of the agent differ by {facts.clock_offset.total_seconds():.0f} s"
        yield _problem(ProblemKind.CLOCK, "", text, "clocks differ")
    if facts.paused is not None:
        yield _problem(ProblemKind.PAUSED, "", facts.paused, "paused", since=facts.paused_since)
    yield from _of_disk(facts)
    for kind, why, short in (
        (ProblemKind.BOLT, facts.bolt, "Bolt does not answer"),
        (ProblemKind.SETTINGS, facts.settings, "settings refused"),
        (ProblemKind.UNSIGNED, facts.unsigned, "records not signed"),
    ):
        if why is not None:
            yield _problem(kind, "", f"{short}: {why}", short)


def _of_disk(facts: HealthFacts) -> Iterator[Problem]:
    soon = facts.full_on is not None and facts.full_on - facts.now < NEARLY_FULL
    if soon and facts.full_on is not None:
        text = f"the volume will be full on {facts.full_on.astimezone(UTC):%Y-%m-%dT%H:%MZ} at the present rate"
        yield _problem(ProblemKind.DISK_FULL, "", text, f"disk full on {facts.full_on.astimezone(UTC):%Y-%m-%d}")
    elif facts.free_share < LEAST_FREE:
        text = f"{facts.free_share:.0%} of the volume is free"
        yield _problem(ProblemKind.DISK_FULL, "", text, "disk nearly full")


def _of_databases(facts: HealthFacts) -> Iterator[Problem]:
    kinds = {
        Protection.LATE: ProblemKind.LATE,
        Protection.UNPROTECTED: ProblemKind.UNPROTECTED,
        Protection.MISSING: ProblemKind.MISSING,
    }
    for one in facts.protection:
        key = database_key(one.set, one.database)
        failure = _failure(facts.attempts.get(key), one)
        if (kind := kinds.get(one.state)) is not None:
            text = f"{one.database} {one.why}" + (f"; its last backup failed: {failure}" if failure else "")
            yield _problem(kind, key, text, since=one.since)
        elif failure and one.state in EXPECTED:
            text = f"the last backup of {one.database} failed: {failure}"
            yield _problem(ProblemKind.FAILED, key, text, since=facts.attempts[key].failing_since)


def _of_histories(facts: HealthFacts) -> Iterator[Problem]:
    for database, seen in facts.without_full.items():
        text = f"{database} was replaced or created again and has no FULL since; one follows when all copies are online"
        yield _problem(ProblemKind.REPLACED, database_key(DEFAULT_SET, database), text, since=seen)


def _failure(attempt: Attempt | None, one: DatabaseProtection) -> str | None:
    """Return why the last backup of a database failed; None if it did not, or if a later success is recorded."""
    if attempt is None or not attempt.failed or (one.last_success is not None and one.last_success > attempt.at):
        return None
    error = shortened((attempt.error or "no reason is known").partition("\n")[0], LONGEST_ERROR)
    more = f"; `backup-agent show {attempt.request}` has more" if attempt.request else ""
    return ": ".join(filter(None, (attempt.reason, error))) + more


def _of_copies(facts: HealthFacts) -> Iterator[Problem]:
    """Yield a problem for each database and destination whose copies have been missing too long."""
    for one in facts.summaries:
        places, grace = facts.copies.get((one.set, lowered(one.database)), CopyRule())
        grace = COPY_PATIENCE if grace is None else grace
        overdue = {name: since + grace for name, since in one.owed_since.items() if facts.now > since + grace}
        if places is None or len(facts.places) - len(overdue) < places:
            for name, since in overdue.items():
                text = f"{one.database} has {_artifacts(one.owed[name])} without a copy at {name}"
                yield _problem(ProblemKind.COPY_MISSING, database_key(one.set, one.database), text, since=since)


def _of_place(place: PlaceName, one: PlaceFacts, facts: HealthFacts) -> Iterator[Problem]:
    for kind, keys, what in (
        (ProblemKind.DAMAGED, one.damaged, "damaged"),
        (ProblemKind.UNRESTORABLE, one.unrestorable, "not restorable, since what they need is missing or damaged"),
        (ProblemKind.UNREADABLE, one.unreadable, "not readable, so they cannot be verified"),
    ):
        if keys:
            lost = kind is ProblemKind.DAMAGED and any(_is_lost(key, facts) for key in keys)
            text = f"{_artifacts(len(keys))} at {place} {what}: {first_few(keys)}"
            level = HealthState.FAILING if lost else HealthState.DEGRADED
            yield _problem(kind, place, text, f"{kind.value} artifacts at {place}", level=level)
    if one.unrecognised:
        text = f"unrecognised records at {place}: {one.unrecognised}; `backup-agent catalog unrecognised` lists them"
        yield _problem(ProblemKind.UNRECOGNISED, place, text, f"unrecognised records at {place}")
    if one.blocked is not None:
        text = f"nothing is deleted at {place}: {one.blocked}"
        yield _problem(ProblemKind.RETENTION_BLOCKED, place, text, f"retention blocked at {place}")


def _artifacts(count: int) -> str:
    return "1 artifact" if count == 1 else f"{count} artifacts"


def _is_lost(key: str, facts: HealthFacts) -> bool:
    """Return whether a damaged artifact is damaged at each place, and its database has no newer FULL."""
    if not all(key in one.damaged for one in facts.places.values()):
        return False
    taken = time_of_artifact(name_of(key))
    newest = [
        one.last_success[BackupType.FULL.value]
        for one in facts.summaries
        if (one.set, one.database) == database_of(key) and BackupType.FULL.value in one.last_success
    ]
    return taken is None or not newest or max(newest) < taken
