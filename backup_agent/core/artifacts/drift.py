"""What a listing shows beside what the records say: which files are an artifact's, and what does not fit.

A newcomer would call every file without a record a stranger's. Three kinds are not: marks; the files of a record that
cannot be read; and orphans, named as the agent names artifacts, whose record a crash has kept from being written, or
which has been removed already. What is none of these is foreign: it is shown, and never touched.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from backup_agent.core.artifacts.names import ARTIFACT, DAMAGE_SUFFIX, DATABASE, HOLD_SUFFIX, RECORD_SUFFIX, SET

ARTIFACT_SUFFIX = ".backup"
_RECORD = ARTIFACT_SUFFIX + RECORD_SUFFIX
_HOLD = ARTIFACT_SUFFIX + HOLD_SUFFIX
_DAMAGE = ARTIFACT_SUFFIX + DAMAGE_SUFFIX
OWN = frozenset({"owner.json"})
"""Keys outside every database's folder that are the agent's own."""


class ListedKey(NamedTuple):
    """A key that a listing shows, and its size in bytes."""

    key: str
    size: int


class Kind(StrEnum):
    """The ways in which storage, records and index can disagree."""

    ARTIFACT_WITHOUT_RECORD = "artifact_without_record"
    RECORD_WITHOUT_ARTIFACT = "record_without_artifact"
    SIZE_CHANGED = "size_changed"
    CHECKSUM_CHANGED = "checksum_changed"
    UNREADABLE = "unreadable"
    FOREIGN = "foreign"
    VANISHED = "vanished"
    INDEX_DIFFERS = "index_differs"
    CHAIN_BROKEN = "chain_broken"


class Finding(NamedTuple):
    """One thing that does not fit. `key` is that of the file or artifact; `text` is for people."""

    kind: Kind
    key: str
    text: str


@dataclass(frozen=True)
class Folder:
    """The folder of one database in one set, its names sorted by what they are. Keys are whole ones."""

    prefix: str
    """<set>/<database>/"""
    records: Mapping[str, int]
    """Artifact -> bytes of its record."""
    holds: tuple[str, ...]
    """Artifacts with a hold."""
    damages: tuple[str, ...]
    """Artifacts marked as damaged."""
    files: Mapping[str, int]
    """Files of artifacts, and what is named like one -> bytes."""
    foreign: tuple[ListedKey, ...]

    def amiss(self, expected: Iterable[tuple[str, int]]) -> list[Finding]:
        """Return what is wrong with the files of an artifact, given their names and recorded sizes."""
        wrong = []
        for name, size in expected:
            found = self.files.get(key := self.prefix + name)
            if found is None:
                wrong.append(Finding(Kind.RECORD_WITHOUT_ARTIFACT, key, "its file is missing"))
            elif found != size:
                wrong.append(Finding(Kind.SIZE_CHANGED, key, f"{size} bytes were recorded, it has {found}"))
        return wrong

    def left_over(self, claimed: Collection[str]) -> tuple[tuple[ListedKey, ...], tuple[ListedKey, ...]]:
        """Return the orphans and the strangers among the artifacts' files that no readable record claims."""
        orphans: list[ListedKey] = []
        strangers: list[ListedKey] = []
        database = self.prefix.split("/")[1]
        for key, size in self.files.items():
            artifact = artifact_of(key)
            if key in claimed or (artifact in self.records and artifact not in claimed):
                continue  # the second: the record is there and cannot be read, so nobody knows which files are its own
            ours = ARTIFACT.fullmatch(artifact.rpartition("/")[2])
            (orphans if ours and ours["database"] == database else strangers).append(ListedKey(key, size))
        return tuple(orphans), tuple(strangers)


def folders(listing: Iterable[ListedKey]) -> Iterator[Folder | ListedKey]:
    """Sort a listing, which is in the order of keys, into the folders of databases; what lies outside is as found."""
    for prefix, found in groupby(listing, key=lambda one: folder_of(one.key)):
        if prefix:
            yield _folder(prefix, found)
        else:
            yield from (one for one in found if one.key not in OWN)


def folder_of(key: str) -> str:
    """Return `<set>/<database>/` of a key that lies in the folder of a database, else nothing.

    >>> folder_of("default/orders/orders-2026-11-23T02-00-00.backup"), folder_of("default/notes.txt")
    ('default/orders/', '')
    """
    prefix = key[: key.find("/", key.find("/") + 1) + 1]
    return prefix if _is_folder(prefix) else ""


@lru_cache(maxsize=1024)
def _is_folder(prefix: str) -> bool:
    set_name, _, database = prefix.rstrip("/").partition("/")
    return bool(SET.fullmatch(set_name) and DATABASE.fullmatch(database))


def artifact_of(key: str) -> str:
    """Return the key of the artifact that a file belongs to by its name: a part's is its manifest's.

    >>> artifact_of("default/orders/orders-2026-11-23T02-00-00.backup.12")
    'default/orders/orders-2026-11-23T02-00-00.backup'
    """
    stem, _, number = key.rpartition(".")
    return stem if number.isdecimal() and number.isascii() and stem.endswith(ARTIFACT_SUFFIX) else key


def _folder(prefix: str, listing: Iterable[ListedKey]) -> Folder:
    records: dict[str, int] = {}
    holds: list[str] = []
    damages: list[str] = []
    files: dict[str, int] = {}
    foreign: list[ListedKey] = []
    nested = len(prefix)
    for found in listing:
        key, size = found
        if key.find("/", nested) >= 0:
            foreign.append(found)
        elif key.endswith(ARTIFACT_SUFFIX):  # half of all keys, as are records: asked first
            files[key] = size
        elif key.endswith(_RECORD):
            records[key.removesuffix(RECORD_SUFFIX)] = size
        elif key.endswith(_HOLD):
            holds.append(key.removesuffix(HOLD_SUFFIX))
        elif key.endswith(_DAMAGE):
            damages.append(key.removesuffix(DAMAGE_SUFFIX))
        elif artifact_of(key) != key:
            files[key] = size
        else:
            foreign.append(found)
    return Folder(prefix, records, tuple(holds), tuple(damages), files, tuple(foreign))
