"""Which hold marks count: on the volume every mark, at a destination only the agent's own.

Every program that can write to a destination can write a hold, and so fill it. Therefore a mark there counts only if
the hold is noted on the volume (catalog.wanted_holds) or if a trusted key has signed the mark. Any other mark is
*unrecognised*: it keeps its artifact for `limits.keep_unrecognised` from its first sight (catalog.first_seen).
"""

from backup_agent.catalog.place import Place
from backup_agent.catalog.signed_marks import is_signed
from backup_agent.core.artifacts.keys import hold_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.signing.keyring import Keyring


def is_recognised(place: Place, keyring: Keyring, key: str) -> bool:
    """Return whether a hold on an artifact is noted, or whether its mark counts. The mark may be missing.

    At a destination the mark is read only if the settings name a key whose signatures count.
    """
    if place.is_volume:
        return place.store.stat(hold_key(key)) is not None
    if place.wanted_holds.wants(key):
        return True
    return is_signed(place, keyring, Hold, key, hold_key(key))
