"""Reading again what stands at one place: a child, which reads a slice and tells what it found.

The longest unread comes first, and what was read is noted on the volume after each artifact, so that a restart goes on
there. An artifact is read whole or once more: a SHA-256 cannot be taken up in its middle.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from backup_agent.catalog import damages
from backup_agent.catalog.verified import State, Verified
from backup_agent.core.answers import Outcome, PlaceResult
from backup_agent.core.names import DAMAGE_SUFFIX, is_record_key, record_key
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.records import Record
from backup_agent.core.scrub import Kept, Slice, next_slice, verified
from backup_agent.core.tasks import VerifyTask
from backup_agent.run.places import open_place
from backup_agent.run.rereading import Wrong, reread
from backup_agent.run.telling import Teller, cancel_on_sigterm, first_line, hold_lifeline
from backup_agent.settings.model import VOLUME, Settings
from backup_agent.stores.part_body import Throttle
from backup_agent.stores.store import Store

ENOUGH_ERRORS = 3
"""Artifacts in a row that cannot be read: the place is down, and the rest need not be tried."""

IDLE = timedelta(hours=1)
"""When to ask again where nothing is kept, or nothing is to be read."""


@dataclass
class Found:
    """What one pass has come to."""

    verified: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    errors: list[Failure] = field(default_factory=list)
    read: int = 0
    """Bytes, as the slice counts them."""


class Verifying:
    """One pass over one place."""

    def __init__(
        self, task: VerifyTask, settings: Settings, store: Store, teller: Teller, cancel: threading.Event
    ) -> None:
        """`store` is the place; `cancel` ends the pass where it stands."""
        self._task = task
        self._settings = settings
        self._store = store
        self._teller = teller
        self._cancel = cancel
        self._ends = time.monotonic() + task.seconds
        bandwidth = settings.verify.bandwidth
        self._throttle = Throttle(bandwidth) if bandwidth else None
        destination = settings.storage.destinations.get(task.place)
        identity = VOLUME if destination is None else destination.identity
        self._readings = Verified(settings.storage.root, task.place, identity)
        self._found = Found()

    def run(self) -> None:
        """Read what is asked for, or what is due; tell the result. Raise BackupError where the place cannot be read."""
        now = datetime.now(UTC)
        records, marked = self._survey()
        if self._task.artifact is not None:
            due = Slice((self._kept(self._asked(records), now),), 0, 0)
        else:
            due = self._due(records, marked, now)
        for one in due.artifacts:
            if self._over():
                break
            self._verify(records[one.key], one)
        if self._found.read and self._task.artifact is None:
            self._readings.leave(State(started=now, read=self._found.read, pace=due.pace))
        self._tell_result(records, marked | set(self._found.damaged), due)

    def _survey(self) -> tuple[dict[str, Record], set[str]]:
        """Return the records of the place by key, and which artifacts are marked as damaged."""
        listed = [stored.key for stored in self._store.list()]
        marked = {key.removesuffix(DAMAGE_SUFFIX) for key in listed if key.endswith(DAMAGE_SUFFIX)}
        return {record.key: record for record in self._records(listed)}, marked

    def _records(self, listed: list[str]) -> Iterator[Record]:
        for key in listed:
            if not is_record_key(key):
                continue
            try:
                record = Record.from_json(self._store.read(key))
            except ValueError:
                continue  # the catalog reports it; of what it names nothing is known
            except PermanentError as error:
                if error.failure.reason is not Reason.NOT_FOUND:  # deleted since it was listed
                    raise
                continue
            if record_key(record.key) == key:
                yield record

    def _asked(self, records: dict[str, Record]) -> Record:
        key = self._task.artifact or ""
        if key not in records:
            raise PermanentError(
                Reason.NOT_FOUND,
                f"{self._task.place}: no artifact {key} is recorded there",
                "write the whole key, <set>/<database>/<artifact>, as `backup-agent list` shows it",
            )
        return records[key]

    def _kept(self, record: Record, now: datetime) -> Kept:
        last = self._readings.times.get(record.key)
        return Kept(record.key, record.size, verified(record.finished, last, now))

    def _due(self, records: dict[str, Record], marked: set[str], now: datetime) -> Slice:
        period = self._settings.verify.every
        if period is None:
            return Slice((), 0, 0)
        self._readings.keep_only(records.keys())
        sound = (self._kept(record, now) for key, record in records.items() if key not in marked)
        due = next_slice(sound, now, period=period)
        state = self._readings.state()
        if state is not None and state.started <= now < state.done.rests_until(due.pace) and not due.late:
            return Slice((), due.pace, 0)
        return due

    def _verify(self, record: Record, one: Kept) -> None:
        started = time.monotonic()
        try:
            wrong = self._reread(record)
            if wrong is None:
                self._readings.note(record.key, datetime.now(UTC))
                self._found.verified.append(record.key)
                self._tell("verified", key=record.key, seconds=round(time.monotonic() - started, 3), bytes=record.size)
            elif self._store.stat(record_key(record.key)) is not None:  # else it was deleted meanwhile
                self._damaged(record, wrong)
            self._found.errors.clear()
            self._found.read += one.cost
        except CancelledError:
            return
        except BackupError as error:
            self._found.errors.append(error.failure)
            self._tell("unread", key=record.key, reason=error.failure.reason, error=error.failure.error)

    def _reread(self, record: Record) -> Wrong | None:
        """Read twice before anything is called damaged: what is altered on the way is not altered where it stands."""
        return reread(self._store, record, self._on_bytes) and reread(self._store, record, self._on_bytes)

    def _damaged(self, record: Record, wrong: Wrong) -> None:
        damages.mark(self._store, record.key, found=wrong.found, file=wrong.file, now=datetime.now(UTC))
        self._found.damaged.append(record.key)
        self._tell("damaged", key=record.key, found=wrong.found, file=wrong.file)

    def _on_bytes(self, count: int) -> None:
        if self._cancel.is_set():
            raise CancelledError
        if self._throttle:
            self._throttle.wait(count)

    def _over(self) -> bool:
        errors = len(self._found.errors) >= ENOUGH_ERRORS
        return errors or self._cancel.is_set() or time.monotonic() >= self._ends

    def _tell(self, event: str, **fields: object) -> None:
        self._teller.tell(event, place=self._task.place, **fields)

    def _tell_result(self, records: dict[str, Record], marked: set[str], due: Slice) -> None:
        now = datetime.now(UTC)
        self._tell("damages", keys=sorted(marked))
        read = len(self._found.verified) + len(self._found.damaged)
        remaining = len(due.artifacts) - read
        kept = [self._kept(record, now) for key, record in records.items() if key not in marked]
        oldest = min((one.verified for one in kept), default=None)
        self._teller.tell(
            "result",
            result=self._result().model_dump(mode="json"),
            verified=len(self._found.verified),
            damaged=len(marked),
            remaining=remaining,
            oldest=None if oldest is None else oldest.isoformat(),
            next_seconds=self._next_seconds(due, remaining, now),
        )

    def _result(self) -> PlaceResult:
        found = self._found
        result = PlaceResult(outcome=Outcome.SUCCEEDED, verified=len(found.verified), damaged=tuple(found.damaged))
        if found.damaged:
            text = f"{self._task.place}: not as recorded: {', '.join(found.damaged)}"
            return result.failed(
                Failure(Reason.CHECKSUM_MISMATCH, text, "take a FULL; another place may have a good copy")
            )
        if self._cancel.is_set():
            return result.failed(Failure(Reason.CANCELLED, f"reading {self._task.place} again was ended"))
        return result.failed(found.errors[0]) if found.errors else result

    def _next_seconds(self, due: Slice, remaining: int, now: datetime) -> float:
        state = self._readings.state()
        if remaining or state is None:
            return 60.0 if remaining else IDLE.total_seconds()
        return max(60.0, (state.done.rests_until(due.pace) - now).total_seconds())


def main() -> None:
    """Run as a child: the task on stdin, events on stdout."""
    task = VerifyTask.model_validate_json(first_line())
    hold_lifeline()
    cancel = cancel_on_sigterm()
    settings = Settings.model_validate(task.settings)
    teller = Teller()
    try:
        if task.heal:
            raise PermanentError(
                Reason.INVALID_REQUEST,
                "healing is not built yet",
                "copy the artifact's files back by hand from a place where it verifies",
            )
        Verifying(task, settings, open_place(task.place, settings), teller, cancel).run()
    except BackupError as error:
        teller.tell("result", result=PlaceResult().failed(error.failure).model_dump(mode="json"), oldest=None)


if __name__ == "__main__":
    main()
