"""Judge whether each database is protected: from what is recorded, the schedules and the objectives, and the time.

The law: a backup is expected at the latest when the newest restore point is as old as the RPO, and not before the first
due time since backups are expected. To this time the grace is added. Until then nothing is late, and no alert fires.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import Field

from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import StoredPart, Value
from backup_agent.core.neo4j.kinds import ExcludedKind
from backup_agent.core.protection.expected import Expectation, Pair, Rules, expectation, is_rehearsal, pairs

NO_SCHEDULE = "is backed up by no schedule, and no `!` excludes it"


class Protection(StrEnum):
    """How a database is protected by its backups in one set."""

    PROTECTED = "protected"
    WAITING = "waiting"
    """It has no restore point yet, and its first backup is not overdue."""
    LATE = "late"
    """Its newest restore point is older than the RPO and the grace."""
    UNPROTECTED = "unprotected"
    """No schedule matches it, or it has no restore point although its first backup is overdue."""
    MISSING = "missing"
    """It has records, and SHOW DATABASES no longer lists it."""
    EXCLUDED = "excluded"
    """No backups are expected, for a stated reason."""


class ExpectedSince(StoredPart):
    """Since when backups of a database in a set are expected."""

    since: datetime
    scheduled: bool = Field(
        description="whether a schedule or an objective expects them; otherwise no schedule matches"
    )


class DatabaseProtection(Value):
    """How one database is protected by its backups in one set."""

    set: SetName
    database: DatabaseName
    state: Protection
    why: str | None = Field(
        default=None, description="the end of a sentence that begins with the name of the database; absent if protected"
    )
    last_success: datetime | None = Field(default=None, description="when the newest restorable artifact was finished")
    rpo_seconds: float | None = Field(
        default=None,
        description="how old the newest restore point may become: by the objective, else the expected interval of the "
        "schedules",
    )
    grace_seconds: float | None = None
    deadline: datetime | None = Field(
        default=None, description="when the next success is expected at the latest, with the grace"
    )
    since: datetime | None = Field(default=None, description="since when it is late or unprotected")
    schedules: tuple[str, ...] = Field(default=(), description="the schedules that back it up into this set")


@dataclass(frozen=True)
class KnownDatabases:
    """What is known of the databases. All names are in lower case."""

    listed: Collection[DatabaseName] | None = None
    """The databases of SHOW DATABASES; None if no topology is known."""
    kinds: Mapping[DatabaseName, ExcludedKind] = field(default_factory=dict)
    """The listed databases that cannot be backed up."""
    last_success: Mapping[Pair, datetime | None] = field(default_factory=dict)
    """Each set and database with records -> when its newest restore point was finished; None if it has none."""
    forgotten: Collection[DatabaseName] = ()
    since: Mapping[Pair, ExpectedSince] = field(default_factory=dict)
    """What `expected_since` returned before."""


def judge(known: KnownDatabases, rules: Rules, now: datetime) -> tuple[DatabaseProtection, ...]:
    """Return how each database is protected at `now`, in the order of sets and names."""
    found = pairs(known.listed, known.last_success, rules)
    return tuple(_judged(pair, expectation(pair, known.kinds, rules, now), known, rules, now) for pair in found)


def expected_since(known: KnownDatabases, rules: Rules, now: datetime) -> dict[Pair, ExpectedSince]:
    """Return since when backups of each database are expected, given the last answer of this function.

    A database that was excluded, or that no schedule matched, is expected since `now` once that changes. So its first
    backup has until the first due time and the grace.
    """
    found: dict[Pair, ExpectedSince] = {}
    for pair in pairs(known.listed, known.last_success, rules):
        expected = expectation(pair, known.kinds, rules, now)
        if expected.excluded is None and not _is_missing(pair, known):
            found[pair] = _since(pair, expected, known, now)
    return found


def _since(pair: Pair, expected: Expectation, known: KnownDatabases, now: datetime) -> ExpectedSince:
    scheduled = expected.rpo is not None
    before = known.since.get(pair)
    if before is None or before.scheduled is not scheduled or before.since > now:
        return ExpectedSince(since=now, scheduled=scheduled)
    return before


def _is_missing(pair: Pair, known: KnownDatabases) -> bool:
    return known.listed is not None and pair[1] not in known.listed


def _judged(
    pair: Pair, expected: Expectation, known: KnownDatabases, rules: Rules, now: datetime
) -> DatabaseProtection:
    last = known.last_success.get(pair)
    state, why, deadline, since = Protection.PROTECTED, None, None, None
    if _is_missing(pair, known):
        state, why = _unlisted(pair[1], known, rules)
    elif expected.excluded is not None:
        state, why = Protection.EXCLUDED, expected.excluded
    else:
        began = _since(pair, expected, known, now).since
        deadline = _deadline(expected, last, began)
        state, why, since = _state(deadline, last, began, now)
    return DatabaseProtection(
        set=pair[0],
        database=pair[1],
        state=state,
        why=why,
        last_success=last,
        rpo_seconds=None if deadline is None or expected.rpo is None else expected.rpo.total_seconds(),
        grace_seconds=None if deadline is None else expected.grace.total_seconds(),
        deadline=deadline,
        since=since,
        schedules=tuple(timetable.name for timetable in expected.schedules),
    )


def _unlisted(database: DatabaseName, known: KnownDatabases, rules: Rules) -> tuple[Protection, str]:
    if database in known.forgotten:
        return Protection.EXCLUDED, "was forgotten"
    if is_rehearsal(database, rules):
        return Protection.EXCLUDED, "was dropped, and is named like a database that was restored beside another"
    return Protection.MISSING, "has backups, but SHOW DATABASES no longer lists it"


def _deadline(expected: Expectation, last: datetime | None, since: datetime) -> datetime | None:
    due = expected.first_due(since)
    if due is None or expected.rpo is None:
        return None
    return (due if last is None else max(due, last + expected.rpo)) + expected.grace


def _state(
    deadline: datetime | None, last: datetime | None, since: datetime, now: datetime
) -> tuple[Protection, str | None, datetime | None]:
    """Return state, reason, and since when the state is a problem."""
    if deadline is None:
        return Protection.UNPROTECTED, NO_SCHEDULE, since
    if last is None and now > deadline:
        return Protection.UNPROTECTED, f"has no restore point; the first backup was due by {_time(deadline)}", deadline
    if last is None:
        return Protection.WAITING, f"has no restore point yet; its first backup is due by {_time(deadline)}", None
    if now > deadline:
        return (
            Protection.LATE,
            f"has no restore point since {_time(last)}; a backup was due by {_time(deadline)}",
            deadline,
        )
    return Protection.PROTECTED, None, None


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
