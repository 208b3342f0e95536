"""What a store promises. The contract suite in tests/stores runs over every store.

Keys are paths below the store's root, `/` between parts, never starting with one: `default/orders/orders-….backup`;
what is no key (stores/keys.py) is refused by every method, reason `invalid_request`. Names with a leading dot are the
agent's own: they can be written and read, and are not listed.
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
"""Called with the bytes stored since the last call; it may raise BackupError or CancelledError to end the storing."""

Permit = Callable[[], None]
"""Called right before something is replaced; it raises where that is allowed no more."""


@dataclass(frozen=True)
class StoredObject:
    """What stands under a key."""

    key: str
    size: int
    digest: str | None = None
    """What the store itself says of the content, where it does: `sha256:<hex>`, or `sha256-parts:<base64>-<n>` (S3's
    composite of part digests)."""


@dataclass(frozen=True)
class VersionedObject:
    """A small object as it was looked at."""

    content: bytes
    version: str
    """The store's own name for this state of the object (S3's ETag): another content has another one."""


class ObjectTooLargeError(PermanentError):
    """A small object has more bytes than its kind may have: it was not read, and the agent did not write it."""

    def __init__(self, where: str, limit: int, version: str) -> None:
        """`version` is that of `VersionedObject`: an object that is too large can still be replaced by `swap`."""
        super().__init__(
            Reason.UNREADABLE,
            f"{where} is larger than {limit} bytes, and was not read",
            "the agent writes no object of this size there: find out who did, and remove it",
        )
        self.version = version


class ConflictError(TransientError):
    """Somebody else has changed an object since it was looked at; what stands there now was left alone."""

    def __init__(self, where: str) -> None:
        super().__init__(
            Reason.FOREIGN_ROOT, f"{where} was changed by somebody else meanwhile", "two agents may share this place"
        )


class Store(Protocol):
    """A place for artifacts and their records.

    Every method raises `PermanentError` or `TransientError` (core.reasons), classified where the store meets the
    world, and nothing else. Retrying is the caller's affair, except what a client library does by itself.
    """

    name: str

    @property
    def conditional_writes(self) -> bool:
        """Whether of several who `create` or `swap` the same key at the same time exactly one wins.

        Where False, they look first and write then. The first question may cost requests.
        """
        ...

    def now(self) -> datetime | None:
        """Return what time it is by the store's own clock, to the second; None where it has none but ours."""
        ...

    def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
        """Store a file of an artifact, durably, and return what now stands there.

        `file` tells size and digests as they were read; a source that has changed since is refused with
        `checksum_mismatch` (a hard link moves no bytes: there the size alone is compared). Atomic: the key holds all of
        it or nothing. The same content again is a success; other content under the key stays, `checksum_mismatch`.
        Resumes an upload of the same content that a crash cut off. `progress` may be called by several threads, one
        at a time; its counts add up to the size.
        """
        ...

    def replace_artifact(
        self, key: str, source: Path, file: ArtifactFile, progress: Progress, permit: Permit
    ) -> StoredObject:
        """Put a file in the place of whatever stands under the key, or of nothing; durably and atomically.

        As `put_artifact`, but that every byte of the source is proven by the digests in `file`, here also where a hard
        link moves none, and that `permit` is called, before what stands there is touched.
        """
        ...

    def create(self, key: str, content: bytes) -> None:
        """Store a small object that must not exist yet, durably and atomically.

        The same content again is a success (a crash may have come after the write); other content under the key
        raises `PermanentError`, reason `checksum_mismatch`.
        """
        ...

    def look(self, key: str, limit: int) -> VersionedObject | None:
        """Return a small object of at most `limit` bytes with its version, or None if it does not exist.

        Raise `ObjectTooLargeError` if it is larger, as `read` does: never more than the limit is held in memory.
        """
        ...

    def swap(self, key: str, content: bytes, version: str | None) -> str:
        """Replace a small object, durably and atomically, if it is still of that version; return its new version.

        None stands for an object that must not exist. Raise `ConflictError` where it is otherwise, unless this very
        content stands there already: the answer to an earlier try was lost, then. So whoever swaps writes each time
        something that nobody else could have written.
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
        """Return what stands under the key, or None."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield everything below a prefix, in the order of the keys."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key. One that does not exist is no error."""
        ...
