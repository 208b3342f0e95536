"""Verifying one artifact: it is compared with its record, marked if it is damaged, and healed if requested."""

import threading
import time
from concurrent.futures import CancelledError
from contextlib import ExitStack
from datetime import UTC, datetime

from backup_agent.catalog import damage_marks
from backup_agent.catalog.place import Place
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.catalog.recognised import read_record
from backup_agent.catalog.tenure import Held
from backup_agent.core.artifacts.keys import is_record_key, record_key
from backup_agent.core.artifacts.records import Record
from backup_agent.core.audit.lines import MOST_KEYS, AuditKind, AuditLine, verified
from backup_agent.core.escaping import shell_word
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.core.requests.events import (
    ArtifactDamaged,
    ArtifactHealed,
    ArtifactNotHealed,
    ArtifactNotRead,
    ArtifactVerified,
    Warned,
)
from backup_agent.core.requests.tasks import VerifyTask
from backup_agent.core.retention.verify_slices import KeptArtifact
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.jobs.heal import Healing
from backup_agent.jobs.reread import Mismatch, is_bad_block, reread
from backup_agent.jobs.signing_state import tell_signing
from backup_agent.jobs.verify_findings import PassFindings, PlaceArtifacts, RequestScope
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.part_body import Throttle

ENOUGH_ERRORS = 3
"""Number of unreadable artifacts in a row after which the place is considered down, and the pass ends."""

MEASURED_SECONDS = 1.0
"""Shortest time from which the throughput is calculated."""


