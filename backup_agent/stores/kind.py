"""The kinds of store that a destination may have: the interface of their modules, and the lookup of a module.

A new kind is a module of this package, a settings type whose `type` is the name of that module, and a line in the
contract suite. The module and its client library are loaded when they are first needed.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from backup_agent.settings.model import Destination
from backup_agent.stores.features import StoreFeatures
from backup_agent.stores.store import Store

if TYPE_CHECKING:
    from backup_agent.core.doctor.destination import StoreFacts  # only the doctor needs it


@dataclass(frozen=True)
class SeedAccess:
    """How a Neo4j server reads the artifacts of a destination."""

    uri: str
    """The prefix of all keys: `<uri>/<key>` is a seedURI."""
    server_needs: tuple[str, ...] = ()
    """What each server needs to read the URI itself."""


class StoreKind(Protocol):
    """The interface of a kind's module."""

    def open_store(self, name: str, destination: Destination, cluster: str, features: StoreFeatures) -> Store:
        """Return the store of a destination; raise PermanentError if its settings are refused.

        `features` has the known features of the store. New findings are noted in it.
        """

    def examine(self, store: Store, *, probe: bool, write: bool) -> "StoreFacts":
        """Return what the doctor can see of a store of this kind. Failures are part of the facts.

        With `probe`, one small object of the agent's own is written, to find out which conditions and checksums the
        store honours. With `write`, that object is deleted first, and an upload is begun and aborted.
        """

    def seed_access(self, destination: Destination, cluster: str) -> SeedAccess:
        """Return how the servers read the artifacts of a destination."""


def kind_of(destination: Destination) -> StoreKind:
    """Import and return the module of a destination's kind."""
    return cast("StoreKind", import_module(f"backup_agent.stores.{destination.type}"))
