"""Holding the lease of a destination. Only the agent that holds the lease may publish and delete there.

The lease belongs to the agent, not to a process: child processes that work at the same destination hold it together,
and the last one releases it. In a store that keeps versions, the lease is not released, but left to expire. The
processes share a folder on the volume, `<root>/.agent/leases/<place>/`:

- `seat`: each process holds a shared flock on it. If the flock is free, no process of this agent holds the lease, even
  if the last one was killed. The next child can then take over the lease of a dead process at once.
- `sight.json`: the lease at the destination when it was last read or written, and the time of its last change. By
  this file, children that live for less than three periods can watch another agent's lease together. An exclusive
  flock on the file is held during every read and write of the lease.
"""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from backup_agent import durable
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.ownership.lease import HOLD_PERIODS, PERIOD, TAKE_PERIODS, Lease, may_take
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason, TransientError
from backup_agent.stores.store import ConflictError, ObjectTooLargeError, Store

KEY = ".agent/lease.json"
TRIES = 3
"""Number of tries to write a lease that other processes change at the same time."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOOKS = 4
"""Number of times per period that a waiting process reads the lease, or that a failed renewal is tried again."""


class HeldByAnotherError(TransientError):
    """Another agent holds the lease."""

    def __init__(self, error: str, hint: str = "") -> None:
        advice = "only one agent at a time publishes at a place: if the other one is gone, its lease is taken over soon"
        super().__init__(Reason.FOREIGN_ROOT, error, hint or advice)


@dataclass(frozen=True)
class Held:
    """A held place. This base class has no lease. It serves the volume and stores without conditional writes."""

    number: int | None = None
    """The fencing number for records; None without a lease."""
    no_deletion: Failure | None = None
    """Why nothing may be deleted at the place; None if deletions are allowed."""
    notices: tuple[str, ...] = ()
    """Texts for the log."""

    @property
    def may_delete(self) -> bool:
        """Whether deletions are allowed at the place."""
        return self.no_deletion is None

    def check(self) -> None:
        """Raise TransientError (`foreign_root`) unless the lease is still held. Called before each record is written.

        Sends no request while the last renewal is recent.
        """

    def confirm(self) -> None:
        """Like `check`, but always sends a request. Called before each batch of deletions."""


@dataclass(frozen=True)
class HeldByLease(Held):
    """A place held by a lease."""

    tenure: "Tenure" = field(kw_only=True)

    def check(self) -> None:
        """Raise unless the lease is still held."""
        self.tenure.check()

    def confirm(self) -> None:
        """Raise unless the lease is still held. Renews the lease by a conditional write."""
        self.tenure.renew(due=0.0)


@contextmanager
def hold(
    store: Store,
    ours: Owner,
    folder: Path,
    *,
    wait: float = 0.0,
    period: float = PERIOD,
    quiet: bool = False,
    by_expiry: bool = False,
    no_deletion: Failure | None = None,
) -> Iterator[HeldByLease]:
    """Hold the lease of a destination. A thread renews it.

    Raise TransientError (`foreign_root`), with both owners, if another agent holds it for longer than `wait` seconds.
    If `quiet`, even a released lease is taken only after it has not changed for three periods. If `by_expiry`, the
    lease is never released, as in a store that keeps versions; the next process of this agent continues it.
    """
    tenure = Tenure(store, ours, folder, period, quiet=quiet, by_expiry=by_expiry)
    try:
        tenure.take(wait)
        try:
            yield HeldByLease(tenure.lease.number, no_deletion, tenure=tenure)
        finally:
            tenure.give_up()
    finally:
        tenure.close()


@contextmanager
def noting(folder: Path) -> Iterator[None]:
    """Turn an OSError for a note on the volume into a PermanentError."""
    try:
        yield
    except OSError as error:
        reason = Reason.DISK_FULL if durable.is_full(error) else Reason.INTERNAL
        raise PermanentError(reason, f"{folder}: {error.strerror}") from error


class _Sight(StoredValue):
    """The lease at the destination, as far as it is known on this volume."""

    version: str | None = None
    """The version of the object at the destination; None if there is no object."""
    lease: Lease | None = None
    """The last lease seen. It is kept after the object was deleted, because its number must not be used again."""
    since: float = 0.0
    """Time by the monotonic clock of this boot: when this version was first seen, or just before it was written."""
    boot: str = ""

    @property
    def present(self) -> Lease | None:
        """The lease at the destination, or None if there is none."""
        return self.lease if self.version is not None else None

    @classmethod
    def of(cls, content: bytes) -> Self | None:
        """Parse the notes of an earlier process. Return None if they are damaged or of another version."""
        try:
            return cls.model_validate_json(content)
        except ValidationError:
            return None


class Tenure:
    """The part of one process in holding the lease that the agent's processes share."""

    def __init__(
        self,
        store: Store,
        ours: Owner,
        folder: Path,
        period: float,
        *,
        quiet: bool = False,
        by_expiry: bool = False,
    ) -> None:
        self._store = store
        self._by_expiry = by_expiry
        self._ours = ours
        self._period = period
        self._quiet = quiet
        self._boot = _BOOT.read_text().strip()
        with noting(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._notes = durable.open_regular(folder / "sight.json", os.O_RDWR | os.O_CREAT, mode=durable.SHARED)
            self._seat = durable.open_regular(folder / "seat", os.O_RDWR | os.O_CREAT, mode=durable.SHARED)
        facts = os.fstat(self._seat)
        self._seat_name = f"{self._boot}:{facts.st_dev}:{facts.st_ino}"
        self._thread_lock = threading.Lock()
        self._stop = threading.Event()
        self._renewing = threading.Thread(target=self._renew_each_period, name="lease", daemon=True)
        self._sight = _Sight()
        self._token = ""
        self._lost = ""

    @property
    def lease(self) -> Lease:
        """The lease as it was last written. Raise TypeError if it is not held."""
        if self._sight.lease is None:
            raise TypeError("asked for a lease that is not held")
        return self._sight.lease

    # Taking

    def take(self, wait: float) -> None:
        """Take or join the lease. Raise TransientError if another agent holds it for longer than `wait` seconds."""
        until = time.monotonic() + wait
        while True:
            try:
                with self._alone():
                    self._take()
                break
            except HeldByAnotherError:
                remaining = until - time.monotonic()
                if remaining <= 0:
                    raise
                self._stop.wait(min(remaining, self._period / _LOOKS))
        self._renewing.start()

    def _take(self) -> None:
        if not self._lock_seat():
            self._join()
            return
        taken = False
        try:
            if not self._go_on():
                self._take_alone()
            taken = True
        finally:
            fcntl.flock(self._seat, fcntl.LOCK_SH if taken else fcntl.LOCK_UN)

    def _join(self) -> None:
        """Join the lease that other processes of this agent hold."""
        found = self._sight.present
        if found is None or found.seat != self._seat_name:  # the other processes have lost it
            raise HeldByAnotherError(self._named(found))
        self._token, self._lost = found.token, ""
        self._renew(due=HOLD_PERIODS * self._period)
        fcntl.flock(self._seat, fcntl.LOCK_SH)

    @property
    def _is_released(self) -> bool:
        """Whether `give_up` releases the lease.

        In a store that keeps versions, each release and each new lease would remain as a version.
        """
        return not (self._by_expiry or self._store.keeps_versions)

    def _go_on(self) -> bool:
        """Continue the lease that an earlier process has left. Return False if it was released or is too old.

        This sends no request if the last renewal is less than a period old. Other agents may take the lease only after
        three periods.
        """
        found, sight = self._sight.present, self._sight
        if self._is_released or found is None or found.released or found.seat != self._seat_name:
            return False
        if sight.boot != self._boot or time.monotonic() - sight.since >= HOLD_PERIODS * self._period:
            return False
        self._token = found.token
        try:
            self._renew(due=self._period)
        except HeldByAnotherError:
            self._lost = ""
            return False
        return True

    def _take_alone(self) -> None:
        if self._sight.boot != self._boot or not self._may_take():
            self._look()
        for _ in range(TRIES):
            if not self._may_take():
                raise HeldByAnotherError(self._named(self._sight.lease))
            self._token = secrets.token_hex(8)
            lease = Lease(
                holder=self._ours.id,
                agent=str(self._ours),
                token=self._token,
                number=self._sight.lease.number + 1 if self._sight.lease else 1,
                renewal=0,
                period=self._period,
                seat=self._seat_name,
            )
            try:
                self._write(lease)
            except ConflictError:
                self._look()
            else:
                return
        raise HeldByAnotherError(self._named(self._sight.lease))

    def _may_take(self) -> bool:
        """Return whether the last lease seen may be replaced."""
        found = self._sight.present
        unchanged = time.monotonic() - self._sight.since
        if self._quiet and found is not None and unchanged < TAKE_PERIODS * found.period:
            return False
        return may_take(found, seat=self._seat_name, unchanged=unchanged)

    def _lock_seat(self) -> bool:
        """Lock the seat exclusively. Return False if another process of this agent shares the lease."""
        try:
            fcntl.flock(self._seat, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    # Holding

    def check(self) -> None:
        """Raise TransientError unless the lease is still held. Sends a request only if the last renewal is old."""
        if self._lost:
            raise HeldByAnotherError(self._lost)
        if time.monotonic() - self._sight.since >= HOLD_PERIODS * self._period:
            self.renew(due=HOLD_PERIODS * self._period)

    def renew(self, *, due: float) -> None:
        """Renew the lease if its last renewal, by any process of this agent, is older than `due` seconds."""
        with self._alone():
            self._renew(due)

    def _renew(self, due: float) -> None:
        for _ in range(TRIES):
            found = self._sight.present
            if found is None or found.token != self._token or found.released:
                self._lost = f"the lease was lost: {self._named(found)}"
                raise HeldByAnotherError(self._lost)
            if time.monotonic() - self._sight.since < due:
                return
            try:
                self._write(found.renewed())
            except ConflictError:
                # An earlier write may have succeeded though its answer was lost: then the lease has our token.
                self._look()
            else:
                return
        raise TransientError(Reason.STORAGE_UNREACHABLE, f"{self._store.name}: the lease cannot be renewed")

    def _renew_each_period(self) -> None:
        pause = self._period
        while not self._stop.wait(pause) and not self._lost:
            try:
                self.renew(due=0.9 * self._period)
                pause = self._period
            except BackupError:
                pause = self._period / _LOOKS  # if renewals keep failing, `check` raises

    def give_up(self) -> None:
        """Unlock the seat. The last process also releases the lease; if it does not, the next agent must wait."""
        self._stop.set()
        with self._alone():
            fcntl.flock(self._seat, fcntl.LOCK_UN)
            found = self._sight.lease
            held = not self._lost and found is not None and found.token == self._token
            if held and found is not None and self._is_released and self._lock_seat():
                with suppress(BackupError):
                    self._write(found.given_up())
                fcntl.flock(self._seat, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files, after a renewal that is under way has ended."""
        self._stop.set()
        if self._renewing.ident is not None:
            self._renewing.join()
        os.close(self._seat)
        os.close(self._notes)

    # What is known on this volume

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude other threads and processes of this agent, and read their notes."""
        with self._thread_lock:
            fcntl.flock(self._notes, fcntl.LOCK_EX)
            try:
                self._recall()
                yield
            finally:
                fcntl.flock(self._notes, fcntl.LOCK_UN)

    def _write(self, lease: Lease) -> None:
        since = time.monotonic()
        version = self._store.swap(KEY, lease.to_json(), self._sight.version)
        self._note(_Sight(version=version, lease=lease, since=since, boot=self._boot))

    def _look(self) -> None:
        """Read the lease at the destination. Raise HeldByAnotherError if this version cannot understand it."""
        since = time.monotonic()
        try:
            seen = self._store.look(KEY, durable.LIMIT)
        except ObjectTooLargeError as error:
            raise self._strange() from error
        if seen is None:
            # Keep the deleted lease, so that its number is not used again.
            self._note(self._sight.model_copy(update={"version": None, "since": since, "boot": self._boot}))
            return
        if seen.version == self._sight.version and self._sight.boot == self._boot:
            return
        try:
            lease = Lease.from_json(seen.content)
        except ValueError:
            raise self._strange() from None
        self._note(_Sight(version=seen.version, lease=lease, since=since, boot=self._boot))

    def _strange(self) -> HeldByAnotherError:
        return HeldByAnotherError(
            f"{self._store.name}: {KEY} was written by a newer agent or by another program",
            "run the newer version here too; or, if no such agent runs, delete that object",
        )

    def _recall(self) -> None:
        noted = _Sight.of(os.pread(self._notes, 1 << 16, 0))
        # On a full volume this process may know more than the notes.
        if noted is None or (self._sight.boot and (noted.boot != self._boot or noted.since < self._sight.since)):
            return
        self._sight = noted

    def _note(self, sight: _Sight) -> None:
        self._sight = sight
        content = sight.model_dump_json(by_alias=True).encode()
        with suppress(OSError):
            os.pwrite(self._notes, content, 0)
            os.ftruncate(self._notes, len(content))

    def _named(self, found: Lease | None) -> str:
        """Return the message for a lease that another agent holds. It names both owners."""
        other = f"{found.agent}, number {found.number}" if found else "another agent"
        return f"{self._store.name}: its lease is held by {other}; this agent is {self._ours}"
