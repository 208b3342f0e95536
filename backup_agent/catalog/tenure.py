"""Holding the lease of a destination: who has it may publish and delete there, and nobody else does.

It belongs to the agent, not to a process: children that work at the same destination at the same time hold it
together, and the last one gives it up. What ties them is a folder on the volume, `<root>/.agent/leases/<place>/`:

- `seat`: each holds its flock, shared. Who finds it free knows that no process of this agent holds the lease, also
  where the last one was killed; so the next child takes up at once a lease that a dead one left.
- `sight.json`: what stood at the destination when it was last written or looked at, and since when it has been that.
  So short children watch a stranger's lease together, and none has to wait three periods for itself. Its flock keeps
  everything that is read and written here apart.
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
from backup_agent.core.ownership.lease import HOLD_PERIODS, PERIOD, TAKE_PERIODS, Lease, ground
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason, TransientError
from backup_agent.stores.store import ConflictError, ObjectTooLargeError, Store

KEY = ".agent/lease.json"
TRIES = 3
"""How often a taker looks again after somebody else was quicker."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOOKS = 4
"""How often a waiting taker looks in a period; and how much sooner a renewal that failed is tried again."""


class HeldByAnotherError(TransientError):
    """Another holds the lease now."""

    def __init__(self, error: str, hint: str = "") -> None:
        advice = "one agent publishes at a place at a time: where the other one is gone, its lease is taken over soon"
        super().__init__(Reason.FOREIGN_ROOT, error, hint or advice)


@dataclass(frozen=True)
class Held:
    """What a process may do at a place. This one has nothing to lose: the volume, or a store without conditions."""

    number: int | None = None
    """The fencing number that goes into records; None where there is no lease."""
    no_deletion: Failure | None = None
    """Why nothing may be deleted here."""
    notices: tuple[str, ...] = ()
    """What the log should say of it."""

    @property
    def may_delete(self) -> bool:
        """Whether anything may be deleted here."""
        return self.no_deletion is None

    def check(self) -> None:
        """Raise TransientError, `foreign_root`, unless the lease is still held: before each record.

        Costs nothing as long as the last renewal is young.
        """

    def confirm(self) -> None:
        """The same, and ask the store in any case: before each batch of deletes."""


@dataclass(frozen=True)
class HeldByLease(Held):
    """The lease is held, until it is lost."""

    tenure: "Tenure" = field(kw_only=True)

    def check(self) -> None:
        """Raise unless the lease is still held."""
        self.tenure.check()

    def confirm(self) -> None:
        """Raise unless the lease is still held, by a conditional write of it."""
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
    no_deletion: Failure | None = None,
) -> Iterator[HeldByLease]:
    """Hold the lease of a destination, renewed by a thread.

    Raise TransientError, `foreign_root`, naming both sides, where another holds it and does not let go within `wait`
    seconds. `quiet`: take even a lease that was given up only where it has not changed for three periods.
    """
    tenure = Tenure(store, ours, folder, period, quiet=quiet)
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
    """Raise PermanentError where the volume refuses a note of the agent's own."""
    try:
        yield
    except OSError as error:
        reason = Reason.DISK_FULL if durable.is_full(error) else Reason.INTERNAL
        raise PermanentError(reason, f"{folder}: {error.strerror}") from error


class _Sight(StoredValue):
    """What stands at the destination, as far as it is known on this volume."""

    version: str | None = None
    """None: nothing stands there."""
    lease: Lease | None = None
    """The last one seen; where nothing stands there any more, its number must not come again."""
    since: float = 0.0
    """By the monotonic clock of this boot: when it was first seen, or just before it was written."""
    boot: str = ""

    @property
    def standing(self) -> Lease | None:
        """The lease that stands there."""
        return self.lease if self.version is not None else None

    @classmethod
    def of(cls, content: bytes) -> Self | None:
        """Read what an earlier process has noted; None where that is torn or of another version."""
        try:
            return cls.model_validate_json(content)
        except ValidationError:
            return None


