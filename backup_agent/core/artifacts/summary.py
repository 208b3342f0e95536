"""What the supervisor keeps of all records: a few numbers per set and database, however many records there are."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import Field

from backup_agent.core.artifacts.chains import Ancestry, as_entry, live_chain
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.records import BackupType, Record, Value


class DatabaseSummary(Value):
    """One database of one set, on the volume. Times are when the newest good artifact of a type was finished."""

    set: str
    database: str
    artifacts: int
    size: int = Field(description="bytes of all artifacts")
    first: datetime = Field(description="when the oldest artifact was finished")
    newest: str = Field(description="key of the newest artifact")
    newest_size: int
    last_success: dict[str, datetime] = Field(
        description="FULL, DIFF; a FULL counts as the newest DIFF too; absent where none can be restored"
    )
    chain_links: int = Field(description="artifacts of the live chain; 0: none can be restored from records alone")
    chain_size: dict[str, int] = Field(description="bytes of the live chain, FULL and DIFF")
    owed: dict[str, int] = Field(default={}, description="destination -> artifacts without a copy there")

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> Self:
        """Return the summary in a child's event; raise ValueError if the event holds none."""
        return cls.model_validate({key: value for key, value in event.items() if key != "event"})


def summarise(
    members: Sequence[Record | Entry], owed: Mapping[str, int], *, unsound: Collection[str] = ()
) -> DatabaseSummary:
    """Return the summary of one database's records in one set; there is at least one.

    `unsound` are the artifacts that are no restore points: damaged, or not there. They stand in no chain.
    """
    entries = [as_entry(member) for member in members]
    newest = max(entries, key=_age)
    restorable = Ancestry(entries, unsound).roots.keys()
    good = [entry for entry in entries if entry.key in restorable]
    fulls = [entry for entry in good if entry.full]
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
            **({BackupType.DIFF.value: max(good, key=_age).finished} if good else {}),
            **({BackupType.FULL.value: max(fulls, key=_age).finished} if fulls else {}),
        },
        chain_links=len(links),
        chain_size={
            BackupType.FULL.value: sum(entry.size for entry in links if entry.full),
            BackupType.DIFF.value: sum(entry.size for entry in links if not entry.full),
        },
        owed=dict(owed),
    )


def _age(entry: Entry) -> tuple[datetime, str]:
    return entry.finished, entry.key
