"""The contents of a place: its records, and the files that match no record, from one listing and the index.

Records alone are not enough: a record says which files were stored, and only the listing says which still exist. Every
program that can write at a place can write records. Therefore only records that the agent recognises
(catalog.record_notes) become entries. All others are counted and reported, and few of them are read.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from threading import Lock
from typing import NamedTuple, TypeVar

from backup_agent import durable
from backup_agent.catalog import hold_marks, volume_records
from backup_agent.catalog.damage_marks import is_believed
from backup_agent.catalog.index import IndexLine, LocatedLine, Rewriting, lines_of
from backup_agent.catalog.place import Place
from backup_agent.catalog.recognition import Provenance, Recognition
from backup_agent.catalog.record_notes import GIVEN_UP, digest_of
from backup_agent.core.artifacts.chains import Ancestry
from backup_agent.core.artifacts.drift import MOST_FOREIGN, Finding, Folder, Kind, ListedKey, folders
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import (
    artifact_of,
    damage_key,
    database_prefix,
    hold_key,
    name_of,
    record_key,
    set_prefix,
    split_database_key,
    split_key,
)
from backup_agent.core.artifacts.marks import Damage, Hold, Mark
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import LARGEST
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.store import Store

_AHEAD = 256
_SMALL = 64 * 1024
_MOST_UNRECOGNISED = 1000
"""Largest number of records without a note that the index keeps for one database. Others are only counted."""
_READ_UNRECOGNISED = 32
"""Largest number of records without a note that a pass reads for one database, chosen at random if there are more."""
_LARGE = Lock()
"""Held while a record of more than _SMALL bytes is parsed, so that only one at a time takes much memory."""

NOT_RECOGNISED = "not recognised: the agent neither wrote nor accepted its record"

STRANGE_HOLD = "the agent neither noted nor signed this hold; `hold` sets it anew, `release` removes the mark"

M = TypeVar("M", bound=Mark)


class Unreadable(NamedTuple):
    """A record or mark that cannot be read, or that has a newer schema."""

    key: str
    artifact: str
    fault: str

    def __str__(self) -> str:
        """Return the key and the fault."""
        return f"{self.key}: {self.fault}"


class Unrecognised(NamedTuple):
    """A record that the agent neither wrote nor accepted."""

    artifact: str
    fault: str | None
    """The fault of the record: it is not a record of this artifact, or a file that it names is missing."""
    entry: Entry | None = None
    """The entry of the record, if it is a valid record of this artifact."""


@dataclass(frozen=True)
class Contents:
    """The contents of a place, or of one database's folder there. Artifacts are identified by their keys.

    Code that deletes must check not only `entries`, but also `without_artifact` and `damages` (these artifacts are not
    restore points), `holds`, and `unreadable` (a newer agent may want to keep these artifacts).
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    """All recognised records, whether or not their files match."""
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Artifact -> the keys of its files, according to its record."""
    holds: dict[str, Hold] = field(default_factory=dict)
    """Artifact -> its hold, as the mark says it. At a destination only recognised holds (catalog.hold_marks)."""
    strange_holds: tuple[str, ...] = ()
    """Artifacts at a destination with a hold mark that the agent neither noted nor signed. It was not read."""
    damages: dict[str, Damage] = field(default_factory=dict)
    unproven_damages: tuple[str, ...] = ()
    """Artifacts at a destination whose damage mark another program may have written. They were not read again yet."""
    without_artifact: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    """Artifact -> its files that are missing, or have another size than recorded."""
    orphans: tuple[ListedKey, ...] = ()
    """Files that are named like artifacts but have no record. The journal (catalog.journal) names the agent's own."""
    more_orphans: int = 0
    """Number of further orphans, none of which has a note."""
    foreign: tuple[ListedKey, ...] = ()
    """The first files that are not the agent's, at most MOST_FOREIGN."""
    more_foreign: int = 0
    """Number of further files that are not the agent's."""
    unreadable: tuple[Unreadable, ...] = ()
    """Unreadable marks, and recognised records that are damaged, replaced or of a newer schema."""
    unrecognised: dict[str, Unrecognised] = field(default_factory=dict)
    """Unrecognised records that were read. They are not restore points, and cause no deletions."""
    more_unrecognised: int = 0
    """Number of unrecognised records that were not read."""
    altered: dict[str, Finding] = field(default_factory=dict)
    """Artifacts whose record is missing or differs from the index, except those the agent deleted (index.forget)."""

    def fault(self, key: str) -> str | None:
        """Return why an artifact cannot be restored from this place or is not recognised, or None."""
        return NOT_RECOGNISED if key in self.unrecognised else self.unrestorable.get(key)

    @property
    def number_unrecognised(self) -> int:
        """Number of unrecognised records."""
        return len(self.unrecognised) + self.more_unrecognised

    @property
    def database(self) -> DatabaseName | None:
        """The database of these contents, which come from one folder; None if all files are foreign."""
        keys = (
            *self.entries,
            *self.unrecognised,
            *(one.key for one in self.orphans),
            *(one.key for one in self.unreadable),
        )
        return split_key(keys[0]).database if keys else None

    def only(self, keys: Collection[str]) -> "Contents":
        """Return the contents that belong to the artifacts `keys`, without holds, orphans and foreign files."""
        return Contents(
            entries={key: entry for key, entry in self.entries.items() if key in keys},
            files={key: files for key, files in self.files.items() if key in keys},
            damages={key: damage for key, damage in self.damages.items() if key in keys},
            without_artifact={key: found for key, found in self.without_artifact.items() if key in keys},
            unreadable=tuple(one for one in self.unreadable if one.artifact in keys),
        )

    @property
    def unsound(self) -> dict[str, str]:
        """Artifacts that are missing or marked as damaged -> the fault. An unreadable damage mark counts as well."""
        missing = {key: findings[0].text for key, findings in self.without_artifact.items()}
        unreadable = [one.artifact for one in self.unreadable if one.key == damage_key(one.artifact)]
        return missing | dict.fromkeys((*self.damages, *unreadable), "it is marked as damaged")

    @property
    def unrestorable(self) -> dict[str, str]:
        """Artifacts that cannot be restored from this place -> the fault: they are unsound or need an unsound one."""
        own = {key: fault for key, fault in self.unsound.items() if key in self.entries}
        return own | dict.fromkeys(self.gaps, "a part of its chain is missing or damaged")

    @property
    def gaps(self) -> dict[str, Finding]:
        """Sound artifacts that cannot be restored, because something that they need is missing or damaged."""
        unsound = self.unsound
        groups: dict[tuple[SetName, DatabaseName], list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            groups[entry.set, entry.database].append(entry)
        found: dict[str, Finding] = {}
        for group in groups.values():
            ancestry = Ancestry(group, unsound)
            for entry in group:
                if entry.key not in unsound and (gap := ancestry.gap(entry, unsound)):
                    found[entry.key] = Finding(Kind.CHAIN_BROKEN, entry.key, gap)
        return found


def survey(place: Place, *, sets: Collection[SetName] | None = None, indexed: bool = True) -> Contents:
    """Return the contents of a place, or of some sets there, and update its index.

    If `indexed` is false, every record is read, and the index is not updated. Raise the store's error if the place
    cannot be listed or read, because incomplete contents would be taken for complete ones.
    """
    return joined(by_database(place, sets=sets, trust=indexed, writes=indexed))


def by_database(
    place: Place,
    *,
    sets: Collection[SetName] | None = None,
    trust: bool = True,
    writes: bool = True,
    required: bool = False,
    read_all: bool = False,
) -> Iterator[Contents]:
    """Yield the contents of a place, one database at a time, in key order. Foreign files are yielded in between.

    Only one folder is in memory at a time.

    - `trust`: records that are in the index are not read. Otherwise every record is read and compared with the index.
    - `writes`: the index is updated after the last folder.
    - `required`: raise OSError if the index cannot be written.
    - `read_all`: read all records without a note, not only a sample of them. This is also done if there is no index and
      the settings name keys whose signatures count, because the notes may have been lost with the volume.
    """
    recognition = Recognition(place)
    read_all = read_all or (recognition.by_signature and not place.index.exists())
    with (
        Rewriting(place.index, writes=writes, required=required) as old,
        ThreadPoolExecutor(place.store.concurrent_reads, thread_name_prefix="record") as pool,
    ):
        for one in folders(_listing(place.store, sets)):
            if isinstance(one, ListedKey):
                yield Contents(foreign=(one,))
                continue
            altered = _passed_over(old, old.before(one.prefix), sets)
            known = old.of(one.prefix)
            altered |= {
                key: _vanished(key) for key, was in known.items() if was.line.recognised and key not in one.records
            }
            records = _records(place, pool, one, known if trust else {}, recognition, read_all=read_all)
            if writes:
                _note_signed(place, one, records, required=required)
            for line in records.lines:
                key = line.entry.key
                if key not in known:
                    old.write(line)
                elif line == known[key].line:
                    old.keep(known[key])
                else:
                    if line.recognised and known[key].line.recognised:
                        altered[key] = Finding(Kind.INDEX_DIFFERS, key, "its record differs from the index")
                    old.write(line)
            yield _contents(place, recognition, one, records, altered)
        if altered := _passed_over(old, old.rest(), sets):
            yield Contents(altered=altered)
        old.commit()
    if writes:
        with suppress(OSError):
            for index in place.earlier_indexes():
                index.unlink()


def of_database(place: Place, set_name: SetName, database: DatabaseName, *, read_all: bool = False) -> Contents:
    """Return the contents of one database's folder, without `altered`. The index is read and not updated.

    With `read_all`, all records without a note are read, not only a sample of them.
    """
    prefix = database_prefix(set_name, database)
    known = lines_of(place.index, prefix)
    listed = (ListedKey(one.key, one.size) for one in place.store.list(prefix))
    recognition = Recognition(place)
    with ThreadPoolExecutor(place.store.concurrent_reads, thread_name_prefix="record") as pool:
        return joined(
            Contents(foreign=(one,))
            if isinstance(one, ListedKey)
            else _contents(
                place, recognition, one, _records(place, pool, one, known, recognition, read_all=read_all), {}
            )
            for one in folders(listed)
        )


def joined(parts: Iterable[Contents]) -> Contents:
    """Return the contents of several folders as one."""
    whole = Contents()
    orphans: list[ListedKey] = []
    foreign: list[ListedKey] = []
    more_orphans = more_foreign = 0
    unreadable: list[Unreadable] = []
    unproven: list[str] = []
    strange_holds: list[str] = []
    more_unrecognised = 0
    for part in parts:
        unproven += part.unproven_damages
        strange_holds += part.strange_holds
        whole.entries.update(part.entries)
        whole.files.update(part.files)
        whole.holds.update(part.holds)
        whole.damages.update(part.damages)
        whole.without_artifact.update(part.without_artifact)
        whole.unrecognised.update(part.unrecognised)
        whole.altered.update(part.altered)
        orphans += part.orphans
        more_orphans += part.more_orphans
        kept = part.foreign[: MOST_FOREIGN - len(foreign)]
        foreign += kept
        more_foreign += part.more_foreign + len(part.foreign) - len(kept)
        unreadable += part.unreadable
        more_unrecognised += part.more_unrecognised
    return replace(
        whole,
        orphans=tuple(orphans),
        more_orphans=more_orphans,
        foreign=tuple(foreign),
        more_foreign=more_foreign,
        unreadable=tuple(unreadable),
        unproven_damages=tuple(unproven),
        strange_holds=tuple(strange_holds),
        more_unrecognised=more_unrecognised,
    )


def _listing(store: Store, sets: Collection[SetName] | None) -> Iterator[ListedKey]:
    # Use the order of a single listing of all sets: a-b/ comes before a/.
    prefixes = [""] if sets is None else sorted(map(set_prefix, sets))
    return (ListedKey(one.key, one.size) for prefix in prefixes for one in store.list(prefix))


@dataclass(frozen=True)
class _Records:
    """The records of one folder."""

    lines: tuple[IndexLine, ...]
    """Lines of readable records, recognised or not, in the order of their keys."""
    unreadable: tuple[Unreadable, ...]
    """Records with a note that are unreadable or whose content differs from the note."""
    invalid: tuple[Unrecognised, ...]
    """Objects without a note that have the name of a record but are invalid."""
    unread: int
    """Number of records without a note that were not read."""
    signed: Mapping[str, tuple[str, str]]
    """Records that are recognised only by their signature -> SHA-256 and the key that signed them."""


def _records(
    place: Place,
    pool: Executor,
    folder: Folder,
    known: Mapping[str, LocatedLine],
    recognition: Recognition,
    *,
    read_all: bool = False,
) -> _Records:
    """Return the records of a folder. Records that the index lacks are read from the place.

    A record that is unrecognised in the index is read again if it has a note now.
    """
    lines: dict[str, IndexLine] = {}
    waiting: dict[str, str | None] = {}
    """Artifacts whose record is to be read -> content of the note, or None."""
    unnoted: dict[str, str | None] = {}
    notes, noted = place.record_notes, None
    for key, size in folder.records.items():
        line = known[key].line if _is_known(known, key, size) else None
        if line is not None and line.recognised:
            lines[key] = line
            continue
        if noted is None:
            noted = notes.names(*split_database_key(folder.prefix.removesuffix("/")))
        note = notes.note(key) if name_of(key) in noted else None
        if note not in (None, GIVEN_UP):
            waiting[key] = note
        elif line is not None:
            lines[key] = line
        else:
            unnoted[key] = note
    chosen = unnoted if read_all or len(unnoted) <= _READ_UNRECOGNISED else _sample(tuple(unnoted))
    waiting |= {key: unnoted[key] for key in chosen}
    unreadable: list[Unreadable] = []
    invalid: list[Unrecognised] = []
    signed: dict[str, tuple[str, str]] = {}
    for key, found in _read_all(place.store, pool, waiting, recognition):
        match found:
            case IndexLine():
                lines[key] = found
            case _Signed():
                lines[key] = found.line
                signed[key] = found.digest, found.signer
            case Unreadable():
                unreadable.append(found)
            case Unrecognised():
                invalid.append(found)
    kept = _without_excess(lines, most=None if read_all else _MOST_UNRECOGNISED)
    unread = len(unnoted) - len(chosen) + len(lines) - len(kept)
    return _Records(kept, tuple(unreadable), tuple(invalid), unread, signed)


def _note_signed(place: Place, folder: Folder, records: _Records, *, required: bool) -> None:
    """Write notes on the records that are recognised by their signature, so that each signature is verified once.

    A record whose files are missing or have wrong sizes gets no note: at a destination a note confirms the copy.
    """
    with nullcontext() if required else suppress(OSError):
        for line in records.lines:
            if (signed := records.signed.get(line.entry.key)) and not folder.file_faults(line.files):
                place.record_notes.add_signed(line.entry.key, *signed)


def _sample(keys: Sequence[str]) -> list[str]:
    """Return a few keys at random: an attacker who writes thousands of records cannot tell which ones are read."""
    return random.sample(keys, _READ_UNRECOGNISED)


def _without_excess(lines: Mapping[str, IndexLine], most: int | None) -> tuple[IndexLine, ...]:
    """Return the lines in the order of their keys, with at most `most` unrecognised ones."""
    ordered = [lines[key] for key in sorted(lines)]
    if most is None or sum(not line.recognised for line in ordered) <= most:
        return tuple(ordered)
    number = count()
    return tuple(line for line in ordered if line.recognised or next(number) < most)


def _is_known(known: Mapping[str, LocatedLine], key: str, size: int) -> bool:
    return key in known and known[key].line.record_size == size


def _passed_over(old: Rewriting, lines: Iterable[LocatedLine], sets: Collection[SetName] | None) -> dict[str, Finding]:
    """Keep the index lines of sets that are not listed.

    Return a finding for each other line: its record has vanished.
    """
    altered: dict[str, Finding] = {}
    for known in lines:
        entry = known.line.entry
        if sets is None or entry.set in sets:
            altered[entry.key] = _vanished(entry.key)
        else:
            old.keep(known)
    return altered


def _vanished(key: str) -> Finding:
    return Finding(Kind.VANISHED, key, "its record is gone, and the agent did not delete it")


def _contents(
    place: Place, recognition: Recognition, folder: Folder, records: _Records, altered: dict[str, Finding]
) -> Contents:
    own = [line for line in records.lines if line.recognised]
    files = {line.entry.key: tuple(folder.prefix + name for name, _ in line.files) for line in own}
    marked = [key for key in folder.damages if place.is_volume or key in files]
    believed = {key for key in marked if is_believed(place, recognition.keyring, key)}
    own_holds, strange_holds = _holds(place, recognition, folder, files)
    holds, hold_faults = _marks(place.store, Hold, own_holds, hold_key)
    damages, damage_faults = _marks(place.store, Damage, sorted(believed), damage_key)
    orphans, more_orphans = _few(place, folder, folder.left_over({key for keys in files.values() for key in keys}))
    unrecognised = [
        Unrecognised(line.entry.key, next((one.text for one in folder.file_faults(line.files)), None), line.entry)
        for line in records.lines
        if not line.recognised
    ]
    return Contents(
        entries={line.entry.key: line.entry for line in own},
        files=files,
        holds=holds,
        strange_holds=strange_holds,
        damages=damages,
        unproven_damages=tuple(
            key for key in marked if key not in believed and place.damage_notes.damaged(key) is None
        ),
        without_artifact={line.entry.key: tuple(wrong) for line in own if (wrong := folder.file_faults(line.files))},
        orphans=orphans,
        more_orphans=more_orphans,
        foreign=folder.foreign,
        more_foreign=folder.more_foreign,
        unreadable=(*records.unreadable, *hold_faults, *damage_faults),
        unrecognised={one.artifact: one for one in (*unrecognised, *records.invalid)},
        more_unrecognised=records.unread,
        altered=altered,
    )


def _holds(
    place: Place, recognition: Recognition, folder: Folder, recorded: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the artifacts with a recognised hold mark, and the recorded artifacts with any other hold mark.

    A mark that a pass is about to remove, because its hold was released, is neither.
    """
    if place.is_volume:
        return folder.holds, ()
    marked = [key for key in folder.holds if key in recorded]
    own = {key for key in marked if hold_marks.is_recognised(place, recognition.keyring, key)}
    strange = [key for key in marked if key not in own and not place.wanted_holds.releases(key)]
    return tuple(key for key in marked if key in own), tuple(strange)


def _few(place: Place, folder: Folder, orphans: tuple[ListedKey, ...]) -> tuple[tuple[ListedKey, ...], int]:
    """Return the first orphans and all whose records the agent has noted, and the number of the others."""
    if len(orphans) <= MOST_FOREIGN:
        return orphans, 0
    noted = place.record_notes.names(*split_database_key(folder.prefix.removesuffix("/")))
    rest = tuple(one for one in orphans[MOST_FOREIGN:] if name_of(artifact_of(one.key)) in noted)
    return orphans[:MOST_FOREIGN] + rest, len(orphans) - MOST_FOREIGN - len(rest)


class _Signed(NamedTuple):
    """A record that is recognised only by its signature."""

    line: IndexLine
    digest: str
    signer: str


_ReadRecord = IndexLine | _Signed | Unreadable | Unrecognised | None


def _read(store: Store, recognition: Recognition, artifact: str, note: str | None) -> _ReadRecord:
    """Read and judge a record. `note` is the content of its note. Return None if it was deleted since the listing."""
    key = record_key(artifact)
    try:
        data = store.read(key, LARGEST)
        with _LARGE if len(data) > _SMALL else nullcontext():
            provenance = recognition.provenance(artifact, data, note)
            if provenance is Provenance.REPLACED:
                return Unreadable(key, artifact, volume_records.replaced(str(note)))
            record = volume_records.parse(data, artifact)
            line = IndexLine.of(record, len(data), recognised=provenance.recognised)
            if provenance is Provenance.SIGNED and (signer := recognition.signer(artifact, data)):
                return _Signed(line, digest_of(data), signer)
            return line
    except ValueError as error:
        fault = str(error)
    except PermanentError as error:
        if error.failure.reason is Reason.NOT_FOUND:
            return None
        fault = error.failure.error
    return Unrecognised(artifact, fault) if note in (None, GIVEN_UP) else Unreadable(key, artifact, fault)


def _read_all(
    store: Store, pool: Executor, artifacts: Mapping[str, str | None], recognition: Recognition
) -> Iterator[tuple[str, _ReadRecord]]:
    read = partial(_read, store, recognition)
    if store.concurrent_reads == 1:
        return ((key, read(key, note)) for key, note in artifacts.items())
    # A few hundred at a time, because waiting tasks take memory.
    keys = tuple(artifacts)
    batches = (keys[start : start + _AHEAD] for start in range(0, len(keys), _AHEAD))
    return (
        (key, found)
        for batch in batches
        for key, found in zip(batch, pool.map(read, batch, map(artifacts.get, batch)), strict=True)
    )


def _marks(
    store: Store, kind: type[M], artifacts: Iterable[str], key_of: Callable[[str], str]
) -> tuple[dict[str, M], list[Unreadable]]:
    found: dict[str, M] = {}
    faults: list[Unreadable] = []
    for artifact in artifacts:
        key = key_of(artifact)
        try:
            mark = kind.from_json(store.read(key, durable.LIMIT))
            if mark.key == artifact:
                found[artifact] = mark
            else:
                faults.append(Unreadable(key, artifact, f"it is the mark of {mark.key}"))
        except ValueError as error:
            faults.append(Unreadable(key, artifact, volume_records.first_fault(error)))
        except PermanentError as error:
            if error.failure.reason is not Reason.NOT_FOUND:
                faults.append(Unreadable(key, artifact, error.failure.error))
    return found, faults
