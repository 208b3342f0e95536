"""`backup-agent list`."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import click

from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import NOT_RECOGNISED, Contents, by_database
from backup_agent.catalog.holds import holds_at
from backup_agent.catalog.place import Place, destinations, place_of
from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.options import checked_name, json_option, settings_option
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import VOLUME, SetName, name_of_set
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.restore.asked import artifact_id
from backup_agent.stores.store import ObjectTooLargeError, Store


@dataclass(frozen=True)
class Listed:
    """The records of one database at a place."""

    records: tuple[Record, ...]
    """Oldest first. Includes records that are not recognised."""
    contents: Contents
    faults: tuple[str, ...]
    """One line for each object that cannot be read."""


@click.command()
@click.option("--place", default=VOLUME, show_default=True, help="`local` or a destination.")
@click.option("--set", "set_name", callback=checked_name(name_of_set), help="Only this set.")
@click.option("--database", help="Only this database.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Only artifacts with this label. Repeat for several.",
)
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    place: str,
    set_name: SetName | None,
    database: str | None,
    labels: tuple[str, ...],
    as_json: bool,
) -> int:
    """List the recorded artifacts.

    Lists those of the volume or of a destination, oldest first, with their copies. Reads the records themselves, so it
    needs neither the agent nor Bolt. If the volume was lost, list a destination.
    """
    settings = loaded(context).settings
    root = settings.storage.root
    if not root.is_dir():
        raise PermanentError(
            Reason.NOT_FOUND, f"{root}: there is no such folder", "run this where the volume is, or set storage.root"
        )
    at = place_of(place, settings)
    others = _others(at)
    found: list[Record] = []
    faults: list[str] = []
    unrestorable: dict[str, str] = {}
    marks: dict[str, Hold] = {}
    for listed in _at(at, set_name, database):
        found += [record for record in listed.records if _has(record, labels)]
        faults += listed.faults
        unrestorable |= listed.contents.unrestorable | dict.fromkeys(listed.contents.unrecognised, NOT_RECOGNISED)
        marks |= listed.contents.holds
    holds = {key: hold for key, hold in holds_at(at, marks).items() if not hold.ended(datetime.now(UTC))}
    if as_json:
        printing.as_json(
            {
                "artifacts": [
                    {
                        **record.model_dump(mode="json", by_alias=True),
                        "id": artifact_id(record.key),
                        "copies": _copies(record, others),
                        "held": record.key in holds,
                        "held_until": _until(holds, record.key),
                        "fault": unrestorable.get(record.key),
                    }
                    for record in found
                ],
                "unreadable": faults,
            }
        )
    else:
        asked = (("set", set_name), ("database", database), ("label", ", ".join(labels)))
        of = "".join(f", {kind} {name}" for kind, name in asked if name)
        _print(f"{root if at.is_volume else place}{of}", found, others, holds, unrestorable)
        for fault in faults:
            printing.line(f"unreadable: {fault}", err=True)
    return 3 if faults else 0


def _at(place: Place, set_name: SetName | None, database: str | None) -> Iterator[Listed]:
    """Yield the records of a place by database. Each record is read; the index serves only to list them."""
    sets = {set_name} if set_name else None
    with ThreadPoolExecutor(place.store.concurrent_reads, thread_name_prefix="record") as pool:
        for contents in by_database(place, sets=sets, writes=False, read_all=True):
            if database is not None and not contents.is_of(database.lower()):
                continue
            read: list[Record] = []
            faults = [str(one) for one in contents.unreadable]
            for found in pool.map(partial(_read, place.store), (*contents.entries, *contents.unrecognised)):
                if isinstance(found, Record):
                    read.append(found)
                elif found is not None:
                    faults.append(found)
            read.sort(key=lambda record: (record.header.taken, record.key))
            yield Listed(tuple(read), contents, tuple(faults))


def _until(holds: Mapping[str, Hold], key: str) -> str | None:
    """Return the end of the hold on an artifact; None if there is no hold, or if the hold has no end."""
    hold = holds.get(key)
    return printing.moment(hold.until) if hold is not None and hold.until is not None else None


def _read(store: Store, key: str) -> Record | str | None:
    """Return the record of an artifact, the reason why it is unreadable, or None if it was deleted meanwhile."""
    try:
        seen = store.look(record_key(key), LARGEST)
        return None if seen is None else volume_records.parse(seen.content, key)
    except (ObjectTooLargeError, ValueError) as error:
        return f"{record_key(key)}: {error}"


def _has(record: Record, labels: tuple[str, ...]) -> bool:
    """Return whether a record has all `labels`, each given as `key` or `key=value`."""
    wanted = [label.partition("=") for label in labels]
    return all(key in record.labels and (not equals or record.labels[key] == text) for key, equals, text in wanted)


def _others(place: Place) -> dict[str, Callable[[str], bool]]:
    """Return name -> function for all other places. The function returns whether the place has a given key."""
    others: dict[str, Callable[[str], bool]] = {
        one.name: one.record_notes.has for one in destinations(place.settings) if one.name != place.name
    }
    return others if place.is_volume else {VOLUME: lambda key: (place.root / record_key(key)).exists(), **others}


def _copies(record: Record, others: dict[str, Callable[[str], bool]]) -> dict[str, str]:
    return {name: "stored" if has(record.key) else "not stored" for name, has in others.items()}


def _print(
    place: str,
    found: list[Record],
    others: dict[str, Callable[[str], bool]],
    holds: Mapping[str, Hold],
    unrestorable: dict[str, str],
) -> None:
    if not found:
        printing.line(f"no artifact is recorded at {place}")
        return
    head = ["ARTIFACT", "ID", "TYPE", "SIZE", "TAKEN", "TRANSACTIONS", "WHY", "COPIES", "HELD", "FAULT"]
    rows = [
        [
            record.key,
            artifact_id(record.key),
            record.type.value,
            printing.size(record.size),
            printing.moment(record.header.taken),
            "none" if record.header.empty else f"{record.header.lowest}-{record.header.highest}",
            record.type_reason,
            ", ".join(name for name, has in others.items() if has(record.key)) or "-",
            f"until {end}" if (end := _until(holds, record.key)) else "yes" if record.key in holds else "-",
            unrestorable.get(record.key, "-"),
        ]
        for record in found
    ]
    printing.table(head, rows)
