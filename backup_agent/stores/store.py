"""The interface of a store. The contract suite in tests/stores runs over every store.

A key is a path below the store's root, with `/` between its parts and none at the start:
`default/orders/orders-….backup`. Every method refuses an invalid key (stores/keys.py), reason `invalid_request`. Names
with a leading dot are the agent's own: they can be written and read, and are not listed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BufferedIOBase
from pathlib import Path
from typing import Protocol

from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.core.reasons import PermanentError, Reason, TransientError

Progress = Callable[[int], None]
"""Called with the number of bytes stored since the last call. It may raise BackupError or CancelledError to stop."""

Permit = Callable[[], None]
"""Called right before an object is replaced. It raises if replacing is no longer allowed."""


@dataclass(frozen=True)
class StoredObject:
    """What a store knows of an object without reading it."""

    key: str
    size: int
    digest: str | None = None
    """The store's own digest of the content, if it keeps one: `sha256:<hex>`, or `sha256-parts:<base64>-<n>` (S3's
    composite of part digests)."""


@dataclass(frozen=True)
class VersionedObject:
    """The content of a small object, with its version."""

    content: bytes
    version: str
    """The store's name for this state of the object (S3's ETag). The version changes with the content."""


class ObjectTooLargeError(PermanentError):
    """An object has more bytes than its kind may have. It was not read, and the agent did not write it."""

    def __init__(self, where: str, limit: int, version: str) -> None:
        """`version` is that of the object, so that `swap` can replace an object that is too large to be read."""
        super().__init__(
            Reason.UNREADABLE,
            f"{where} is larger than {limit} bytes, and was not read",
            "the agent writes no object of this size there: find out who wrote it, and remove it",
        )
        self.version = version


class ConflictError(TransientError):
    """Another process has changed an object since it was read. The object is left as it is."""

    def __init__(self, where: str) -> None:
        super().__init__(
            Reason.FOREIGN_ROOT, f"{where} was changed by another process meanwhile", "two agents may share this place"
        )


class Store(Protocol):
    """A place for artifacts and their records.

    Every method raises `PermanentError` or `TransientError` (core.reasons) and nothing else. The caller decides
    whether to retry, except for the retries that a client library makes by itself.
    """

    name: str

    concurrent_reads: int
    """Best number of small objects to read at once: 1 if threads do not make reading faster."""

    @property
    def keeps_versions(self) -> bool:
        """Whether replaced and deleted objects are known to stay as old versions. Sends no request."""
        ...

    @property
    def conditional_writes(self) -> bool:
        """Whether exactly one of several concurrent calls of `create` or `swap` for one key succeeds.

        If not, these methods check before they write. Reading this property for the first time may send requests.
        """
        ...

    def now(self) -> datetime | None:
        """Return the time of the store's own clock, to the second; None if it has no clock of its own."""
        ...

    def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
        """Store a file of an artifact, atomically and durably, and return the stored object.

        `file` has the size and the digests that were read. A source that has changed since then is refused, reason
        `checksum_mismatch` (only its size is compared if it is stored by a hard link, which copies no bytes). If the
        key already holds the same content, this succeeds; if it holds other content, that is left as it is, reason
        `already_exists`. An upload of the same content that a crash has interrupted is resumed. `progress` may be
        called by several threads, one at a time; its counts add up to the size.
        """
        ...

    def replace_artifact(
        self, key: str, source: Path, file: ArtifactFile, progress: Progress, permit: Permit
    ) -> StoredObject:
        """Store a file under a key whether or not the key exists, atomically and durably.

        Like `put_artifact`, but every byte of the source is compared with the digests in `file`, even if it is stored
        by a hard link, and `permit` is called before the existing object is changed.
        """
        ...

    def create(self, key: str, content: bytes) -> None:
        """Store a small object that must not exist yet, durably and atomically.

        If the key already holds the same content, this succeeds: a crash may have come after the write. Raise
        `PermanentError`, reason `already_exists`, if it holds other content.
        """
        ...

    def look(self, key: str, limit: int) -> VersionedObject | None:
        """Return a small object of at most `limit` bytes with its version, or None if it does not exist.

        Raise `ObjectTooLargeError` if it is larger, as `read` does: never more than the limit is held in memory.
        """
        ...

    def swap(self, key: str, content: bytes, version: str | None) -> str:
        """Replace a small object, atomically and durably, if it still has that version; return its new version.

        With version None the object must not exist yet. Raise `ConflictError` if another version exists, unless its
        content is the new one: then the answer to an earlier try was lost. So each caller must write content that no
        other process could have written.
        """
        ...

    def read(self, key: str, limit: int) -> bytes:
        """Return a small object of at most `limit` bytes.

        Raise `PermanentError`, reason `not_found`, if it does not exist, and `ObjectTooLargeError` if it is larger.
        """
        ...

    def open(self, key: str) -> BufferedIOBase:
        """Return an artifact's file for reading from its start; `not_found` as for `read`."""
        ...

    def stat(self, key: str) -> StoredObject | None:
        """Return the object under a key, or None if there is none."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with a prefix, in the order of the keys."""
        ...

    def delete(self, key: str) -> bool:
        """Remove a key. A key that does not exist is not an error.

        Return False if the store keeps the object as an old version, so that no space is freed.
        """
        ...
