"""`backup-agent list`."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any

import click

from backup_agent.catalog.evidence import NotedDrill
from backup_agent.catalog.place import Place, destinations, place_of
from backup_agent.catalog.reported_drills import last_drill
from backup_agent.cli import listing, printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, WARNED, DocumentedCommand
from backup_agent.cli.listing import Listed, Sought
from backup_agent.cli.options import (
    checked_name,
    json_option,
    moment_option,
    place_option,
    settings_option,
    utc_option,
)
from backup_agent.core.artifacts.keys import database_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, SetName, database_glob, name_of_set
from backup_agent.core.artifacts.records import BackupType, Record
from backup_agent.core.audit.period import Period, begin_of, end_of
from backup_agent.core.durations import duration
from backup_agent.core.escaping import did_you_mean, first_few
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.restore.asked import artifact_id

HEAD = ("SET/DATABASE", "ID", "TYPE", "SIZE", "TAKEN", "AGE", "COPIES", "NOTES")
NEVER_CUT = (1, 2, 3, 4, 5)
"""Columns of HEAD that are shown whole even if the terminal is narrow."""
WIDE = ("ARTIFACT", "ID", "TYPE", "SIZE", "TAKEN", "APPEND INDEXES", "WHY", "COPIES", "DRILLED", "HELD", "FAULT")

_ORDERS: dict[str, Callable[[Listed], Any]] = {
    "taken": lambda one: (one.record.header.taken, one.record.key),
    "size": lambda one: (one.record.size, one.record.key),
}
"""What `--sort` takes -> the value by which all artifacts are sorted."""

Copies = dict[str, Callable[[str], bool]]
"""Name of a place -> function that returns whether the place has the artifact of a key."""


@dataclass
class Totals:
    """What was listed so far."""

    artifacts: int = 0
    size: int = 0
    held: int = 0
    faults: int = 0
    databases: set[str] = field(default_factory=set)

    def counted(self, found: Iterable[Listed]) -> Iterator[Listed]:
        """Yield each artifact, and count it."""
        for one in found:
            self.artifacts += 1
            self.size += one.record.size
            self.held += one.hold is not None
            self.faults += one.fault is not None
            self.databases.add(database_key(one.record.set, one.record.database))
            yield one

    def __str__(self) -> str:
        """Return the totals in one line."""
        artifacts = printing.counted(self.artifacts, "artifact", "artifacts")
        databases = printing.counted(len(self.databases), "database", "databases")
        words = [f"{artifacts} of {databases}", printing.size(self.size)]
        words += [f"{self.held} held"] if self.held else []
        words += [f"{self.faults} not restorable"] if self.faults else []
        return ", ".join(words)


def _or_ago(parse: Callable[[str], datetime]) -> Callable[[str], datetime]:
    """Return a function that also takes a duration before now. `parse` takes a day or a time."""

    def parsed(text: str) -> datetime:
        try:
            return datetime.now(UTC) - duration(text)
        except ValueError:
            pass
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"a duration before now, such as 7d, or {error}") from None

    return parsed


@click.command(
    cls=DocumentedCommand,
    examples=(
        'backup-agent list --database "orders*" --since 30d --type FULL',
        "backup-agent list --last 1 --place offsite",
        "backup-agent list --damaged --wide",
    ),
    exits={
        DONE: "listed",
        FAILED: "no such database or place, or the place cannot be read",
        WARNED: "a record cannot be read",
    },
)
@place_option
@click.option("--set", "set_name", metavar="SET", callback=checked_name(name_of_set), help="Only this set.")
@click.option(
    "--database",
    "databases",
    multiple=True,
    metavar="GLOB",
    callback=lambda context, option, values: tuple(checked_name(database_glob)(context, option, one) for one in values),
    help="A name or glob; `!name` excludes. Repeat for several.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Only artifacts with this label. Repeat for several.",
)
@click.option(
    "--type",
    "kind",
    type=click.Choice([BackupType.FULL.value, BackupType.DIFF.value], case_sensitive=False),
    help="Only FULLs, or only differentials.",
)
@click.option(
    "--since", callback=moment_option(_or_ago(begin_of)), metavar="DATE", help="Taken on this day or time or later."
)
@click.option(
    "--until", callback=moment_option(_or_ago(end_of)), metavar="DATE", help="Taken on this day or time or earlier."
)
@click.option(
    "--last", type=click.IntRange(min=1), metavar="N", help="Only the newest N of each database that match the rest."
)
@click.option("--drilled", is_flag=True, help="Only artifacts whose last drill at the place passed.")
@click.option("--held", is_flag=True, help="Only artifacts with a hold.")
@click.option("--damaged", is_flag=True, help="Only artifacts that cannot be restored.")
@click.option("--sort", "order", type=click.Choice([*_ORDERS]), help="Sort all artifacts. Default: by database.")
@click.option("--wide", is_flag=True, help="Show the key and everything else that is known, in long lines.")
@settings_option
@utc_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    place: str,
    set_name: SetName | None,
    databases: tuple[str, ...],
    labels: tuple[str, ...],
    kind: str | None,
    since: datetime | None,
    until: datetime | None,
    last: int | None,
    drilled: bool,
    held: bool,
    damaged: bool,
    order: str | None,
    wide: bool,
    as_json: bool,
) -> int:
    """List the recorded artifacts.

    Lists the artifacts of the volume or of a destination, oldest first, with their copies. Reads the records
    themselves, so it needs neither the agent nor Bolt. If the volume was lost, list a destination.
    """
    settings = loaded(context).settings
    root = settings.storage.root
    if not root.is_dir():
        raise PermanentError(
            Reason.NOT_FOUND, f"{root}: there is no such folder", "run this where the volume is, or set storage.root"
        )
    at, now = place_of(place, settings), datetime.now(UTC)
    sought = Sought(
        set_name,
        databases,
        labels,
        BackupType(kind) if kind else None,
        Period(since, until),
        drilled,
        held,
        damaged,
        last,
    )
    seen: set[DatabaseName] = set()
    faults: list[str] = []
    found = listing.artifacts(at, sought, now, seen=seen, faults=faults)
    first = next(found, None)
    if first is None or at.is_volume:  # otherwise not every database has been seen yet
        _insist_on_databases(at, sought, seen)
    listed: Iterator[Listed] = chain([] if first is None else [first], found)
    if order is not None:
        listed = iter(sorted(listed, key=_ORDERS[order]))
    rows = _Rows(_others(at), partial(last_drill, at), now)
    if as_json:
        printing.long_list_as_json("artifacts", map(rows.as_json, listed), lambda: {"unreadable": faults})
    elif first is None:
        printing.line(f"no artifact is recorded at {root if at.is_volume else place}{_asked(sought)}")
    else:
        _print(rows, listed, wide=wide)
    printing.prose((f"unreadable: {fault}" for fault in faults if not as_json), err=True)
    _insist_on_databases(at, sought, seen)
    return 3 if faults else 0


def _insist_on_databases(place: Place, sought: Sought, seen: Collection[DatabaseName]) -> None:
    """Raise PermanentError (`not_found`) if no database at the place has a name that was given."""
    if (name := listing.unknown(sought, seen)) is not None:
        where = f" in set {sought.set_name}" if sought.set_name else ""
        known = f"{place.name} has {first_few(sorted(seen))}" if seen else f"{place.name} has no artifact{where}"
        raise PermanentError(Reason.NOT_FOUND, f"no database {name}{where}{did_you_mean(name, seen)}", known)


def _asked(sought: Sought) -> str:
    """Return what was asked for, in words that follow the name of a place."""
    begin, end = sought.period
    words = {
        "set": sought.set_name,
        "database": ", ".join(sought.databases),
        "label": ", ".join(sought.labels),
        "type": sought.type and sought.type.value,
        "since": begin and printing.moment(begin),
        "until": end and printing.moment(end),
    }
    found = "".join(f", {name} {text}" for name, text in words.items() if text)
    return found + ", drilled" * sought.drilled + ", held" * sought.held + ", damaged" * sought.damaged


def _print(rows: "_Rows", found: Iterator[Listed], *, wide: bool) -> None:
    """Print the table and its totals. On a terminal the table fits the width, unless it is wide."""
    totals = Totals()
    counted = totals.counted(found)
    if wide:
        printing.table(WIDE, map(rows.wide, counted), wide=True)
    else:
        printing.table(HEAD, map(rows.narrow, counted), never_cut=NEVER_CUT)
    printing.line(str(totals))
    if totals.faults and not wide:
        printing.line("`backup-agent list --damaged --wide` shows why they cannot be restored")


def _until(hold: Hold | None) -> str | None:
    """Return the end of a hold; None if there is no hold, or if the hold has no end."""
    return printing.utc(hold.until) if hold is not None and hold.until is not None else None


def _held(hold: Hold | None) -> str:
    """Return whether there is a hold, and until when."""
    if hold is None:
        return "-"
    return f"until {printing.moment(hold.until)}" if hold.until is not None else "yes"


def _story(hold: Hold | None) -> dict[str, object] | None:
    """Return who set a hold, when and why."""
    if hold is None:
        return None
    return hold.model_dump(mode="json", include={"since", "reason", "requested_by", "request"})


def _others(place: Place) -> Copies:
    """Return the functions for all other places."""
    others: Copies = {one.name: one.record_notes.has for one in destinations(place.settings) if one.name != place.name}
    return others if place.is_volume else {VOLUME: lambda key: (place.root / record_key(key)).exists(), **others}


@dataclass(frozen=True)
class _Rows:
    """How an artifact is shown."""

    others: Copies
    drilled: Callable[[str], NotedDrill | None]
    now: datetime

    def as_json(self, one: Listed) -> dict[str, object]:
        last = self.drilled(one.record.key)
        return {
            **one.record.model_dump(mode="json", by_alias=True),
            "id": artifact_id(one.record.key),
            "copies": {name: "stored" if has(one.record.key) else "not stored" for name, has in self.others.items()},
            "drilled": last and last._asdict(),
            "held": one.hold is not None,
            "held_until": _until(one.hold),
            "hold": _story(one.hold),
            "fault": one.fault,
        }

    def narrow(self, one: Listed) -> tuple[str, ...]:
        record = one.record
        return (
            database_key(record.set, record.database),
            *self._identity(record),
            printing.minute(record.header.taken),
            printing.age(self.now - record.header.taken).split()[0],
            self._copies(record),
            ", ".join(self._notes(one)) or "-",
        )

    def wide(self, one: Listed) -> tuple[str, ...]:
        record = one.record
        return (
            record.key,
            *self._identity(record),
            printing.moment(record.header.taken),
            "none" if record.header.empty else f"{record.header.lowest}-{record.header.highest}",
            record.type_reason,
            self._copies(record),
            str(self.drilled(record.key) or "-"),
            _held(one.hold),
            one.fault or "-",
        )

    def _identity(self, record: Record) -> tuple[str, str, str]:
        return artifact_id(record.key), record.type.value, printing.size(record.size)

    def _copies(self, record: Record) -> str:
        return ", ".join(name for name, has in self.others.items() if has(record.key)) or "-"

    def _notes(self, one: Listed) -> Iterator[str]:
        if one.fault is not None:
            yield "not restorable"
        if one.hold is not None:
            yield f"held until {one.hold.until.astimezone():%Y-%m-%d}" if one.hold.until else "held"
        if (last := self.drilled(one.record.key)) is not None:
            yield f"drill {last.outcome.value.replace('_', ' ')}{', not signed' * last.claimed}"
