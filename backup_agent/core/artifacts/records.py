"""The record of one artifact: its files, checksums, header and origin, and why it is FULL or DIFF.

It is stored beside the artifact as `….backup.json`, is written last, and never changes. Index, summary, status and
metrics can be rebuilt from the records.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from backup_agent.core.artifacts.attribution import Attribution
from backup_agent.core.artifacts.keys import artifact_key, database_key, name_of
from backup_agent.core.artifacts.names import ARTIFACT, PART, DatabaseName, SetName, misnamed
from backup_agent.core.escaping import quoted

LARGEST = 2**20
"""Size of the largest record in bytes: room for digests of 13,000 upload parts. A larger file is not the agent's."""

MOST_VALUES = 120_000
"""Largest number of commas, colons and opening brackets in a document, those in texts included.

A genuine record of LARGEST bytes has half as many.
"""

_ADDED_LATER = 1024
"""Bytes that a copy may add to a record, for the number of its lease."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""No artifact has an earlier time. The year 1 cannot be converted to zones west of Greenwich."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hex")]


class TooManyValuesError(ValueError):
    """A document has too many values: in memory they would take hundreds of times its size."""


def few_values(data: bytes, most: int = MOST_VALUES) -> bytes:
    """Return a JSON document unchanged. Raise TooManyValuesError if it has more than about `most` values.

    When a document is parsed, each value takes memory, and each fault takes more than a kilobyte.
    """
    if sum(map(data.count, (b",", b":", b"[", b"{"))) > most:
        raise TooManyValuesError(f"more than {most} values, so it was not parsed")
    return data


class BackupType(StrEnum):
    """The type of a backup. A record has FULL or DIFF; AUTO is decided before the backup starts."""

    FULL = "FULL"
    DIFF = "DIFF"
    AUTO = "AUTO"


class Value(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


class StoredPart(Value):
    """A value inside a stored document. Unknown keys are kept and written again."""

    model_config = ConfigDict(extra="allow")


class StoredValue(StoredPart):
    """A document that the agent stores and reads again.

    A new optional key does not raise `schema`, and older agents preserve the key. If the meaning of a key changes,
    `schema` is raised, and older agents cannot read the document.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")

    def to_json(self) -> bytes:
        """Return the stored form of the document: indented JSON in UTF-8 and a newline, always the same bytes."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse a document. Raise ValueError if it is invalid, has another schema, or has too many values."""
        return cls.model_validate_json(few_values(data))


class ArtifactFile(StoredPart):
    """One file of an artifact. An artifact is one file, or a manifest and its numbered parts."""

    name: str
    size: int = Field(ge=0, description="bytes")
    sha256: Sha256
    part_size: int = Field(default=0, ge=0, description="bytes of each upload part except the last; 0: one part")
    parts: tuple[Sha256, ...] = Field(default=(), description="SHA-256 of each upload part, in order")


class History(StoredPart):
    """One history of a database. A database that is replaced or created again has other ids, and so another history."""

    database_id: UUID = Field(description="Neo4j's internal id of the database, from the artifact's header")
    store_id: str = Field(description="id of the store with its format and version, from the artifact's header")


class Definition(StoredPart):
    """The definition of a database in SHOW DATABASES, with which a restore can create it again."""

    primaries: int | None = Field(default=None, description="requested primaries; null on a standalone server")
    secondaries: int | None = Field(default=None, description="requested secondaries; null on a standalone server")
    default_language: str | None = Field(default=None, description="such as CYPHER 25; null before 2025.06")
    access: str | None = Field(default=None, description="read-write or read-only")
    options: dict[str, str | int | float | bool] = Field(
        default={}, description="options of the database, except seed options and options that may contain a secret"
    )
    aliases: tuple[str, ...] = Field(default=(), description="local aliases of the database")
    shards: tuple[str, ...] = Field(
        default=(), description="databases that a sharded database consists of; empty for any other"
    )


class Signature(StoredPart):
    """A signature of a document, over the canonical JSON (RFC 8785) of the document without its signature."""

    kind: str = Field(description="signature algorithm, such as ed25519")
    key: str = Field(description="fingerprint of the public key: sha256: and the SHA-256 of its 32 bytes in hex")
    public_key: str = Field(description="the public key, in base64; verified only if the settings trust this key")
    value: str = Field(description="the signature, in base64")


