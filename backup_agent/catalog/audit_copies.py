"""The closed segments of the audit log at a destination: storing, sealing and expiring them.

The process that holds a destination stores the segments that were closed since the last time. Each segment is created
once.

If the destination has lines of another volume, the log has forked, or it continues that of a lost volume. A log forks
if a volume is restored from a snapshot, or if two volumes use one prefix. This volume's segments are then stored beside
the others, and another epoch begins, whose first line names both ends.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from backup_agent import durable
from backup_agent.catalog.audit_log import CLOSE_AFTER, AuditLog
from backup_agent.catalog.place import Place
from backup_agent.catalog.tenure import Held
from backup_agent.core.artifacts.keys import AUDIT
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.audit.lines import START, AuditKind, AuditLine, Head, digest_of_line, expired, head_of
from backup_agent.core.audit.segments import HIGHEST, LARGEST, Seal, Segment, foreign, listed
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.store import Store


class AuditCopyState(StoredValue):
    """What is stored at a destination: a note on the volume, from which the next pass goes on."""

    through: int = 0
    """Number of the last line that is stored there."""
    sealed: int = 0
    """Number of the last line whose segment has a seal."""
    signer: str | None = None
    """Fingerprint of the key that made the last seal."""
    looked: datetime | None = None
    """When it was last looked at for lines that are older than `limits.keep_audit`."""


class Fork(NamedTuple):
    """The log at a destination does not continue that of this volume, and that of this volume does not continue it."""

    because: str
    """`forked`, or `taken_up` if this volume had stored nothing there: a lost volume's log is continued."""
    ours: Head
    theirs: Head

    def __str__(self) -> str:
        """Return both ends, for people."""
        return f"line {self.ours.n} of this volume, line {self.theirs.n} there"


