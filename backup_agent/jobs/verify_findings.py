"""The state of a verification pass: the artifacts at the place, those of the request, and the findings."""

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
from backup_agent.core.retention.verify_slices import NEVER, KeptArtifact, verified


@dataclass
class PlaceArtifacts:
    """The artifacts at the place, and which of them are not restore points."""

    sound: dict[str, KeptArtifact] = field(default_factory=dict)
    """All recorded artifacts without a damage mark."""
    marked: set[str] = field(default_factory=set)
    unproven: set[str] = field(default_factory=set)
    """Artifacts with a damage mark that another program may have written. They are verified first."""
    missing: set[str] = field(default_factory=set)
    """Artifacts with a file that is not listed, or is listed with another size."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the marked artifacts."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Keys of records and marks that cannot be read -> their faults."""
    unrecorded: dict[str, int] = field(default_factory=dict)
    """Artifacts without a record, known from the names of their files -> bytes."""
    unrecognised: set[str] = field(default_factory=set)
    """Artifacts whose record the agent neither wrote nor accepted."""
    gaps: dict[str, str] = field(default_factory=dict)
    """Artifacts that cannot be restored -> the fault in their chain: what is missing or damaged."""

    def add(self, part: Contents, read: Mapping[str, datetime], now: datetime) -> None:
        """Add the artifacts of one database. A mark counts even if it cannot be read."""
        unreadable = {one.artifact for one in part.unreadable if one.key == damage_key(one.artifact)}
        marked = part.damages.keys() | unreadable
        self.marked |= marked
        self.unproven |= set(part.unproven_damages)
        self.missing |= part.without_artifact.keys()
        self.unreadable |= {one.key: one.fault for one in part.unreadable}
        self.unrecognised |= part.unrecognised.keys()
        self.gaps |= {key: finding.text for key, finding in part.gaps.items()}
        for found in part.orphans:
            artifact = artifact_of(found.key)
            self.unrecorded[artifact] = self.unrecorded.get(artifact, 0) + found.size
        for key, entry in part.entries.items():
            if key in marked:
                self.sizes[key] = entry.size
            else:
                # An artifact with a missing file or a mark of unknown origin is read first.
                at = NEVER if key in self.missing | self.unproven else verified(entry.finished, read.get(key), now)
                self.sound[key] = KeptArtifact(key, entry.size, at)

    @property
    def damaged(self) -> list[str]:
        """Keys of the artifacts that are not restore points."""
        return sorted(self.marked | self.missing)

    @property
    def recorded(self) -> dict[str, KeptArtifact]:
        """All recorded artifacts, marked or not. Those known to be damaged or missing come first."""
        return {key: KeptArtifact(key, size, NEVER) for key, size in self.sizes.items()} | self.sound

    @property
    def unreadable_records(self) -> list[str]:
        """Keys of the artifacts whose record cannot be read."""
        return sorted(key.removesuffix(".json") for key in self.unreadable if is_record_key(key))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to verify."""
        return not (self.sound or self.marked or self.unreadable_records or self.unrecorded)


@dataclass
class PassFindings:
    """The findings of one pass."""

    verified: int = 0
    damaged: list[str] = field(default_factory=list)
    """Artifacts that were found damaged and were not healed."""
    healed: list[str] = field(default_factory=list)
    errors: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unread: int = 0
    """Number of artifacts in a row that could not be read."""
    read: int = 0
    """The summed cost of the artifacts that were read (`KeptArtifact.cost`)."""
    done: set[str] = field(default_factory=set)
    """Artifacts that were read, or were deleted meanwhile."""
    gone: set[str] = field(default_factory=set)
    """Artifacts that were deleted meanwhile."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """Artifacts that could not be read, and why."""
    not_read: dict[NotRead, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """Reason -> artifact -> size in bytes."""


@dataclass
class RequestScope:
    """The artifacts of a request at a place, and which of them have an outcome."""

    chosen: dict[str, KeptArtifact]
    asked: RequestReadings
    estimated_seconds: float | None = None
    stopped: bool = False
    """Whether outcomes can no longer be noted on the volume. Then no slice follows."""

    def __post_init__(self) -> None:
        """Sum up the artifacts, and those that have an outcome from earlier slices."""
        done = [one.size for key, one in self.chosen.items() if key in self.asked.lines]
        self.size = sum(one.size for one in self.chosen.values())
        self.read, self.read_size = len(done), sum(done)
        self.read_before = self.read_size

    def count(self, one: KeptArtifact) -> None:
        """Count an artifact that has an outcome."""
        self.read += 1
        self.read_size += one.size

    def remaining(self, without: Iterable[str]) -> list[KeptArtifact]:
        """Return the artifacts without an outcome, except those whose keys are in `without`."""
        excluded = set(without)
        return [one for key, one in self.chosen.items() if key not in self.asked.lines and key not in excluded]

    def left(self, artifacts: PlaceArtifacts, without: Iterable[str]) -> list[KeptArtifact]:
        """Like `remaining`, in reading order: first known to be damaged or missing, then the longest unread."""
        known = artifacts.marked | artifacts.missing
        return sorted(self.remaining(without), key=lambda one: (one.key not in known, one.verified, one.key))

    def facts(self) -> dict[str, Any]:
        """Return the amount to read and the progress, as fields of an answer."""
        return {
            "artifacts": len(self.chosen),
            "size": self.size,
            "read": self.read,
            "read_size": self.read_size,
            "estimated_seconds": self.estimated_seconds and round(self.estimated_seconds, 1),
        }


def why_not_read(failure: Failure) -> NotRead:
    """Return the category of a failure to read an artifact."""
    if failure.reason is Reason.ARCHIVED:
        return NotRead.ARCHIVED
    return NotRead.RECORD_UNREADABLE if failure.reason is Reason.UNREADABLE else NotRead.UNREADABLE
