"""A store around another store, whose operations fail in every way in which operations of stores fail.

A fault affects one call: the n-th of its operation. `violations` then checks the objects in the storage alone.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from io import BufferedIOBase
from pathlib import Path
from threading import Event, Lock
from typing import TypeVar

from backup_agent.core.artifacts.keys import is_record_key
from backup_agent.core.artifacts.records import ArtifactFile, Record
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from backup_agent.durable import LIMIT
from backup_agent.stores.store import Permit, Progress, Store, StoredObject, VersionedObject

Result = TypeVar("Result")

WRITES = ("create", "put_artifact", "replace_artifact", "swap", "delete")
READS = ("look", "read", "open", "stat", "list", "now")


class Does(StrEnum):
    """The kinds of faults."""

    FAIL = "fails"
    REFUSE = "is refused for good"
    LIE = "succeeds and reports failure"
    HANG_BEFORE = "hangs until ended, not done"
    HANG_AFTER = "hangs until ended, done"
    DIE_BEFORE = "the process dies before"
    DIE_AFTER = "the process dies after"


@dataclass(frozen=True)
class Fault:
    """A fault in one call, the `nth` of its operation (from 1), or in all calls from that one on."""

    operation: str
    does: Does
    nth: int = 1
    lasting: bool = False


class KilledError(BaseException):
    """Ends the process as a kill would: no handler catches it, and no later call reaches the store."""


class FaultyStore:
    """Passes calls to `inner`, except those with a fault. `hanging` is set while a call hangs; `end` then kills the process."""

    concurrent_reads = 8

    def __init__(self, inner: Store, *faults: Fault) -> None:
        self.name = inner.name
        self.inner = inner
        self.faults = list(faults)
        self.calls: Counter[str] = Counter()
        self.hanging = Event()
        self.dead = False
        self._ended = Event()
        self._lock = Lock()
        self._young: set[str] = set()
        self._ghosts: dict[str, StoredObject] = {}
        self.list_lags = False

    def end(self) -> None:
        """Kill the process that uses this store."""
        self.dead = True
        self._ended.set()

    def revive(self) -> None:
        """Let a new process use the store, without faults."""
        self.faults.clear()
        self.calls.clear()
        self.dead = False
        self._ended.clear()
        self.hanging.clear()

    @property
    def keeps_versions(self) -> bool:
        return self.inner.keeps_versions

    @property
    def conditional_writes(self) -> bool:
        return self.inner.conditional_writes

    def now(self) -> datetime | None:
        return self._call("now", self.inner.now)

    def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
        self._note_young(key)
        return self._call("put_artifact", lambda: self.inner.put_artifact(key, source, file, progress))

    def replace_artifact(
        self, key: str, source: Path, file: ArtifactFile, progress: Progress, permit: Permit
    ) -> StoredObject:
        return self._call("replace_artifact", lambda: self.inner.replace_artifact(key, source, file, progress, permit))

    def create(self, key: str, content: bytes) -> None:
        self._note_young(key)
        self._call("create", lambda: self.inner.create(key, content))

    def look(self, key: str, limit: int) -> VersionedObject | None:
        return self._call("look", lambda: self.inner.look(key, limit))

    def swap(self, key: str, content: bytes, version: str | None) -> str:
        self._note_young(key)
        return self._call("swap", lambda: self.inner.swap(key, content, version))

    def read(self, key: str, limit: int) -> bytes:
        return self._call("read", lambda: self.inner.read(key, limit))

    def open(self, key: str, start: int = 0) -> BufferedIOBase:
        return self._call("open", lambda: self.inner.open(key, start))

    def stat(self, key: str) -> StoredObject | None:
        return self._call("stat", lambda: self.inner.stat(key))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects. A lagging listing hides new keys and shows deleted ones."""
        found = self._call("list", lambda: {stored.key: stored for stored in self.inner.list(prefix)})
        if self.list_lags:
            found = {key: stored for key, stored in found.items() if key not in self._young}
            found |= {key: stored for key, stored in self._ghosts.items() if key.startswith(prefix)}
        return iter([found[key] for key in sorted(found)])

    def versions(self, folder: str, most: int) -> dict[str, str]:
        return self._call("versions", lambda: self.inner.versions(folder, most))

    def delete(self, key: str) -> bool:
        stored = self.inner.stat(key)
        if stored is not None and key not in self._young:
            self._ghosts[key] = stored
        return self._call("delete", lambda: self.inner.delete(key))

    def hide(self, *keys: str) -> None:
        """Hide these keys from listings, as if they had just been written."""
        self._young.update(keys)
        self.list_lags = True

    def catch_up(self) -> None:
        """Let listings show all existing objects, and no others."""
        self.list_lags = False
        self._young.clear()
        self._ghosts.clear()

    def _note_young(self, key: str) -> None:
        if self.inner.stat(key) is None:
            self._young.add(key)

    def _call(self, operation: str, do: Callable[[], Result]) -> Result:
        with self._lock:
            self.calls[operation] += 1
            does = self._due(operation, self.calls[operation])
        if self.dead:
            raise KilledError
        if does is Does.FAIL:
            raise TransientError(Reason.STORAGE_UNREACHABLE, f"{self.name}: {operation} failed, as injected")
        if does is Does.REFUSE:
            raise PermanentError(Reason.STORAGE_AUTH, f"{self.name}: {operation} is refused, as injected")
        if does is Does.HANG_BEFORE:
            self._hang()
        if does is Does.DIE_BEFORE:
            self._die()
        result = do()
        if does is Does.LIE:
            raise TransientError(Reason.STORAGE_UNREACHABLE, f"{self.name}: {operation} lost its answer, as injected")
        if does is Does.HANG_AFTER:
            self._hang()
        if does is Does.DIE_AFTER:
            self._die()
        return result

    def _due(self, operation: str, nth: int) -> Does | None:
        for fault in self.faults:
            if fault.operation == operation and (nth == fault.nth or (fault.lasting and nth > fault.nth)):
                return fault.does
        return None

    def _hang(self) -> None:
        self.hanging.set()
        if not self._ended.wait(30):
            raise TimeoutError("the hanging call was not ended")
        raise KilledError

    def _die(self) -> None:
        self.dead = True
        raise KilledError


def violations(store: Store) -> list[str]:
    """Return the violations of invariants 1 and 3 of docs/design.md by the objects in a store."""
    found: list[str] = []
    records: dict[str, Record] = {}
    for stored in store.list():
        if is_record_key(stored.key):
            record = Record.from_json(store.read(stored.key, LIMIT))
            records[record.key] = record
            found.extend(_faults_of(store, record))
    found.extend(
        f"{record.key} is recorded without its parent {record.parent}"
        for record in records.values()
        if record.parent is not None and record.parent not in records
    )
    return found


def _faults_of(store: Store, record: Record) -> Iterator[str]:
    for file in record.files:
        key = f"{record.set}/{record.database}/{file.name}"
        try:
            content = store.read(key, LIMIT)
        except PermanentError:
            yield f"{key} is recorded and not there"
            continue
        if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
            yield f"{key} is recorded with other content"
