"""The report for auditors: what the audit log and the records of one place say about a period.

The report is made from values alone and reads no clock, so the same log, records, settings and period give the same
bytes. What the log does not have is said in the report, not guessed.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from pydantic import Field

from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.records import Value
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.audit.period import Period


class Expected(NamedTuple):
    """What the settings expect of a database in a set."""

    rpo: timedelta | None = None
    grace: timedelta = timedelta(0)
    rto: timedelta | None = None
    copies: int | None = None
    drilled_every: timedelta | None = None


class PointFacts(NamedTuple):
    """A restore point that the place has now."""

    key: str
    type: str
    taken: datetime
    finished: datetime
    size: int
    sha256: str
    kept: str
    """Until when it is kept."""
    fault: str | None = None
    """Why it cannot be restored from the place."""


class Late(Value):
    """A time without a restore point that was as new as the objective asks."""

    since: datetime = Field(alias="from")
    until: datetime = Field(alias="to")


class DrillFacts(Value):
    """A drill."""

    at: datetime
    place: str | None
    key: str
    level: str
    outcome: str
    restore_seconds: float | None = None
    claimed: bool = Field(default=False, description="only evidence that no trusted key has signed says so")


class PointReport(Value):
    """A restore point at the place."""

    key: str
    type: str
    taken: datetime
    finished: datetime
    size: int
    sha256: str
    kept: str
    copies: tuple[str, ...] = Field(
        description="places that have it, according to the log; this one if it is whole here"
    )
    verified: datetime | None = Field(default=None, description="last time at this place")
    drilled: DrillFacts | None = None
    fault: str | None = None


class DatabaseReport(Value):
    """One database in one set."""

    set: SetName
    database: DatabaseName
    rpo_seconds: float | None
    grace_seconds: float
    fulls: int = Field(description="backups recorded in the period")
    differentials: int
    first: datetime | None
    last: datetime | None
    longest_seconds: float | None = Field(description="longest time between two backups, up to the end of the period")
    met: bool | None = Field(description="null: no RPO is known, or the log does not have the whole period")
    missed: tuple[Late, ...] = ()
    rto_seconds: float | None = None
    slowest_restore_seconds: float | None = Field(default=None, description="of the drills in the period")
    drilled_every_seconds: float | None = None
    drills: tuple[DrillFacts, ...] = ()
    drills_met: bool | None = Field(default=None, description="null: no objective")
    copies_wanted: int | None = None
    copies_met: bool | None = Field(default=None, description="whether each point has as many copies as wanted")
    points: tuple[PointReport, ...] = ()


class LineFacts(Value):
    """A line of the log, as the report repeats it."""

    n: int
    at: datetime | None
    kind: str
    place: str | None = None
    keys: tuple[str, ...] = ()
    request: str | None = None
    claimed: str | None = None
    why: str | None = None
    plan: str | None = None
    facts: dict[str, object] = Field(default={})


class Sources(Value):
    """What the report is made from."""

    cluster: str
    place: PlaceName
    since: datetime = Field(alias="from")
    until: datetime = Field(alias="to")
    database: DatabaseName | None
    lines: int
    log_from: datetime | None
    log_to: datetime | None
    head: str | None = Field(description="SHA-256 of the last line")
    sealed: dict[str, int] = Field(description="fingerprint -> segments that this key has signed")
    findings: tuple[str, ...] = Field(description="what `backup-agent audit` finds in the log")
    gaps: tuple[str, ...] = Field(description="what the report cannot know")


class AuditReport(Value):
    """The report."""

    sources: Sources
    databases: tuple[DatabaseReport, ...]
    deletions: tuple[LineFacts, ...]
    holds: tuple[LineFacts, ...] = Field(description="holds in force at the end, and changes in the period")
    damages: tuple[LineFacts, ...]
    requests: tuple[LineFacts, ...] = Field(description="what was asked for and by whom, as the requests claim")
    settings: tuple[LineFacts, ...]
    fetches: tuple[LineFacts, ...]
    versions: dict[str, tuple[str, ...]] = Field(description="program -> versions in the period")


_HOLDS = (AuditKind.HELD, AuditKind.RELEASED, AuditKind.HOLD_ENDED)
_SETTINGS = (AuditKind.SETTINGS, AuditKind.KEY_MADE, AuditKind.SIGNING_KEY, AuditKind.TAKEN_OVER)
_DAMAGES = (AuditKind.DAMAGED, AuditKind.HEALED)
_DELETIONS = (AuditKind.DELETED, AuditKind.COPY_GIVEN_UP)

Pair = tuple[SetName, DatabaseName]


class LogFacts:
    """What the report needs of the log. `take` is called for each line in order; few of the lines are kept."""

    def __init__(self, period: Period, database: DatabaseName | None) -> None:
        self._period = period
        self._database = database
        self.backups: dict[Pair, list[tuple[datetime, str]]] = defaultdict(list)
        """Set and database -> time and type of each backup up to the end of the period."""
        self.copies: dict[str, set[str]] = defaultdict(set)
        self.verified: dict[tuple[str, str], datetime] = {}
        self.drills: dict[Pair, list[DrillFacts]] = defaultdict(list)
        self.held: dict[str, AuditLine] = {}
        self.lines: dict[str, list[AuditLine]] = defaultdict(list)
        self.versions: dict[str, set[str]] = defaultdict(set)
        self._announced: dict[tuple[str, str], AuditLine] = {}
        self._ended: set[tuple[str, str]] = set()

    def take(self, line: AuditLine) -> None:
        """Note what a line says. Lines after the end of the period are ignored."""
        if line.at is None or (self._period.end is not None and line.at > self._period.end):
            return
        self._note_state(line, line.at)
        if self._period.has(line.at):
            self._note_versions(line)
            if self._database is None or line.is_of(self._database) or not (line.artifacts or "database" in line.facts):
                self._keep(line)

    def _note_state(self, line: AuditLine, at: datetime) -> None:
        place, key = line.place or VOLUME, line.key or ""
        pair = _pair(key)
        match line.kind:
            case AuditKind.RECORDED | AuditKind.ADOPTED if pair is not None:
                self.copies[key].add(VOLUME)
                self.backups[pair].append((at, str(line.facts.get("type", ""))))
            case AuditKind.COPIED:
                self.copies[key].add(place)
            case AuditKind.DELETING:
                self._announced[place, key] = line
                self._ended.discard((place, key))
            case AuditKind.DELETED:
                self.copies[key].discard(place)
                self._ended.add((place, key))
            case AuditKind.VERIFIED:
                self.verified.update(((place, one), at) for one in line.keys)
            case AuditKind.DRILLED:
                self.add_drill(_drill(line, at))
            case AuditKind.HELD:
                self.held[key] = line
            case AuditKind.RELEASED | AuditKind.HOLD_ENDED:
                self.held.pop(key, None)

    def announced(self, place: PlaceName, stored: Collection[str]) -> Iterator[AuditLine]:
        """Yield the announcements of deletions in the period whose end the log does not have.

        At `place` only those of artifacts that are not there any more (`stored`): their end was not stored in the log.
        """
        for (where, key), line in self._announced.items():
            if (where, key) in self._ended or (where == place and key in stored) or line.at is None:
                continue
            if self._period.has(line.at) and (self._database is None or line.is_of(self._database)):
                yield line

    def add_drill(self, drill: DrillFacts) -> None:
        """Add a drill. One that is known already, or that ended after the period, is ignored."""
        pair = _pair(drill.key)
        if pair is None or (self._period.end is not None and drill.at > self._period.end):
            return
        if not any((one.key, one.at) == (drill.key, drill.at) for one in self.drills[pair]):
            self.drills[pair].append(drill)

    def _note_versions(self, line: AuditLine) -> None:
        for program, name in (("agent", "version"), ("neo4j-admin", "admin_version"), ("server", "server_version")):
            if name in line.facts:
                self.versions[program].add(str(line.facts[name]))

    def _keep(self, line: AuditLine) -> None:
        if line.kind == AuditKind.DELETED:
            announced = self._announced.get((line.place or VOLUME, line.key or ""))
            line = line if line.why or announced is None else line.model_copy(update={"why": announced.why})
        kinds = {
            "deletions": _DELETIONS,
            "holds": _HOLDS,
            "damages": _DAMAGES,
            "settings": _SETTINGS,
            "fetches": (AuditKind.FETCHED,),
        }
        for section, wanted in kinds.items():
            if line.kind in wanted:
                self.lines[section].append(line)
        if line.claimed is not None and line.kind not in (AuditKind.COPIED, AuditKind.DELETING):
            self.lines["requests"].append(line)


def report(
    sources: Sources, log: LogFacts, points: Iterable[PointFacts], expected: Mapping[Pair, Expected]
) -> AuditReport:
    """Make the report. `points` are what the place has now, `expected` has every database that is reported."""
    by_database: dict[Pair, list[PointFacts]] = defaultdict(list)
    for point in points:
        by_database[database_of(point.key)].append(point)
    stored = {point.key for group in by_database.values() for point in group}
    deletions = (*log.lines["deletions"], *log.announced(sources.place, stored))
    held = {line.n: line for line in (*log.held.values(), *log.lines["holds"])}
    return AuditReport(
        sources=sources,
        databases=tuple(
            _database(pair, wanted, sources, log, by_database[pair]) for pair, wanted in sorted(expected.items())
        ),
        deletions=_repeated(sorted(deletions, key=lambda line: (line.at or sources.since, line.n))),
        holds=_repeated(held[n] for n in sorted(held) if sources.database is None or held[n].is_of(sources.database)),
        damages=_repeated(log.lines["damages"]),
        requests=_repeated(log.lines["requests"]),
        settings=_repeated(log.lines["settings"]),
        fetches=_repeated(log.lines["fetches"]),
        versions={program: tuple(sorted(found)) for program, found in sorted(log.versions.items())},
    )


def _database(
    pair: Pair, wanted: Expected, sources: Sources, log: LogFacts, points: list[PointFacts]
) -> DatabaseReport:
    backups = sorted(log.backups[pair])
    within = [(at, kind) for at, kind in backups if at >= sources.since]
    drills = tuple(sorted((one for one in log.drills[pair] if one.at >= sources.since), key=lambda one: one.at))
    restores = [one.restore_seconds for one in drills if one.restore_seconds is not None and not one.claimed]
    shown = tuple(_point(point, sources.place, log) for point in sorted(points, key=lambda one: (one.taken, one.key)))
    until = min(sources.until, sources.log_to) if sources.log_to is not None else sources.since
    begun = max((sources.since, *filter(None, (sources.log_from, next((at for at, _ in backups), None)))))
    spans = list(_spans([at for at, _ in backups], sources, until))
    missed = tuple(_missed(spans, wanted, sources.since))
    known = sources.log_from is not None and sources.log_from <= sources.since and until == sources.until
    return DatabaseReport(
        set=pair[0],
        database=pair[1],
        rpo_seconds=_seconds(wanted.rpo),
        grace_seconds=wanted.grace.total_seconds(),
        fulls=sum(kind == "FULL" for _, kind in within),
        differentials=sum(kind == "DIFF" for _, kind in within),
        first=within[0][0] if within else None,
        last=within[-1][0] if within else None,
        longest_seconds=max(((end - start).total_seconds() for start, end in spans), default=None),
        met=None if wanted.rpo is None else False if missed else True if known else None,
        missed=missed,
        rto_seconds=_seconds(wanted.rto),
        slowest_restore_seconds=max(restores, default=None),
        drilled_every_seconds=_seconds(wanted.drilled_every),
        drills=drills,
        drills_met=_drills_met(log.drills[pair], wanted.drilled_every, (begun, until), known=known),
        copies_wanted=wanted.copies,
        copies_met=None if wanted.copies is None else all(len(one.copies) >= wanted.copies for one in shown),
        points=shown,
    )


def _spans(backups: list[datetime], sources: Sources, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the times between backups that reach into the period. The last one ends with the period, or the log."""
    before = [at for at in backups if at < sources.since]
    start = before[-1:] or [max(sources.since, sources.log_from or sources.since)]
    moments = [*start, *(at for at in backups if at >= sources.since), until]
    yield from ((one, other) for one, other in pairwise(moments) if other > one)


