"""Reading one artifact again: it is compared with its record, marked if it is damaged, and healed if that is asked."""

import threading
import time
from concurrent.futures import CancelledError
from contextlib import ExitStack
from datetime import UTC, datetime

from backup_agent.catalog import damage_marks, volume_records
from backup_agent.catalog.place import Place
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.catalog.tenure import Held
from backup_agent.core.artifacts.keys import is_record_key, record_key
from backup_agent.core.artifacts.records import LARGEST, Record
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
from backup_agent.core.retention.scrub import KeptArtifact
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.jobs.heal import Healing
from backup_agent.jobs.reread import Wrong, is_bad_block, reread
from backup_agent.jobs.verify_findings import PassFindings, PlaceArtifacts, RequestScope
from backup_agent.stores.part_body import Throttle

ENOUGH_ERRORS = 3
"""Artifacts in a row that cannot be read: the place is down, and the rest need not be tried."""

MEASURED_SECONDS = 1.0
"""A slice that has read for a shorter time tells nothing of the throughput."""


class UnreadableRecordError(PermanentError):
    """A record that is there and cannot be read."""


class ArtifactVerifier:
    """Reads artifacts of one place again, one at a time: marks the damaged, and heals them if the task says so."""

    def __init__(
        self, task: VerifyTask, place: Place, others: tuple[Place, ...], teller: EventWriter, cancel: threading.Event
    ) -> None:
        """`others` are the places to heal from; `cancel` ends the reading in the middle of an artifact."""
        self._task = task
        self._place = place
        self._store = place.store
        self._teller = teller
        self._cancel = cancel
        bandwidth = place.settings.verify.bandwidth
        self._throttle = Throttle(bandwidth) if bandwidth else None
        self._healing = Healing(place, others, self._on_bytes)
        self._held: Held | None = None
        self._bytes = 0
        """Read since the pass began, also twice."""
        self._began = time.monotonic()
        self.holding = ExitStack()
        """Ends the tenure of the place, if it was held."""
        self.readings = place.reread_log
        self.standing = PlaceArtifacts()
        self.found = PassFindings()
        self.scope: RequestScope | None = None
        """What a request names, if the pass is a slice of one."""
        state = self.readings.state()
        self.unread = set(state.unread if state else ())
        """Artifacts that could not be read when they were last tried."""

    def verify(self, one: KeptArtifact, record: Record | None = None) -> bool:
        """Read one artifact again, and heal it where that is asked; tell whether it could be read."""
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
            self._teller.tell(ArtifactNotRead(place=self._task.place, key=one.key, error=error.failure.error))
            return False
        return True

    def known_record(self, key: str) -> Record:
        """Return the record of an artifact that was named; raise PermanentError if it has none that can be read."""
        record = self._record(key) if is_record_key(record_key(key)) else None
        if record is not None:
            return record
        if is_record_key(record_key(key)) and self._store.stat(key) is not None:
            raise PermanentError(
                Reason.NOTHING_VERIFIED,
                f"{self._task.place}: {key} is there without a record: nothing says what its content should be",
                "`backup-agent catalog adopt` takes in what is sound, on the volume",
            )
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{self._task.place}: no artifact {key} is recorded there",
            "write the whole key, <set>/<database>/<artifact>, as `backup-agent list` shows it",
        )

    def _record(self, key: str) -> Record | None:
        """Return a record; None where it has been deleted. Raise PermanentError where it cannot be read."""
        try:
            return volume_records.parse(self._store.read(record_key(key), LARGEST), key)
        except ValueError as error:
            raise UnreadableRecordError(
                Reason.UNREADABLE,
                f"{self._task.place}: {record_key(key)} cannot be read: {error}",
                "`backup-agent catalog diff` tells more; run the newest agent",
            ) from error
        except PermanentError as error:
            if error.failure.reason is Reason.NOT_FOUND:
                return None
            raise

    def _judge(self, record: Record) -> None:
        key, marked = record.key, record.key in self.standing.marked
        if not (marked and self._task.heal):
            try:
                wrong = self._reread(record)
            except BackupError as error:
                if not (self._task.heal and is_bad_block(error)):
                    raise
                self._heal(record)
                return
            if wrong is None:
                self._sound(record)
                if marked:
                    self.found.warnings.append(
                        f"{key}: as recorded now, and marked as damaged before: "
                        f"`backup-agent verify --heal {shell_word(key)}` takes the mark away, once it is read as "
                        f"recorded again"
                    )
                return
            if self._store.stat(record_key(key)) is None:
                self.found.gone.add(key)
                return
            self._damaged(record, wrong)
        if self._task.heal:
            self._heal(record)

    def _reread(self, record: Record) -> Wrong | None:
        """Read twice before reporting damage, since bytes may also be altered on the way from the place."""
        return reread(self._store, record, self._on_bytes) and reread(self._store, record, self._on_bytes)

    def _sound(self, record: Record) -> None:
        now = datetime.now(UTC)
        self.readings.note(record.key, now)
        self.standing.missing.discard(record.key)
        if record.key in self.standing.sound:
            self.standing.sound[record.key] = KeptArtifact(record.key, record.size, now)
        self.found.verified += 1
        self._teller.tell(ArtifactVerified(place=self._task.place, key=record.key))

    def _damaged(self, record: Record, wrong: Wrong) -> None:
        """Mark an artifact, while the place is held. What cannot be marked is told all the same."""
        self.standing.sound.pop(record.key, None)
        self.found.damaged.append(record.key)
        try:
            held = self._hold()
            held.check()
            damage_marks.mark(self._store, record.key, found=wrong.found, file=wrong.file, now=datetime.now(UTC))
        except BackupError as error:
            self.found.errors.append(error.failure)
        if record.key not in self.standing.marked:
            self._teller.tell(ArtifactDamaged(place=self._task.place, key=record.key, found=wrong.found))
        self.standing.marked.add(record.key)

    def _heal(self, record: Record) -> None:
        key = record.key
        if key not in self.found.damaged:
            self.found.damaged.append(key)
        try:
            sources = self._healing.heal(record, self._hold())
        except BackupError as error:
            self.found.errors.append(error.failure)
            self._teller.tell(ArtifactNotHealed(place=self._task.place, key=key, error=error.failure.error))
            return
        now = datetime.now(UTC)
        self.readings.note(key, now)
        self.standing.marked.discard(key)
        self.standing.missing.discard(key)
        self.standing.sound[key] = KeptArtifact(key, record.size, now)
        self.found.damaged.remove(key)
        self.found.healed.append(key)
        self._teller.tell(ArtifactHealed(place=self._task.place, key=key, sources=sources))

    def _hold(self) -> Held:
        """Hold the place from the first thing that is written there to the end of the pass."""
        if self._held is None:
            self._held = self.holding.enter_context(hold_place(self._place))
            for notice in self._held.notices:
                self._teller.tell(Warned(text="place held", because=notice))
        return self._held

    def _on_bytes(self, count: int) -> None:
        if self._cancel.is_set():
            raise CancelledError
        self._bytes += count
        if self.scope is not None:
            scope = self.scope
            self._teller.progress(min(scope.read_before + self._bytes, scope.size), scope.size)
        if self._throttle:
            self._throttle.wait(count)

    @property
    def given_up(self) -> bool:
        """Whether the pass ends here: it was cancelled, or the place is down."""
        return self._cancel.is_set() or self.found.unread >= ENOUGH_ERRORS

    @property
    def rate(self) -> float | None:
        """Bytes read a second; None if too little was read to tell."""
        seconds = time.monotonic() - self._began
        return self._bytes / seconds if self._bytes and seconds >= MEASURED_SECONDS else None


def _is_of_the_place(error: BackupError) -> bool:
    """Tell whether reading failed because of the place, which may be down, and not because of the artifact."""
    return isinstance(error, TransientError) and not is_bad_block(error)
