"""Opening the store of a destination: its kind's module is loaded by the first use, and its client library with it."""

from importlib import import_module

from backup_agent.settings.model import Destination
from backup_agent.stores.store import Store


def open_destination(name: str, destination: Destination, cluster: str) -> Store:
    """Return the store of a destination; raise PermanentError if its settings are refused.

    `open_store` of the module `backup_agent.stores.<type>` makes it, with these very arguments.
    """
    store: Store = import_module(f"backup_agent.stores.{destination.type}").open_store(name, destination, cluster)
    return store