def _missed(spans: list[tuple[datetime, datetime]], wanted: Expected, since: datetime) -> Iterator[Late]:
    """Yield the times in which the newest backup was older than the objective and its grace."""
    if wanted.rpo is not None:
        for start, end in spans:
            due = max(start + wanted.rpo + wanted.grace, since)
            if due < end:
                yield Late.model_validate({"from": due, "to": end})


def _drills_met(
    drills: list[DrillFacts], every: timedelta | None, span: tuple[datetime, datetime], *, known: bool
) -> bool | None:
    """Return whether no time without a drill that passed was longer than the objective `every`.

    `span` is the part of the period that the log knows, from the first backup of the database on. Return None if there
    is no objective, or if the log does not know the whole period and the objective was met in the part that it knows.
    """
    if every is None:
        return None
    begun, until = span
    passed = sorted(one.at for one in drills if one.outcome == "passed" and not one.claimed)
    before = [at for at in passed if at < begun][-1:] or [begun]
    moments = [*before, *(at for at in passed if at >= begun), until]
    met = all(other - one <= every for one, other in pairwise(moments))
    return True if met and known else None if met else False


def _point(point: PointFacts, place: PlaceName, log: LogFacts) -> PointReport:
    drills = [one for one in log.drills[database_of(point.key)] if one.key == point.key and not one.claimed]
    return PointReport(
        **point._asdict(),
        copies=tuple(sorted(log.copies[point.key] | ({place} if point.fault is None else set()))),
        verified=log.verified.get((place, point.key)),
        drilled=max(drills, key=lambda one: one.at, default=None),
    )


