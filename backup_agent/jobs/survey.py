"""The child process that surveys the volume at start: leftovers of earlier runs, hard links, and all records.

A child process reads the records, so that the supervisor keeps only the summaries. One database is in memory at a time.
"""

import gc
from collections.abc import Collection
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path

from backup_agent import durable, processes
from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import Contents, by_database
from backup_agent.catalog.place import Place, destinations, place_of
from backup_agent.catalog.place_ownership import this_volume
from backup_agent.catalog.space import allows_hard_links
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.reasons import BackupError, Failure, Reason
from backup_agent.core.requests.events import (
    RecordUnreadable,
    SetAside,
    Surveyed,
    SurveyFailed,
    UnrecognisedFound,
    VolumeTested,
    Warned,
)
from backup_agent.core.requests.tasks import SurveyTask
from backup_agent.jobs import drill_scratch, file_modes, staging
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.jobs.signing_state import tell_signing
from backup_agent.jobs.summaries import tell_summary_of
from backup_agent.settings.model import Settings
from backup_agent.signing.keyring import Keyring

MOST_NAMED = 10
"""Largest number of unrecognised records that are named."""

MOST_WARNINGS = 20
"""Largest number of warnings for one database, so that a lost folder does not fill the log. See `catalog diff`."""


def survey(volume: Place, open_runs: Collection[str], writer: EventWriter) -> None:
    """Clear up after ended runs. Report whether the volume has hard links, the files set aside, and all summaries."""
    root, index = volume.root, volume.index
    writer.tell(VolumeTested(hard_links=allows_hard_links(root)))
    now = datetime.now(UTC)
    drill_scratch.clear(root / staging.STAGING)
    if volume.settings.drill.scratch is not None:
        drill_scratch.clear(volume.settings.drill.scratch)
    for run in staging.left(root):
        if run not in open_runs and not drill_scratch.is_scratch(run):
            for name in clear(root, run, now):
                writer.tell(SetAside(run=run, name=name))
    for folder in volume_records.databases(root):
        durable.remove_temporaries(root.joinpath(*folder))
    if index.parent.is_dir():
        durable.remove_temporaries(index.parent)
    keyring = Keyring(volume.settings)
    keyring.check()
    tell_signing(keyring, writer)
    unrecognised = 0
    first: list[str] = []
    for contents in by_database(volume):
        tell(contents, volume.settings, writer)
        unrecognised += contents.number_unrecognised
        first += list(contents.unrecognised)[: MOST_NAMED - len(first)]
    writer.tell(UnrecognisedFound(place=volume.name, records=unrecognised, first=tuple(first)))
    writer.tell(Surveyed())


def tell(holdings: Contents, settings: Settings, writer: EventWriter) -> None:
    """Report the summary of one database's folder, and its faults."""
    for fault in holdings.unreadable:
        writer.tell(RecordUnreadable(fault=str(fault)))
    wrong = chain(holdings.altered.values(), *holdings.without_artifact.values())
    for finding in islice(wrong, MOST_WARNINGS):
        writer.tell(Warned(text="catalog drifted", because=f"{finding.key}: {finding.text}"))
    if holdings.entries:
        entries = tuple(holdings.entries.values())
        wanted = destinations(settings) if entries[0].set in settings.declared_sets else ()
        tell_summary_of(entries, holdings.unsound.keys(), wanted, writer)


def clear(root: Path, run: str, now: datetime) -> tuple[str, ...]:
    """Set aside the artifacts in an ended run's staging folder. Remove the rest. Return the artifacts' new names."""
    moved: list[str] = []
    for set_name, database in volume_records.databases(root / staging.STAGING / run):
        folder = staging.Staging(root, run, set_name, database)
        left = staging.found(folder.target, folder.chain)
        files = [file for artifact in left for file in (artifact, *staging.parts(artifact))]
        moved += staging.set_aside(root, run, files, now)
    staging.RunFolder(root, run).remove()
    return tuple(moved)


def close_to_others(settings: Settings, writer: EventWriter) -> None:
    """Repair wrong modes below the storage root and the spool. The mode of the requests folder is not changed."""
    for folder in (settings.storage.root, settings.requests.folder / ".spool", settings.requests.folder / "answers"):
        found = file_modes.repair(folder)
        if found.changed:
            because = f"{folder}: {found.changed} files and folders had wrong modes"
            writer.tell(Warned(text="modes repaired", because=because))
        if found.left:
            writer.tell(Warned(text="modes not repaired", because=f"{folder}: {found.tell()}"))


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    task, settings, writer = begin(SurveyTask)
    close_to_others(settings, writer)
    gc.disable()  # ten times as fast with 100,000 records, and nothing here creates reference cycles
    try:
        foreign = this_volume(settings).foreign
        if foreign is not None:
            writer.tell(Warned(text="volume belongs to another agent", because=foreign.error))
        survey(place_of(VOLUME, settings), task.open_runs, writer)
    except BackupError as error:
        _fail(error.failure, writer)
    except OSError as error:
        text = f"{error.filename or settings.storage.root}: {error.strerror}"
        _fail(Failure(Reason.STORAGE_UNREACHABLE, text, "check the volume"), writer)


def _fail(failure: Failure, writer: EventWriter) -> None:
    """Report why the volume could not be surveyed. Without `Surveyed` the supervisor ignores the other events."""
    writer.tell(SurveyFailed(failure=failure))


if __name__ == "__main__":
    main()
    processes.leave()
