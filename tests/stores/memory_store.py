"""A store in memory, for tests of code that uses a store. It passes the contract suite of the product's stores."""

import hashlib
import io
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Lock

from backup_agent.core.artifacts.parts import whole_digest
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.keys import is_listed, other_content, parts_of
from backup_agent.stores.source import open_source, source_changed
from backup_agent.stores.store import (
    ConflictError,
    ObjectTooLargeError,
    Permit,
    Progress,
    StoredObject,
    VersionedObject,
)


class MemoryStore:
    """A store that keeps all objects in a dictionary."""

    conditional_writes = True
    concurrent_reads = 1
    keeps_versions = False

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._objects: dict[str, bytes] = {}
        self._lock = Lock()

    def now(self) -> None:
        """Return None: this store has no clock."""

    def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
        """Store a file that must have the content that `file` describes; see `Store`."""
        content = _proven(source, file)
        self.create(key, content)
        progress(len(content))
        return StoredObject(key, file.size, whole_digest(file.sha256))

    def replace_artifact(
        self, key: str, source: Path, file: ArtifactFile, progress: Progress, permit: Permit
    ) -> StoredObject:
        """Store a file in place of any object under the key."""
        parts_of(key)
        content = _proven(source, file)
        permit()
        with self._lock:
            self._objects[key] = content
        progress(len(content))
        return StoredObject(key, file.size, whole_digest(file.sha256))

    def create(self, key: str, content: bytes) -> None:
        """Store a small object that must not exist yet."""
        parts_of(key)
        with self._lock:
            if self._objects.setdefault(key, content) != content:
                raise other_content(f"{self.name}: {key}")

    def look(self, key: str, limit: int) -> VersionedObject | None:
        """Return a small object with its version, or None."""
        parts_of(key)
        with self._lock:
            content = self._objects.get(key)
        if content is None:
            return None
        if len(content) > limit:
            raise ObjectTooLargeError(f"{self.name}: {key}", limit, _version(content))
        return VersionedObject(content, _version(content))

    def swap(self, key: str, content: bytes, version: str | None) -> str:
        """Replace a small object if it still has this version."""
        parts_of(key)
        with self._lock:
            found = self._objects.get(key)
            if found != content and (None if found is None else _version(found)) != version:
                raise ConflictError(f"{self.name}: {key}")
            self._objects[key] = content
        return _version(content)

    def read(self, key: str, limit: int) -> bytes:
        """Return a small object."""
        seen = self.look(key, limit)
        if seen is None:
            raise self._absent(key)
        return seen.content

    def open(self, key: str, start: int = 0) -> io.BufferedIOBase:
        """Return an artifact's file for reading from byte `start`."""
        parts_of(key)
        with self._lock:
            if key not in self._objects:
                raise self._absent(key)
            return io.BytesIO(self._objects[key][start:])

    def _absent(self, key: str) -> PermanentError:
        return PermanentError(Reason.NOT_FOUND, f"{self.name}: there is no {key}")

    def stat(self, key: str) -> StoredObject | None:
        """Return the object under the key, or None."""
        parts_of(key)
        with self._lock:
            content = self._objects.get(key)
        if content is None:
            return None
        return StoredObject(key, len(content), whole_digest(hashlib.sha256(content).hexdigest()))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects below a prefix, in the order of their keys."""
        with self._lock:
            sizes = {key: len(content) for key, content in self._objects.items() if key.startswith(prefix)}
        for key in sorted(sizes):
            if is_listed(key):
                yield StoredObject(key, sizes[key])

    def versions(self, folder: str, most: int) -> dict[str, str]:
        """Return the keys below a folder of the agent's own with their versions."""
        with self._lock:
            found = {key: _version(content) for key, content in self._objects.items() if key.startswith(folder)}
        return dict(islice(((key, found[key]) for key in found if is_listed(key.removeprefix(folder))), most))

    def delete(self, key: str) -> bool:
        """Delete an object. A missing object is not an error."""
        parts_of(key)
        with self._lock:
            self._objects.pop(key, None)
        return True


def _proven(source: Path, file: ArtifactFile) -> bytes:
    with open_source(source, file) as descriptor:
        content = os.pread(descriptor, file.size + 1, 0)
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise source_changed(source, f"SHA-256 {file.sha256} was read, it has {found}")
    return content


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
