"""What the supervisor keeps of all records: a few numbers per set and database, however many records there are."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pydantic import Field

from backup_agent.core.chains import live_chain
from backup_agent.core.records import BackupType, Record, Value


class DatabaseSummary(Value):
    """One database of one set, on the volume. Times are when the newest good artifact of a type was finished."""

    set: str
    database: str
    artifacts: int
    size: int = Field(description="bytes of all artifacts")
    first: datetime = Field(description="when the oldest artifact was finished")
    newest: str = Field(description="key of the newest artifact")
    newest_size: int
    last_success: dict[str, datetime] = Field(description="FULL, DIFF; a FULL counts as the newest DIFF too")
    chain_links: int = Field(description="artifacts of the live chain; 0: none can be restored from records alone")
    chain_size: dict[str, int] = Field(description="bytes of the live chain, FULL and DIFF")
    owed: dict[str, int] = Field(default={}, description="destination -> artifacts without a copy there")


def summarise(records: Sequence[Record], owed: Mapping[str, int]) -> DatabaseSummary:
    """Return the summary of one database's records in one set; there is at least one."""
    newest = max(records, key=_age)
    fulls = [record for record in records if record.type is BackupType.FULL]
    chain = live_chain(records)
    links = chain.records if chain else ()
    return DatabaseSummary(
        set=newest.set,
        database=newest.database,
        artifacts=len(records),
        size=sum(record.size for record in records),
        first=min(records, key=_age).finished,
        newest=newest.key,
        newest_size=newest.size,
        last_success={
            BackupType.DIFF.value: newest.finished,
            **({BackupType.FULL.value: max(fulls, key=_age).finished} if fulls else {}),
        },
        chain_links=len(links),
        chain_size={type_.value: _size(links, type_) for type_ in (BackupType.FULL, BackupType.DIFF)},
        owed=dict(owed),
    )


def _age(record: Record) -> tuple[datetime, str]:
    return record.finished, record.key


def _size(records: Iterable[Record], type_: BackupType) -> int:
    return sum(record.size for record in records if record.type is type_)
