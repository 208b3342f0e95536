"""From where an artifact can be restored: a place that has its chain, and a destination that servers can read."""

from dataclasses import replace

from backup_agent.catalog import volume_records
from backup_agent.catalog.place import Place, all_places, destinations, place_of
from backup_agent.cli.named_artifact import artifact_at
from backup_agent.cli.restore_lines import ChainSource
from backup_agent.core.artifacts.chains import Ancestry
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.settings.model import Settings
from backup_agent.stores.kind import kind_of
from backup_agent.stores.store import Store


def restorable(settings: Settings, what: str, place: str | None) -> tuple[Place, tuple[Record, ...], Record]:
    """Return a place that has a restore point, its chain from the full to the point, and its record.

    Raise PermanentError with the fault of each place if none has the whole chain.
    """
    failures: list[Failure] = []
    for one in all_places(settings) if place is None else (place_of(place, settings),):
        try:
            return (one, *_chain_at(one, what))
        except BackupError as error:
            failures.append(error.failure)
    # A place where the artifact is recorded but cannot be restored says more than one where it is not recorded.
    first = next((one for one in failures if one.reason is not Reason.NOT_FOUND), failures[0])
    raise PermanentError(first.reason, "\n".join(one.error for one in failures), first.advice)


def _chain_at(place: Place, what: str) -> tuple[tuple[Record, ...], Record]:
    """Return an artifact's chain at one place and its record. Raise BackupError if a part is missing or damaged."""
    found = artifact_at(place, what)
    if found is None:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{place.name}: no artifact {what} is recorded there",
            "`backup-agent list` shows what is on the volume",
        )
    part, key = found
    ancestry = Ancestry(part.entries.values(), part.unsound)
    # An empty differential holds no transactions: restore the artifact that it was taken after.
    entry = part.entries[key]
    point = ancestry.anchor(entry) if entry.empty else entry
    if key not in ancestry.roots or point is None:
        raise PermanentError(
            Reason.CHAIN_BROKEN,
            f"{place.name}: {key} cannot be restored from there: a part of its chain is missing or damaged",
            "`backup-agent list` shows other artifacts; `backup-agent verify --heal` repairs from another place",
        )
    way = [point]
    while parents := ancestry.parents(way[0]):
        way.insert(0, parents[0])
    return tuple(read_record(place.store, one.key) for one in way), read_record(place.store, key)


def read_record(store: Store, key: str) -> Record:
    """Return the record of an artifact; raise BackupError if it cannot be read."""
    try:
        return volume_records.parse(store.read(record_key(key), LARGEST), key)
    except ValueError as error:
        text = f"{store.name}: {record_key(key)} cannot be read: {error}"
        raise PermanentError(Reason.UNREADABLE, text, "look at the health of that place") from None


def source_of(place: Place) -> ChainSource:
    """Return a place as the source of a restore."""
    one = place.destination
    if one is None:
        return ChainSource(place.name, str(place.root))
    access = kind_of(one).restore_access(one, place.settings.cluster)
    return ChainSource(place.name, access.uri, access)


def seed_for(place: Place, chain: tuple[Record, ...]) -> ChainSource | None:
    """Return a destination that has the whole chain with no known damage, or None.

    `place` is where the chain was found. For the volume, its copy notes tell which destinations to look at.
    A destination that cannot be reached from here is the last choice, and is marked `unasked`.
    """
    if not place.is_volume:
        return source_of(place)
    unasked: ChainSource | None = None
    for other in destinations(place.settings):
        if not all(other.copy_notes.has(record.key) for record in chain):
            continue
        try:
            _chain_at(other, chain[-1].key)
        except BackupError as error:
            if error.failure.reason not in (Reason.CHAIN_BROKEN, Reason.NOT_FOUND, Reason.UNREADABLE):
                unasked = unasked or replace(source_of(other), unasked=True)
        else:
            return source_of(other)
    return unasked
