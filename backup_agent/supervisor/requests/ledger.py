"""The ledger of requests: an entry each, in a folder named after its state, so that recovery is a listing.

A newcomer would trust the folder's name: trust the entry's own `state`.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import structlog

from backup_agent import durable, quoting
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.answers import LARGEST, Answer, State
from backup_agent.supervisor.requests.reserve import Reserve

log = structlog.get_logger()


class Ledger:
    """The entries of all requests that were accepted. Each method may raise OSError."""

    def __init__(self, spool: Path, reserve: Reserve) -> None:
        """`reserve` is room on the volume of the spool."""
        self._pending = spool / "pending"
        self._running = spool / "running"
        self.done = spool / "done"
        self._reserve = reserve

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of all states."""
        return self._pending, self._running, self.done

    def create(self, answer: Answer) -> None:
        """Make the entry of a new request."""
        self._reserve.insist(partial(durable.create, self._path(answer), answer.to_json()))

    def load(self, identity: str) -> Answer | None:
        """Return the ledger's entry of a request, whatever its state; None where the id is unknown.

        Raise PermanentError where there is an entry that cannot be read: of a newer schema, or damaged.
        """
        for place in self.folders:
            path = place / f"{identity}.json"
            try:
                return Answer.from_json(durable.read(path, LARGEST))
            except FileNotFoundError:
                continue
            except (durable.RefusedFileError, ValueError):
                text = f"there was a request {identity!r}, but its entry cannot be read ({path})"
                hint = "it is damaged, or of a newer agent: read it with that one, or move it away"
                raise PermanentError(Reason.INTERNAL, text, hint) from None
        return None

    def open(self) -> Iterator[Answer]:
        """Yield every entry that is not answered for good, in the order the requests came.

        An entry that cannot be read is left where it is and logged: nothing is lost by not guessing.
        """
        found: list[tuple[str, Path]] = []
        for place in (self._pending, self._running):
            found += [(entry.name, Path(entry.path)) for entry in os.scandir(place) if entry.name.endswith(".json")]
        answers: list[Answer] = []
        for _, path in found:
            try:
                answers.append(Answer.from_json(durable.read(path, LARGEST)))
            except (durable.RefusedFileError, ValueError) as error:
                log.warning("spool entry unreadable", entry=path.name, error=quoting.shown(error))
        yield from sorted(answers, key=lambda answer: answer.ticket)

    def write(self, answer: Answer) -> None:
        """Replace an entry where it stands now."""
        here = next((path for path in self._paths(answer.id) if path.exists()), self._path(answer))
        self._reserve.insist(partial(durable.write, here, answer.to_json()))

    def move(self, answer: Answer) -> None:
        """Move an entry into the folder of its state."""
        target = self._path(answer)
        for path in self._paths(answer.id):
            if path != target and path.exists():
                self._reserve.insist(partial(path.rename, target))

    def _paths(self, identity: str) -> Iterator[Path]:
        return (place / f"{identity}.json" for place in self.folders)

    def _path(self, answer: Answer) -> Path:
        place = {State.QUEUED: self._pending, State.RUNNING: self._running}.get(answer.state, self.done)
        return place / f"{answer.id}.json"
