"""Which artifacts on the volume are no restore points, and are continued by nothing: the damaged and the missing.

The name of a mark is enough: one that cannot be read, or of a newer schema, still says that something was wrong.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from backup_agent.catalog.records import ARTIFACT_RECORD
from backup_agent.core.marks import Damage
from backup_agent.core.names import DAMAGE_SUFFIX, RECORD_SUFFIX, damage_key
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.records import Record
from backup_agent.stores.store import Store

_MARK = ARTIFACT_RECORD.removesuffix(RECORD_SUFFIX) + DAMAGE_SUFFIX


def damaged(root: Path, set_name: str, database: str) -> frozenset[str]:
    """Return the keys of the artifacts of one database on the volume that are marked as damaged."""
    return frozenset(_marked(root / set_name / database, f"{set_name}/{database}/"))


def unsound(root: Path, records: Iterable[Record]) -> dict[str, str]:
    """Return which of some records on the volume are no restore points, by key, and what is wrong with each.

    Those are marked as damaged, or a file of theirs is not there in its recorded size; no file is read.
    """
    marked: dict[tuple[str, str], frozenset[str]] = {}
    found: dict[str, str] = {}
    for record in records:
        folder = (record.set, record.database)
        if folder not in marked:
            marked[folder] = damaged(root, *folder)
        if record.key in marked[folder]:
            found[record.key] = "marked as damaged"
        elif wrong := _missing(root.joinpath(*folder), record):
            found[record.key] = wrong
    return found


def sound(root: Path, records: Iterable[Record]) -> tuple[Record, ...]:
    """Return the records on the volume that are restore points, in their order.

    For whoever continues a chain: what continued any other is a hole in what remains, so a full follows.
    """
    recorded = tuple(records)
    wrong = unsound(root, recorded)
    return tuple(record for record in recorded if record.key not in wrong)


def mark(store: Store, key: str, *, found: str, file: str | None, now: datetime) -> None:
    """Mark an artifact as damaged, where it is not yet; a mark is never overwritten."""
    damage = Damage(key=key, since=now, found=found, file=file)
    try:
        store.create(damage_key(key), damage.to_json())
    except PermanentError as error:
        if error.failure.reason is not Reason.CHECKSUM_MISMATCH:  # that is: another mark stands there
            raise


def _missing(folder: Path, record: Record) -> str:
    """Say which file of an artifact is not there whole; nothing where all are."""
    for file in record.files:
        try:
            facts = os.lstat(folder / file.name)
        except OSError as error:
            return f"{file.name}: {error.strerror}"
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != file.size:
            return f"{file.name}: {file.size} bytes were recorded, it has {facts.st_size}"
    return ""


def _marked(folder: Path, prefix: str) -> Iterator[str]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.endswith(_MARK):
                yield prefix + path.name.removesuffix(DAMAGE_SUFFIX)
