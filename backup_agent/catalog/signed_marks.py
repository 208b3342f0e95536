"""Which marks at a destination a trusted key has signed."""

from backup_agent import durable
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.reasons import PermanentError
from backup_agent.signing.keyring import Keyring


def is_signed(place: Place, keyring: Keyring, kind: type[Hold] | type[Damage], artifact: str, key: str) -> bool:
    """Return whether a trusted key has signed the mark of an artifact that is stored under `key`.

    The mark is read only if the settings name a key whose signatures count.
    """
    if not keyring.has_keys:
        return False
    try:
        content = place.store.read(key, durable.LIMIT)
    except PermanentError:
        return False
    return keyring.signer(kind, artifact, content) is not None