class ArtifactVerifier:
    """Verifies artifacts of one place, one at a time: marks damaged ones, and heals them if the task says so."""

    def __init__(
        self, task: VerifyTask, place: Place, others: tuple[Place, ...], writer: EventWriter, cancel: threading.Event
    ) -> None:
        """`others` are the places to heal from. `cancel` ends the reading in the middle of an artifact."""
        self._task = task
        self._place = place
        self._store = place.store
        self.keyring = Keyring(place.settings)
        self._writer = writer
        self._cancel = cancel
        self.trail = AuditTrail(place, writer, request=task.request, claimed=task.requested_by)
        self._sound_keys: list[str] = []
        bandwidth = place.settings.verify_at(place.name).bandwidth
        self._throttle = Throttle(bandwidth) if bandwidth else None
        self._healing = Healing(place, others, self._on_bytes)
        self._held: Held | None = None
        self._bytes = 0
        """Number of bytes read since the pass began. Bytes that were read twice count twice."""
        self._began = time.monotonic()
        self.holding = ExitStack()
        """Releases the place at the end, if it was held."""
        self.readings = place.reread_log
        self.artifacts = PlaceArtifacts()
        self.found = PassFindings()
        self.scope: RequestScope | None = None
        """The artifacts of the request, if the pass is a slice of a request."""
        state = self.readings.state()
        self.unread = set(state.unread if state else ())
        """Keys of the artifacts that could not be read at their last try."""

    def verify(self, one: KeptArtifact, record: Record | None = None) -> bool:
        """Verify one artifact, and heal it if requested. Return whether it could be read."""
        try:
            record = record or self._record(one.key)
            if record is None:
                self.found.gone.add(one.key)
            else:
                self._judge(record)
            self.found.unread = 0
            self.found.read += one.cost
            self.found.done.add(one.key)
            self.unread.discard(one.key)
        except CancelledError:
            return False
        except BackupError as error:
            self.found.failures[one.key] = error.failure
            if error.failure.reason is Reason.ARCHIVED:
                self.found.warnings.append(error.failure.error)
            else:
                self.found.errors.append(error.failure)
                self.found.unread += self.scope is None or _is_of_the_place(error)
            self.unread.add(one.key)
            self._writer.tell(ArtifactNotRead(place=self._task.place, key=one.key, error=error.failure.error))
            return False
        return True

    def known_record(self, key: str) -> Record:
        """Return the record of an artifact. Raise PermanentError if it does not exist or cannot be read."""
        record = self._record(key) if is_record_key(record_key(key)) else None
        if record is not None:
            return record
        if is_record_key(record_key(key)) and self._store.stat(key) is not None:
            raise PermanentError(
                Reason.NOTHING_VERIFIED,
                f"{self._task.place}: {key} has no record, so there is nothing to compare it with",
                "`backup-agent catalog adopt` adopts undamaged artifacts on the volume",
            )
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{self._task.place}: no artifact {key} is recorded there",
            "give the whole key, <set>/<database>/<artifact>, as `backup-agent list` shows it",
        )

    def _record(self, key: str) -> Record | None:
        """Return a record, or None if it has been deleted. Raise PermanentError if it cannot be read."""
        try:
            return read_record(self._place, key)
        except PermanentError as error:
            if error.failure.reason is Reason.NOT_FOUND:
                return None
            raise

    def _judge(self, record: Record) -> None:
        key, marked = record.key, record.key in self.artifacts.marked
        if not (marked and self._task.heal):
            try:
                mismatch = self._reread(record)
            except BackupError as error:
                if not (self._task.heal and is_bad_block(error)):
                    raise
                self._heal(record)
                return
            if mismatch is None:
                self._sound(record)
                if marked:
                    self.found.warnings.append(
                        f"{key}: undamaged now, but marked as damaged before: "
                        f"`backup-agent verify --heal {shell_word(key)}` reads it again and removes the mark"
                    )
                return
            if self._store.stat(record_key(key)) is None:
                self.found.gone.add(key)
                return
            self._damaged(record, mismatch)
        if self._task.heal:
            self._heal(record)

    def _reread(self, record: Record) -> Mismatch | None:
        """Return a difference only if two readings find one: bytes may also be altered in transit."""
        return reread(self._store, record, self._on_bytes) and reread(self._store, record, self._on_bytes)

    def _sound(self, record: Record) -> None:
        now = datetime.now(UTC)
        self.readings.note(record.key, now)
        self.artifacts.missing.discard(record.key)
        notes, marked = self._place.damage_notes, record.key in self.artifacts.marked
        if not marked and notes.damaged(record.key):  # healing was interrupted before it changed the note
            notes.note(record.key, damaged=False)
        if record.key in self.artifacts.unproven:
            notes.note(record.key, damaged=False)
            self.found.warnings.append(
                f"{record.key}: undamaged. Its damage mark is ignored: it is not the agent's, or was put back. "
                "Find out which programs can write there"
            )
        if record.key in self.artifacts.sound:
            self.artifacts.sound[record.key] = KeptArtifact(record.key, record.size, now)
        self.found.verified += 1
        self._sound_keys.append(record.key)
        if len(self._sound_keys) >= MOST_KEYS:
            self.tell_verified()
        self._writer.tell(ArtifactVerified(place=self._task.place, key=record.key))

    def tell_verified(self) -> None:
        """Write into the audit log which artifacts were found undamaged since the last call."""
        self.trail.tell(*verified(self._place.name, self._sound_keys, self._task.request))
        self._sound_keys.clear()

    def _damaged(self, record: Record, mismatch: Mismatch) -> None:
        """Hold the place and mark an artifact as damaged. Report the damage even if the mark cannot be written."""
        self.artifacts.sound.pop(record.key, None)
        self.found.damaged.append(record.key)
        try:
            held = self._hold()
            held.check()
            damage_marks.mark(
                self._place,
                self.keyring,
                record.key,
                found=mismatch.found,
                file=mismatch.file,
                now=datetime.now(UTC),
            )
            tell_signing(self.keyring, self._writer)
        except BackupError as error:
            self.found.errors.append(error.failure)
        if record.key not in self.artifacts.marked:
            self.trail.tell(
                AuditLine(kind=AuditKind.DAMAGED, place=self._place.name, key=record.key, why=mismatch.found)
            )
            self._writer.tell(ArtifactDamaged(place=self._task.place, key=record.key, found=mismatch.found))
        self.artifacts.marked.add(record.key)

    def _heal(self, record: Record) -> None:
        key = record.key
        if key not in self.found.damaged:
            self.found.damaged.append(key)
        try:
            sources = self._healing.heal(record, self._hold())
        except BackupError as error:
            self.found.errors.append(error.failure)
            self._writer.tell(ArtifactNotHealed(place=self._task.place, key=key, error=error.failure.error))
            return
        now = datetime.now(UTC)
        self.readings.note(key, now)
        self.artifacts.marked.discard(key)
        self.artifacts.missing.discard(key)
        self.artifacts.sound[key] = KeptArtifact(key, record.size, now)
        self.found.damaged.remove(key)
        self.found.healed.append(key)
        self.trail.tell(
            AuditLine(kind=AuditKind.HEALED, place=self._place.name, key=key, facts={"sources": list(sources)})
        )
        self._writer.tell(ArtifactHealed(place=self._task.place, key=key, sources=sources))

    def _hold(self) -> Held:
        """Return the held place. It is held from the first write there to the end of the pass."""
        if self._held is None:
            self._held = self.holding.enter_context(hold_place(self._place))
            for notice in self._held.notices:
                self._writer.tell(Warned(text="place held", because=notice))
        return self._held

    def _on_bytes(self, count: int) -> None:
        if self._cancel.is_set():
            raise CancelledError
        self._bytes += count
        if self.scope is not None:
            scope = self.scope
            self._writer.progress(min(scope.read_before + self._bytes, scope.size), scope.size)
        if self._throttle:
            self._throttle.wait(count)

    @property
    def given_up(self) -> bool:
        """Whether the pass must end: it was cancelled, or the place is down."""
        return self._cancel.is_set() or self.found.unread >= ENOUGH_ERRORS

    @property
    def rate(self) -> float | None:
        """Bytes read per second, or None if too little was read."""
        seconds = time.monotonic() - self._began
        return self._bytes / seconds if self._bytes and seconds >= MEASURED_SECONDS else None


def _is_of_the_place(error: BackupError) -> bool:
    """Return whether reading failed because of the place, and not because of the artifact."""
    return isinstance(error, TransientError) and not is_bad_block(error)
