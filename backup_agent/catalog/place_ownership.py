"""The ownership of places, and holding a place to publish or delete there. Reading a place does not require this."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog import owner_file, tenure
from backup_agent.catalog.place import Place
from backup_agent.catalog.tenure import Held
from backup_agent.cluster.saved_topology import load_topology
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.ownership.owner import Owner, Ownership, is_same_agent, ownership_of, system_id
from backup_agent.core.reasons import Failure, PermanentError, Reason, TransientError
from backup_agent.settings.model import Settings
from backup_agent.stores.store import ConflictError, Store

_OWNED = "owned"
"""Name of the note that this volume's agent has owned a place. An owner found there later has taken it over."""

_ADOPTED_FROM = "adopted-from"
"""Name of the note with the former owner of a place that was taken over automatically. `adopt_place` removes it.

The new, empty volume may have been mounted by mistake, so nothing is deleted until a person confirms.
"""


@contextmanager
def hold_place(place: Place, *, wait: float = 0.0) -> Iterator[Held]:
    """Hold a place to publish or delete there: check that it belongs to this agent, and take its lease.

    The lease is given up at the end, unless `place.holding.keeps`. The volume has no lease, because every process of a
    run holds its lock. Raise BackupError (`foreign_root`), with both owners, if the place or the volume belongs to
    another agent, or if another agent holds the lease for longer than `wait` seconds; BackupError (`timeout`) if
    another process of this agent does. `may_delete` and `no_deletion` of the result say whether deletions are allowed.
    """
    volume = this_volume(place.settings)
    name, store, folder = place.name, place.store, place.lease_folder
    if volume.foreign is not None and (not place.is_volume or volume.no_deletion is not None):
        raise PermanentError.of(volume.foreign)
    if place.is_volume:
        yield Held(no_deletion=volume.no_deletion)
        return
    found = owner_file.look(store)
    ownership = _judge(name, found, volume.ours, folder)
    lost = ownership is Ownership.LOST
    former = str(found.owner) if lost else _adopted_from(folder)
    no_deletion = (
        volume.no_deletion
        or (owner_file.unreadable(name, found) if found.fault else None)
        or (_unconfirmed(name, former) if former else None)
        or (None if place.deletes else _unmanaged(name))
    )
    other_agent = lost and found.owner is not None and not is_same_agent(found.owner, volume.ours)
    adopted = (f"{name}: adopted from {found.owner}, whose volume is gone",) if lost else ()
    if store.conditional_writes:
        with place.holding.hold(
            store, volume.ours, wait=wait, quiet=other_agent, by_expiry=not place.deletes, no_deletion=no_deletion
        ) as held:
            if lost:
                _note(folder, _ADOPTED_FROM, former)
            _settle(name, store, found, volume.ours, folder)
            yield replace(held, notices=adopted)
        return
    if other_agent:
        raise PermanentError.of(owner_file.foreign(name, found, volume.ours))
    if lost:
        _note(folder, _ADOPTED_FROM, former)
    _settle(name, store, found, volume.ours, folder)
    vouched = place.destination is not None and place.destination.single_writer
    unguarded = None if vouched or not place.deletes else _without_conditions(name)
    notices = (unguarded.error,) if unguarded else ()
    yield Held(no_deletion=no_deletion or unguarded, notices=(*adopted, *notices))


def this_volume(settings: Settings) -> owner_file.VolumeOwner:
    """Return this agent as an owner, and whether the volume belongs to it."""
    root = settings.storage.root
    return owner_file.check_volume(
        root,
        settings.cluster,
        namespace=os.environ.get(owner_file.NAMESPACE) or None,
        system_id=system_id(load_topology(root)),
        name=VOLUME,
    )


def ownership_at(place: Place, volume: owner_file.VolumeOwner) -> tuple[Ownership, owner_file.FoundOwner]:
    """Return the ownership of a place as this agent sees it, and the owner that was found there.

    A place that was taken over from a lost volume stays LOST until `adopt_place` is called.
    """
    found = owner_file.look(place.store)
    folder = None if place.is_volume else place.lease_folder
    if found.fault and found.owner is None:
        return Ownership.FOREIGN, found
    ownership = ownership_of(found.owner, volume.ours, owned_before=folder is None or (folder / _OWNED).exists())
    unconfirmed = folder is not None and ownership is Ownership.OURS and _adopted_from(folder)
    return Ownership.LOST if unconfirmed else ownership, found


def adopt_place(place: Place, ours: Owner) -> None:
    """Take over a place from any owner. Raise BackupError if this fails."""
    owner_file.adopt(place.store, ours)
    if not place.is_volume:
        folder = place.lease_folder
        _note_owned(folder)
        with tenure.noting(folder), suppress(FileNotFoundError):
            (folder / _ADOPTED_FROM).unlink()
            durable.sync_folder(folder)


def _judge(name: str, found: owner_file.FoundOwner, ours: Owner, folder: Path) -> Ownership:
    """Return the ownership of a destination; raise PermanentError if it belongs to another agent."""
    if found.fault and found.owner is None:
        raise PermanentError.of(owner_file.unreadable(name, found))
    ownership = ownership_of(found.owner, ours, owned_before=(folder / _OWNED).exists())
    if ownership is Ownership.FOREIGN:
        raise PermanentError.of(owner_file.foreign(name, found, ours))
    return ownership


def _settle(name: str, store: Store, found: owner_file.FoundOwner, ours: Owner, folder: Path) -> None:
    try:
        owner_file.write_owner(store, found, ours)
    except ConflictError as conflict:
        _judge(name, owner_file.look(store), ours, folder)
        raise TransientError(Reason.FOREIGN_ROOT, f"{name}: {owner_file.KEY} has just changed") from conflict
    _note_owned(folder)


def _note_owned(folder: Path) -> None:
    if not (folder / _OWNED).exists():
        _note(folder, _OWNED)


def _note(folder: Path, name: str, content: str = "") -> None:
    with tenure.noting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        durable.write(folder / name, content.encode())


def _adopted_from(folder: Path) -> str:
    """Return the former owner of a place whose takeover is not confirmed yet, else an empty string."""
    with tenure.noting(folder), suppress(FileNotFoundError):
        return durable.read(folder / _ADOPTED_FROM).decode(errors="replace") or "another volume"
    return ""


def _unconfirmed(name: str, former: str) -> Failure:
    return Failure(
        Reason.FOREIGN_ROOT,
        f"{name}: this volume took it over from {former}: copies go on, nothing is deleted there",
        f"if that volume is gone for good, confirm by `backup-agent adopt-root --yes --place {name}`; else mount it",
    )


def _unmanaged(name: str) -> Failure:
    return Failure(
        Reason.STORAGE_AUTH,
        f"{name}: storage.destinations.{name}.deletes is false: nothing is deleted or replaced there",
        "let another program with other credentials do that, or set `deletes: true` and permit it",
    )


def _without_conditions(name: str) -> Failure:
    return Failure(
        Reason.FOREIGN_ROOT,
        f"{name}: the store has no conditional writes, so nothing keeps two agents apart: copies go on, nothing is "
        f"deleted there",
        f"set storage.destinations.{name}.single_writer: true if no other program ever writes there",
    )
