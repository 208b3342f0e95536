"""The places where artifacts are kept: the volume, which is named `local`, and each destination of the settings."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.damage_notes import DamageNotes
from backup_agent.catalog.first_seen import FirstSeen
from backup_agent.catalog.journal import Journal
from backup_agent.catalog.record_notes import RecordNotes
from backup_agent.catalog.reread_log import RequestReadings, RereadLog
from backup_agent.catalog.tenure import Holding
from backup_agent.catalog.wanted_holds import WantedHolds
from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.retention.policy import Policy
from backup_agent.settings.model import Destination, Settings, Signing
from backup_agent.stores.features import StoreFeatures
from backup_agent.stores.kind import kind_of
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store

OWN = ".agent"
"""The agent's own folder below the storage root."""


@dataclass(frozen=True, eq=False)
class Place:
    """One place: its store, and the agent's notes about it.

    The artifacts are in `store`. The notes are on the volume, below `<root>/.agent`: for each kind of note one folder
    per place, named after the place and its `identity`. Creating a Place opens and writes nothing. The first use of
    `store` opens the store, which for a destination loads a client library: only child processes do this, never the
    supervisor.

    Reading a place does not require holding it. A process that publishes or deletes must hold the place
    (`place_ownership.hold_place`). The volume is held by the lock of the storage root, which all processes of the agent
    share. A destination is held by a lease, which one process at a time holds: the child of the destination, or a
    command (`catalog accept --discard`). The supervisor never holds a lease.
    """

    name: PlaceName
    settings: Settings

    @property
    def root(self) -> Path:
        """The storage root of the volume. A destination has it too, because its notes are there."""
        return self.settings.storage.root

    @property
    def is_volume(self) -> bool:
        """Whether this is the volume, not a destination."""
        return self.name == VOLUME

    @property
    def destination(self) -> Destination | None:
        """The settings of a destination; None for the volume."""
        return None if self.is_volume else self.settings.storage.destinations[self.name]

    @property
    def identity(self) -> str:
        """A stable text for the location, so that notes are not used for another location with the same name."""
        return VOLUME if self.destination is None else f"{self.destination.identity}/{self.settings.cluster}"

    @property
    def deletes(self) -> bool:
        """Whether the settings allow the agent to delete at this place."""
        return self.destination is None or self.destination.deletes

    @property
    def policy(self) -> Policy:
        """The retention policy for this place."""
        retention = self.settings.retention if self.destination is None else self.destination.retention
        return retention or Policy()

    @cached_property
    def store(self) -> Store:
        """The store with the artifacts. Raise PermanentError if the settings of a destination are refused."""
        if self.destination is None:
            return LocalStore(self.root, VOLUME)
        features = StoreFeatures(self.store_card, self.identity)
        return kind_of(self.destination).open_store(self.name, self.destination, self.settings.cluster, features)

    @property
    def store_card(self) -> Path:
        """The path of the notes on the features of a destination's store (`StoreCard`)."""
        return self.folder("stores") / "card.json"

    @cached_property
    def index(self) -> Path:
        """The path of the index of this place's records.

        The index says which records are recognised. If the settings name other keys, it has another name, so that all
        records are judged again.
        """
        folder, signing = self.folder("catalog"), self.settings.signing
        if signing == Signing():
            return folder
        return folder.with_name(f"{folder.name}-{hashlib.sha256(signing.model_dump_json().encode()).hexdigest()[:8]}")

    def earlier_indexes(self) -> list[Path]:
        """Return the indexes of this place that were made under other keys."""
        folder, name = self.index.parent, self.folder("catalog").name
        found = (one for one in durable.names(folder) if one == name or one.startswith(f"{name}-"))
        return [folder / one for one in found if one != self.index.name]

    @property
    def journal(self) -> Journal:
        """The intents: which artifacts are being published or deleted there."""
        return Journal(self.folder("journal"))

    @property
    def record_notes(self) -> RecordNotes:
        """The notes on records that the agent wrote or accepted there.

        At a destination they also confirm the copies.
        """
        return RecordNotes(self.folder("recorded"))

    @property
    def claims(self) -> FirstSeen:
        """The artifacts that unrecognised records name as their parents."""
        return FirstSeen(self.folder("claims"))

    @property
    def strange_holds(self) -> FirstSeen:
        """The artifacts with an unrecognised hold. The volume has none, because every hold there is recognised."""
        return FirstSeen(self.folder("strange_holds"))

    @property
    def damage_notes(self) -> DamageNotes:
        """The notes on artifacts that the agent found damaged there. They decide which damage marks count."""
        return DamageNotes(self.folder("damage"))

    @property
    def wanted_holds(self) -> WantedHolds:
        """The holds that are wanted there. The volume has none, because on it the mark alone counts."""
        return WantedHolds(self.folder("holds"))

    @property
    def reread_log(self) -> RereadLog:
        """The log of when each artifact was last verified there."""
        return RereadLog(self.folder("verified"))

    def request_readings(self, request: str) -> RequestReadings:
        """Return the outcomes of one request's readings there. Raise OSError if the notes cannot be read."""
        return RequestReadings(self.folder("verified"), request)

    @cached_property
    def holding(self) -> Holding:
        """The lease of a destination, as far as this process holds it."""
        return Holding(self.lease_folder)

    @property
    def lease_folder(self) -> Path:
        """The folder with the notes on a destination's owner and lease."""
        return self.folder("leases")

    def folder(self, kind: str) -> Path:
        """Return the folder on the volume for one kind of notes about this place."""
        return self.root / OWN / kind / f"{self.name}@{hashlib.sha256(self.identity.encode()).hexdigest()[:8]}"


def place_of(name: str, settings: Settings) -> Place:
    """Return a place by its name. Raise PermanentError if the settings have no such place."""
    known = (VOLUME, *settings.storage.destinations)
    for one in known:
        if one == name:
            return Place(one, settings)
    raise PermanentError(Reason.NOT_FOUND, f"{name}: there is no such place; the settings have {', '.join(known)}")


def destinations(settings: Settings) -> tuple[Place, ...]:
    """Return the destinations."""
    return tuple(Place(name, settings) for name in settings.storage.destinations)


def all_places(settings: Settings) -> tuple[Place, ...]:
    """Return the volume, then the destinations."""
    return Place(VOLUME, settings), *destinations(settings)
