"""Reading records from the volume."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from backup_agent import durable, quoting
from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, RECORD_SUFFIX
from backup_agent.core.artifacts.names import DatabaseName, SetName, database_name_or_none, set_name_or_none
from backup_agent.core.artifacts.records import Record

ARTIFACT_RECORD = ARTIFACT_SUFFIX + RECORD_SUFFIX


def parse(data: bytes, artifact: str) -> Record:
    """Parse the record of an artifact.

    Raise ValueError, with a one-line text, if `data` is not this artifact's record.
    """
    try:
        record = Record.from_json(data)
    except ValueError as error:
        raise ValueError(first_fault(error)) from error
    if record.key != artifact:
        raise ValueError(f"it is the record of {record.key}")
    return record


def replaced(noted: str) -> str:
    """Return the fault of a record that was replaced. `noted` is the SHA-256 in the note."""
    return f"it is not the record that the agent wrote, which has SHA-256 {noted}"


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
