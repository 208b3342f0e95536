"""Telling the supervisor what stands on the volume of one database: the few numbers it keeps of all records."""

from backup_agent.catalog.copies import Notes
from backup_agent.catalog.damages import unsound
from backup_agent.catalog.records import of_database
from backup_agent.core.summary import summarise
from backup_agent.run.telling import Teller
from backup_agent.settings.model import Settings


def tell_summary(set_name: str, database: str, settings: Settings, teller: Teller) -> bool:
    """Tell the summary of one database in one set; tell the caller whether anything is recorded of it."""
    root = settings.storage.root
    recorded = of_database(root, set_name, database).records
    if not recorded:
        return False
    owed = {
        name: len(Notes(root, name, one.identity).owed(recorded))
        for name, one in settings.storage.destinations.items()
        if set_name in settings.declared_sets
    }
    found = summarise(recorded, owed, unsound=unsound(root, recorded))
    teller.tell("summary", **found.model_dump(mode="json"))
    return True
