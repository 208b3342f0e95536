"""Telling the supervisor what stands on the volume of one database: the few numbers it keeps of all records."""

from backup_agent.catalog.copies import Notes
from backup_agent.catalog.holdings import of_database
from backup_agent.catalog.index import index_of
from backup_agent.core.summary import summarise
from backup_agent.run.telling import Teller
from backup_agent.settings.model import VOLUME, Settings
from backup_agent.stores.local import LocalStore


def tell_summary(set_name: str, database: str, settings: Settings, teller: Teller) -> bool:
    """Tell the summary of one database in one set; tell the caller whether anything is recorded of it."""
    root = settings.storage.root
    standing = of_database(LocalStore(root), index_of(VOLUME, settings), set_name, database)
    if not standing.entries:
        return False
    entries = tuple(standing.entries.values())
    owed = {
        name: len(Notes(root, name, one.identity).owed(entries))
        for name, one in settings.storage.destinations.items()
        if set_name in settings.declared_sets
    }
    found = summarise(entries, owed, unsound=standing.unsound.keys())
    teller.tell("summary", **found.model_dump(mode="json"))
    return True
