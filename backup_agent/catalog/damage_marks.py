"""Damage marks: artifacts with a mark are not restore points, and no differential continues them (Contents.unsound).

A mark counts even if it cannot be read or has a newer schema. At a destination only the agent's own marks count.
"""

from datetime import datetime
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.place import Place
from backup_agent.catalog.signed_marks import is_signed
from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, DAMAGE_SUFFIX, artifact_key, damage_key
from backup_agent.core.artifacts.marks import Damage
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing.keyring import Keyring


def damaged(root: Path, set_name: SetName, database: DatabaseName) -> frozenset[str]:
    """Return the keys of the artifacts of one database on the volume that are marked as damaged."""
    ending = ARTIFACT_SUFFIX + DAMAGE_SUFFIX
    marks = (name for name in durable.names(root / set_name / database) if name.endswith(ending))
    return frozenset(artifact_key(set_name, database, name.removesuffix(DAMAGE_SUFFIX)) for name in marks)


def is_believed(place: Place, keyring: Keyring, key: str) -> bool:
    """Return whether the existing damage mark of an artifact counts as the agent's own.

    On the volume every mark counts. At a destination the note decides; if there is no note, the mark's signature
    decides.
    """
    if place.is_volume:
        return True
    if (noted := place.damage_notes.damaged(key)) is not None:
        return noted
    return is_signed(place, keyring, Damage, key, damage_key(key))


def mark(place: Place, keyring: Keyring, key: str, *, found: str, file: str | None, now: datetime) -> None:
    """Mark an artifact as damaged. An existing mark is not overwritten, but the note makes it count.

    At a destination the mark is signed, if there is a key.
    """
    damage = Damage(key=key, since=now, found=found, file=file)
    if not place.is_volume:
        place.damage_notes.note(key, damaged=True)
        damage = keyring.sign(damage)
    try:
        place.store.create(damage_key(key), damage.to_json())
    except PermanentError as error:
        if error.failure.reason is not Reason.ALREADY_EXISTS:
            raise
