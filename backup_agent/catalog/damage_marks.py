"""Damage marks: artifacts with a mark are no restore points, and no differential continues them (Contents.unsound).

A mark counts even if it cannot be read or has a newer schema.
"""

from datetime import datetime
from pathlib import Path

from backup_agent import durable
from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, DAMAGE_SUFFIX, artifact_key, damage_key
from backup_agent.core.artifacts.marks import Damage
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.store import Store


def damaged(root: Path, set_name: SetName, database: DatabaseName) -> frozenset[str]:
    """Return the keys of the artifacts of one database on the volume that are marked as damaged."""
    ending = ARTIFACT_SUFFIX + DAMAGE_SUFFIX
    marks = (name for name in durable.names(root / set_name / database) if name.endswith(ending))
    return frozenset(artifact_key(set_name, database, name.removesuffix(DAMAGE_SUFFIX)) for name in marks)


def mark(store: Store, key: str, *, found: str, file: str | None, now: datetime) -> None:
    """Mark an artifact as damaged. An existing mark is not overwritten."""
    damage = Damage(key=key, since=now, found=found, file=file)
    try:
        store.create(damage_key(key), damage.to_json())
    except PermanentError as error:
        if error.failure.reason is not Reason.ALREADY_EXISTS:
            raise
