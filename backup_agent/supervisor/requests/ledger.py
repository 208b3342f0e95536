"""The ledger of requests: one entry per request. Entries of open requests are in a folder of their own.

Recovery lists that folder. The `state` of an entry is authoritative, not the folder in which it is.

The entry of a request for 1,500 databases has half a megabyte and changes twice for each of them. So the changes of a
long entry are appended to a file beside it, until that file is as long as the entry. Its name contains the beginning of
the entry's SHA-256: after the entry was written again, earlier changes belong to no entry, and are removed then or at
the next start.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from backup_agent import durable, quoting
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.answers import LARGEST, Answer
from backup_agent.core.requests.changes import changes_of, with_changes
from backup_agent.supervisor.requests.reserve import Reserve

LONG = 1 << 15
"""Bytes from which on an entry is long."""

_CHANGES = ".changes-"
"""In the name of a file of changes, between the id and the digits of the hash."""

log = structlog.get_logger()


@dataclass(frozen=True)
class _Long:
    """A long entry as this process has written it."""

    answer: Answer
    changes: Path
    room: int
    """Bytes of changes that may still be appended."""


class Ledger:
    """The entries of all requests that were accepted. Each method may raise OSError."""

    def __init__(self, spool: Path, reserve: Reserve) -> None:
        """`reserve` is the reserve on the volume of the spool."""
        self._open = spool / "open"
        self.done = spool / "done"
        self._reserve = reserve
        self._long: dict[str, _Long] = {}

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
                return _read(path)
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
        for path in tuple(self._open.iterdir()):
            if path.suffix != ".json":
                continue
            try:
                answers.append(_read(path))
                _remove_earlier_changes(path)
            except (durable.RefusedFileError, ValueError) as error:
                log.warning("spool entry unreadable", entry=path.name, error=quoting.shown(error))
        return sorted(answers, key=lambda answer: answer.intake)

    def begin_anew(self) -> None:
        """Write each entry as a whole next time, since the folder may have been replaced."""
        self._long.clear()

    def write(self, answer: Answer) -> None:
        """Write an entry, or append what has changed if it is long. It stays in its folder."""
        long = self._long.pop(answer.id, None)
        if long is not None and not answer.state.final:
            line = changes_of(long.answer, answer)
            if len(line) <= long.room:
                self._reserve.insist(partial(durable.append_line, long.changes, line, sync=True))
                self._long[answer.id] = replace(long, answer=answer, room=long.room - len(line))
                return
        self._replace(answer)
        if long is not None:
            with suppress(OSError):
                long.changes.unlink(missing_ok=True)

    def _replace(self, answer: Answer) -> None:
        done = self.done / f"{answer.id}.json"
        path = done if done.exists() else self._path(answer.id)
        content = answer.to_json()
        self._reserve.insist(partial(durable.write, path, content))
        if len(content) >= LONG and not answer.state.final:
            self._long[answer.id] = _Long(answer, _changes(path, content), len(content))

    def close(self, answer: Answer) -> None:
        """Move an entry from the folder of open entries to `done` if its answer is final."""
        path = self._path(answer.id)
        if answer.state.final and path.exists():
            self._reserve.insist(partial(path.rename, self.done / path.name))

    def _path(self, identity: str) -> Path:
        return self._open / f"{identity}.json"


def _changes(entry: Path, content: bytes) -> Path:
    """Return the file with the changes of an entry."""
    return entry.with_suffix(f"{_CHANGES}{hashlib.sha256(content).hexdigest()[:16]}")


def _read(entry: Path) -> Answer:
    """Return an entry with its changes. Raise OSError or ValueError if it cannot be read."""
    content = durable.read(entry, LARGEST)
    with suppress(FileNotFoundError):
        content = with_changes(content, durable.read(_changes(entry, content), LARGEST))
    return Answer.from_json(content)


def _remove_earlier_changes(entry: Path) -> None:
    """Remove files with changes of an entry that it has contained since it was written again."""
    current = _changes(entry, durable.read(entry, LARGEST))
    for path in entry.parent.glob(f"{entry.stem}{_CHANGES}*"):
        if path != current:
            path.unlink()
