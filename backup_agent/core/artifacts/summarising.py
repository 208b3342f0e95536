"""Summarise the artifacts on the volume: child processes do, and the supervisor keeps the summaries."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from backup_agent.core.artifacts.chains import Ancestry, histories, live_chain
from backup_agent.core.artifacts.entries import Entry, as_entry
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.artifacts.records import BackupType, Record
from backup_agent.core.artifacts.summary import DatabaseSummary


def summarise(
    members: Sequence[Record | Entry],
    owed: Mapping[PlaceName, Collection[Record | Entry]],
    *,
    unsound: Collection[str] = (),
) -> DatabaseSummary:
    """Summarise the artifacts of one set and database. `members` must not be empty.

    `owed` has the artifacts whose copies are missing at each destination. `unsound` are the keys of artifacts that are
    damaged or missing, and so belong to no chain.
    """
    entries = [as_entry(member) for member in members]
    newest = max(entries, key=_age)
    restorable = Ancestry(entries, unsound).roots.keys()
    points = [entry for entry in histories(entries)[-1] if entry.key in restorable]
    fulls = [entry for entry in points if entry.full]
    chain = live_chain(entry for entry in entries if entry.key not in unsound)
    links = chain.records if chain else ()
    return DatabaseSummary(
        set=newest.set,
        database=newest.database,
        artifacts=len(entries),
        size=sum(entry.size for entry in entries),
        first=min(entries, key=_age).finished,
        newest=newest.key,
        newest_size=newest.size,
        last_success={
            **({BackupType.DIFF.value: max(points, key=_age).finished} if points else {}),
            **({BackupType.FULL.value: max(fulls, key=_age).finished} if fulls else {}),
        },
        chain_links=len(links),
        chain_size={
            BackupType.FULL.value: sum(entry.size for entry in links if entry.full),
            BackupType.DIFF.value: sum(entry.size for entry in links if not entry.full),
        },
        owed={place: len(missing) for place, missing in owed.items()},
        owed_since={place: oldest for place, missing in owed.items() if (oldest := finished_first(missing))},
    )


def finished_first(members: Collection[Record | Entry]) -> datetime | None:
    """Return when the first of some artifacts was finished, or None for no artifacts."""
    return min((as_entry(member).finished for member in members), default=None)


def _age(entry: Entry) -> tuple[datetime, str]:
    return entry.finished, entry.key
