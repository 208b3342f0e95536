"""Find where to restore an artifact from: a place that has its chain, and a destination that servers can read."""

from dataclasses import dataclass, replace

from backup_agent.catalog import volume_records
from backup_agent.catalog.place import Place, all_places, destinations, place_of
from backup_agent.catalog.recognised import read_record
from backup_agent.cli.named_artifact import artifact_at
from backup_agent.cli.restore_lines import ChainSource
from backup_agent.core.artifacts.chains import Ancestry
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.settings.model import Settings
from backup_agent.stores.kind import kind_of


@dataclass(frozen=True)
class RestorableChain:
    """A restore point at a place, with its chain."""

    place: Place
    record: Record
    chain: tuple[Record, ...]
    """In the order of the restore: the full first, the restore point last."""
    proven: bool
    """Whether the agent recognises every record of the chain."""


def restorable(settings: Settings, what: str, place: str | None) -> RestorableChain:
    """Return an artifact with its chain, at `place`, or at any place if `place` is None.

    Places where the agent recognises the records are preferred. If no place has the whole chain, raise PermanentError
    with the fault of each place.
    """
    failures: list[Failure] = []
    unproven: RestorableChain | None = None
    for one in all_places(settings) if place is None else (place_of(place, settings),):
        try:
            found = _chain_at(one, what)
        except BackupError as error:
            failures.append(error.failure)
            continue
        if found.proven:
            return found
        unproven = unproven or found
    if unproven is not None:
        return unproven
    # The error of a place where the artifact is recorded but cannot be restored is more useful than "not recorded".
    first = next((one for one in failures if one.reason is not Reason.NOT_FOUND), failures[0])
    raise PermanentError(first.reason, "\n".join(one.error for one in failures), first.advice)


def _chain_at(place: Place, what: str) -> RestorableChain:
    """Return an artifact's chain at one place. Raise BackupError if a part is missing or damaged."""
    found = artifact_at(place, what)
    if found is None:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{place.name}: no artifact {what} is recorded there",
            "`backup-agent list` shows what is on the volume",
        )
    folder, key = found
    proven = key in folder.entries
    unrecognised = () if proven else folder.unrecognised.values()
    entries = folder.entries | {one.artifact: one.entry for one in unrecognised if one.entry is not None}
    ancestry = Ancestry(entries.values(), {*folder.unsound, *(one.artifact for one in unrecognised if one.fault)})
    # An empty differential contains no transactions: restore the artifact that it continues.
    entry = entries.get(key)
    point = ancestry.anchor(entry) if entry is not None and entry.empty else entry
    if key not in ancestry.roots or point is None:
        raise PermanentError(
            Reason.CHAIN_BROKEN,
            f"{place.name}: {key} cannot be restored from there: a part of its chain is missing or damaged",
            "`backup-agent list` shows other artifacts; `backup-agent verify --heal` repairs from another place",
        )
    way = [point]
    while parents := ancestry.parents(way[0]):
        way.insert(0, parents[0])
    chain = tuple(read_any_record(place, one.key) for one in way)
    return RestorableChain(place, read_any_record(place, key), chain, proven)


def read_any_record(place: Place, key: str) -> Record:
    """Return an artifact's record, even if not recognised. Raise BackupError if it is unreadable or was replaced."""
    if place.record_notes.has(key):
        return read_record(place, key)
    try:
        return volume_records.parse(place.store.read(record_key(key), LARGEST), key)
    except ValueError as error:
        text = f"{place.name}: {record_key(key)} cannot be read: {error}"
        raise PermanentError(Reason.UNREADABLE, text, "check the health of that place") from None


def source_of(place: Place) -> ChainSource:
    """Return a place as the source of a restore."""
    one = place.destination
    if one is None:
        return ChainSource(place.name, str(place.root))
    access = kind_of(one).restore_access(one, place.settings.cluster)
    return ChainSource(place.name, access.uri, access)


def seed_for(point: RestorableChain) -> ChainSource | None:
    """Return a destination that has the whole chain with no known damage, or None.

    A chain that was found at a destination is read from there. If it was found on the volume, the destinations that
    have a note of each record are checked; one that cannot be reached is the last choice, and is marked `unasked`.
    """
    if not point.place.is_volume:
        return source_of(point.place)
    unasked: ChainSource | None = None
    for other in destinations(point.place.settings):
        if not all(other.record_notes.has(record.key) for record in point.chain):
            continue
        try:
            found = _chain_at(other, point.chain[-1].key)
        except BackupError as error:
            if error.failure.reason not in (Reason.CHAIN_BROKEN, Reason.NOT_FOUND, Reason.UNREADABLE):
                unasked = unasked or replace(source_of(other), unasked=True)
        else:
            if found.proven:
                return source_of(other)
    return unasked
