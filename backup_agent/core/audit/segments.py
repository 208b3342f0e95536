"""The segments of an audit log: files of whole lines, named after their first and last line.

A closed segment never changes. At a place it is created once. If other content has its name, or if another segment has
some of its lines, the log has forked: two volumes have continued the same log, or another log is there. Then the
segment is stored under a name of its own, with a part of its digest.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple, Self

from pydantic import Field

from backup_agent.core.artifacts.keys import AUDIT, SEAL_SUFFIX
from backup_agent.core.artifacts.records import Sha256, Signature, StoredValue

LARGEST = 8 * 2**20
"""Largest size of a segment in bytes. The agent closes a segment of 1 MiB."""

HIGHEST = 10**11
"""No log of the agent has as many lines. The names of segments have room for ten times as many."""

_NAME = re.compile(r"(?P<first>\d{12})-(?P<last>\d{12})(?:\.(?P<fork>[0-9a-f]{8}))?\.jsonl")


class Segment(NamedTuple):
    """The name of a closed segment, taken apart."""

    first: int
    last: int
    fork: str = ""
    """The beginning of the SHA-256 of its content, if the log has forked; else empty."""

    @property
    def name(self) -> str:
        """The name of the file.

        >>> Segment(1, 130).name
        '000000000001-000000000130.jsonl'
        """
        return f"{self.first:012}-{self.last:012}{'.' if self.fork else ''}{self.fork}.jsonl"

    @property
    def key(self) -> str:
        """The key at a destination."""
        return AUDIT + self.name

    @property
    def seal_key(self) -> str:
        """The key of the seal at a destination."""
        return self.key + SEAL_SUFFIX

    @classmethod
    def of(cls, name: str) -> Self | None:
        """Return the segment of a file name, or None if the name is another one.

        >>> Segment.of("000000000001-000000000130.1a2b3c4d.jsonl")
        Segment(first=1, last=130, fork='1a2b3c4d')
        """
        found = _NAME.fullmatch(name)
        return cls(int(found["first"]), int(found["last"]), found["fork"] or "") if found else None

    def overlaps(self, other: "Segment") -> bool:
        """Return whether both have a line of the same number."""
        return self.first <= other.last and other.first <= self.last


class Seal(StoredValue):
    """The signature of a segment, stored beside it at a destination."""

    key: str = Field(description="name of the segment")
    sha256: Sha256
    head: Sha256 = Field(description="SHA-256 of its last line")
    signature: Signature | None = None


def listed(keys: Iterable[str]) -> tuple[Segment, ...]:
    """Return the segments among the keys of a destination, in the order of their lines."""
    names = (key.removeprefix(AUDIT) for key in keys if key.startswith(AUDIT))
    return tuple(sorted(filter(None, map(Segment.of, names))))


def foreign(ours: Iterable[Segment], theirs: Iterable[Segment]) -> tuple[Segment, ...]:
    """Return the segments at a place that another volume wrote: unknown here, and not older than all of `ours`."""
    known = set(ours)
    first = min((one.first for one in known), default=1)
    return tuple(one for one in theirs if one not in known and one.last >= first)
