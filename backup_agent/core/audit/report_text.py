"""The report for auditors as Markdown. Text of requests is escaped: it must not become a part of the document."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from backup_agent.core.artifacts.keys import database_key
from backup_agent.core.audit.lines import AuditKind
from backup_agent.core.audit.report import AuditReport, DatabaseReport, DrillFacts, LineFacts, PointReport
from backup_agent.core.durations import written_duration
from backup_agent.core.escaping import first_few, printable

_MANY = 20
_MARKS = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


def markdown(report: AuditReport) -> str:
    """Return the report as a Markdown document that ends with a line break."""
    return "\n".join(_document(report)) + "\n"


def _document(report: AuditReport) -> Iterator[str]:
    sources = report.sources
    yield f"# Backups of {_text(sources.cluster)}, {_at(sources.since)} to {_at(sources.until)}"
    yield ""
    yield from _sources(report)
    yield from _objectives(report.databases)
    for one in report.databases:
        yield from _points(one)
    yield from _drills(report.databases)
    yield from _section("Deletions", report.deletions, "Nothing was deleted in the period.")
    yield from _section("Holds", report.holds, "No artifact is held.")
    yield from _section("Damage and healing", report.damages, "No damage was found in the period.")
    yield from _section("Fetched", report.fetches, "Nothing was fetched by the agent in the period.")
    yield from _section("Who claims to have asked", report.requests, "No request in the period names a requester.")
    yield from _section("Settings", report.settings, "No setting was changed in the period.")
    yield "## Versions"
    yield ""
    yield from (f"- {program}: {_text(', '.join(found))}" for program, found in report.versions.items())
    yield ""


def _sources(report: AuditReport) -> Iterator[str]:
    sources = report.sources
    yield "## Sources"
    yield ""
    yield f"- records at the place {_text(sources.place)}, and its audit log: {sources.lines} lines"
    if sources.log_from is not None and sources.log_to is not None:
        yield f"- the log is from {_at(sources.log_from)} to {_at(sources.log_to)}; its last line is {sources.head}"
    if sources.database is not None:
        yield f"- only the database {_text(sources.database)}"
    yield from (f"- {count} segments of the log are signed by {_text(key)}" for key, count in sources.sealed.items())
    yield ""
    yield "## Gaps"
    yield ""
    yield from (f"- {_text(one)}" for one in (*sources.findings, *sources.gaps))
    yield ""


def _objectives(databases: Iterable[DatabaseReport]) -> Iterator[str]:
    yield "## Objectives"
    yield ""
    rows = [
        (
            database_key(one.set, one.database),
            _span(one.rpo_seconds),
            _met(one.met),
            f"{one.fulls} FULL, {one.differentials} DIFF",
            _span(one.longest_seconds),
            "; ".join(f"{_at(late.since)} to {_at(late.until)}" for late in one.missed) or "-",
            _within(one.rto_seconds, one.slowest_restore_seconds),
            _met(one.drills_met),
            _met(one.copies_met),
        )
        for one in databases
    ]
    header = ("database", "RPO", "met", "backups", "longest without", "missed", "RTO, measured", "drills", "copies")
    yield from _table(header, rows)


def _points(one: DatabaseReport) -> Iterator[str]:
    yield f"## Restore points of {_text(database_key(one.set, one.database))}"
    yield ""
    header = ("artifact", "type", "taken", "kept", "copies", "verified", "drilled", "SHA-256")
    yield from _table(header, [_point(point) for point in one.points])


def _point(point: PointReport) -> tuple[str, ...]:
    drilled = point.drilled
    return (
        point.key,
        point.type,
        _at(point.taken),
        f"cannot be restored: {point.fault}" if point.fault else point.kept,
        ", ".join(point.copies) or "-",
        _at(point.verified),
        f"{drilled.level}, {drilled.outcome}, {_at(drilled.at)}" if drilled else "-",
        point.sha256,
    )


def _drills(databases: Iterable[DatabaseReport]) -> Iterator[str]:
    yield "## Drills"
    yield ""
    rows = [
        (_at(one.at), one.key, one.place or "-", one.level, _outcome(one), _span(one.restore_seconds))
        for database in databases
        for one in database.drills
    ]
    yield from _table(("at", "artifact", "place", "level", "outcome", "restore took"), rows)


def _outcome(drill: DrillFacts) -> str:
    return f"{drill.outcome}, not signed" if drill.claimed else drill.outcome


def _section(title: str, lines: tuple[LineFacts, ...], nothing: str) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    if not lines:
        yield nothing
        yield ""
        return
    header = ("line", "at", "what", "place", "artifacts", "request", "claimed by", "why", "plan", "facts")
    yield from _table(header, [_line(one) for one in lines])


def _line(one: LineFacts) -> tuple[str, ...]:
    facts = "; ".join(f"{name}: {shown(value)}" for name, value in one.facts.items())
    return (
        str(one.n),
        _at(one.at),
        "announced, not known to be done" if one.kind == AuditKind.DELETING else one.kind,
        one.place or "-",
        ", ".join(one.keys) or "-",
        one.request or "-",
        one.claimed or "-",
        one.why or "-",
        one.plan or "-",
        facts or "-",
    )


def shown(value: object) -> str:
    """Return a fact. Of a long list, such as all settings at the first start, the beginning is enough: the log has all.

    >>> shown(["a", "b"]), shown("c"), shown(list(range(30)))
    ('a, b', 'c', '0, 1, 2, 3, 4, …')
    """
    if not isinstance(value, list):
        return str(value)
    names = list(map(str, value))
    return ", ".join(names) if len(names) <= _MANY else first_few(names)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        yield "None."
        yield ""
        return
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(map(_text, row))} |"
    yield ""


def _text(text: str) -> str:
    """Return a text from outside, so that Markdown shows it as it is."""
    return _MARKS.sub(r"\\\1", printable(text).replace("\n", " "))


def _at(when: datetime | None) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if when is not None else "-"


def _span(seconds: float | None) -> str:
    return written_duration(timedelta(seconds=round(seconds))) if seconds is not None else "-"


def _within(wanted: float | None, measured: float | None) -> str:
    if wanted is None and measured is None:
        return "-"
    verdict = "" if wanted is None or measured is None else (", met" if measured <= wanted else ", missed")
    return f"{_span(wanted)}, {_span(measured)}{verdict}"


def _met(met: bool | None) -> str:
    return {True: "met", False: "missed", None: "-"}[met]
