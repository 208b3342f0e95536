"""`backup-agent list`."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice

import click

from backup_agent.catalog import evidence, volume_records
from backup_agent.catalog.contents import NOT_RECOGNISED, Contents, by_database, of_database
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

AT_ONCE = 1000
"""How many records are read ahead."""

HEAD = ("ARTIFACT", "ID", "TYPE", "SIZE", "TAKEN", "APPEND INDEXES", "WHY", "COPIES", "DRILLED", "HELD", "FAULT")


@dataclass(frozen=True)
class Listed:
    """One artifact at a place. Its record may not be recognised."""

    record: Record
    hold: Hold | None
    fault: str | None
    """Why it cannot be restored."""


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
@click.option("--held", is_flag=True, help="Only artifacts with a hold.")
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    place: str,
    set_name: SetName | None,
    database: str | None,
    labels: tuple[str, ...],
    held: bool,
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
    others, drilled = _others(at), evidence.notes_at(at)
    faults: list[str] = []
    found = _found(at, set_name, database, labels, faults, held=held)
    if as_json:
        values = (_as_json(one, others, drilled) for one in found)
        printing.long_list_as_json("artifacts", values, lambda: {"unreadable": faults})
    elif (first := next(found, None)) is not None:
        printing.table(HEAD, (_row(one, others, drilled) for one in chain([first], found)))
    else:
        asked = (("set", set_name), ("database", database), ("label", ", ".join(labels)))
        of = "".join(f", {kind} {name}" for kind, name in asked if name) + ", held" * held
        printing.line(f"no artifact is recorded at {root if at.is_volume else place}{of}")
    for fault in () if as_json else faults:
        printing.line(f"unreadable: {fault}", err=True)
    return 3 if faults else 0


def _found(
    place: Place,
    set_name: SetName | None,
    database: str | None,
    labels: tuple[str, ...],
    faults: list[str],
    *,
    held: bool,
) -> Iterator[Listed]:
    """Yield the artifacts of a place, by database, oldest first. Each record is read; the index serves to list them.

    A line for each object that cannot be read is added to `faults`.
    """
    now = datetime.now(UTC)
    with ThreadPoolExecutor(place.store.concurrent_reads, thread_name_prefix="record") as pool:
        for contents in _contents(place, set_name, database):
            faults += map(str, contents.unreadable)
            unrestorable = contents.unrestorable | dict.fromkeys(contents.unrecognised, NOT_RECOGNISED)
            holds = {key: hold for key, hold in holds_at(place, contents.holds).items() if not hold.ended(now)}
            known = (*contents.entries, *contents.unrecognised)
            keys = iter(sorted(key for key in known if not held or key in holds))  # an artifact's name has its time
            while some := tuple(islice(keys, AT_ONCE)):
                for key, read in zip(some, pool.map(partial(_read, place.store), some), strict=True):
                    if isinstance(read, str):
                        faults.append(read)
                    elif read is not None and _has(read, labels):
                        yield Listed(read, holds.get(key), unrestorable.get(key))


def _contents(place: Place, set_name: SetName | None, database: str | None) -> Iterator[Contents]:
    """Yield the contents of a place, of a set, or of a database, whose folders alone are read on the volume."""
    sets = {set_name} if set_name else None
    if database is None:
        yield from by_database(place, sets=sets, writes=False, read_all=True)
    elif place.is_volume:
        for found, name in sorted(volume_records.databases(place.root)):
            if name == database.lower() and set_name in (None, found):
                yield of_database(place, found, name, read_all=True)
    else:
        for contents in by_database(place, sets=sets, writes=False, read_all=True):
            if contents.is_of(database.lower()):
                yield contents


def _until(hold: Hold | None) -> str | None:
    """Return the end of a hold; None if there is no hold, or if the hold has no end."""
    return printing.moment(hold.until) if hold is not None and hold.until is not None else None


def _story(hold: Hold | None) -> dict[str, object] | None:
    """Return who set a hold, when and why."""
    if hold is None:
        return None
    return hold.model_dump(mode="json", include={"since", "reason", "requested_by", "request"})


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


def _as_json(
    one: Listed, others: dict[str, Callable[[str], bool]], drilled: evidence.EvidenceNotes
) -> dict[str, object]:
    last = drilled.of(one.record.key)
    return {
        **one.record.model_dump(mode="json", by_alias=True),
        "id": artifact_id(one.record.key),
        "copies": _copies(one.record, others),
        "drilled": last and last._asdict(),
        "held": one.hold is not None,
        "held_until": _until(one.hold),
        "hold": _story(one.hold),
        "fault": one.fault,
    }


def _row(one: Listed, others: dict[str, Callable[[str], bool]], drilled: evidence.EvidenceNotes) -> tuple[str, ...]:
    record = one.record
    return (
        record.key,
        artifact_id(record.key),
        record.type.value,
        printing.size(record.size),
        printing.moment(record.header.taken),
        "none" if record.header.empty else f"{record.header.lowest}-{record.header.highest}",
        record.type_reason,
        ", ".join(name for name, has in others.items() if has(record.key)) or "-",
        str(drilled.of(record.key) or "-"),
        f"until {end}" if (end := _until(one.hold)) else "yes" if one.hold else "-",
        one.fault or "-",
    )
