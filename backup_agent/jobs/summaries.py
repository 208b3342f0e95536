"""Telling the supervisor what stands on the volume of one database: the few numbers it keeps of all records."""

from collections.abc import Collection, Mapping
from pathlib import Path

from backup_agent.catalog.contents import of_database
from backup_agent.catalog.copy_notes import CopyNotes
from backup_agent.catalog.index import index_of
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.summary import summarise
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.events import CopiesNotCounted, SummaryFailed, SummaryTold
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.settings.model import VOLUME, Settings
from backup_agent.stores.local import LocalStore


def tell_summary(set_name: str, database: str, settings: Settings, teller: EventWriter) -> bool:
    """Tell the summary of one database in one set; return False if nothing is recorded of it any more.

    If the volume cannot be read, `SummaryFailed` is told instead: what the supervisor knows may be out of date then.
    """
    root = settings.storage.root
    identities = {name: one.identity for name, one in settings.storage.destinations.items()}
    try:
        standing = of_database(LocalStore(root), index_of(VOLUME, settings), set_name, database)
        if not standing.entries:
            return False
        wanted = identities if set_name in settings.declared_sets else {}
        tell_summary_of(root, tuple(standing.entries.values()), standing.unsound, wanted, teller)
    except (BackupError, OSError) as error:
        teller.tell(SummaryFailed(set=set_name, database=database, error=str(error)))
    return True


def tell_summary_of(
    root: Path, entries: tuple[Entry, ...], unsound: Collection[str], identities: Mapping[str, str], teller: EventWriter
) -> None:
    """Tell the summary of a database's entries.

    `identities` are the destinations that get copies of its set. If the notes on one of them cannot be read,
    `CopiesNotCounted` is told: nothing is known of what is owed there, and that is not the same as nothing being owed.
    """
    owed: dict[str, int] = {}
    for name, identity in identities.items():
        try:
            owed[name] = len(CopyNotes(root, name, identity).owed(entries))
        except OSError as error:
            teller.tell(CopiesNotCounted(destination=name, error=str(error)))
    teller.tell(SummaryTold(summary=summarise(entries, owed, unsound=unsound)))
