"""What stands at a place: all that is recorded there, and what does not fit, from one listing and an index.

A newcomer would ask the records alone. A record says what was put there; only the listing says what still is.
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
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import LARGEST
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.store import Store

_AHEAD = 256
_SMALL = 64 * 1024
_LARGE = Lock()
"""Held while a record of more than _SMALL bytes is parsed: what takes much memory does so once at a time."""

M = TypeVar("M", bound=Mark)


class Unreadable(NamedTuple):
    """A record or mark that cannot be read; one of a newer schema is among them."""

    key: str
    artifact: str
    fault: str

    def __str__(self) -> str:
        """Say which, and what is wrong."""
        return f"{self.key}: {self.fault}"


@dataclass(frozen=True)
class Contents:
    """What stands at a place, or in one database's folder of it. Artifacts go by their keys.

    Whoever deletes looks at `without_artifact` and `damages` (no restore points), at `holds`, and at `unreadable`
    (a newer agent may want to keep those artifacts), not at `entries` alone.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    """Every record that can be read, also where its files are not what it says."""
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Keys of each artifact's files, as its record names them."""
    holds: dict[str, Hold] = field(default_factory=dict)
    damages: dict[str, Damage] = field(default_factory=dict)
    without_artifact: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    """Artifact -> those of its files that are missing, or have another size than recorded."""
    orphans: tuple[ListedKey, ...] = ()
    """Files named as artifacts of their database that no record names; catalog.journal knows the agent's own."""
    foreign: tuple[ListedKey, ...] = ()
    """What is none of the agent's."""
    unreadable: tuple[Unreadable, ...] = ()
    altered: dict[str, Finding] = field(default_factory=dict)
    """Artifacts whose record is gone, or is another than the index knew, by no hand of the agent's (index.forget)."""

    def is_of(self, database: str) -> bool:
        """Tell whether these holdings, which are those of one folder, belong to a database."""
        keys = (*self.entries, *(one.key for one in self.orphans), *(one.key for one in self.unreadable))
        return any(split_key(key).database == database for key in keys)

    def only(self, keys: Collection[str]) -> "Contents":
        """Return what there is of some artifacts, the gaps of their chains left out."""
        return Contents(
            entries={key: entry for key, entry in self.entries.items() if key in keys},
            files={key: files for key, files in self.files.items() if key in keys},
            damages={key: damage for key, damage in self.damages.items() if key in keys},
            without_artifact={key: found for key, found in self.without_artifact.items() if key in keys},
            unreadable=tuple(one for one in self.unreadable if one.artifact in keys),
        )

    @property
    def unsound(self) -> dict[str, str]:
        """Artifacts that are no restore points, and what is wrong with each; the name of a mark alone says so."""
        missing = {key: findings[0].text for key, findings in self.without_artifact.items()}
        unreadable = [one.artifact for one in self.unreadable if one.key == damage_key(one.artifact)]
        return missing | dict.fromkeys((*self.damages, *unreadable), "it is marked as damaged")

    @property
    def unrestorable(self) -> dict[str, str]:
        """Artifacts that cannot be restored from this place, and why: the unsound, and what needs one of them."""
        own = {key: fault for key, fault in self.unsound.items() if key in self.entries}
        return own | dict.fromkeys(self.gaps, "a part of its chain is missing or damaged")

    @property
    def gaps(self) -> dict[str, Finding]:
        """Artifacts that are sound and cannot be restored, since something that they need is missing or damaged."""
        unsound = self.unsound
        lines: dict[tuple[str, DatabaseName], list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            lines[entry.set, entry.database].append(entry)
        found: dict[str, Finding] = {}
        for line in lines.values():
            ancestry = Ancestry(line, unsound)
            for entry in line:
                if entry.key not in unsound and (gap := ancestry.gap(entry, unsound)):
                    found[entry.key] = Finding(Kind.CHAIN_BROKEN, entry.key, gap)
        return found


def survey(store: Store, index: Path | None = None, *, sets: Collection[str] | None = None) -> Contents:
    """Return all that stands at a place, or in some sets of it, and bring its index up to date.

    Raise what the store does where it cannot be listed or read: half a catalog would be worse than none.
    """
    return together(by_database(store, index, sets=sets))


def by_database(
    store: Store,
    index: Path | None = None,
    *,
    sets: Collection[str] | None = None,
    trust: bool = True,
    writes: bool = True,
    required: bool = False,
) -> Iterator[Contents]:
    """Yield the same one database after the other, in the order of the keys; what lies outside comes as it is found.

    One folder is in memory at a time. The index is brought up to date after the last, unless `writes` is off. An index
    that cannot be written is no error, unless it is `required`: then OSError is raised. Without `trust` every record is
    read, and the index is compared with what they say.
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
                    altered[key] = Finding(Kind.INDEX_DIFFERS, key, "its record is not what the index knew")
                    old.write(line)
            yield _holdings(store, one, lines, faults, altered)
        if altered := _passed_over(old, old.rest(), sets):
            yield Contents(altered=altered)
        old.commit()


def of_database(store: Store, index: Path, set_name: str, database: DatabaseName) -> Contents:
    """Return what stands in one database's folder; the index is only read, and says nothing of what has changed."""
    prefix = database_prefix(set_name, database)
    known = lines_of(index, prefix)
    listed = (ListedKey(one.key, one.size) for one in store.list(prefix))
    with ThreadPoolExecutor(store.concurrent_reads, thread_name_prefix="record") as pool:
        return together(
            Contents(foreign=(one,))
            if isinstance(one, ListedKey)
            else _holdings(store, one, *_lines(store, pool, one, known), {})
            for one in folders(listed)
        )


def together(parts: Iterable[Contents]) -> Contents:
    """Return the holdings of several folders as one."""
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


def _listing(store: Store, sets: Collection[str] | None) -> Iterator[ListedKey]:
    # Sets in the order of their keys, as one listing of them all would have them: a-b/ before a/.
    prefixes = [""] if sets is None else sorted(map(set_prefix, sets))
    return (ListedKey(one.key, one.size) for prefix in prefixes for one in store.list(prefix))


def _lines(
    store: Store, pool: Executor, one: Folder, known: Mapping[str, Known]
) -> tuple[list[IndexLine], list[Unreadable]]:
    """Return the lines of a folder, of what is known by the index and of the records that are not; and what is none."""
    fresh = [key for key, size in one.records.items() if not _is_known(known, key, size)]
    read = dict(zip(fresh, _read_all(store, pool, fresh), strict=True))
    found = [read[key] if key in read else known[key].line for key in one.records]
    lines = [line for line in found if isinstance(line, IndexLine)]
    return lines, [line for line in found if isinstance(line, Unreadable)]


def _is_known(known: Mapping[str, Known], key: str, size: int) -> bool:
    return key in known and known[key].line.record_size == size


def _passed_over(old: Rewriting, lines: Iterable[Known], sets: Collection[str] | None) -> dict[str, Finding]:
    """Keep the lines of sets that are not looked at; return what has vanished with the others."""
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


def _holdings(
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
        without_artifact={line.entry.key: tuple(wrong) for line in lines if (wrong := one.amiss(line.files))},
        orphans=orphans,
        foreign=one.foreign + strangers,
        unreadable=(*faults, *hold_faults, *damage_faults),
        altered=altered,
    )


def _read(store: Store, artifact: str) -> IndexLine | Unreadable | None:
    """Return the line of a record; None where it has been deleted since the listing."""
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
    # A few hundred at a time: what waits in a pool takes memory.
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
