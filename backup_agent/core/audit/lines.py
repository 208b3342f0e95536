"""The lines of the audit log, and how each is chained to the line before it.

A line is one JSON object without line breaks. Its `prev` is the SHA-256 of the line before it, so the digest of a line
covers every earlier line. `n` counts the lines. An *epoch* is a sequence of lines without a break; another epoch begins
after a fork, or if the log of a lost volume is taken up again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from pydantic import AwareDatetime, Field

from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.artifacts.names import DatabaseName, PlaceName
from backup_agent.core.artifacts.records import Record, Sha256, StoredPart, few_values

LONGEST_LINE = 64 * 1024
"""Largest number of bytes of a line with its line break."""

MOST_KEYS = 150
"""Largest number of artifacts that one line names."""

_MOST_VALUES = 10_000


class AuditKind(StrEnum):
    """What a line says. A newer agent may write other kinds."""

    BEGUN = "begun"
    """An epoch begins: the log itself, or another epoch after a fork or a lost volume (`heads`)."""
    TORN = "torn"
    """A line that a crash cut off was moved aside."""
    EXPIRED = "expired"
    """Lines older than `limits.keep_audit` are removed at `place`: up to `facts.last`, whose digest is `digest`."""
    STARTED = "started"
    SETTINGS = "settings"
    """The settings changed: `facts.keys`."""
    KEY_MADE = "key_made"
    """`signing new` made a key on a machine with the volume: `facts.fingerprint`."""
    SIGNING_KEY = "signing_key"
    """Another key signs from now on: `facts.fingerprint`."""
    RECORDED = "recorded"
    """An artifact was recorded on the volume. `digest` is that of the record."""
    ADOPTED = "adopted"
    COPIED = "copied"
    """A copy was confirmed at `place`. `digest` is that of the record there."""
    COPY_GIVEN_UP = "copy_given_up"
    RECORD_SIGNED = "record_signed"
    """The record at `place` was signed later, and has another digest since."""
    ACCEPTED = "accepted"
    """A person accepted a record that the agent did not recognise, or a copy was found and noted."""
    DELETING = "deleting"
    """The intent to delete an artifact at `place`, before it is carried out."""
    DELETED = "deleted"
    HELD = "held"
    RELEASED = "released"
    HOLD_ENDED = "hold_ended"
    FORGOTTEN = "forgotten"
    PAUSED = "paused"
    RESUMED = "resumed"
    VERIFIED = "verified"
    """The artifacts `keys` at `place` were read and do not differ from their records."""
    DAMAGED = "damaged"
    HEALED = "healed"
    DRILLED = "drilled"
    FETCHED = "fetched"
    """An artifact and all that it needs left the agent, by the command `fetch`."""
    TAKEN_OVER = "taken_over"
    """`adopt-root` took a place over from its former owner."""


class Head(NamedTuple):
    """The end of a log: its last line."""

    n: int
    epoch: int
    digest: str
    """SHA-256 of the line without its line break, in hex."""


START = Head(0, 0, "")
"""The end of a log without a line."""


class AuditLine(StoredPart):
    """One line. `n`, `epoch`, `prev`, `at` and `pod` are set when the line is appended."""

    n: int = 0
    epoch: int = 0
    prev: str = Field(default="", description="SHA-256 of the line before, in hex; empty in the first line")
    at: AwareDatetime | None = Field(default=None, description="UTC, by the clock of the pod")
    pod: str = Field(default="", description="host name of the pod")
    kind: str
    place: PlaceName | None = None
    key: str | None = Field(default=None, description="key of an artifact")
    keys: tuple[str, ...] = Field(default=(), description="keys of several artifacts")
    digest: str | None = Field(default=None, description="SHA-256 of the record, in hex")
    request: str | None = Field(default=None, description="id of the request, or of the command")
    claimed: str | None = Field(default=None, description="who asked, as the request says; the agent does not check it")
    why: str | None = None
    plan: str | None = Field(default=None, description="id of the plan that deletes")
    facts: dict[str, Any] = Field(default={}, description="what only this kind of line has")

    def chained(self, head: Head, at: datetime, pod: str) -> Self:
        """Return the line as it follows `head`."""
        return self.model_copy(
            update={"n": head.n + 1, "epoch": max(1, head.epoch), "prev": head.digest, "at": at, "pod": pod}
        )

    def to_json(self) -> bytes:
        """Return the stored form: one line of JSON with its line break, always the same bytes."""
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse a line, with or without its line break. Raise ValueError if it is invalid."""
        return cls.model_validate_json(few_values(data, _MOST_VALUES))

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The keys of the artifacts that the line is about."""
        return self.keys if self.key is None else (self.key, *self.keys)

    def is_of(self, database: DatabaseName) -> bool:
        """Return whether the line is about a database."""
        if self.facts.get("database") == database:
            return True
        return any(_database(key) == database for key in self.artifacts)


def _database(key: str) -> str | None:
    try:
        return database_of(key)[1]
    except ValueError:
        return None


def digest_of_line(content: bytes) -> str:
    """Return the SHA-256 of a stored line in hex; its line break is not covered."""
    return hashlib.sha256(content.removesuffix(b"\n")).hexdigest()


def head_of(content: bytes) -> Head:
    """Return the head of a log whose last line this is. Raise ValueError if it is not a line."""
    line = AuditLine.from_json(content)
    return Head(line.n, line.epoch, digest_of_line(content))


def expired(place: PlaceName, last: Head) -> AuditLine:
    """Return the line that says up to which line the log is removed at a place."""
    return AuditLine(kind=AuditKind.EXPIRED, place=place, digest=last.digest, facts={"last": last.n})


def recorded(record: Record, digest: Sha256, kind: AuditKind = AuditKind.RECORDED) -> AuditLine:
    """Return the line for an artifact that was recorded on the volume. `digest` is that of its stored record."""
    facts = {
        "type": record.type.value,
        "taken": record.header.taken.isoformat(),
        "size": record.size,
        "files": len(record.files),
        "sha256": record.files[0].sha256,
        "source": record.source,
        "server_version": record.server_version,
        "admin_version": record.admin_version,
    }
    return AuditLine(
        kind=kind,
        key=record.key,
        digest=digest,
        request=record.request,
        claimed=record.requested_by,
        why=record.reason,
        facts={name: value for name, value in facts.items() if value is not None},
    )


def copied(record: Record, place: PlaceName, digest: Sha256) -> AuditLine:
    """Return the line for a copy that was confirmed at a destination. `digest` is that of the record there."""
    return AuditLine(
        kind=AuditKind.COPIED,
        place=place,
        key=record.key,
        digest=digest,
        request=record.request,
        facts={"size": record.size, "fencing": record.fencing},
    )


def verified(place: PlaceName, keys: Iterable[str], request: str | None) -> tuple[AuditLine, ...]:
    """Return the lines for artifacts that were read and are as recorded."""
    found = tuple(keys)
    return tuple(
        AuditLine(kind=AuditKind.VERIFIED, place=place, keys=found[start : start + MOST_KEYS], request=request)
        for start in range(0, len(found), MOST_KEYS)
    )


def drilled(
    place: PlaceName,
    key: str,
    *,
    level: str,
    outcome: str,
    request: str | None = None,
    claimed: str | None = None,
    facts: Mapping[str, object] | None = None,
) -> AuditLine:
    """Return the line for a drill of an artifact.

    `level` is what was proven (read, restore, check, query), `outcome` one of passed, artifact_failed, content_failed
    and not_done. `facts` are what the evidence measured, such as `restore_seconds`.
    """
    return AuditLine(
        kind=AuditKind.DRILLED,
        place=place,
        key=key,
        request=request,
        claimed=claimed,
        facts={"level": level, "outcome": outcome, **(facts or {})},
    )
