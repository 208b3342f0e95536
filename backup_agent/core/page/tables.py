"""The tables of the status page below the restore points: places, requests, runs, deletions, checks and drills."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from backup_agent.core.artifacts.keys import database_key
from backup_agent.core.artifacts.names import DEFAULT_SET, VOLUME, DatabaseName, PlaceName, SetName
from backup_agent.core.doctor.checks import CheckOutcome
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.escaping import first_few
from backup_agent.core.page.database import DatabasePoints, NextDeletion
from backup_agent.core.protection.judging import Protection
from backup_agent.core.quantities import coarse_age, counted, minute, size
from backup_agent.core.status import CheckStatus, DestinationStatus, PlaceStatus, RunStatus, ScheduleStatus, Status

MOST_DELETIONS = 20
SHOWN_RUNS = 3
"""Number of next runs of a schedule that are shown."""


class Tone(StrEnum):
    """How a text is coloured: the name of a class of the style sheet."""

    PLAIN = ""
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    MUTED = "muted"


_OUTCOMES = {
    CheckOutcome.FAIL: Tone.BAD,
    CheckOutcome.WARN: Tone.WARN,
    CheckOutcome.UNKNOWN: Tone.MUTED,
    CheckOutcome.OK: Tone.GOOD,
}


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    tone: Tone = Tone.PLAIN
    anchor: str = ""
    """Id of the part of the page to which the text links."""


@dataclass(frozen=True)
class Table:
    """A table with a heading. The first cell of each row names the row."""

    id: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    none: str
    """The text that is shown if there are no rows."""
    note: str = ""
    seldom: frozenset[int] = frozenset()
    """Columns that a narrow screen leaves out."""


def row(*cells: "str | Cell") -> tuple[Cell, ...]:
    """Return a row, in which a text is a cell without a tone."""
    return tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells)


def shown_name(set_name: SetName, database: DatabaseName) -> str:
    """Return the name of a database on the page: without its set, if that is the default one."""
    return database if set_name == DEFAULT_SET else database_key(set_name, database)


def destination_state(one: DestinationStatus) -> Cell:
    """Return whether a destination is up, and how many copies are missing there."""
    owed = counted(one.owed, "copy missing", "copies missing") if one.owed else ""
    if one.up is False:
        return Cell(", ".join(filter(None, (f"down: {one.error or one.reason}", owed))), Tone.BAD, "places")
    tone = Tone.WARN if one.owed or one.error else Tone.PLAIN
    state = "up" if one.up else "not tried yet"
    return Cell(", ".join(filter(None, (state, owed or ("" if one.owed is None else "complete")))), tone, "places")


def tables(status: Status, points: Iterable[DatabasePoints]) -> tuple[Table, ...]:
    """Return the tables in their order. `points` has what is deleted next of each database."""
    return (
        _places(status),
        _queue(status),
        _runs(status),
        _schedules(status),
        _deletions(points),
        _doctor(status),
        _drills(status),
        _excluded(status),
    )


def _places(status: Status) -> Table:
    names = dict.fromkeys((VOLUME, *status.destinations, *status.places))
    head = ("Place", "State", "Damaged", "Not restorable", "Unreadable", "Unrecognised", "Retention", "Oldest verified")
    rows = tuple(_place(name, status) for name in names)
    return Table("places", "Volume and destinations", head, rows, "", seldom=frozenset({4, 5, 7}))


def _place(name: PlaceName, status: Status) -> tuple[Cell, ...]:
    destination, one = status.destinations.get(name), status.places.get(name, PlaceStatus())
    state = destination_state(destination) if destination else _volume(status)
    unreadable = None if one.unreadable is None else sum(map(len, one.unreadable.values()))
    return row(
        name,
        Cell(state.text, state.tone),
        _number(None if one.damaged is None else len(one.damaged), Tone.BAD),
        _number(None if one.unrestorable is None else len(one.unrestorable), Tone.BAD),
        _number(unreadable, Tone.BAD),
        _number(one.unrecognised, Tone.WARN),
        _retention(name, one, status),
        f"{minute(one.oldest_verified)} UTC" if one.oldest_verified else "-",
    )


def _volume(status: Status) -> Cell:
    if status.survey_failure is not None:
        return Cell(f"survey failed: {status.survey_failure}", Tone.BAD)
    if status.volume_free is None or not status.volume_total:
        return Cell("not known yet")
    return Cell(f"{status.volume_free / status.volume_total:.0%} free")


def _number(count: int | None, tone: Tone) -> Cell:
    """Return a number that should be 0, in a tone if it is not."""
    return Cell("-" if count is None else str(count), tone if count else Tone.PLAIN)


def _retention(name: PlaceName, one: PlaceStatus, status: Status) -> Cell:
    rules = ", ".join(f"{rule} {value}" for rule, value in status.retention.get(name, {}).items())
    text = rules or "keeps everything"
    if one.blocked is not None:
        return Cell(f"{text}; blocked: {one.error or one.blocked.value}", Tone.WARN)
    if one.pruned is not None:
        text += f"; applied {minute(one.pruned)} UTC, {one.deleted} deleted since the start"
    return Cell(text)


def _queue(status: Status) -> Table:
    rows = tuple(
        row(
            one.id,
            " ".join(filter(None, (one.action, one.asks))),
            ", ".join(filter(None, (one.state, one.stage, f"behind {one.behind}" if one.behind else ""))),
            coarse_age(status.now - one.received),
            ": ".join(filter(None, (one.requested_by, one.reason))) or "-",
        )
        for one in status.requests
    )
    more = status.queue_depth - len(rows)
    note = f"And {more} more." if rows and more > 0 else ""
    head = ("Request", "What", "State", "Age", "Asked by")
    return Table("queue", "Open requests", head, rows, "No request is open.", note, seldom=frozenset({4}))


def _runs(status: Status) -> Table:
    head = ("Run", "What", "Stage", "For", "Done", "Left")
    rows = tuple(map(_run, status.running))
    return Table("runs", "Running now", head, rows, "Nothing runs.", seldom=frozenset({5}))


def _run(one: RunStatus) -> tuple[Cell, ...]:
    done = size(one.bytes) if one.bytes is not None else "-"
    return row(
        one.kind.replace("_", " "),
        shown_name(one.set, one.database) if one.set and one.database else one.destination or "-",
        one.stage or "-",
        _seconds(one.seconds),
        f"{done} of {size(one.total)}" if one.bytes is not None and one.total else done,
        _seconds(one.estimated_seconds),
    )


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else coarse_age(timedelta(seconds=seconds))


def _schedules(status: Status) -> Table:
    rows = tuple(_schedule(name, one, status.now) for name, one in status.schedules.items())
    head = ("Schedule", "Next run", "Cron", "Time zone", "Type", "Then", "Missed")
    return Table("schedules", "Next runs", head, rows, "There are no schedules.", seldom=frozenset({3, 5, 6}))


def _schedule(name: str, one: ScheduleStatus, now: datetime) -> tuple[Cell, ...]:
    runs = one.next_runs[:SHOWN_RUNS]
    soonest = f"in {coarse_age(runs[0] - now)}, {minute(runs[0])} UTC" if runs else "-"
    return row(
        name,
        Cell("suspended", Tone.WARN) if one.suspended else soonest,
        one.cron,
        one.timezone,
        one.type,
        ", ".join(map(minute, runs[1:])) + " UTC" if runs[1:] else "-",
        _number(one.missed, Tone.WARN),
    )


def _deletions(points: Iterable[DatabasePoints]) -> Table:
    """Return the table of the next deletions, the first one first."""
    found = sorted(
        chain.from_iterable(one.deletions for one in points),
        key=lambda one: (one.after is not None, one.after, one.key),
    )
    head = ("When", "First artifact", "Place", "Artifacts", "Frees", "Why")
    none = "Neither the next pass of retention nor the next backups delete anything."
    note = "`backup-agent why ARTIFACT` says until when an artifact is kept."
    if len(found) > MOST_DELETIONS:
        note = f"Of {len(found)} databases and places the first {MOST_DELETIONS}. {note}"
    rows = tuple(map(_deletion, found[:MOST_DELETIONS]))
    return Table("deletions", "Next deletions", head, rows, none, note, seldom=frozenset({3, 5}))


def _deletion(one: NextDeletion) -> tuple[Cell, ...]:
    when = f"after {one.after.schedule}, {minute(one.after.at)} UTC" if one.after else "by the next pass"
    return row(when, one.key, one.place, str(one.artifacts), size(one.size), one.why)


def _doctor(status: Status) -> Table:
    order = list(_OUTCOMES)
    checks = sorted(status.doctor.checks, key=lambda one: order.index(one.finding.counts)) if status.doctor else []
    note = f"Ended {minute(status.doctor.ended)} UTC. `backup-agent doctor` checks again." if status.doctor else ""
    head = ("Check", "Outcome", "Found", "What to do")
    return Table("doctor", "Last doctor", head, tuple(map(_check, checks)), "The checks have not ended yet.", note)


def _check(one: CheckStatus) -> tuple[Cell, ...]:
    found = one.finding
    accepted = f"accepted until {found.accepted_until}: {found.accepted}" if found.accepted is not None else ""
    return row(
        " ".join(filter(None, (found.check.value.replace("_", " "), found.place))),
        Cell(found.outcome.value, _OUTCOMES[found.counts]),
        found.found,
        accepted or found.advice,
    )


def _drills(status: Status) -> Table:
    head = ("Database", "Place", "Last drill", "Ended", "Proven", "Restore took")
    rows = tuple(map(_drill, status.drills))
    return Table("drills", "Drills", head, rows, "No drill has been made yet.", seldom=frozenset({4}))


def _drill(one: DatabaseDrills) -> tuple[Cell, ...]:
    last = one.last_done or one.last
    tone = Tone.PLAIN if last is None else Tone.GOOD if last.outcome is DrillOutcome.PASSED else Tone.BAD
    return row(
        shown_name(one.set, one.database),
        one.place,
        Cell(last.outcome.value.replace("_", " ") if last else "-", tone),
        f"{minute(last.at)} UTC" if last else "-",
        ", ".join(f"{level.value} {at:%Y-%m-%d}" for level, at in one.passed.items()) or "-",
        _seconds(one.restore_seconds),
    )


def _excluded(status: Status) -> Table:
    reasons: dict[str, list[str]] = {}
    known = status.excluded_databases or {}
    for database, one in known.items():
        reasons.setdefault(one.why, []).append(database)
    for judged in status.protection or ():
        if judged.state is Protection.EXCLUDED and judged.database not in known:
            reasons.setdefault(judged.why or "", []).append(judged.database)
    rows = tuple(row(first_few(names), why) for why, names in reasons.items())
    return Table("excluded", "Not backed up", ("Database", "Why"), rows, "Every database is backed up.")
