"""The places where artifacts are kept: the volume, which is named `local`, and each destination of the settings."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backup_agent.catalog.copy_notes import CopyNotes
from backup_agent.catalog.journal import Journal
from backup_agent.catalog.reread_log import RequestReadings, RereadLog
from backup_agent.catalog.wanted_holds import WantedHolds
from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.retention.plan import Policy
from backup_agent.settings.model import Destination, Settings
from backup_agent.stores.features import StoreFeatures
from backup_agent.stores.kind import kind_of
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store

OWN = ".agent"
"""The agent's own folder below the storage root."""


@dataclass(frozen=True, eq=False)
class Place:
    """One place, with everything that the agent has there and knows of it.

    What is kept there is in its `store`. What the agent knows of it is on the volume, below `<root>/.agent`: in each
    folder of that kind of note one folder a place, named after the place and its `identity`. Making a place opens
    nothing and writes nothing. The store is opened by the first use of `store`, which for a destination loads a client
    library: only a child process does that, never the supervisor.

    Anybody may read at a place. Who publishes or deletes there holds it by `place_ownership.hold_place`. On the volume
    that is the lock of the storage root, which every process of the agent has. At a destination it is a lease, which
    the agent's child processes (copy, prune, verify with healing) hold together; the supervisor and the commands never
    hold one.
    """

    name: PlaceName
    settings: Settings

    @property
    def root(self) -> Path:
        """The storage root of the volume, also for a destination: the notes on it are there."""
        return self.settings.storage.root

    @property
    def is_volume(self) -> bool:
        """Whether it is the volume, and not a destination."""
        return self.name == VOLUME

    @property
    def destination(self) -> Destination | None:
        """The settings of a destination; None for the volume."""
        return None if self.is_volume else self.settings.storage.destinations[self.name]

    @property
    def identity(self) -> str:
        """Where it is, in a stable form: notes on one place are not believed of another with the same name."""
        return VOLUME if self.destination is None else f"{self.destination.identity}/{self.settings.cluster}"

    @property
    def policy(self) -> Policy:
        """Which restore points are kept there."""
        retention = self.settings.retention if self.destination is None else self.destination.retention
        return retention or Policy()

    @cached_property
    def store(self) -> Store:
        """What is kept there. Raise PermanentError if the settings of a destination are refused."""
        if self.destination is None:
            return LocalStore(self.root, VOLUME)
        features = StoreFeatures(self.store_card, self.identity)
        return kind_of(self.destination).open_store(self.name, self.destination, self.settings.cluster, features)

    @property
    def store_card(self) -> Path:
        """The file with what is known of a destination's store: a `StoreCard`."""
        return self._folder("stores") / "card.json"

    @property
    def index(self) -> Path:
        """The file with the index of its records."""
        return self._folder("catalog")

    @property
    def journal(self) -> Journal:
        """What is being put or deleted there."""
        return Journal(self._folder("journal"))

    @property
    def copy_notes(self) -> CopyNotes:
        """Which artifacts have their copy there. The volume has no such notes."""
        return CopyNotes(self._folder("copied"))

    @property
    def wanted_holds(self) -> WantedHolds:
        """Which holds are wanted there. The volume has none: there a hold is set at once."""
        return WantedHolds(self._folder("holds"))

    @property
    def reread_log(self) -> RereadLog:
        """When each artifact was last read again there."""
        return RereadLog(self._folder("verified"))

    def request_readings(self, request: str) -> RequestReadings:
        """Return what has been read again there for one request; raise OSError if that cannot be read."""
        return RequestReadings(self._folder("verified"), request)

    @property
    def lease_folder(self) -> Path:
        """Where the volume keeps what is known of a destination's owner and lease."""
        return self._folder("leases")

    def _folder(self, kind: str) -> Path:
        return self.root / OWN / kind / f"{self.name}@{hashlib.sha256(self.identity.encode()).hexdigest()[:8]}"


def place_of(name: str, settings: Settings) -> Place:
    """Return a place of the settings; raise PermanentError if they have none of that name."""
    known = (VOLUME, *settings.storage.destinations)
    for one in known:
        if one == name:
            return Place(one, settings)
    raise PermanentError(Reason.NOT_FOUND, f"{name}: there is no such place; the settings have {', '.join(known)}")


def destinations(settings: Settings) -> tuple[Place, ...]:
    """Return the places that get copies."""
    return tuple(Place(name, settings) for name in settings.storage.destinations)


def all_places(settings: Settings) -> tuple[Place, ...]:
    """Return the volume, then the destinations."""
    return Place(VOLUME, settings), *destinations(settings)
