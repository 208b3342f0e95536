"""Summaries of the artifacts on the volume, one for each set and database.

The supervisor keeps these instead of the records, so that its memory does not grow with the number of artifacts.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from pydantic import Field

from backup_agent.core.artifacts.chains import Ancestry, as_entry, histories, live_chain
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.records import BackupType, Record, Value


class DatabaseSummary(Value):
    """The artifacts of one set and database on the volume."""

    set: SetName
    database: DatabaseName
    artifacts: int
    size: int = Field(description="bytes of all artifacts")
    first: datetime = Field(description="when the oldest artifact was finished")
    newest: str = Field(description="key of the newest artifact")
    newest_size: int = Field(description="bytes of the newest artifact")
    last_success: dict[str, datetime] = Field(
        description="FULL or DIFF -> when the newest restorable artifact of that type in the present history was "
        "finished; a FULL counts as both, and a type without such an artifact is absent"
    )
    chain_links: int = Field(description="number of artifacts of the live chain; 0 if there is none")
    chain_size: dict[str, int] = Field(description="FULL or DIFF -> bytes of that type in the live chain")
    owed: dict[PlaceName, int] = Field(default={}, description="destination -> number of copies missing there")
    owed_since: dict[PlaceName, datetime] = Field(
        default={}, description="destination -> when the oldest artifact whose copy is missing there was finished"
    )


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
    """Return when the first of some artifacts was finished, or None if there are none."""
    return min((as_entry(member).finished for member in members), default=None)


def _age(entry: Entry) -> tuple[datetime, str]:
    return entry.finished, entry.key
