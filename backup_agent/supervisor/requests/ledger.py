"""The ledger of requests: one entry per request. Entries of open requests are in a folder of their own.

Recovery lists that folder. The `state` of an entry is authoritative, not the folder in which it is.
"""

from functools import partial
from pathlib import Path

import structlog

from backup_agent import durable, quoting
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.answers import LARGEST, Answer
from backup_agent.supervisor.requests.reserve import Reserve

log = structlog.get_logger()


class Ledger:
    """The entries of all requests that were accepted. Each method may raise OSError."""

    def __init__(self, spool: Path, reserve: Reserve) -> None:
        """`reserve` is the reserve on the volume of the spool."""
        self._open = spool / "open"
        self.done = spool / "done"
        self._reserve = reserve

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folder of open entries, and the folder of all other entries."""
        return self._open, self.done

    def create(self, answer: Answer) -> None:
        """Create the entry of a new request. Raise FileExistsError if the entry exists."""
        self._reserve.insist(partial(durable.create, self._path(answer.id), answer.to_json()))

    def load(self, identity: str) -> Answer | None:
        """Return the entry of a request in any state, or None if the id is unknown.

        Raise PermanentError if the entry cannot be read because it has a newer schema or is damaged.
        """
        for place in self.folders:
            path = place / f"{identity}.json"
            try:
                return Answer.from_json(durable.read(path, LARGEST))
            except FileNotFoundError:
                continue
            except (durable.RefusedFileError, ValueError):
                text = f"there was a request {identity!r}, but its entry cannot be read ({path})"
                hint = "it is damaged, or a newer agent wrote it: run that agent, or move the entry away"
                raise PermanentError(Reason.INTERNAL, text, hint) from None
        return None

    def open(self) -> list[Answer]:
        """Return the entries of open requests in the order in which they were accepted.

        An entry that cannot be read is logged and left in its folder.
        """
        answers: list[Answer] = []
        for path in self._open.iterdir():
            if path.suffix != ".json":
                continue
            try:
                answers.append(Answer.from_json(durable.read(path, LARGEST)))
            except (durable.RefusedFileError, ValueError) as error:
                log.warning("spool entry unreadable", entry=path.name, error=quoting.shown(error))
        return sorted(answers, key=lambda answer: answer.intake)

    def write(self, answer: Answer) -> None:
        """Replace an entry. It stays in its folder."""
        done = self.done / f"{answer.id}.json"
        path = done if done.exists() else self._path(answer.id)
        self._reserve.insist(partial(durable.write, path, answer.to_json()))

    def close(self, answer: Answer) -> None:
        """Move an entry from the folder of open entries to `done` if its answer is final."""
        path = self._path(answer.id)
        if answer.state.final and path.exists():
            self._reserve.insist(partial(path.rename, self.done / path.name))

    def _path(self, identity: str) -> Path:
        return self._open / f"{identity}.json"