class Header(StoredPart):
    """The header of an artifact (format: docs/design.md, "The artifact")."""

    magic: str = Field(
        description="first four bytes: BZV1, BZV2, BZV3, BTV1, BTV2; a split artifact has the magic of its joined parts"
    )
    database: DatabaseName
    database_id: UUID = Field(description="Neo4j's internal id, not the databaseID of SHOW DATABASES")
    store_id: str = Field(description="creation time, random, engine, format and version of the store, joined by '-'")
    taken: AwareDatetime = Field(ge=_EPOCH, description="UTC, whole seconds")
    lowest: int = Field(description="lowest append index; 0 with highest 0 is an empty differential")
    highest: int
    full: bool
    compressed: bool
    recovered: bool

    @property
    def empty(self) -> bool:
        """Whether this is a differential without transactions."""
        return not self.full and self.lowest == 0 and self.highest == 0

    @property
    def history(self) -> History:
        """The history of the database to which the artifact belongs."""
        return History(database_id=self.database_id, store_id=self.store_id)


class Record(Attribution, StoredValue):
    """The record of one artifact at one place (schema 1), with the attribution of its request."""

    key: str = Field(description="<set>/<database>/<artifact>")
    cluster: str
    set: SetName
    database: DatabaseName
    type: Literal[BackupType.FULL, BackupType.DIFF]
    type_reason: str = Field(description="why FULL or DIFF, such as chain_continues")
    parent: str | None = Field(default=None, description="key of the artifact this differential continues")
    header: Header
    files: tuple[ArtifactFile, ...] = Field(min_length=1)
    raw_size: int | None = Field(
        default=None, ge=0, description="bytes unpacked, counted when the artifact was read back"
    )
    database_id: str | None = Field(default=None, description="databaseID of SHOW DATABASES at the time")
    history: History | None = Field(default=None, description="history of the database to which the artifact belongs")
    last_committed_tx: int | None = Field(
        default=None,
        description="lowest lastCommittedTxn of the online copies in SHOW DATABASES before the backup began: the "
        "artifact and its parents should contain every transaction up to this one, and may contain later ones",
    )
    clock_offset: float | None = Field(
        default=None,
        description="seconds by which the servers' clock was ahead of the agent's in the last answer over Bolt before "
        "the backup began",
    )
    definition: Definition | None = Field(
        default=None, description="definition of the database when it was last read over Bolt before the backup"
    )
    request: str = Field(description="id of the request")
    started: AwareDatetime
    finished: AwareDatetime
    source: str | None = Field(default=None, description="host:port of the server, from the output of neo4j-admin")
    server_version: str | None = None
    admin_version: str | None = None
    launch: str | None = Field(default=None, description="script or direct")
    exit_code: int | None = Field(
        default=None, description="exit code of neo4j-admin; null if the artifact was adopted after a crash"
    )
    warnings: tuple[str, ...] = ()
    fencing: int | None = Field(default=None, description="number of the lease under which it was published")
    audit_head: str | None = Field(
        default=None, description="SHA-256 of the last line of the audit log at the time, in hex"
    )
    signature: Signature | None = Field(default=None, description="null if the agent has no signing key")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # These names are used as paths, keys and arguments, so all of them must name the same artifact.
        if self.header.database.lower() != self.database.lower():
            raise ValueError(f"its header names database {quoted(self.header.database)}, not {quoted(self.database)}")
        first, *parts = (file.name for file in self.files)
        if fault := misnamed(first, self.database, self.header.taken):
            raise ValueError(f"file {fault}")
        if self.key != (key := artifact_key(self.set, self.database, first)):
            raise ValueError(f"key {quoted(self.key)} does not name {key}")
        for name in parts:
            if not ((part := PART.fullmatch(name)) and part["manifest"] == first):
                raise ValueError(f"file {quoted(name)} is not a part of {quoted(first)}")
        if self.parent is not None and not _is_key(self.parent, self.set, self.database):
            raise ValueError(
                f"parent {quoted(self.parent)} is not an artifact of {database_key(self.set, self.database)}"
            )
        if self.header.full != (self.type is BackupType.FULL):
            raise ValueError(f"type {self.type.value} contradicts the header")
        return self

    def bounded(self) -> Self:
        """Return the record, without the digests of upload parts if it would be too large to be read back.

        Without these digests, a later upload reads the files once more.
        """
        if len(self.to_json()) <= LARGEST - _ADDED_LATER:
            return self
        files = tuple(file.model_copy(update={"part_size": 0, "parts": ()}) for file in self.files)
        return self.model_copy(update={"files": files})

    @property
    def size(self) -> int:
        """Bytes of the whole artifact."""
        return sum(file.size for file in self.files)


def _is_key(key: str, set_name: SetName, database: DatabaseName) -> bool:
    """Return whether a key is that of an artifact of a database in a set."""
    named = ARTIFACT.fullmatch(name_of(key))
    return named is not None and named["database"] == database and key == artifact_key(set_name, database, named[0])
