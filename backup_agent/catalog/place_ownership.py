"""Whose a place is, and holding it: what is done before anything is published or deleted there.

Reading needs none of this. Who publishes or deletes holds the place (`hold_place`): that finds out whether it belongs
to another agent.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog import claim, tenure
from backup_agent.catalog.place import Place
from backup_agent.catalog.tenure import Held
from backup_agent.cluster.saved_topology import load_topology
from backup_agent.core.ownership.lease import PERIOD
from backup_agent.core.ownership.owner import Owner, Ownership, is_same_agent, standing, system_id
from backup_agent.core.reasons import Failure, PermanentError, Reason, TransientError
from backup_agent.settings.model import VOLUME, Settings
from backup_agent.stores.store import ConflictError, Store

_OWNED = "owned"
"""Says that this volume's agent has owned a place: whoever is found there later took it over, and is not adopted."""

_ADOPTED_FROM = "adopted-from"
"""Names the owner that a place was taken over from without being asked; removed by `adopt_place`.

A new, empty volume may also be one that was mounted by mistake, so until a person confirms it nothing is deleted.
"""


@contextmanager
def hold_place(place: Place, *, wait: float = 0.0, period: float = PERIOD) -> Iterator[Held]:
    """Hold a place, to publish or delete there: it must be ours, and its lease in our hands.

    The volume needs no lease: its flock is held by every process of a run. Raise BackupError, `foreign_root`, naming
    both sides, where the place or the volume is another's, or where another agent holds the lease for longer than
    `wait` seconds. What may be deleted is in what is given: `may_delete`, `no_deletion`.
    """
    volume = this_volume(place.settings)
    name, store, folder = place.name, place.store, place.lease_folder
    if volume.foreign is not None and (not place.is_volume or volume.no_deletion is not None):
        raise PermanentError.of(volume.foreign)
    if place.is_volume:
        yield Held(no_deletion=volume.no_deletion)
        return
    found = claim.look(store)
    stands = _standing(name, found, volume.ours, folder)
    lost = stands is Ownership.LOST
    former = str(found.owner) if lost else _adopted_from(folder)
    no_deletion = (
        volume.no_deletion
        or (claim.unreadable(name, found) if found.fault else None)
        or (_unconfirmed(name, former) if former else None)
    )
    other_agent = lost and found.owner is not None and not is_same_agent(found.owner, volume.ours)
    adopted = (f"{name}: adopted from {found.owner}, whose volume is gone",) if lost else ()
    if store.conditional_writes:
        with tenure.hold(
            store, volume.ours, folder, wait=wait, period=period, quiet=other_agent, no_deletion=no_deletion
        ) as held:
            if lost:
                _note(folder, _ADOPTED_FROM, former)
            _settle(name, store, found, volume.ours, folder)
            yield replace(held, notices=adopted)
        return
    if other_agent:
        raise PermanentError.of(claim.foreign(name, found, volume.ours))
    if lost:
        _note(folder, _ADOPTED_FROM, former)
    _settle(name, store, found, volume.ours, folder)
    vouched = place.destination is not None and place.destination.single_writer
    unguarded = None if vouched else _without_conditions(name)
    notices = (unguarded.error,) if unguarded else ()
    yield Held(no_deletion=no_deletion or unguarded, notices=(*adopted, *notices))


def this_volume(settings: Settings) -> claim.VolumeOwner:
    """Say who this agent is, with what is known of its cluster, and whether the volume is its own."""
    root = settings.storage.root
    return claim.check_volume(
        root,
        settings.cluster,
        namespace=os.environ.get(claim.NAMESPACE) or None,
        system_id=system_id(load_topology(root)),
        name=VOLUME,
    )


def standing_of(place: Place, volume: claim.VolumeOwner) -> tuple[Ownership, claim.FoundOwner]:
    """Return whose a place is, as this agent sees it, and the owner that was found there.

    A place that was taken over from a lost volume stays LOST until `adopt_place`.
    """
    found = claim.look(place.store)
    folder = None if place.is_volume else place.lease_folder
    if found.fault and found.owner is None:
        return Ownership.FOREIGN, found
    stands = standing(found.owner, volume.ours, owned_before=folder is None or (folder / _OWNED).exists())
    unconfirmed = folder is not None and stands is Ownership.OURS and _adopted_from(folder)
    return Ownership.LOST if unconfirmed else stands, found


def adopt_place(place: Place, ours: Owner) -> None:
    """Take over a place, whoever owns it. Raise BackupError."""
    claim.adopt(place.store, ours)
    if not place.is_volume:
        folder = place.lease_folder
        _note_owned(folder)
        with tenure.noting(folder), suppress(FileNotFoundError):
            (folder / _ADOPTED_FROM).unlink()
            durable.sync_folder(folder)


def _standing(name: str, found: claim.FoundOwner, ours: Owner, folder: Path) -> Ownership:
    """Judge a destination; raise PermanentError where it is another's."""
    if found.fault and found.owner is None:
        raise PermanentError.of(claim.unreadable(name, found))
    stands = standing(found.owner, ours, owned_before=(folder / _OWNED).exists())
    if stands is Ownership.FOREIGN:
        raise PermanentError.of(claim.foreign(name, found, ours))
    return stands


def _settle(name: str, store: Store, found: claim.FoundOwner, ours: Owner, folder: Path) -> None:
    try:
        claim.settle(store, found, ours)
    except ConflictError as conflict:
        _standing(name, claim.look(store), ours, folder)
        raise TransientError(Reason.FOREIGN_ROOT, f"{name}: {claim.KEY} has just changed") from conflict
    _note_owned(folder)


def _note_owned(folder: Path) -> None:
    if not (folder / _OWNED).exists():
        _note(folder, _OWNED)


def _note(folder: Path, name: str, content: str = "") -> None:
    with tenure.noting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        durable.write(folder / name, content.encode())


def _adopted_from(folder: Path) -> str:
    """Return the former owner of a place that was taken over and not confirmed yet; empty if there is none."""
    with tenure.noting(folder), suppress(FileNotFoundError):
        return durable.read(folder / _ADOPTED_FROM).decode(errors="replace") or "another volume"
    return ""


def _unconfirmed(name: str, former: str) -> Failure:
    return Failure(
        Reason.FOREIGN_ROOT,
        f"{name}: this volume took it over from {former}: copies go on, nothing is deleted there",
        f"if that volume is gone for good, confirm by `backup-agent adopt-root --yes --place {name}`; else mount it",
    )


def _without_conditions(name: str) -> Failure:
    return Failure(
        Reason.FOREIGN_ROOT,
        f"{name}: the store has no conditional writes, so nothing keeps two agents apart: copies go on, nothing is "
        f"deleted there",
        f"set storage.destinations.{name}.single_writer: true if nobody else ever writes there",
    )