class Tenure:
    """One process's part in holding a lease."""

    def __init__(self, store: Store, ours: Owner, folder: Path, period: float, *, quiet: bool = False) -> None:
        self._store = store
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
        """The lease as it was last written; there is one while it is held."""
        if self._sight.lease is None:
            raise TypeError("asked for a lease that is not held")
        return self._sight.lease

    # Taking

    def take(self, wait: float) -> None:
        """Take the lease, or a part in it; raise TransientError where another holds it for longer than `wait`."""
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
        if not self._sit_alone():
            self._join()
            return
        taken = False
        try:
            self._take_alone()
            taken = True
        finally:
            fcntl.flock(self._seat, fcntl.LOCK_SH if taken else fcntl.LOCK_UN)

    def _join(self) -> None:
        """Take part in what other processes of this agent hold."""
        found = self._sight.standing
        if found is None or found.seat != self._seat_name:  # they have lost it, and will find out
            raise HeldByAnotherError(self._named(found))
        self._token, self._lost = found.token, ""
        self._renew(due=HOLD_PERIODS * self._period)
        fcntl.flock(self._seat, fcntl.LOCK_SH)

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
        """Tell whether what was last seen may be replaced: only then is a write tried without a look."""
        found = self._sight.standing
        unchanged = time.monotonic() - self._sight.since
        if self._quiet and found is not None and unchanged < TAKE_PERIODS * found.period:
            return False
        return ground(found, seat=self._seat_name, unchanged=unchanged) is not None

    def _sit_alone(self) -> bool:
        """Tell whether no other process of this agent takes part; then nobody can until the flock is let go."""
        try:
            fcntl.flock(self._seat, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    # Holding

    def check(self) -> None:
        """Raise TransientError unless the lease is still held; ask the store only where the last renewal is old."""
        if self._lost:
            raise HeldByAnotherError(self._lost)
        if time.monotonic() - self._sight.since >= HOLD_PERIODS * self._period:
            self.renew(due=HOLD_PERIODS * self._period)

    def renew(self, *, due: float) -> None:
        """Renew the lease where its last renewal, by whichever process of this agent, is older than `due` seconds."""
        with self._alone():
            self._renew(due)

    def _renew(self, due: float) -> None:
        for _ in range(TRIES):
            found = self._sight.standing
            if found is None or found.token != self._token or found.released:
                self._lost = f"the lease was lost: {self._named(found)}"
                raise HeldByAnotherError(self._lost)
            if time.monotonic() - self._sight.since < due:
                return
            try:
                self._write(found.renewed())
            except ConflictError:
                # An earlier try may have come through, its answer lost: then our token stands there.
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
                pause = self._period / _LOOKS  # `check` says so, where it lasts

    def give_up(self) -> None:
        """Leave the seat; the last one gives the lease up. What goes wrong here only costs the next one time."""
        self._stop.set()
        with self._alone():
            fcntl.flock(self._seat, fcntl.LOCK_UN)
            found = self._sight.lease
            if not self._lost and found is not None and found.token == self._token and self._sit_alone():
                with suppress(BackupError):
                    self._write(found.given_up())
                fcntl.flock(self._seat, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let the files go. A renewal that is under way ends first."""
        self._stop.set()
        if self._renewing.ident is not None:
            self._renewing.join()
        os.close(self._seat)
        os.close(self._notes)

    # What is known on this volume

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and processes of this agent out, and know what they know."""
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
        """Look at what stands there; raise what follows from something that no agent of this version wrote."""
        since = time.monotonic()
        try:
            seen = self._store.look(KEY, durable.LIMIT)
        except ObjectTooLargeError as error:
            raise self._strange() from error
        if seen is None:
            # The number of what is gone is not used again.
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
            f"{self._store.name}: {KEY} was written by a newer agent, or by none",
            "use the newer version here too; or, if no such agent runs, delete that object",
        )

    def _recall(self) -> None:
        noted = _Sight.of(os.pread(self._notes, 1 << 16, 0))
        # What could not be noted, on a full volume, is known to this process at least.
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
        """Name both sides."""
        other = f"{found.agent}, number {found.number}" if found else "somebody else"
        return f"{self._store.name}: its lease is held by {other}; this is {self._ours}"
