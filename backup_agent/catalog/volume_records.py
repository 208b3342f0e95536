"""Reading records from the volume. They are the catalog; nothing here keeps a copy of its own."""

import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from backup_agent import durable, quoting
from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, RECORD_SUFFIX, artifact_key
from backup_agent.core.artifacts.names import DATABASE, SET, DatabaseName, database_name
from backup_agent.core.artifacts.records import LARGEST, Record

ARTIFACT_RECORD = ARTIFACT_SUFFIX + RECORD_SUFFIX


def of_database(root: Path, set_name: str, database: DatabaseName) -> tuple[Record, ...]:
    """Return the records of one database that can be read, the oldest first. Nothing recorded is no error.

    As in a listing of the store, links and special files are not seen: to read a pipe would never end.
    """
    folder = root / set_name / database
    records: list[Record] = []
    for name in (name for name in durable.names(folder) if name.endswith(ARTIFACT_RECORD)):
        key = artifact_key(set_name, database, name)
        with suppress(OSError, ValueError):
            if stat.S_ISREG((folder / name).lstat().st_mode):
                records.append(parse(durable.read(folder / name, LARGEST), key.removesuffix(RECORD_SUFFIX)))
    return tuple(sorted(records, key=lambda record: (record.header.taken, record.key)))


def parse(data: bytes, artifact: str) -> Record:
    """Read the record that stands beside an artifact; raise ValueError, in one line, where it is none of that one."""
    try:
        record = Record.from_json(data)
    except ValueError as error:
        raise ValueError(first_fault(error)) from error
    if record.key != artifact:
        raise ValueError(f"it is the record of {record.key}")
    return record


def first_fault(error: ValueError) -> str:
    """Say in one line what is wrong with a record or a mark: a newer schema before anything else."""
    if isinstance(error, ValidationError) and error.error_count() <= quoting.MANY:
        faults = {one["loc"]: one for one in error.errors(include_url=False, include_context=False)}
        newer = faults.get(("schema",))
        if newer is not None:
            found = newer["input"] if isinstance(newer["input"], int) else "unknown"
            return f"schema {found}: this agent knows schema 1 only"
    return quoting.shown(error)


def databases(root: Path) -> Iterator[tuple[str, DatabaseName]]:
    """Yield every set and database that has a folder below the root."""
    for set_name in durable.folders(root):
        if not SET.fullmatch(set_name):  # such as lost+found, which only root may look into
            continue
        for database in durable.folders(root / set_name):
            if DATABASE.fullmatch(database):
                yield set_name, database_name(database)
