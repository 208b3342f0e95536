"""Drift: differences between the files that a listing shows and the records.

A file that no record names may still belong to the agent: as a mark, as a file of an artifact whose record cannot be
read, or as an orphan. An orphan is named like an artifact of its database; its record was not yet written, or already
deleted, when the agent crashed. All other files are foreign: they are reported and never touched.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from backup_agent.core.artifacts.keys import (
    ARTIFACT_SUFFIX,
    DAMAGE_SUFFIX,
    EVIDENCE_SUFFIX,
    HOLD_SUFFIX,
    RECORD_SUFFIX,
    artifact_of,
    is_audit_key,
    prefix_of,
    segments,
)
from backup_agent.core.artifacts.names import ARTIFACT

_RECORD = ARTIFACT_SUFFIX + RECORD_SUFFIX
_HOLD = ARTIFACT_SUFFIX + HOLD_SUFFIX
_DAMAGE = ARTIFACT_SUFFIX + DAMAGE_SUFFIX
_EVIDENCE = ARTIFACT_SUFFIX + EVIDENCE_SUFFIX
MOST_FOREIGN = 1000
"""Largest number of foreign keys that are kept; further ones are counted. A place may have millions of them."""
OWN = frozenset({"owner.json"})
"""Keys outside the folders of databases that belong to the agent."""


class ListedKey(NamedTuple):
    """A key in a listing, with its size in bytes."""

    key: str
    size: int


class Kind(StrEnum):
    """A kind of difference between storage, records and index."""

    ARTIFACT_WITHOUT_RECORD = "artifact_without_record"
    RECORD_WITHOUT_ARTIFACT = "record_without_artifact"
    SIZE_CHANGED = "size_changed"
    CHECKSUM_CHANGED = "checksum_changed"
    UNREADABLE = "unreadable"
    UNRECOGNISED = "unrecognised"
    FOREIGN = "foreign"
    VANISHED = "vanished"
    INDEX_DIFFERS = "index_differs"
    CHAIN_BROKEN = "chain_broken"


class Finding(NamedTuple):
    """One difference."""

    kind: Kind
    key: str
    """Key of the file or artifact."""
    text: str
    """Description for users."""


@dataclass(frozen=True)
class Folder:
    """The keys in the folder of one set and database, classified by their names."""

    prefix: str
    """<set>/<database>/"""
    records: Mapping[str, int]
    """Key of an artifact -> bytes of its record."""
    holds: tuple[str, ...]
    """Keys of artifacts with a hold."""
    damages: tuple[str, ...]
    """Keys of artifacts with a damage mark."""
    drilled: tuple[str, ...]
    """Keys of artifacts with evidence of a drill."""
    files: Mapping[str, int]
    """Key of a file whose name is that of an artifact of this database, or of a part -> bytes."""
    foreign: tuple[ListedKey, ...]
    """The first MOST_FOREIGN keys with names that the agent never uses."""
    more_foreign: int
    """Number of further such keys."""

    def file_faults(self, expected: Iterable[tuple[str, int]]) -> list[Finding]:
        """Return a finding for each missing file and each file of another size, given recorded names and sizes."""
        wrong = []
        for name, size in expected:
            found = self.files.get(key := self.prefix + name)
            if found is None:
                wrong.append(Finding(Kind.RECORD_WITHOUT_ARTIFACT, key, "its file is missing"))
            elif found != size:
                wrong.append(Finding(Kind.SIZE_CHANGED, key, f"its size is {found} bytes, but {size} were recorded"))
        return wrong

    def left_over(self, claimed: Collection[str]) -> tuple[ListedKey, ...]:
        """Return the orphans in `files`. `claimed` are the files that readable records claim."""
        orphans: list[ListedKey] = []
        for key, size in self.files.items():
            artifact = artifact_of(key)
            unreadable_record = artifact in self.records and artifact not in claimed
            if key not in claimed and not unreadable_record:
                orphans.append(ListedKey(key, size))
        return tuple(orphans)


def folders(listing: Iterable[ListedKey]) -> Iterator[Folder | ListedKey]:
    """Group a listing, sorted by key, into folders of databases. Yield keys outside of folders as they are."""
    for prefix, keys in groupby(listing, key=lambda listed: prefix_of(listed.key)):
        if prefix:
            yield _folder(prefix, keys)
        else:
            yield from (listed for listed in keys if not (listed.key in OWN or is_audit_key(listed.key)))


def _folder(prefix: str, listing: Iterable[ListedKey]) -> Folder:
    records: dict[str, int] = {}
    holds: list[str] = []
    damages: list[str] = []
    drilled: list[str] = []
    files: dict[str, int] = {}
    foreign: list[ListedKey] = []
    more_foreign = 0
    nested = len(prefix)
    _, database, _ = segments(prefix)
    for listed in listing:
        key, size = listed
        own = key.find("/", nested) < 0
        if own and key.endswith(_RECORD):  # records and artifacts come first because most keys are one of them
            records[key.removesuffix(RECORD_SUFFIX)] = size
        elif own and _is_file(key, nested, database):
            files[key] = size
        elif own and key.endswith(_HOLD):
            holds.append(key.removesuffix(HOLD_SUFFIX))
        elif own and key.endswith(_DAMAGE):
            damages.append(key.removesuffix(DAMAGE_SUFFIX))
        elif own and key.endswith(_EVIDENCE):
            drilled.append(key.removesuffix(EVIDENCE_SUFFIX))
        elif len(foreign) < MOST_FOREIGN:
            foreign.append(listed)
        else:
            more_foreign += 1
    return Folder(prefix, records, tuple(holds), tuple(damages), tuple(drilled), files, tuple(foreign), more_foreign)


def _is_file(key: str, nested: int, database: str) -> bool:
    """Return whether a key is that of a file of an artifact of this database. `nested` is the length of its prefix."""
    named = ARTIFACT.fullmatch(key if key.endswith(ARTIFACT_SUFFIX) else artifact_of(key), nested)
    return named is not None and named["database"] == database
