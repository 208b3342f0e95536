"""Keep all requests without a final answer, and write their answers.

The ledger in the spool is authoritative. The requests are also kept in memory, to choose the next work. Waiting
requests for backups are kept as JSON, since there may be thousands of them. An answer with 1,500 databases has a
megabyte and changes at each stage of each backup, so it is published at most every few seconds until it is final.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import chain, islice

import structlog

from backup_agent.core.artifacts.names import DEFAULT_SET, SetName
from backup_agent.core.requests.answers import Answer, State
from backup_agent.supervisor.requests.spool import Spool
from backup_agent.supervisor.status import log_lines

SHOW_SECONDS = 2.0
"""Least time between two publications of an answer that is not final. The last change in this time is published."""

log = structlog.get_logger()


class OpenRequests:
    """The open requests, by id, in the order in which they were accepted."""

    def __init__(
        self, spool: Spool, concluded: Callable[[Answer], None], began: Callable[[Answer], None] = lambda _: None
    ) -> None:
        """`concluded` is called with each final answer, `began` with the first answer that says `running`."""
        self._spool = spool
        self._concluded = concluded
        self._began = began
        self._loaded: dict[str, Answer] = {}
        self._serialised: dict[str, bytes] = {}
        self._serialised_sets: Counter[SetName] = Counter()
        self._deadlines: dict[str, datetime] = {}
        self._unwritten: dict[str, Answer] = {}
        self._shown: dict[str, float] = {}
        """Request -> when its answer was last published, in monotonic seconds."""
        self._unshown: set[str] = set()
        """Requests whose answer has changed since."""

    def __len__(self) -> int:
        return len(self._serialised) + len(self._loaded)

    @property
    def loaded(self) -> Mapping[str, Answer]:
        """The requests that are running, that may start next, or that wait and are not for a backup."""
        return self._loaded

    @property
    def serialised(self) -> Mapping[str, bytes]:
        """The other requests, all for backups that have not started, as JSON of their answers."""
        return self._serialised

    @property
    def sets(self) -> set[SetName]:
        """The sets of all open requests."""
        serialised = {name for name, count in self._serialised_sets.items() if count}
        return serialised | {answer.set for answer in self._loaded.values() if answer.set}

    def oldest(self) -> datetime | None:
        """Return when the oldest request that has not started was received, or None if all have started."""
        queued = [answer for answer in self._loaded.values() if answer.state is State.QUEUED]
        if self._serialised:
            queued.append(Answer.model_validate_json(next(iter(self._serialised.values()))))
        return min((answer.received for answer in queued), default=None)

    def first(self, most: int) -> list[Answer]:
        """Return the first open requests, at most `most`."""
        queued = map(Answer.model_validate_json, self._serialised.values())
        return list(islice(chain(self._loaded.values(), queued), most))

    def find(self, identity: str) -> Answer | None:
        """Return an open request, or None."""
        if identity in self._serialised:
            return Answer.model_validate_json(self._serialised[identity])
        return self._loaded.get(identity)

    def overdue(self, now: datetime) -> list[Answer]:
        """Return the open requests whose `not_after` has passed, running or not."""
        late = [identity for identity, not_after in self._deadlines.items() if now > not_after]
        return [answer for answer in map(self.find, late) if answer is not None]

    def queue(self, answer: Answer) -> None:
        """Add a request for a backup that has not started, serialised."""
        self._note_deadline(answer)
        if answer.id not in self._serialised:
            self._serialised_sets[answer.set or DEFAULT_SET] += 1
        self._serialised[answer.id] = answer.to_json()

    def load_next(self) -> None:
        """Load the serialised request that has waited longest."""
        answer = Answer.model_validate_json(next(iter(self._serialised.values())))
        self.hold(answer)

    def hold(self, answer: Answer) -> None:
        """Keep a request loaded, or remove it if its answer is final. Nothing is written."""
        if self._serialised.pop(answer.id, None) is not None:
            self._serialised_sets[answer.set or DEFAULT_SET] -= 1
        if answer.state.final:
            self._loaded.pop(answer.id, None)
            self._deadlines.pop(answer.id, None)
            self._shown.pop(answer.id, None)
            self._unshown.discard(answer.id)
        else:
            self._note_deadline(answer)
            before, self._loaded[answer.id] = self._loaded.get(answer.id), answer
            if before is not None and before.state is State.QUEUED and answer.state is State.RUNNING:
                self._began(answer)

    def _note_deadline(self, answer: Answer) -> None:
        if answer.request and "not_after" in answer.request and (not_after := answer.asked.not_after) is not None:
            self._deadlines[answer.id] = not_after

    def answer_also(self, identity: str, files: tuple[str, ...]) -> None:
        """Replace the list of dropped files of an open request, since another file repeats the request."""
        answer = self.find(identity)
        if answer is not None:
            self._replace(answer.model_copy(update={"files": files}))

    def show(self, answer: Answer) -> None:
        """Publish an answer soon, without writing it to the ledger. A failure is logged and not tried again."""
        self._replace(answer)
        self._publish_soon(answer)

    def _publish_soon(self, answer: Answer) -> None:
        if time.monotonic() >= self._shown.get(answer.id, -SHOW_SECONDS) + SHOW_SECONDS:
            self._publish(answer)
        else:
            self._unshown.add(answer.id)

    def _publish(self, answer: Answer) -> None:
        self._shown[answer.id] = time.monotonic()
        self._unshown.discard(answer.id)
        try:
            self._spool.publish(answer)
        except OSError as error:
            log.warning("progress not shown", request=answer.id, error=str(error))

    def show_due(self, monotonic: float) -> None:
        """Publish the answers that have changed and may be published again."""
        for identity in list(self._unshown):
            answer = self.find(identity)
            if answer is not None and monotonic >= self._shown[identity] + SHOW_SECONDS:
                self._publish(answer)

    def show_moments(self) -> list[float]:
        """Return the times at which `show_due` has something to do, in monotonic seconds."""
        return [self._shown[identity] + SHOW_SECONDS for identity in self._unshown]

    def _replace(self, answer: Answer) -> None:
        if answer.id in self._serialised:
            self._serialised[answer.id] = answer.to_json()
        else:
            self._loaded[answer.id] = answer

    def begin(self, answer: Answer) -> None:
        """Write an answer before work on it is started. Raise OSError, with nothing changed, if writing fails."""
        self._spool.save(answer)
        self.hold(answer)
        self._publish_soon(answer)

    def keep(self, answer: Answer) -> None:
        """Write an answer. If that fails, it is logged, and `write_unwritten` tries again."""
        self.hold(answer)
        self._write(answer)

    def conclude(self, answer: Answer) -> None:
        """Give a request its final answer."""
        self.keep(answer)
        self._concluded(answer)
        log_lines.request_answered(answer).log()

    def write_unwritten(self) -> None:
        """Try again to write the answers that could not be written."""
        for answer in list(self._unwritten.values()):
            self._write(answer)

    def rewrite(self) -> None:
        """Write all open requests into a new requests folder. Raise OSError if that fails."""
        for answer in (*map(Answer.model_validate_json, self._serialised.values()), *self._loaded.values()):
            self._spool.save(answer)
            self._spool.publish(answer)
        self.write_unwritten()

    def _write(self, answer: Answer) -> None:
        self._unwritten.pop(answer.id, None)
        try:
            self._spool.save(answer)
            if not answer.state.final:
                self._publish_soon(answer)
        except OSError as error:
            self._unwritten[answer.id] = answer
            log.warning("answer not written", request=answer.id, state=answer.state.value, error=str(error))
