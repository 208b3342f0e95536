"""The contents of a place: its records, and files that do not match them, from one listing and an index.

Records alone are not enough: a record says which files were stored, and only the listing says which still exist.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar

from backup_agent import durable
from backup_agent.catalog import volume_records
from backup_agent.catalog.index import IndexLine, Known, Rewriting, lines_of
from backup_agent.core.artifacts.chains import Ancestry
from backup_agent.core.artifacts.drift import Finding, Folder, Kind, ListedKey, folders
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import damage_key, database_prefix, hold_key, record_key, set_prefix, split_key
from backup_agent.core.artifacts.marks import Damage, Hold, Mark
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import LARGEST
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.store import Store

_AHEAD = 256
_SMALL = 64 * 1024
_LARGE = Lock()
"""Held while a record of more than _SMALL bytes is parsed, so that only one at a time takes much memory."""

M = TypeVar("M", bound=Mark)


class Unreadable(NamedTuple):
    """A record or mark that cannot be read, or that has a newer schema."""

    key: str
    artifact: str
    fault: str

    def __str__(self) -> str:
        """Return the key and the fault."""
        return f"{self.key}: {self.fault}"


@dataclass(frozen=True)
class Contents:
    """The contents of a place, or of one database's folder there. Artifacts are named by their keys.

    Code that deletes must not look at `entries` alone, but also at `without_artifact` and `damages` (no restore
    points), at `holds`, and at `unreadable` (a newer agent may want to keep those artifacts).
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    """All readable records, whether or not their files match."""
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Artifact -> the keys of its files, according to its record."""
    holds: dict[str, Hold] = field(default_factory=dict)
    damages: dict[str, Damage] = field(default_factory=dict)
    without_artifact: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    """Artifact -> its files that are missing, or have another size than recorded."""
    orphans: tuple[ListedKey, ...] = ()
    """Files with names of artifacts that no record names. The journal (catalog.journal) names the agent's own."""
    foreign: tuple[ListedKey, ...] = ()
    """Files that are not the agent's."""
    unreadable: tuple[Unreadable, ...] = ()
    altered: dict[str, Finding] = field(default_factory=dict)
    """Artifacts whose record is missing or differs from the index, and that the agent did not delete (index.forget)."""

    def is_of(self, database: str) -> bool:
        """Return whether these contents, which are those of one folder, belong to a database."""
        keys = (*self.entries, *(one.key for one in self.orphans), *(one.key for one in self.unreadable))
        return any(split_key(key).database == database for key in keys)

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
        """Artifacts that cannot be restored from this place -> the fault: the unsound and those that need them."""
        own = {key: fault for key, fault in self.unsound.items() if key in self.entries}
        return own | dict.fromkeys(self.gaps, "a part of its chain is missing or damaged")

    @property
    def gaps(self) -> dict[str, Finding]:
        """Sound artifacts that cannot be restored, because something that they need is missing or damaged."""
        unsound = self.unsound
        lines: dict[tuple[SetName, DatabaseName], list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            lines[entry.set, entry.database].append(entry)
        found: dict[str, Finding] = {}
        for line in lines.values():
            ancestry = Ancestry(line, unsound)
            for entry in line:
                if entry.key not in unsound and (gap := ancestry.gap(entry, unsound)):
                    found[entry.key] = Finding(Kind.CHAIN_BROKEN, entry.key, gap)
        return found


def survey(store: Store, index: Path | None = None, *, sets: Collection[SetName] | None = None) -> Contents:
    """Return the contents of a place, or of some sets there, and update its index.

    Raise the store's error if it cannot be listed or read: incomplete contents would be taken for complete ones.
    """
    return together(by_database(store, index, sets=sets))


def by_database(
    store: Store,
    index: Path | None = None,
    *,
    sets: Collection[SetName] | None = None,
    trust: bool = True,
    writes: bool = True,
    required: bool = False,
) -> Iterator[Contents]:
    """Yield the contents of a place, one database at a time, in the order of the keys. Foreign files come in between.

    Only one folder is in memory at a time. If `writes`, the index is updated after the last. An index that cannot be
    written is an error only if `required`: then OSError is raised. Without `trust` every record is read, and compared
    with the index.
    """
    with (
        Rewriting(index, writes=writes, required=required) as old,
        ThreadPoolExecutor(store.concurrent_reads, thread_name_prefix="record") as pool,
    ):
        for one in folders(_listing(store, sets)):
            if isinstance(one, ListedKey):
                yield Contents(foreign=(one,))
                continue
            altered = _passed_over(old, old.before(one.prefix), sets)
            known = old.of(one.prefix)
            altered |= {key: _vanished(key) for key in known if key not in one.records}
            lines, faults = _lines(store, pool, one, known if trust else {})
            for line in lines:
                key = line.entry.key
                if key not in known:
                    old.write(line)
                elif line == known[key].line:
                    old.keep(known[key])
                else:
                    altered[key] = Finding(Kind.INDEX_DIFFERS, key, "its record differs from the index")
                    old.write(line)
            yield _contents(store, one, lines, faults, altered)
        if altered := _passed_over(old, old.rest(), sets):
            yield Contents(altered=altered)
        old.commit()


def of_database(store: Store, index: Path, set_name: SetName, database: DatabaseName) -> Contents:
    """Return the contents of one database's folder, without `altered`. The index is read and not updated."""
    prefix = database_prefix(set_name, database)
    known = lines_of(index, prefix)
    listed = (ListedKey(one.key, one.size) for one in store.list(prefix))
    with ThreadPoolExecutor(store.concurrent_reads, thread_name_prefix="record") as pool:
        return together(
            Contents(foreign=(one,))
            if isinstance(one, ListedKey)
            else _contents(store, one, *_lines(store, pool, one, known), {})
            for one in folders(listed)
        )


def together(parts: Iterable[Contents]) -> Contents:
    """Return the contents of several folders as one."""
    whole = Contents()
    orphans: list[ListedKey] = []
    foreign: list[ListedKey] = []
    unreadable: list[Unreadable] = []
    for part in parts:
        whole.entries.update(part.entries)
        whole.files.update(part.files)
        whole.holds.update(part.holds)
        whole.damages.update(part.damages)
        whole.without_artifact.update(part.without_artifact)
        whole.altered.update(part.altered)
        orphans += part.orphans
        foreign += part.foreign
        unreadable += part.unreadable
    return replace(whole, orphans=tuple(orphans), foreign=tuple(foreign), unreadable=tuple(unreadable))


def _listing(store: Store, sets: Collection[SetName] | None) -> Iterator[ListedKey]:
    # In the order in which one listing of all sets has them: a-b/ before a/.
    prefixes = [""] if sets is None else sorted(map(set_prefix, sets))
    return (ListedKey(one.key, one.size) for prefix in prefixes for one in store.list(prefix))


def _lines(
    store: Store, pool: Executor, one: Folder, known: Mapping[str, Known]
) -> tuple[list[IndexLine], list[Unreadable]]:
    """Return the lines of a folder, from the index or from records that the index lacks, and unreadable records."""
    fresh = [key for key, size in one.records.items() if not _is_known(known, key, size)]
    read = dict(zip(fresh, _read_all(store, pool, fresh), strict=True))
    found = [read[key] if key in read else known[key].line for key in one.records]
    lines = [line for line in found if isinstance(line, IndexLine)]
    return lines, [line for line in found if isinstance(line, Unreadable)]


def _is_known(known: Mapping[str, Known], key: str, size: int) -> bool:
    return key in known and known[key].line.record_size == size


def _passed_over(old: Rewriting, lines: Iterable[Known], sets: Collection[SetName] | None) -> dict[str, Finding]:
    """Keep the index lines of sets that are not listed. Return a finding for each line whose record has vanished."""
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
    store: Store, one: Folder, lines: list[IndexLine], faults: list[Unreadable], altered: dict[str, Finding]
) -> Contents:
    holds, hold_faults = _marks(store, Hold, one.holds, hold_key)
    damages, damage_faults = _marks(store, Damage, one.damages, damage_key)
    files = {line.entry.key: tuple(one.prefix + name for name, _ in line.files) for line in lines}
    orphans, strangers = one.left_over({key for keys in files.values() for key in keys})
    return Contents(
        entries={line.entry.key: line.entry for line in lines},
        files=files,
        holds=holds,
        damages=damages,
        without_artifact={line.entry.key: tuple(wrong) for line in lines if (wrong := one.file_faults(line.files))},
        orphans=orphans,
        foreign=one.foreign + strangers,
        unreadable=(*faults, *hold_faults, *damage_faults),
        altered=altered,
    )


def _read(store: Store, artifact: str) -> IndexLine | Unreadable | None:
    """Return the line of a record, or None if it has been deleted since the listing."""
    key = record_key(artifact)
    try:
        data = store.read(key, LARGEST)
        with _LARGE if len(data) > _SMALL else nullcontext():
            return IndexLine.of(volume_records.parse(data, artifact), len(data))
    except ValueError as error:
        return Unreadable(key, artifact, str(error))
    except PermanentError as error:
        return None if error.failure.reason is Reason.NOT_FOUND else Unreadable(key, artifact, error.failure.error)


def _read_all(store: Store, pool: Executor, artifacts: Sequence[str]) -> Iterator[IndexLine | Unreadable | None]:
    read = partial(_read, store)
    if store.concurrent_reads == 1:
        return map(read, artifacts)
    # A few hundred at a time, because waiting tasks take memory.
    batches = (artifacts[start : start + _AHEAD] for start in range(0, len(artifacts), _AHEAD))
    return (found for batch in batches for found in pool.map(read, batch))


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
