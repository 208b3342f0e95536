"""Listing and accepting records that the agent does not recognise. Accepting a record changes no file at the place."""

from collections.abc import Collection, Iterator
from contextlib import suppress

from backup_agent import durable
from backup_agent.catalog.contents import Unrecognised, by_database
from backup_agent.catalog.place import Place
from backup_agent.catalog.volume_records import parse
from backup_agent.core.artifacts.keys import artifact_of, hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.records import LARGEST
from backup_agent.core.reasons import PermanentError, Reason


def unrecognised(place: Place) -> Iterator[Unrecognised]:
    """Yield the records of a place that the agent does not recognise, in the order of their keys.

    All of them are read. Raise the store's error if the place cannot be read.
    """
    for found in by_database(place, writes=False, read_all=True):
        yield from (found.unrecognised[key] for key in sorted(found.unrecognised))


def accept(place: Place, key: str) -> None:
    """Write a note on the current record of an artifact, so that the agent recognises the record.

    At a destination, note a readable hold on the artifact too, without an end: anyone could have changed its end.

    Raise PermanentError if there is no record or if it is invalid, OSError if the note cannot be written.
    """
    content = place.store.read(record_key(key), LARGEST)
    try:
        parse(content, key)
    except ValueError as error:
        raise PermanentError(
            Reason.UNREADABLE,
            f"{place.name}: {record_key(key)} is not a record of this artifact, and is not accepted: {error}",
            "`backup-agent catalog accept --discard` removes it",
        ) from error
    place.record_notes.add(key, content)
    if not place.is_volume and not place.wanted_holds.wants(key) and (hold := _hold_at(place, key)) is not None:
        place.wanted_holds.hold(hold.model_copy(update={"until": None, "signature": None}))


def _hold_at(place: Place, key: str) -> Hold | None:
    """Return the hold in the mark of an artifact; None if there is no mark, or if it cannot be read."""
    with suppress(PermanentError, ValueError):
        hold = Hold.from_json(place.store.read(hold_key(key), durable.LIMIT))
        return hold if hold.key == key else None
    return None


def files_of(place: Place, key: str) -> tuple[str, ...]:
    """Return the keys of an artifact's files at a place, found by their names."""
    return tuple(one.key for one in place.store.list(key) if artifact_of(one.key) == key)


def chosen(found: Collection[Unrecognised], keys: Collection[str]) -> tuple[str, ...]:
    """Return `keys`. Raise PermanentError if one of them has no unrecognised record in `found`."""
    known = {one.artifact for one in found}
    if strange := [key for key in keys if key not in known]:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{strange[0]}: there is no unrecognised record of this artifact",
            "`backup-agent catalog unrecognised` lists them",
        )
    return tuple(keys)
