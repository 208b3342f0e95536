"""The spool: a folder that is both the queue and the ledger of requests, so that recovery only lists it.

    <requests>/x.request             dropped by a user, read in place until it is complete or has not changed for a time
    <requests>/.spool/incoming/<intake>/x.request   taken; its content is read again and judged
                      open/<id>.json      accepted, without a final answer; .changes-* beside it: changes of a long one
                      done/<id>.json      with a final answer
                      rejected/<intake>.json   a rejected file with its content, owner and mode
                      reserve/            space for answers on a full volume
    <requests>/answers/<id>.json, <requests>/x.status.json   the answers

The order of writes is: ledger, answers, and for a final answer the rename into `done`. After a crash between two of
them, the entry in the ledger says what is still to be written.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path

from backup_agent import durable
from backup_agent.core.reasons import PermanentError
from backup_agent.core.requests.answers import Answer, State, rejected
from backup_agent.core.requests.request import Action, InvalidRequestError, Request, parse
from backup_agent.supervisor.requests.answers_folder import LEGACY_REQUEST, AnswersFolder
from backup_agent.supervisor.requests.drop_folder import DropFolder, command_of, read_request
from backup_agent.supervisor.requests.expiry import Expiry
from backup_agent.supervisor.requests.folder_lock import FolderLock
from backup_agent.supervisor.requests.ledger import Ledger
from backup_agent.supervisor.requests.reserve import Reserve


@dataclass(frozen=True)
class TakenFile:
    """The answer to a dropped file, and whether the file is new or repeats an earlier request."""

    answer: Answer
    new: bool


class Spool:
    """The spool below one requests folder. A method that raises OSError can be called again: nothing is lost."""

    def __init__(self, folder: Path, root: str, refuse: Callable[[Request], tuple[str, ...]]) -> None:
        """`root` is the storage root, below which a request's `path` must be.

        `refuse` is called with each new request. It returns why the request is rejected, if it is.
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
        self._intakes = count()

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self._incoming, self._rejected, self.answers.by_id, *self.ledger.folders

    def prepare(self) -> None:
        """Make the folders, and remove temporary files of an earlier process and `backup.status`.

        Raise PermanentError if another agent takes its requests from this folder.
        """
        for place in self._folders:
            self.reserve.insist(partial(place.mkdir, parents=True, exist_ok=True))
        self._lock.hold()
        for place in (self.folder, self.answers.by_id, *self.ledger.folders):
            durable.remove_temporaries(place)
        self.answers.clear_legacy_status()
        self.ledger.begin_anew()
        self.expiry.begin_anew()

    def name_agent(self, owner: str) -> None:
        """Let commands know the id of the agent that takes requests from this folder."""
        self._lock.name(owner)

    def exists(self) -> bool:
        """Return whether the folders that `prepare` makes exist."""
        return all(place.is_dir() for place in self._folders)

    def take(self, name: str, now: datetime) -> TakenFile | None:
        """Move a dropped file out of the folder and accept or reject it. Return None if the file is gone.

        A file that cannot be moved is rejected and left in the folder; later calls for it return None.
        """
        folder = self._incoming / self.intake(self.answers.after_newest(name, now))
        self.reserve.insist(folder.mkdir)
        try:
            self._rename(self.folder / name, folder / name)
        except FileNotFoundError:
            folder.rmdir()
            return None
        except PermissionError as error:
            folder.rmdir()
            return self._reject_immovable(name, folder.name, error, now)
        return self._settle(folder, now)

    def _reject_immovable(self, name: str, intake: str, error: PermissionError, now: datetime) -> TakenFile | None:
        """Reject a file of another user that may not be moved, and leave it in the folder.

        The folder is sticky, or the file is a directory. Return None if this version of the file was rejected before.
        """
        path = self.folder / name
        version = self.dropped.version(name)
        if self.dropped.is_immovable(name, version):
            return None
        fault = (
            f"cannot be moved ({error.strerror}): the agent runs as uid {os.getuid()}. The file stays in the folder, "
            f"and is taken when it can be moved: remove it, or make that uid the owner of {self.folder}"
        )
        taken = self._reject(path, intake, (fault,), now)
        self.answers.publish(taken.answer, (name,))
        self.answers.write_beside(name, taken.answer)
        self.dropped.note_immovable(name, version)
        return taken

    def unsettled(self) -> list[str]:
        """Return the intakes of files that were taken but, because of a crash, neither accepted nor rejected."""
        return sorted(entry.name for entry in os.scandir(self._incoming))

    def settle(self, intake: str, now: datetime) -> TakenFile | None:
        """Accept or reject a file that was taken before a crash. Return None if the intake has no file."""
        return self._settle(self._incoming / intake, now)

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
            (folder / name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # the requests folder was deleted: the request is accepted all the same
            folder.rmdir()
        return taken

    def _judge(self, path: Path, intake: str, now: datetime) -> TakenFile:
        try:
            data = read_request(path)
            path.name.encode()
            request = parse(data, self._root)
        except UnicodeEncodeError:
            return self._reject(path, intake, ("the file's name is not UTF-8: give it another",), now)
        except InvalidRequestError as error:
            return self._reject(path, intake, error.faults, now)
        identity = request.id
        if identity is None or request.action is Action.CANCEL:
            identity = command_of(path.name) or intake
        try:
            earlier = self.ledger.load(identity)
        except PermanentError as error:
            return self._reject(path, intake, (f"id: {error.failure.error}; write another id, or none",), now)
        if earlier is None:
            if faults := self._refuse(request):
                return self._reject(path, intake, faults, now)
            answer = self._accept(request, identity, intake, (path.name,), None, now)
            return TakenFile(answer, new=True)
        if earlier.intake == intake:
            return TakenFile(earlier, new=True)
        if not request.repeats(earlier.request):
            fault = f"id: {identity!r} has been used for another request; write another id, or none"
            return self._reject(path, intake, (fault,), now)
        if path.name not in earlier.files:
            earlier = earlier.model_copy(update={"files": (*earlier.files, path.name)})
            self.ledger.write(earlier)
        self.answers.note_newest(path.name, intake, earlier)
        return TakenFile(earlier, new=False)

    def submit(self, request: Request, schedule: str | None, now: datetime) -> TakenFile:
        """Accept a request of a schedule, or of the agent itself. A request whose id was submitted before runs once.

        Raise PermanentError if the request was submitted before and its entry cannot be read.
        """
        identity = request.id or self.intake(now)
        earlier = self.ledger.load(identity)
        if earlier is not None:
            return TakenFile(earlier, new=False)
        answer = self._accept(request, identity, self.intake(now), (), schedule, now)
        self.answers.publish(answer)
        return TakenFile(answer, new=True)

    def _accept(
        self, request: Request, identity: str, intake: str, files: tuple[str, ...], schedule: str | None, now: datetime
    ) -> Answer:
        answer = Answer(
            id=identity,
            state=State.QUEUED,
            action=request.action,
            files=files,
            intake=intake,
            schedule=schedule,
            received=now,
            set=request.set_name(self._root) if request.action is Action.BACKUP else None,
            request=dict(request.content()),
        )
        self.ledger.create(answer)
        if LEGACY_REQUEST in files:
            self.answers.clear_legacy_status()
        return answer

    def _reject(self, path: Path, intake: str, faults: tuple[str, ...], now: datetime) -> TakenFile:
        name = os.fsencode(path.name).decode(errors="backslashreplace")
        answer = rejected(id=intake, intake=intake, files=(name,), faults=faults, now=now)
        return TakenFile(answer, new=True)

    def save(self, answer: Answer) -> None:
        """Write an answer to the ledger. If it is final, publish it, then close its entry."""
        self.ledger.write(answer)
        if answer.state.final:
            self.publish(answer)
            self.ledger.close(answer)

    def publish(self, answer: Answer) -> None:
        """Write an answer where its clients read it."""
        self.answers.publish(answer)

    def _rename(self, path: Path, target: Path) -> None:
        """Rename a file. The reserve is used if the target folder must grow on a full volume."""
        self.reserve.insist(partial(path.rename, target))

    def intake(self, now: datetime) -> str:
        """Return a new intake: the time, and digits that are unique within a microsecond and between processes."""
        return f"{now:%Y%m%dT%H%M%S}{now.microsecond:06d}Z-{os.getpid() & 0xFFFF:04x}{next(self._intakes) & 0xFFFF:04x}"
