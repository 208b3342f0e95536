"""The spool: a folder that is the queue and the ledger at once, so recovery is a listing.

    <requests>/x.request             dropped by a user, read in place until it is whole or quiet
    <requests>/.spool/incoming/<ticket>/x.request   taken: this reading counts
                      open/<id>.json      accepted, not answered for good
                      done/<id>.json      answered for good
                      rejected/<ticket>.json   a file that could not be taken, as it came: its content, owner and mode
                      reserve/            room for answers on a full volume
    <requests>/answers/<id>.json, <requests>/x.status.json   the answers

The order of writes is what makes an answer come exactly once: ledger, then answers, then, for the final one, the
rename into `done`. A crash between two of them leaves an entry that says itself how far it got.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path

from backup_agent import durable
from backup_agent.core.artifacts.names import SetName
from backup_agent.core.reasons import PermanentError
from backup_agent.core.requests.answers import Answer, State, rejected
from backup_agent.core.requests.request import Action, InvalidRequestError, Request, parse
from backup_agent.supervisor.requests.answers_folder import LEGACY_REQUEST, AnswersFolder
from backup_agent.supervisor.requests.drop_folder import DropFolder, command_of, read_request
from backup_agent.supervisor.requests.expiry import Expiry
from backup_agent.supervisor.requests.ledger import Ledger
from backup_agent.supervisor.requests.presence import FolderLock
from backup_agent.supervisor.requests.reserve import Reserve


@dataclass(frozen=True)
class TakenFile:
    """What became of a dropped file: its answer, and whether it is new (else it repeats an earlier request)."""

    answer: Answer
    new: bool


class Spool:
    """The spool below one requests folder. Every method may raise OSError; nothing is lost then, it is tried again."""

    def __init__(self, folder: Path, root: str, refuse: Callable[[SetName], str | None]) -> None:
        """`root` is the storage root, which a request's `path` must stay below.

        `refuse` is asked about the set of each backup: it returns what is wrong with it, or None.
        """
        spool = folder / ".spool"
        self.folder = folder
        self.reserve = Reserve(spool / "reserve")
        self.dropped = DropFolder(folder)
        self.ledger = Ledger(spool, self.reserve)
        self.answers = AnswersFolder(folder, self.reserve)
        self._root = root
        self._refuse = refuse
        self._lock = FolderLock(folder, self.reserve)
        self._incoming = spool / "incoming"
        self._rejected = spool / "rejected"
        self.expiry = Expiry(self.answers, self.ledger.done, self._rejected)
        self._tickets = count()

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self._incoming, self._rejected, self.answers.by_id, *self.ledger.folders

    def prepare(self) -> None:
        """Make the folders; remove temporary files of an earlier process, and `backup.status`.

        Raise PermanentError if another agent takes its requests from this folder.
        """
        for place in self._folders:
            self.reserve.insist(partial(place.mkdir, parents=True, exist_ok=True))
        self._lock.hold()
        for place in (self.folder, self.answers.by_id, *self.ledger.folders):
            durable.remove_temporaries(place)
        self.answers.clear_legacy_status()
        self.expiry.begin_anew()

    def exists(self) -> bool:
        """Return whether the folders that `prepare` makes exist."""
        return all(place.is_dir() for place in self._folders)

    def take(self, name: str, now: datetime) -> TakenFile | None:
        """Take a dropped file out of the folder and accept or reject it. Return None if the file is gone.

        A file that cannot be moved is answered in its place once; later calls return None.
        """
        folder = self._incoming / self.ticket(self.answers.after_newest(name, now))
        self.reserve.insist(folder.mkdir)
        try:
            self._rename(self.folder / name, folder / name)
        except FileNotFoundError:
            folder.rmdir()
            return None
        except PermissionError as error:
            folder.rmdir()
            return self._reject_where_it_stands(name, folder.name, error, now)
        return self._settle(folder, now)

    def _reject_where_it_stands(
        self, name: str, ticket: str, error: PermissionError, now: datetime
    ) -> TakenFile | None:
        """Answer a file that may not be moved, once: another's in a sticky folder, or another's directory."""
        path = self.folder / name
        version = self.dropped.version(name)
        if self.dropped.is_immovable(name, version):
            return None
        fault = (
            f"cannot be moved ({error.strerror}): the agent runs as uid {os.getuid()}. It stays where it is, and is "
            f"taken once it can be: remove it, or let that uid own {self.folder}"
        )
        taken = self._reject(path, ticket, (fault,), now)
        self.answers.publish(taken.answer, (name,))
        self.answers.write_beside(name, taken.answer)
        self.dropped.note_immovable(name, version)
        return taken

    def unsettled(self) -> list[str]:
        """Return the tickets of files that were taken but neither accepted nor rejected: a crash came between."""
        return sorted(entry.name for entry in os.scandir(self._incoming))

    def settle(self, ticket: str, now: datetime) -> TakenFile | None:
        """Go on with a file that an earlier life took."""
        return self._settle(self._incoming / ticket, now)

    def _settle(self, folder: Path, now: datetime) -> TakenFile | None:
        entry = next(folder.iterdir(), None)
        if entry is None:
            folder.rmdir()
            return None
        name = entry.name
        taken = self._judge(folder / name, folder.name, now)
        self.answers.publish(taken.answer, None if taken.new else (name,))
        if taken.answer.state is State.REJECTED:
            self.answers.write_beside(name, taken.answer)
            self._rename(folder / name, self._rejected / f"{folder.name}.json")
        else:
            (folder / name).unlink()
        folder.rmdir()
        return taken

    def _judge(self, path: Path, ticket: str, now: datetime) -> TakenFile:
        try:
            data = read_request(path)
            path.name.encode()
            request = parse(data, self._root)
        except UnicodeEncodeError:
            return self._reject(path, ticket, ("the file's name is not UTF-8: give it another",), now)
        except InvalidRequestError as error:
            return self._reject(path, ticket, error.faults, now)
        identity = request.id
        if identity is None or request.action is Action.CANCEL:
            identity = command_of(path.name) or ticket
        try:
            earlier = self.ledger.load(identity)
        except PermanentError as error:
            return self._reject(path, ticket, (f"id: {error.failure.error}; write another id, or none",), now)
        if earlier is None:
            fault = self._refuse(request.set_name(self._root)) if request.action is Action.BACKUP else None
            if fault is not None:
                return self._reject(path, ticket, (fault,), now)
            answer = self._accept(request, identity, ticket, (path.name,), None, now)
            return TakenFile(answer, new=True)
        if earlier.ticket == ticket:
            return TakenFile(earlier, new=True)
        if earlier.request != request.content():
            fault = f"id: {identity!r} has been used for another request; write another id, or none"
            return self._reject(path, ticket, (fault,), now)
        if path.name not in earlier.files:
            earlier = earlier.model_copy(update={"files": (*earlier.files, path.name)})
            self.ledger.write(earlier)
        self.answers.note_newest(path.name, ticket, earlier)
        return TakenFile(earlier, new=False)

    def submit(self, request: Request, schedule: str, now: datetime) -> TakenFile:
        """Take a schedule's request, whose id says which due time it is for: submitting it twice is one run.

        Raise PermanentError where it has been submitted, and its entry cannot be read.
        """
        identity = request.id or self.ticket(now)
        earlier = self.ledger.load(identity)
        if earlier is not None:
            return TakenFile(earlier, new=False)
        answer = self._accept(request, identity, self.ticket(now), (), schedule, now)
        self.answers.publish(answer)
        return TakenFile(answer, new=True)

    def _accept(
        self, request: Request, identity: str, ticket: str, files: tuple[str, ...], schedule: str | None, now: datetime
    ) -> Answer:
        answer = Answer(
            id=identity,
            state=State.QUEUED,
            action=request.action,
            files=files,
            ticket=ticket,
            schedule=schedule,
            received=now,
            set=request.set_name(self._root) if request.action is Action.BACKUP else None,
            request=dict(request.content()),
        )
        self.ledger.create(answer)
        if LEGACY_REQUEST in files:
            self.answers.clear_legacy_status()
        return answer

    def _reject(self, path: Path, ticket: str, faults: tuple[str, ...], now: datetime) -> TakenFile:
        name = os.fsencode(path.name).decode(errors="backslashreplace")
        answer = rejected(id=ticket, ticket=ticket, files=(name,), faults=faults, now=now)
        return TakenFile(answer, new=True)

    def save(self, answer: Answer) -> None:
        """Write an entry down and publish it: ledger, answers, and for the final one the rename."""
        self.ledger.write(answer)
        self.answers.publish(answer)
        self.ledger.close(answer)

    def _rename(self, path: Path, target: Path) -> None:
        """Rename a file: a folder that must grow for it may meet a full volume."""
        self.reserve.insist(partial(path.rename, target))

    def ticket(self, now: datetime) -> str:
        """Return a new id: the time it was made, and a number for those made within a microsecond or by other lives."""
        return f"{now:%Y%m%dT%H%M%S}{now.microsecond:06d}Z-{os.getpid() & 0xFFFF:04x}{next(self._tickets) & 0xFFFF:04x}"
