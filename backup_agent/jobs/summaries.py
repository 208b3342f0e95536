"""Summaries of the databases on the volume, written as events for the supervisor."""

from collections.abc import Collection, Iterable

from backup_agent.catalog.contents import of_database
from backup_agent.catalog.place import Place, destinations, place_of
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.summarising import summarise
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.events import CopiesNotCounted, SummaryFailed, SummaryTold
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.settings.model import Settings


def tell_summary(set_name: SetName, database: DatabaseName, settings: Settings, writer: EventWriter) -> bool:
    """Report the summary of one database in one set. Return False if it has no recorded artifacts there.

    If the volume cannot be read, report `SummaryFailed` instead: the supervisor's summary may be out of date.
    """
    volume = place_of(VOLUME, settings)
    try:
        contents = of_database(volume, set_name, database)
        if not contents.entries:
            return False
        wanted = destinations(settings) if set_name in settings.declared_sets else ()
        tell_summary_of(tuple(contents.entries.values()), contents.unsound, wanted, writer)
    except (BackupError, OSError) as error:
        writer.tell(SummaryFailed(set=set_name, database=database, error=str(error)))
    return True


def tell_summary_of(
    entries: tuple[Entry, ...], unsound: Collection[str], copied_to: Iterable[Place], writer: EventWriter
) -> None:
    """Report the summary of a database's entries.

    `copied_to` are the destinations that get copies of the set. If the copy notes of a destination cannot be read,
    report `CopiesNotCounted`: an unknown number of missing copies is not zero.
    """
    owed: dict[PlaceName, tuple[Entry, ...]] = {}
    for place in copied_to:
        try:
            owed[place.name] = place.record_notes.owed(entries)
        except OSError as error:
            writer.tell(CopiesNotCounted(destination=place.name, error=str(error)))
    writer.tell(SummaryTold(summary=summarise(entries, owed, unsound=unsound)))