class AuditCopies:
    """The audit log of this volume at one destination, which the caller holds."""

    def __init__(self, place: Place, held: Held, keyring: Keyring) -> None:
        self._place = place
        self._held = held
        self._keyring = keyring
        self._log = AuditLog(place.root)
        self._store: Store = place.store
        self._note = place.folder("audit") / "state.json"
        self._state = _read(self._note)

    def store_old(self) -> Fork | None:
        """Close the open segment if it is some minutes old, and store all closed segments. Return a fork, if found.

        Raise BackupError if the destination refuses it, OSError if the volume does.
        """
        self._log.close(older_than=CLOSE_AFTER)
        return self._store_closed()

    def store_all(self) -> Fork | None:
        """Close the open segment, and store all lines that were appended until now. Raises like `store_old`."""
        self._log.close()
        return self._store_closed()

    def expire(self, now: datetime, keep: timedelta) -> None:
        """Once a day, delete the segments at the destination whose last line is older than `keep`.

        Before that, the log says up to which line.
        """
        if self._state.looked is not None and now - self._state.looked < timedelta(days=1):
            return
        old: list[Segment] = []
        newest: bytes | None = None
        for segment in listed(one.key for one in self._store.list(AUDIT)):
            content = self._store.read(segment.key, LARGEST).rpartition(b"\n")[0].rpartition(b"\n")[2]
            try:
                last = AuditLine.from_json(content)
            except ValueError:  # another program's: `audit` shows it
                continue
            if last.at is None or now - last.at < keep:
                break
            old.append(segment)
            newest = content
        if newest is not None:
            self._log.append(expired(self._place.name, head_of(newest)))
        for segment in old:
            self._held.check()
            self._store.delete(segment.key)
            self._store.delete(segment.seal_key)
        self._keep(self._state.model_copy(update={"looked": now}))

    def _store_closed(self) -> Fork | None:
        waiting = [one for one in self._log.closed() if one.last > self._state.through]
        strange: tuple[Segment, ...] = ()
        self._seal_earlier()
        for segment in waiting:
            strange = strange or self._strange(segment)
            content = durable.read(self._log.folder / segment.name, LARGEST)
            stored = segment if not strange else segment._replace(fork=hashlib.sha256(content).hexdigest()[:8])
            self._held.check()
            try:
                self._store.create(stored.key, content)
            except PermanentError as error:
                if error.failure.reason is not Reason.ALREADY_EXISTS or stored.fork:
                    raise
                strange = self._all_strange() or (segment,)
                stored = segment._replace(fork=hashlib.sha256(content).hexdigest()[:8])
                self._store.create(stored.key, content)
            self._seal(stored, content)
        fork = self._begin_epoch(strange) if strange else None
        if waiting:
            through = waiting[-1].last
            sealed = through if self._keyring.usable else self._state.sealed
            self._keep(self._state.model_copy(update={"through": through, "sealed": sealed}))
        if fork is not None:  # the line that names both ends: without it an auditor sees two ends that nothing explains
            self._log.close()
            self._store_closed()
        return fork

    def _strange(self, segment: Segment) -> tuple[Segment, ...]:
        """Return the segments of another volume at the destination, if there are any.

        The first time, all segments are compared. Later, only those that begin with the same line as this segment:
        another volume that continues the same log begins with that line.
        """
        if self._state.through:
            begun = listed(one.key for one in self._store.list(segment.key.partition("-")[0]))
            if not foreign([segment], begun):
                return ()
        return self._all_strange()

    def _all_strange(self) -> tuple[Segment, ...]:
        return foreign(self._log.closed(), listed(one.key for one in self._store.list(AUDIT)))

    def _begin_epoch(self, strange: Iterable[Segment]) -> Fork:
        strange = tuple(strange)
        because = "forked" if self._state.through or self._shares_a_line(strange) else "taken_up"
        newest = max(strange, key=lambda one: one.last)
        theirs = self._end_of(newest)
        ours = self._log.head()
        self._log.begin_epoch(self._place.name, theirs, because)
        return Fork(because, ours, theirs)

    def _shares_a_line(self, strange: Iterable[Segment]) -> bool:
        """Return whether another volume's log begins like this one: one volume is a copy of the other."""
        ours = next(iter(self._log.closed()), None)
        for segment in strange:
            if ours is not None and segment.first == ours.first:
                with suppress(PermanentError, OSError):
                    theirs = self._store.read(segment.key, LARGEST).partition(b"\n")[0]
                    return theirs == durable.read(self._log.folder / ours.name, LARGEST).partition(b"\n")[0]
        return False

    def _end_of(self, strange: Segment) -> Head:
        """Return the end of another volume's log. Any client that may write at the destination may have written it.

        What is no line, or has a number that no log reaches, must not stop this log, and does not count.
        """
        with suppress(PermanentError, ValueError, IndexError):
            head = head_of(self._store.read(strange.key, LARGEST).splitlines()[-1])
            if head.n <= HIGHEST:
                return head
        return START

    def _seal(self, segment: Segment, content: bytes) -> None:
        """Sign a segment if there is a key. Without one, `_seal_earlier` does it later."""
        if not self._keyring.usable:
            return
        last = digest_of_line(content.splitlines()[-1])
        seal = Seal(key=segment.name, sha256=hashlib.sha256(content).hexdigest(), head=last)
        seal = self._keyring.sign(seal)
        self._note_key(seal)
        try:
            self._store.create(segment.seal_key, seal.to_json())
        except PermanentError as error:  # it was sealed by an earlier key, or the seal is another program's
            if error.failure.reason is not Reason.ALREADY_EXISTS:
                raise

    def _seal_earlier(self) -> None:
        """Sign the segments that were stored while there was no key, or while it could not be used."""
        if not self._keyring.usable or self._state.sealed >= self._state.through:
            return
        for segment in self._log.closed():
            if self._state.sealed < segment.last <= self._state.through:
                self._held.check()
                with suppress(FileNotFoundError):
                    content = durable.read(self._log.folder / segment.name, LARGEST)
                    stored = self._store.look(segment.key, LARGEST)
                    if stored is not None and stored.content == content:  # after a fork it has another name
                        self._seal(segment, content)
        self._keep(self._state.model_copy(update={"sealed": self._state.through}))

    def _note_key(self, seal: Seal) -> None:
        """Say in the log if another key signs than before."""
        signer = seal.signature.key if seal.signature is not None else None
        if signer is not None and signer != self._state.signer:
            facts = {"fingerprint": signer, "before": self._state.signer}
            self._log.append(AuditLine(kind=AuditKind.SIGNING_KEY, place=self._place.name, facts=facts))
            self._keep(self._state.model_copy(update={"signer": signer}))

    def _keep(self, state: AuditCopyState) -> None:
        self._state = state
        durable.make_folder(self._note.parent)
        durable.write(self._note, state.to_json())


def _read(note: Path) -> AuditCopyState:
    with suppress(OSError, ValueError):
        return AuditCopyState.from_json(durable.read(note))
    return AuditCopyState()
