"""Damage marks on the volume: which artifacts are no restore points, and are continued by nothing.

The name of a mark is enough: one that cannot be read, or of a newer schema, still says that something was wrong.
"""

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


def undamaged(root: Path, records: Iterable[Record]) -> tuple[Record, ...]:
    """Return the records on the volume whose artifacts are not marked as damaged, in their order.

    For whoever continues a chain: what continued a damaged artifact is a hole in what remains, so a full follows.
    """
    marked: dict[tuple[str, str], frozenset[str]] = {}
    kept = []
    for record in records:
        folder = (record.set, record.database)
        if folder not in marked:
            marked[folder] = damaged(root, *folder)
        if record.key not in marked[folder]:
            kept.append(record)
    return tuple(kept)


def mark(store: Store, key: str, *, found: str, file: str | None, now: datetime) -> None:
    """Mark an artifact as damaged, where it is not yet; a mark is never overwritten."""
    damage = Damage(key=key, since=now, found=found, file=file)
    try:
        store.create(damage_key(key), damage.to_json())
    except PermanentError as error:
        if error.failure.reason is not Reason.CHECKSUM_MISMATCH:  # that is: another mark stands there
            raise


def _marked(folder: Path, prefix: str) -> Iterator[str]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.endswith(_MARK):
                yield prefix + path.name.removesuffix(DAMAGE_SUFFIX)
