"""What a pass of re-reading knows: the artifacts at the place, what a request names of them, and what was found."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backup_agent.catalog.contents import Contents
from backup_agent.catalog.reread_log import RequestReadings
from backup_agent.core.artifacts.keys import artifact_of, damage_key, is_record_key
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import NotRead
from backup_agent.core.retention.scrub import NEVER, KeptArtifact, verified


@dataclass
class PlaceArtifacts:
    """The artifacts at the place: what a slice needs of each, and which ones are not restore points."""

    sound: dict[str, KeptArtifact] = field(default_factory=dict)
    """All that are not marked."""
    marked: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    """Artifacts of which the listing lacks a file, or has another size of one."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the marked artifacts."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Keys of records and marks that cannot be read -> what is wrong with them."""
    unrecorded: dict[str, int] = field(default_factory=dict)
    """Artifacts without a record, by the names of their files -> bytes."""
    gaps: dict[str, str] = field(default_factory=dict)
    """Artifacts that cannot be restored, since something that they need is missing or damaged -> what."""

    def add(self, part: Contents, read: Mapping[str, datetime], now: datetime) -> None:
        """Take one database's folder. The name of a mark is enough, whether it can be read or not."""
        unreadable = {one.artifact for one in part.unreadable if one.key == damage_key(one.artifact)}
        marked = part.damages.keys() | unreadable
        self.marked |= marked
        self.missing |= part.without_artifact.keys()
        self.unreadable |= {one.key: one.fault for one in part.unreadable}
        self.gaps |= {key: finding.text for key, finding in part.gaps.items()}
        for found in part.orphans:
            artifact = artifact_of(found.key)
            self.unrecorded[artifact] = self.unrecorded.get(artifact, 0) + found.size
        for key, entry in part.entries.items():
            if key in marked:
                self.sizes[key] = entry.size
            else:
                # That something is missing is known before it is read: it is read before all else.
                at = NEVER if key in self.missing else verified(entry.finished, read.get(key), now)
                self.sound[key] = KeptArtifact(key, entry.size, at)

    @property
    def damaged(self) -> list[str]:
        """All that are no restore points."""
        return sorted(self.marked | self.missing)

    @property
    def recorded(self) -> dict[str, KeptArtifact]:
        """All recorded artifacts, marked or not; those known to be damaged or missing come first."""
        return {key: KeptArtifact(key, size, NEVER) for key, size in self.sizes.items()} | self.sound

    @property
    def unreadable_records(self) -> list[str]:
        """Artifacts whose record cannot be read."""
        return sorted(key.removesuffix(".json") for key in self.unreadable if is_record_key(key))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is there that could be verified."""
        return not (self.sound or self.marked or self.unreadable_records or self.unrecorded)


@dataclass
class PassFindings:
    """What one pass has come to."""

    verified: int = 0
    damaged: list[str] = field(default_factory=list)
    """Found so, or asked to be healed in vain."""
    healed: list[str] = field(default_factory=list)
    errors: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unread: int = 0
    """How many in a row could not be read."""
    read: int = 0
    """Bytes, as the slice counts them."""
    done: set[str] = field(default_factory=set)
    """Artifacts that were read, or have gone meanwhile."""
    gone: set[str] = field(default_factory=set)
    """Artifacts that were deleted meanwhile."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """Artifacts that could not be read, and why."""
    not_read: dict[NotRead, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """Why -> artifact -> bytes."""


@dataclass
class RequestScope:
    """What a request names at a place, and what has become of it so far."""

    chosen: dict[str, KeptArtifact]
    asked: RequestReadings
    estimated_seconds: float | None = None
    stopped: bool = False
    """What is read cannot be noted any more: no slice follows."""

    def __post_init__(self) -> None:
        """Count what there is, and what earlier slices have dealt with."""
        done = [one.size for key, one in self.chosen.items() if key in self.asked.lines]
        self.size = sum(one.size for one in self.chosen.values())
        self.read, self.read_size = len(done), sum(done)
        self.read_before = self.read_size

    def count(self, one: KeptArtifact) -> None:
        """Count an artifact that has been dealt with."""
        self.read += 1
        self.read_size += one.size

    def remaining(self, without: Iterable[str]) -> list[KeptArtifact]:
        """Return what has not been dealt with yet, and is not among some artifacts."""
        left_out = set(without)
        return [one for key, one in self.chosen.items() if key not in self.asked.lines and key not in left_out]

    def left(self, standing: PlaceArtifacts, without: Iterable[str]) -> list[KeptArtifact]:
        """Return what remains in reading order: known to be damaged or missing first, then the longest unread."""
        known = standing.marked | standing.missing
        return sorted(self.remaining(without), key=lambda one: (one.key not in known, one.verified, one.key))

    def told(self) -> dict[str, Any]:
        """Return how much there is to read, and how far that is, as an answer says it."""
        return {
            "artifacts": len(self.chosen),
            "size": self.size,
            "read": self.read,
            "read_size": self.read_size,
            "estimated_seconds": self.estimated_seconds and round(self.estimated_seconds, 1),
        }


def why_not_read(failure: Failure) -> NotRead:
    """Return why an artifact could not be read."""
    if failure.reason is Reason.ARCHIVED:
        return NotRead.ARCHIVED
    return NotRead.RECORD_UNREADABLE if failure.reason is Reason.UNREADABLE else NotRead.UNREADABLE
