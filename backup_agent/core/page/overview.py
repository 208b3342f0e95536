"""Everything that the status page shows, as values: texts, their tones, and the drawings of the time lines.

The texts contain names, reasons and errors from outside. The template escapes all of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from backup_agent.core.artifacts.keys import database_key
from backup_agent.core.artifacts.names import DatabaseName, SetName, lowered
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.doctor.checks import CheckOutcome
from backup_agent.core.page.database import ComingBackup, DatabasePoints
from backup_agent.core.page.tables import Cell, Table, Tone, destination_state, row, shown_name, tables
from backup_agent.core.page.timeline import Drawing, Scale, Tick
from backup_agent.core.protection.expected import Pair
from backup_agent.core.protection.health import HealthState, Problem, ProblemKind
from backup_agent.core.protection.judging import DatabaseProtection, Protection
from backup_agent.core.quantities import coarse_age, minute, size
from backup_agent.core.restore.asked import artifact_id
from backup_agent.core.status import Status

MOST_PROBLEMS = 100
"""Largest number of problems that are shown."""

MOST_POINTS = 5000
"""Number of restore points of all databases together that are listed."""

LEAST_POINTS = 5
"""Number of restore points of each database that are listed, however many databases there are."""

MOST_DATABASES = 300
"""Largest number of databases whose restore points are shown: the page is to have about one megabyte at most."""

MOST_ROWS = 1000
"""Largest number of databases in the table."""

MOST_UNFOLDED = 20
"""Number of databases whose time lines are unfolded. One more click unfolds the others."""


class ShownProblem(NamedTuple):
    """One problem."""

    kind: str
    text: str
    since: str
    tone: Tone
    anchor: str


class ShownDatabase(NamedTuple):
    """The time line and the restore points of one database."""

    anchor: str
    name: str
    state: str
    tone: Tone
    points: DatabasePoints
    drawing: Drawing


@dataclass(frozen=True)
class Overview:
    """The status page."""

    cluster: str
    made: str
    agent: str
    state: str
    tone: Tone
    headline: str
    """The problems in one line, without the state."""
    problems: tuple[ShownProblem, ...]
    more_problems: int
    facts: tuple[tuple[str, Cell], ...]
    """Label and text of the most important facts."""
    databases: Table
    ticks: tuple[Tick, ...]
    points: tuple[ShownDatabase, ...]
    """The databases in the order of the table."""
    folded: tuple[ShownDatabase, ...]
    """Further databases, whose time lines are folded at first."""
    without_points: int
    """Number of further databases, whose restore points are not shown."""
    tables: tuple[Table, ...]


_TONES = {
    "unprotected": Tone.BAD,
    "late": Tone.BAD,
    "failed": Tone.BAD,
    "missing": Tone.WARN,
    "waiting": Tone.MUTED,
    "protected": Tone.GOOD,
    "excluded": Tone.MUTED,
}
"""The states of databases, in the order of the table. `failed` is a database whose last backup failed."""

STATES = tuple(_TONES)
_HEALTH = {HealthState.OK: Tone.GOOD, HealthState.DEGRADED: Tone.WARN, HealthState.FAILING: Tone.BAD}


@dataclass(frozen=True)
class _DatabaseState:
    """The state of one database in one set, from the Status."""

    pair: Pair
    state: str
    stored: DatabaseSummary | None
    judged: DatabaseProtection | None
    of_interest: bool
    """Whether a problem names the database."""

    @property
    def key(self) -> str:
        return database_key(*self.pair)

    @property
    def tone(self) -> Tone:
        return _TONES.get(self.state, Tone.MUTED)


def rows_each(status: Status) -> int:
    """Return how many restore points of each database are listed."""
    databases = max(len(status.databases or ()), 1)
    return max(LEAST_POINTS, MOST_POINTS // databases)


def hidden_pairs(status: Status) -> frozenset[Pair]:
    """Return the sets and databases whose restore points are not shown: the least important, if there are too many."""
    return frozenset(one.pair for one in _states(status)[MOST_DATABASES:])


def late_since(status: Status) -> dict[Pair, datetime]:
    """Return since when the next backup of each late database is overdue."""
    late = (Protection.LATE, Protection.UNPROTECTED)
    return {
        (one.set, one.database): one.deadline
        for one in status.protection or ()
        if one.state in late and one.deadline is not None
    }


def coming_backups(status: Status) -> dict[Pair, tuple[ComingBackup, ...]]:
    """Return the next run of each schedule that backs up a database, by set and database."""
    backups = (BackupType.FULL, BackupType.DIFF, BackupType.AUTO)
    runs = {
        name: ComingBackup(one.next_runs[0], name, one.type == BackupType.FULL)
        for name, one in status.schedules.items()
        if one.next_runs and one.type in backups
    }
    return {
        (one.set, one.database): tuple(runs[name] for name in one.schedules if name in runs)
        for one in status.protection or ()
    }


def overview(status: Status, points: Sequence[DatabasePoints], without_points: int = 0) -> Overview:
    """Return what the page shows. `points` has a value for each database that is not hidden."""
    now = status.now
    states = _states(status)
    health = status.health
    problems = health.problems if health else ()
    known = {(one.set, lowered(one.database)): one for one in points}
    anchors = {database_key(*pair): _anchor(*pair) for pair in known}
    scale = Scale(now, min((one.oldest for one in points if one.oldest is not None), default=None))
    lines = tuple(_shown(one, scale) for one in _with_points(states, known))
    return Overview(
        cluster=status.cluster,
        made=minute(now),
        agent=f"{status.version}, up {coarse_age(now - status.started)}",
        state=health.state.value if health else "UNKNOWN",
        tone=_HEALTH[health.state] if health else Tone.MUTED,
        headline=_headline(status),
        problems=tuple(_problem(one, now, anchors) for one in problems[:MOST_PROBLEMS]),
        more_problems=max(0, len(problems) - MOST_PROBLEMS),
        facts=tuple(_facts(status, states)),
        databases=_databases(states, known, now),
        ticks=scale.ticks,
        points=lines[:MOST_UNFOLDED],
        folded=lines[MOST_UNFOLDED:],
        without_points=without_points,
        tables=tables(status, points),
    )


def _headline(status: Status) -> str:
    if status.health is None:
        return "; ".join(status.not_ready_because) or "the health is not known yet"
    state, _, rest = status.health.text.partition(": ")
    return rest or ("Everything is as it should be." if state == HealthState.OK.value else "")


def _states(status: Status) -> list[_DatabaseState]:
    """Return the state of each database, the worst first."""
    stored = {(one.set, lowered(one.database)): one for one in status.databases or ()}
    judged = {(one.set, one.database): one for one in status.protection or ()}
    problems = status.health.problems if status.health else ()
    failed = {one.subject for one in problems if one.kind is ProblemKind.FAILED}
    named = {one.subject for one in problems}
    found = []
    for pair in dict.fromkeys((*judged, *stored)):
        key = database_key(*pair)
        one = judged.get(pair)
        state = "failed" if key in failed else one.state.value if one else "-"
        found.append(_DatabaseState(pair, state, stored.get(pair), one, key in named))
    ranks = {state: rank for rank, state in enumerate(STATES)}
    return sorted(found, key=lambda one: (ranks.get(one.state, len(ranks)), not one.of_interest, one.key))


def _anchor(set_name: SetName, database: DatabaseName) -> str:
    """Return the id of a database on the page."""
    return f"db-{artifact_id(database_key(set_name, database))}"


def _problem(problem: Problem, now: datetime, anchors: Mapping[str, str]) -> ShownProblem:
    return ShownProblem(
        kind=problem.kind.value.replace("_", " "),
        text=problem.text,
        since=f"for {coarse_age(now - problem.since)}" if problem.since else "",
        tone=_HEALTH[problem.level],
        anchor=anchors.get(problem.subject, ""),
    )


def _facts(status: Status, states: Sequence[_DatabaseState]) -> Iterator[tuple[str, Cell]]:
    counts = Counter(one.state for one in states)
    bad = [one for one in states if one.tone is Tone.BAD]
    words = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    yield "Databases", Cell(words or "none known yet", Tone.BAD if bad else Tone.PLAIN, "databases")
    last = [one.stored for one in states if one.stored and one.stored.last_success]
    newest = max((max(one.last_success.values()) for one in last), default=None)
    yield "Newest backup", Cell(f"{coarse_age(status.now - newest)} ago, {minute(newest)} UTC" if newest else "none")
    if status.volume_free is not None and status.volume_total:
        full = f", full on {status.full_on:%Y-%m-%d} at this rate" if status.full_on else ""
        yield "Volume", Cell(f"{size(status.volume_free)} free of {size(status.volume_total)}{full}")
    for name, one in status.destinations.items():
        yield f"Destination {name}", destination_state(one)
    yield "Requests", Cell(_open(status), anchor="queue")
    coming = [(run, name) for name, one in status.schedules.items() for run in one.next_runs[:1]]
    soonest = min(coming, default=None)
    run = f"{soonest[1]} in {coarse_age(soonest[0] - status.now)}, {minute(soonest[0])} UTC" if soonest else "none"
    yield "Next run", Cell(run, anchor="schedules")
    yield "Cluster", _bolt(status)
    yield "Last doctor", _last_doctor(status)
    if status.paused is not None:
        yield "Paused", Cell(f"since {minute(status.paused.since)} UTC", Tone.WARN)


def _open(status: Status) -> str:
    if not status.queue_depth:
        return "none open"
    oldest = f", the oldest waits for {coarse_age(status.now - status.queue_oldest)}" if status.queue_oldest else ""
    return f"{status.queue_depth} open{oldest}"


def _bolt(status: Status) -> Cell:
    if status.bolt_up is None:
        return Cell("not asked yet")
    if status.bolt_up:
        return Cell("; ".join(("Bolt answers", *status.bolt_notes)), Tone.WARN if status.bolt_notes else Tone.PLAIN)
    seen = status.topology_seen
    known = f"; the known databases are {coarse_age(status.now - seen)} old" if seen is not None else ""
    return Cell(f"{status.bolt_error or 'Bolt does not answer'}{known}", Tone.BAD)


def _last_doctor(status: Status) -> Cell:
    if status.doctor is None:
        return Cell("has not ended yet", Tone.PLAIN, "doctor")
    counts = Counter(one.finding.counts for one in status.doctor.checks)
    wrong = [f"{counts[one]} {one}" for one in (CheckOutcome.FAIL, CheckOutcome.WARN) if counts[one]]
    tone = Tone.BAD if counts[CheckOutcome.FAIL] else Tone.WARN if wrong else Tone.PLAIN
    text = f"{', '.join(wrong) or 'nothing wrong'}, {coarse_age(status.now - status.doctor.ended)} ago"
    return Cell(text, tone, "doctor")


def _databases(states: Sequence[_DatabaseState], known: Mapping[Pair, DatabasePoints], now: datetime) -> Table:
    more = len(states) - MOST_ROWS
    return Table(
        "databases",
        "Databases",
        ("Database", "State", "Age of newest", "RPO", "Artifacts", "Size", "Copies missing"),
        tuple(_database(one, known, now) for one in states[:MOST_ROWS]),
        "No database is known yet.",
        f"And {more} more: `backup-agent status --database '*'` shows all." if more > 0 else "",
        seldom=frozenset({3, 4, 5}),
    )


def _database(one: _DatabaseState, known: Mapping[Pair, DatabasePoints], now: datetime) -> tuple[Cell, ...]:
    stored, judged = one.stored, one.judged
    last = max(stored.last_success.values(), default=None) if stored else None
    rpo = judged.rpo_seconds if judged else None
    owed = ", ".join(f"{place} {count}" for place, count in stored.owed.items() if count) if stored else ""
    none = "none restorable" if stored else "never"
    return row(
        Cell(shown_name(*one.pair), anchor=_anchor(*one.pair) if one.pair in known else ""),
        Cell(one.state, one.tone),
        Cell(coarse_age(now - last) if last else none, Tone.PLAIN if last else Tone.MUTED),
        "-" if rpo is None else coarse_age(timedelta(seconds=rpo)),
        str(stored.artifacts) if stored else "-",
        size(stored.size) if stored else "-",
        Cell(owed or "-", Tone.WARN if owed else Tone.PLAIN),
    )


def _with_points(
    states: Iterable[_DatabaseState], known: Mapping[Pair, DatabasePoints]
) -> Iterator[tuple[_DatabaseState, DatabasePoints]]:
    """Yield the databases with restore points in the order of the table, then those that only destinations have."""
    listed = [one for one in states if one.pair in known]
    yield from ((one, known[one.pair]) for one in listed)
    for pair in known.keys() - {one.pair for one in listed}:
        yield _DatabaseState(pair, "-", None, None, of_interest=False), known[pair]


def _shown(both: tuple[_DatabaseState, DatabasePoints], scale: Scale) -> ShownDatabase:
    state, points = both
    return ShownDatabase(
        _anchor(*state.pair),
        shown_name(*state.pair),
        state.state if state.state != "-" else "",
        state.tone,
        points,
        scale.draw(points.marks),
    )
