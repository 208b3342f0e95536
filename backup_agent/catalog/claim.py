"""Whose a storage root or a prefix is: `owner.json` there, read before anything is published or deleted.

The id of this agent is the one in the volume's own `owner.json`, drawn at first use; so it goes where the volume goes,
also into its clones (core.owner says how those are told apart).
"""

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backup_agent import durable
from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.escaping import shell_word
from backup_agent.core.json_reader import read_json
from backup_agent.core.ownership.owner import Owner, Ownership, standing
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import ConflictError, ObjectTooLargeError, Store, VersionedObject

KEY = "owner.json"
NAMESPACE = "POD_NAMESPACE"
"""Environment variable, from the downward API."""

TRIES = 3


@dataclass(frozen=True)
class FoundOwner:
    """What stands at a place."""

    version: str | None = None
    owner: Owner | None = None
    fault: str = ""
    """Why what stands there cannot be read as it was meant: it is of a newer schema, or no owner at all."""
    newer: bool = False
    """It is of a newer schema: an agent of that version is at home there."""


@dataclass(frozen=True)
class VolumeOwner:
    """Who this agent is, by its volume, and whether the volume is its own."""

    ours: Owner
    foreign: Failure | None = None
    """Why nothing from this volume may be published."""
    no_deletion: Failure | None = None
    """Why nothing on it may be deleted: it is foreign, or a newer agent has written there."""


def check_volume(
    root: Path, cluster: str, *, namespace: str | None = None, system_id: str | None = None, name: PlaceName = VOLUME
) -> VolumeOwner:
    """Say who this agent is and whether a storage root is its own; write down what was not known there.

    `namespace` and `system_id` are None where they are not known. Raise BackupError where the volume cannot be read.
    """
    store = LocalStore(root, name)
    now = Owner(id="?", cluster=cluster, namespace=namespace, system_id=system_id, agent=agent_at(root))
    for _ in range(TRIES):
        found = look(store)
        if found.owner is None and found.fault:
            return VolumeOwner(now, unreadable(name, found), unreadable(name, found))
        ours = now.model_copy(update={"id": found.owner.id if found.owner else new_id()})
        if standing(found.owner, ours, owned_before=True) is Ownership.FOREIGN:
            failure = foreign(name, found, ours)
            return VolumeOwner(ours, failure, failure)
        try:
            settle(store, found, ours)
        except ConflictError:
            continue
        except BackupError as error:
            if found.owner is None:
                # An id that is not kept is none. A full volume may be freed all the same: its flock makes it ours.
                return VolumeOwner(ours, error.failure)
        newer = unreadable(name, found) if found.fault else None
        return VolumeOwner(found.owner.knowing(ours) if found.owner else ours, None, newer)
    raise PermanentError(Reason.INTERNAL, f"{root}/{KEY} is changed over and over by somebody else")


def look(store: Store) -> FoundOwner:
    """Read who owns a place."""
    try:
        seen = store.look(KEY, durable.LIMIT)
    except ObjectTooLargeError as error:
        return FoundOwner(error.version, None, f"is larger than {durable.LIMIT} bytes")
    if seen is None:
        return FoundOwner()
    try:
        return FoundOwner(seen.version, Owner.from_json(seen.content))
    except ValueError:
        return _as_far_as_understood(seen)


def settle(store: Store, found: FoundOwner, ours: Owner) -> None:
    """Write down that a place is ours, and what is newly known of us; raise ConflictError where it is not as found.

    What a newer agent has written is left as it is.
    """
    known = found.owner.knowing(ours) if found.owner and found.owner.id == ours.id else ours
    if known != found.owner and not found.fault:
        store.swap(KEY, known.to_json(), found.version)


def adopt(store: Store, ours: Owner) -> Owner | None:
    """Take over a place, whoever owns it; return who did. Raise PermanentError where a newer agent is at home."""
    for _ in range(TRIES):
        found = look(store)
        if found.newer:
            raise PermanentError.of(unreadable(store.name, found))
        with suppress(ConflictError):
            store.swap(KEY, ours.to_json(), found.version)
            return found.owner
    raise PermanentError(Reason.FOREIGN_ROOT, f"{store.name}: {KEY} is changed over and over by somebody else")


def foreign(place: str, found: FoundOwner, ours: Owner) -> Failure:
    """Return why nothing may be published or deleted at a place, naming both sides."""
    return Failure(
        Reason.FOREIGN_ROOT,
        f"{place}: it belongs to {found.owner}, this is {ours}",
        f"give this cluster a storage root or a prefix of its own; where the other one is gone for good, take over by "
        f"`backup-agent adopt-root --yes --place {shell_word(place)}`",
    )


def unreadable(place: str, found: FoundOwner) -> Failure:
    """Return why a place is left alone whose owner.json is not understood."""
    return Failure(
        Reason.FOREIGN_ROOT, f"{place}: {KEY} {found.fault}", "run the newest version of the agent wherever this is"
    )


def new_id() -> str:
    """Draw an id."""
    return secrets.token_hex(8)


def agent_at(root: Path) -> str:
    """Return where this agent runs: host name (in Kubernetes the pod's) and storage root."""
    return f"{os.uname().nodename}:{root}"


def _as_far_as_understood(seen: VersionedObject) -> FoundOwner:
    """Return what is to be known of what this version did not write."""
    try:
        fields = read_json(seen.content)
        newer = fields["schema"] > Owner.model_fields["schema_"].default
    except (ValueError, TypeError, KeyError):
        return FoundOwner(seen.version, None, "cannot be read")
    fault = f"is of schema {fields['schema']}" if newer else "is not as agents write it"
    try:
        known = Owner.model_validate({name: fields[name] for name in Owner.model_fields if name in fields})
    except ValueError:
        return FoundOwner(seen.version, None, fault, newer=newer)
    return FoundOwner(seen.version, known, fault, newer=newer)