def _pair(key: str) -> Pair | None:
    try:
        return database_of(key)
    except ValueError:  # any client of the destination may have written the log
        return None


def _drill(line: AuditLine, at: datetime) -> DrillFacts:
    seconds = line.facts.get("restore_seconds")
    return DrillFacts(
        at=min(
            _moment(line.facts.get("drilled_at")) or at, at
        ),  # the line on a drill of another process may be much later
        place=line.place,
        key=line.key or "",
        level=str(line.facts.get("level", "")),
        outcome=str(line.facts.get("outcome", "")),
        restore_seconds=float(seconds) if isinstance(seconds, int | float) else None,
        claimed=line.facts.get("evidence") == "claimed",
    )


def _moment(text: object) -> datetime | None:
    """Return the time with an offset that a fact of a line states, or None."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _repeated(lines: Iterable[AuditLine]) -> tuple[LineFacts, ...]:
    return tuple(
        LineFacts(
            n=line.n,
            at=line.at,
            kind=line.kind,
            place=line.place,
            keys=line.artifacts,
            request=line.request,
            claimed=line.claimed,
            why=line.why,
            plan=line.plan,
            facts=line.facts,
        )
        for line in lines
    )


def _seconds(span: timedelta | None) -> float | None:
    return span.total_seconds() if span is not None else None
