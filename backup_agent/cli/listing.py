"""Which recorded artifacts `list` lists: they are selected, and their records are read.

The artifacts come one database at a time, oldest first. One folder and AT_ONCE records are in memory, not all.
"""

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple

from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import NOT_RECOGNISED, Contents, by_database, of_database
from backup_agent.catalog.evidence import NotedDrill
from backup_agent.catalog.holds import holds_at
from backup_agent.catalog.place import Place
from backup_agent.catalog.reported_drills import last_drill
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import LARGEST, BackupType, Record
from backup_agent.core.audit.period import Period
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.neo4j.selection import is_glob, matches
from backup_agent.stores.store import ObjectTooLargeError, Store

AT_ONCE = 1000
"""How many records are read ahead."""


@dataclass(frozen=True)
class Listed:
    """One artifact at a place. Its record may not be recognised."""

    record: Record
    hold: Hold | None
    fault: str | None
    """Why it cannot be restored."""


@dataclass(frozen=True)
class Sought:
    """Which artifacts are listed: those that match everything that is given."""

    set_name: SetName | None = None
    databases: tuple[str, ...] = ()
    """Names and globs; `!name` excludes. Empty: every database."""
    labels: tuple[str, ...] = ()
    """`key=value`, or `key` for any value."""
    type: BackupType | None = None
    period: Period = field(default_factory=Period)
    """When the artifacts were taken."""
    drilled: bool = False
    """Whether only artifacts are listed whose last drill at the place passed."""
    held: bool = False
    damaged: bool = False
    """Whether only artifacts are listed that cannot be restored."""
    last: int | None = None
    """How many of the newest artifacts of each database in each set are listed. None: all."""

    @property
    def names(self) -> list[str]:
        """The names of databases, without globs and exclusions, in lower case."""
        return [name.lower() for name in self._wanted if not is_glob(name)]

    def has_database(self, name: DatabaseName) -> bool:
        """Return whether a database is listed."""
        unwanted = (pattern[1:] for pattern in self.databases if pattern.startswith("!"))
        wanted = not self._wanted or any(matches(name, pattern) for pattern in self._wanted)
        return wanted and not any(matches(name, pattern) for pattern in unwanted)

    def has_record(self, record: Record) -> bool:
        """Return whether the type, the time and the labels of an artifact match."""
        return self.may_have(full=record.type is BackupType.FULL, taken=record.header.taken) and self._has_labels(
            record
        )

    def may_have(self, *, full: bool, taken: datetime) -> bool:
        """Return whether the type and the time of an artifact match. The index has no other facts that are sought."""
        return (self.type is None or full == (self.type is BackupType.FULL)) and self.period.has(taken)

    @property
    def _wanted(self) -> list[str]:
        return [pattern for pattern in self.databases if not pattern.startswith("!")]

    def _has_labels(self, record: Record) -> bool:
        labels = [label.partition("=") for label in self.labels]
        return all(key in record.labels and (not equals or record.labels[key] == text) for key, equals, text in labels)


class _ToRead(NamedTuple):
    """An artifact whose record is read to decide whether it is listed."""

    key: str
    hold: Hold | None
    fault: str | None


def artifacts(
    place: Place, sought: Sought, now: datetime, *, seen: set[DatabaseName], faults: list[str]
) -> Iterator[Listed]:
    """Yield the artifacts of a place. Each record is read; the index serves to find them.

    Each database that has something at the place is added to `seen`; on the volume all are added before the first
    artifact, if databases are sought. A line for each object that cannot be read is added to `faults`.
    """
    with ThreadPoolExecutor(place.store.concurrent_reads, thread_name_prefix="record") as pool:

        def read(candidates: Iterable[_ToRead], at_once: int) -> Iterator[Listed]:
            left = iter(candidates)
            while some := tuple(islice(left, at_once)):
                records = pool.map(partial(_read, place.store), (one.key for one in some))
                for one, record in zip(some, records, strict=True):
                    if isinstance(record, str):
                        faults.append(record)
                    elif record is not None and sought.has_record(record):
                        yield Listed(record, one.hold, one.fault)

        for contents in _contents(place, sought, seen):
            faults += map(str, contents.unreadable)
            candidates = _candidates(place, contents, sought, now)
            if sought.last is None:
                yield from read(candidates, AT_ONCE)
            else:
                newest = islice(read(reversed(candidates), min(sought.last, AT_ONCE)), sought.last)
                yield from reversed(tuple(newest))


def _contents(place: Place, sought: Sought, seen: set[DatabaseName]) -> Iterator[Contents]:
    """Yield the contents of each database. On the volume, the folders of other databases are not read."""
    if place.is_volume and sought.databases:
        found = [one for one in sorted(volume_records.databases(place.root)) if sought.set_name in (None, one[0])]
        seen.update(name for _, name in found)
        for set_name, name in found:
            if sought.has_database(name):
                yield of_database(place, set_name, name, read_all=True)
        return
    sets = {sought.set_name} if sought.set_name else None
    for contents in by_database(place, sets=sets, writes=False, read_all=True):
        if (database := contents.database) is not None:
            seen.add(database)
        if database is None or sought.has_database(database):
            yield contents


def _candidates(place: Place, contents: Contents, sought: Sought, now: datetime) -> list[_ToRead]:
    """Return the artifacts of one database that match by the facts in the index, oldest first."""
    unrestorable = contents.unrestorable | dict.fromkeys(contents.unrecognised, NOT_RECOGNISED)
    holds = {key: hold for key, hold in holds_at(place, contents.holds).items() if not hold.ended(now)}
    entries: dict[str, Entry | None] = dict(contents.entries)
    entries |= {key: one.entry for key, one in contents.unrecognised.items()}
    return [
        _ToRead(key, holds.get(key), unrestorable.get(key))
        for key, entry in sorted(entries.items(), key=lambda item: item[0])  # an artifact's name has its time
        if (not sought.held or key in holds)
        and (not sought.drilled or _passed(last_drill(place, key)))
        and (not sought.damaged or key in unrestorable)
        and (entry is None or sought.may_have(full=entry.full, taken=entry.taken))
    ]


def _passed(drill: NotedDrill | None) -> bool:
    return drill is not None and drill.outcome is DrillOutcome.PASSED


def _read(store: Store, key: str) -> Record | str | None:
    """Return the record of an artifact, the reason why it is unreadable, or None if it was deleted meanwhile."""
    try:
        seen = store.look(record_key(key), LARGEST)
        return None if seen is None else volume_records.parse(seen.content, key)
    except (ObjectTooLargeError, ValueError) as error:
        return f"{record_key(key)}: {error}"


def unknown(sought: Sought, seen: Collection[DatabaseName]) -> str | None:
    """Return the first given name that no database at the place has, or None."""
    lowered = {name.lower() for name in seen}
    return next((name for name in sought.names if name not in lowered), None)
