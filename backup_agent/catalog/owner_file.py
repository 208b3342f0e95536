"""The owner of a storage root or prefix. Its `owner.json` is read before anything is published or deleted there.

The id of this agent is created at first use and stored in the `owner.json` of its volume. A cloned volume has the same
id; core.ownership.owner says how clones are recognised.
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
from backup_agent.core.ownership.owner import Owner, Ownership, ownership_of
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import ConflictError, ObjectTooLargeError, Store, VersionedObject

KEY = "owner.json"
NAMESPACE = "POD_NAMESPACE"
"""Environment variable with the pod's namespace, from the downward API."""

TRIES = 3


@dataclass(frozen=True)
class FoundOwner:
    """The content of `owner.json` at a place."""

    version: str | None = None
    owner: Owner | None = None
    fault: str = ""
    """Why the object cannot be understood (newer schema, or not an owner); empty if it can."""
    newer: bool = False
    """Whether the object has a newer schema. The place then belongs to an agent of a newer version."""


@dataclass(frozen=True)
class VolumeOwner:
    """An agent's identity as an owner, according to its volume, and whether the volume belongs to it."""

    ours: Owner
    foreign: Failure | None = None
    """Why nothing may be published from this volume; None if publishing is allowed."""
    no_deletion: Failure | None = None
    """Why nothing may be deleted on the volume (another agent owns it, or a newer agent has written there), or None."""


def check_volume(
    root: Path, cluster: str, *, namespace: str | None = None, system_id: str | None = None, name: PlaceName = VOLUME
) -> VolumeOwner:
    """Return this agent as an owner, and whether it owns the storage root. Update the root's `owner.json`.

    `namespace` and `system_id` are None if they are not known. Raise BackupError if the volume cannot be read.
    """
    store = LocalStore(root, name)
    now = Owner(id="?", cluster=cluster, namespace=namespace, system_id=system_id, agent=agent_at(root))
    for _ in range(TRIES):
        found = look(store)
        if found.owner is None and found.fault:
            return VolumeOwner(now, unreadable(name, found), unreadable(name, found))
        ours = now.model_copy(update={"id": found.owner.id if found.owner else new_id()})
        if ownership_of(found.owner, ours, owned_before=True) is Ownership.FOREIGN:
            failure = foreign(name, found, ours)
            return VolumeOwner(ours, failure, failure)
        try:
            write_owner(store, found, ours)
        except ConflictError:
            continue
        except BackupError as error:
            if found.owner is None:
                # Without a stored id, publishing is forbidden. Deleting is allowed: the flock makes the root ours.
                return VolumeOwner(ours, error.failure)
        newer = unreadable(name, found) if found.fault else None
        return VolumeOwner(found.owner.with_facts_of(ours) if found.owner else ours, None, newer)
    raise PermanentError(Reason.INTERNAL, f"{root}/{KEY} is changed again and again by another program")


def look(store: Store) -> FoundOwner:
    """Return the owner of a place, as far as `owner.json` can be understood."""
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


def write_owner(store: Store, found: FoundOwner, ours: Owner) -> None:
    """Write `ours` as the owner of a place, unless `owner.json` says so already with all facts that `ours` knows.

    `found` is the `owner.json` that was read. An object that a newer agent has written is left unchanged. Raise
    ConflictError if the object has changed since it was read.
    """
    known = found.owner.with_facts_of(ours) if found.owner and found.owner.id == ours.id else ours
    if known != found.owner and not found.fault:
        store.swap(KEY, known.to_json(), found.version)


def adopt(store: Store, ours: Owner) -> Owner | None:
    """Take over a place from any owner. Return the former owner. Raise PermanentError if a newer agent owns it."""
    for _ in range(TRIES):
        found = look(store)
        if found.newer:
            raise PermanentError.of(unreadable(store.name, found))
        with suppress(ConflictError):
            store.swap(KEY, ours.to_json(), found.version)
            return found.owner
    raise PermanentError(Reason.FOREIGN_ROOT, f"{store.name}: {KEY} is changed again and again by another program")


def foreign(place: str, found: FoundOwner, ours: Owner) -> Failure:
    """Return the failure for a place that belongs to another agent. The text names both owners."""
    return Failure(
        Reason.FOREIGN_ROOT,
        f"{place}: it belongs to {found.owner}, this agent is {ours}",
        f"give this cluster a storage root or a prefix of its own; if the other agent is gone for good, take over by "
        f"`backup-agent adopt-root --yes --place {shell_word(place)}`",
    )


def unreadable(place: str, found: FoundOwner) -> Failure:
    """Return the failure for a place whose owner.json cannot be understood."""
    return Failure(
        Reason.FOREIGN_ROOT,
        f"{place}: {KEY} {found.fault}",
        "run the newest version of the agent at this place; if another program overwrote the file, "
        f"`backup-agent adopt-root --yes --place {shell_word(place)}` writes it again",
    )


def new_id() -> str:
    """Return a random id."""
    return secrets.token_hex(8)


def agent_at(root: Path) -> str:
    """Return where this agent runs: host name (in Kubernetes, the pod's name) and storage root."""
    return f"{os.uname().nodename}:{root}"


def _as_far_as_understood(seen: VersionedObject) -> FoundOwner:
    """Return the facts of an object that this version cannot read: its schema and the fields that are known."""
    try:
        fields = read_json(seen.content)
        newer = fields["schema"] > Owner.model_fields["schema_"].default
    except (ValueError, TypeError, KeyError):
        return FoundOwner(seen.version, None, "cannot be read")
    fault = f"is of schema {fields['schema']}" if newer else "has invalid fields"
    try:
        known = Owner.model_validate({name: fields[name] for name in Owner.model_fields if name in fields})
    except ValueError:
        return FoundOwner(seen.version, None, fault, newer=newer)
    return FoundOwner(seen.version, known, fault, newer=newer)
