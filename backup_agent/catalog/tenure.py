"""Holding the lease of a destination. Only the agent that holds the lease may publish and delete there.

Of an agent, one process at a time holds the lease: the child of the destination, or a command. In a store that keeps
versions, the lease is not released, but left to expire. The agent has a folder for it on the volume,
`<root>/.agent/leases/<place>/`:

- `seat`: the process that holds the lease, or tries to take it, holds an exclusive flock on it. If the flock is free,
  no process of this agent holds the lease, even if the last one was killed. The next one can then take over the lease
  of a dead process at once.
- `sight.json`: the lease at the destination when it was last read or written, and the time of its last change. By
  this file, processes that live for less than three periods can watch another agent's lease one after the other. Only
  the process that holds the flock of `seat` reads and writes it.
"""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
"""Number of tries to write a lease that other agents change at the same time."""

SEAT_SECONDS = 30.0
"""How long a process waits for another process of its agent: one that was told to end, or a command."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOOKS = 4
"""Number of times per period that a waiting process reads the lease, or that a failed renewal is tried again."""
_SEAT_LOOK = 0.1
"""Seconds between two tries to lock the seat."""


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


class Holding:
    """The lease of a destination in this process: held for one pass, or from the first pass to `end` if `keeps`."""

    def __init__(self, folder: Path, period: float = PERIOD) -> None:
        """`folder` is the folder for this lease on the volume. Nothing is opened yet."""
        self._folder = folder
        self._period = period
        self.keeps = False
        self._tenure: Tenure | None = None

    @contextmanager
    def hold(
        self,
        store: Store,
        ours: Owner,
        *,
        wait: float = 0.0,
        quiet: bool = False,
        by_expiry: bool = False,
        no_deletion: Failure | None = None,
    ) -> Iterator[HeldByLease]:
        """Hold the lease, unless this process already holds it. A thread renews it.

        Raise TransientError (`foreign_root`), with both owners, if another agent holds it for longer than `wait`
        seconds, and TransientError (`timeout`) if another process of this agent does. If `quiet`, even a released lease
        is taken only after it has not changed for three periods. If `by_expiry`, the lease is never released, as in a
        store that keeps versions; the next process of this agent continues it.
        """
        if self._tenure is None:
            tenure = Tenure(store, ours, self._folder, self._period, quiet=quiet, by_expiry=by_expiry)
            with ExitStack() as undo:
                undo.callback(tenure.close)
                tenure.take(wait)
                undo.pop_all()
            self._tenure = tenure
        else:
            tenure = self._tenure
            tenure.check()
        try:
            yield HeldByLease(tenure.lease.number, no_deletion, tenure=tenure)
        finally:
            if not self.keeps:
                self.end()

    def end(self) -> None:
        """Give the lease up, if it is held."""
        tenure, self._tenure = self._tenure, None
        if tenure is not None:
            try:
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
    """The version of the object at the destination, or None if it does not exist."""
    lease: Lease | None = None
    """The last lease seen. It is kept after the object was deleted, because its number must not be used again."""
    since: float = 0.0
    """Time by the monotonic clock of this boot: when this version was first seen, or just before it was written."""
    boot: str = ""

    @property
    def present(self) -> Lease | None:
        """The lease at the destination, or None if it has no lease."""
        return self.lease if self.version is not None else None

    @classmethod
    def of(cls, content: bytes) -> Self | None:
        """Parse the notes of an earlier process. Return None if they are damaged or of another version."""
        try:
            return cls.model_validate_json(content)
        except ValidationError:
            return None


class Tenure:
    """One taking of the lease by this process, with its renewals, until it is given up or lost."""

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
        self._lock = threading.Lock()
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
        """Take the lease. Raise TransientError if another agent holds it for longer than `wait` seconds.

        Another process of this agent is waited for at least SEAT_SECONDS.
        """
        begun = time.monotonic()
        self._lock_seat(begun + max(wait, SEAT_SECONDS))
        self._sight = _Sight.of(os.pread(self._notes, 1 << 16, 0)) or self._sight
        while True:
            try:
                with self._lock:
                    if not self._go_on():
                        self._take_anew()
                break
            except HeldByAnotherError:
                remaining = begun + wait - time.monotonic()
                if remaining <= 0:
                    raise
                self._stop.wait(min(remaining, self._period / _LOOKS))
        self._renewing.start()

    def _lock_seat(self, until: float) -> None:
        """Lock the seat. Raise TransientError (`timeout`) if another process of this agent still has it at `until`."""
        while True:
            try:
                fcntl.flock(self._seat, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise TransientError(
                        Reason.TIMEOUT,
                        f"{self._store.name}: another process of this agent works there",
                        "one process at a time works at a destination: a child of the agent ends when it has been idle "
                        "for a minute; `backup-agent pause` lets no new work begin",
                    ) from None
                self._stop.wait(_SEAT_LOOK)
            else:
                return

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

    def _take_anew(self) -> None:
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

    # Holding

    def check(self) -> None:
        """Raise TransientError unless the lease is still held. Sends a request only if the last renewal is old."""
        if self._lost:
            raise HeldByAnotherError(self._lost)
        if time.monotonic() - self._sight.since >= HOLD_PERIODS * self._period:
            self.renew(due=HOLD_PERIODS * self._period)

    def renew(self, *, due: float) -> None:
        """Renew the lease if its last renewal is older than `due` seconds."""
        with self._lock:
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
        """Release the lease, unless it is left to expire. If that fails, other agents must wait."""
        self._stop.set()
        with self._lock, suppress(BackupError):
            if self._is_released and not self._lost:
                self._write(self.lease.given_up())

    def close(self) -> None:
        """Unlock the seat, after a renewal that is under way has ended."""
        self._stop.set()
        if self._renewing.ident is not None:
            self._renewing.join()
        os.close(self._seat)
        os.close(self._notes)

    # What is known on this volume

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
