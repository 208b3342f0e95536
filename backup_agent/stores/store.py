"""The interface of a store. The contract suite in tests/stores runs over every store.

A key is a path below the store's root, with `/` between its parts and none at the start:
`default/orders/orders-….backup`. For an invalid key (stores/keys.py) every method raises `PermanentError`, reason
`invalid_request`. Names with a leading dot are the agent's own: they can be written and read, and are not listed.
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
    """What a store states about an object without reading it."""

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
    """Identifies this state of the object (the ETag on S3). The version changes with the content."""


class ObjectTooLargeError(PermanentError):
    """An object is larger than any that the agent writes under its key. It was not read."""

    def __init__(self, where: str, limit: int, version: str) -> None:
        """`version` is the version of the object: `swap` needs it to replace an object that is too large to be read."""
        super().__init__(
            Reason.UNREADABLE,
            f"{where} is larger than {limit} bytes, and was not read",
            "the agent writes no object of this size there: find out who wrote it, and remove it",
        )
        self.version = version


class ConflictError(TransientError):
    """Another process has changed an object since it was read, or while it was read. The object was not replaced."""

    def __init__(self, where: str) -> None:
        super().__init__(
            Reason.FOREIGN_ROOT, f"{where} was changed by another process meanwhile", "two agents may share this place"
        )


class Store(Protocol):
    """Storage for artifacts and their records: a volume, or the part of a bucket below a prefix.

    Every method raises `PermanentError` or `TransientError` (core.reasons) and nothing else. The caller decides
    whether to retry, except for the retries that a client library makes by itself.
    """

    name: str

    concurrent_reads: int
    """Best number of small objects to read at once: 1 if threads do not make reading faster."""

    @property
    def keeps_versions(self) -> bool:
        """Whether the store is known to keep replaced and deleted objects as old versions. Sends no request."""
        ...

    @property
    def conditional_writes(self) -> bool:
        """Whether exactly one of several concurrent calls of `create` or `swap` for one key succeeds.

        If False, these methods check the object before they write it. The first use of this property may send requests.
        """
        ...

    def now(self) -> datetime | None:
        """Return the time of the store's own clock, to the second; None if it has no clock of its own."""
        ...

    def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
        """Store a file of an artifact, atomically and durably, and return the stored object.

        `file` has the size and the digests of the source from when it was read. Raise `PermanentError`, reason
        `checksum_mismatch`, if the source has changed since. A hard link copies no bytes: for it, only the size is
        compared. If the key already has the same content, return the existing object. If it has other content, leave
        it unchanged and raise `PermanentError`, reason `already_exists`. Resume an upload of the same content that a
        crash has interrupted. `progress` may be called by several threads, one at a time; its counts add up to the
        size.
        """
        ...

    def replace_artifact(
        self, key: str, source: Path, file: ArtifactFile, progress: Progress, permit: Permit
    ) -> StoredObject:
        """Store a file under a key whether or not the key exists, atomically and durably.

        Like `put_artifact`, but every byte of the source is compared with the digests in `file`, also for a hard
        link, and `permit` is called before an existing object is replaced.
        """
        ...

    def create(self, key: str, content: bytes) -> None:
        """Store a small object that must not exist yet, durably and atomically.

        Succeed if the key already has the same content, since an earlier call may have ended in a crash after its
        write. Raise `PermanentError`, reason `already_exists`, if the key has other content.
        """
        ...

    def look(self, key: str, limit: int) -> VersionedObject | None:
        """Return a small object of at most `limit` bytes with its version, or None if it does not exist.

        Like `read`, raise `ObjectTooLargeError` if the object is larger: no more than `limit` is held in memory.
        """
        ...

    def swap(self, key: str, content: bytes, version: str | None) -> str:
        """Replace a small object, atomically and durably, if it still has `version`; return its new version.

        If `version` is None, the object must not exist yet. Raise `ConflictError` if another version exists, unless
        that version already has the new content: then an earlier try succeeded and its answer was lost. Therefore a
        caller must write only content that no other process could have written.
        """
        ...

    def read(self, key: str, limit: int) -> bytes:
        """Return a small object of at most `limit` bytes.

        Raise `PermanentError`, reason `not_found`, if it does not exist, and `ObjectTooLargeError` if it is larger.
        """
        ...

    def open(self, key: str, start: int = 0) -> BufferedIOBase:
        """Return an artifact's file for reading from byte `start`, which may be its end.

        Raise as `read` does if the file does not exist. All bytes are of one version of the object: reading raises
        ConflictError if another process replaces it. On the volume, a replaced file is read to its end.
        """
        ...

    def stat(self, key: str) -> StoredObject | None:
        """Return the object under a key, or None if it does not exist."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with a prefix, in the order of the keys."""
        ...

    def versions(self, folder: str, most: int) -> dict[str, str]:
        """Return the keys below a folder of the agent's own, such as `.drills/`, with the versions that `look` states.

        At most `most` objects are returned, in no particular order. A version is empty if the store does not list it.
        """
        ...

    def delete(self, key: str) -> bool:
        """Remove a key. A key that does not exist is not an error.

        Return True, or False if the store keeps the object as an old version, so that no space is freed.
        """
        ...
