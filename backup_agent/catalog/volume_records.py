"""Reading records from the volume."""

import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from backup_agent import durable, quoting
from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, RECORD_SUFFIX, artifact_key
from backup_agent.core.artifacts.names import DatabaseName, SetName, database_name_or_none, set_name_or_none
from backup_agent.core.artifacts.records import LARGEST, Record

ARTIFACT_RECORD = ARTIFACT_SUFFIX + RECORD_SUFFIX


def of_database(root: Path, set_name: SetName, database: DatabaseName) -> tuple[Record, ...]:
    """Return the readable records of one database, oldest first. A missing folder has none.

    Links and special files are ignored, as in a listing of the store: reading a pipe would never end.
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
    """Parse the record of an artifact. Raise ValueError, with a text of one line, if it is not its record."""
    try:
        record = Record.from_json(data)
    except ValueError as error:
        raise ValueError(first_fault(error)) from error
    if record.key != artifact:
        raise ValueError(f"it is the record of {record.key}")
    return record


def first_fault(error: ValueError) -> str:
    """Return the fault of a record or a mark as one line. A newer schema comes before all other faults."""
    if isinstance(error, ValidationError) and error.error_count() <= quoting.MANY:
        faults = {one["loc"]: one for one in error.errors(include_url=False, include_context=False)}
        newer = faults.get(("schema",))
        if newer is not None:
            found = newer["input"] if isinstance(newer["input"], int) else "unknown"
            return f"schema {found}: this agent knows only schema 1"
    return quoting.shown(error)


def databases(root: Path) -> Iterator[tuple[SetName, DatabaseName]]:
    """Yield the set and the database of each folder below the root."""
    for folder in durable.folders(root):
        set_name = set_name_or_none(folder)
        if set_name is None:  # such as lost+found, which only root can read
            continue
        for name in durable.folders(root / set_name):
            if (database := database_name_or_none(name)) is not None:
                yield set_name, database
