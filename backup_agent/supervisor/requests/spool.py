"""The spool: a folder that is the queue and the ledger at once, so recovery is a listing.

    <requests>/x.request             dropped by a user, read in place until it is whole or quiet
    <requests>/.spool/incoming/<ticket>/x.request   taken: this reading counts
                      pending/<id>.json   accepted, waits
                      running/<id>.json   has had a start
                      done/<id>.json      answered for good
                      rejected/<ticket>.json   a file that could not be taken, as it came: its content, owner and mode
                      reserve/            room for answers on a full volume
    <requests>/answers/<id>.json, <requests>/x.status.json   the answers

The order of writes is what makes an answer come exactly once: ledger, then answers, then the rename into the next
folder. A crash between two of them leaves an entry that says itself how far it got; `recover` goes on from there.
A newcomer would trust the folder's name: trust the entry's own `state`.

Forgetting needs no order: each file goes by itself, when it says that it has had its time.
"""

import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

import structlog

from backup_agent import durable, quoting
from backup_agent.core.artifacts.names import COMMAND_ID
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.answers import LARGEST as LARGEST_ANSWER
from backup_agent.core.requests.answers import LEGACY_WORD, Answer, AnswerHead, State, rejected
from backup_agent.core.requests.request import LARGEST, Action, InvalidRequestError, Request, is_whole, parse
from backup_agent.supervisor.requests.presence import LOCK
from backup_agent.supervisor.requests.reserve import Reserve

LEGACY_REQUEST = "backup.request"
LEGACY_STATUS = "backup.status"
ENDINGS = (".request", ".json")
ANSWER_ENDING = ".status.json"
QUIET_SECONDS = 2.0
NAME_MAX = 255
"""Bytes of the longest file name."""

NAME_IS_TAKEN = frozenset({errno.EISDIR, errno.EPERM, errno.ENAMETOOLONG})
"""A directory stands under a name, or another's file in a sticky folder; or the name is none. No later try mends it."""

CUT = "~"
HASH_DIGITS = 16
"""What follows the cut name of an answer to a file whose name is too long."""

EXPIRY_SECONDS = 0.02
"""How long one `expire` takes: thousands of young files, or a hundred that go."""

LONGEST_BETWEEN_SWEEPS = timedelta(hours=1)
SHARE_BETWEEN_SWEEPS = 10
"""Nothing outlives its time by more than an hour, or a tenth of that time."""

log = structlog.get_logger()


@dataclass(frozen=True)
class _Seen:
    """A file that is not whole yet, and since when it has not changed (monotonic seconds)."""

    inode: int
    size: int
    changed_ns: int
    since: float


@dataclass(frozen=True)
class _Newest:
    """The newest request of a file name: the one whose answer stands beside it."""

    ticket: str
    id: str
    final: bool


@dataclass(frozen=True)
class TakenFile:
    """What became of a dropped file: its answer, and whether it is new (else it repeats an earlier request)."""

    answer: Answer
    new: bool


class Spool:
    """The spool below one requests folder. Every method may raise OSError; nothing is lost then, it is tried again."""

    def __init__(self, folder: Path, root: str, refuse: Callable[[str], str | None]) -> None:
        """`root` is the storage root, which a request's `path` must stay below.

        `refuse` is asked about the set of each backup: it returns what is wrong with it, or None.
        """
        self.folder = folder
        self._root = root
        self._refuse = refuse
        self._spool = folder / ".spool"
        self._incoming = self._spool / "incoming"
        self._rejected = self._spool / "rejected"
        self._answers = folder / "answers"
        self._unripe: dict[str, _Seen] = {}
        self._whole: dict[str, tuple[int, int, int]] = {}
        self._immovable: dict[str, tuple[int, int, int]] = {}
        self._newest: dict[str, _Newest] = {}
        self._tickets = count()
        self._lock: int | None = None
        self._sweep: Iterator[bool] | None = None
        self._next_sweep = datetime.min.replace(tzinfo=UTC)
        self.reserve = Reserve(self._spool / "reserve")

    def prepare(self) -> None:
        """Make the folders; remove what an earlier life left half written, and yesterday's word.

        Raise PermanentError where another agent takes its requests from here.
        """
        for place in (self._incoming, self._rejected, self._answers, *self._places):
            self.reserve.insist(partial(place.mkdir, parents=True, exist_ok=True))
        self._own()
        for place in (self.folder, self._answers, *self._places):
            durable.remove_temporaries(place)
        self.clear_legacy_status()
        self._sweep = None

    def stands(self) -> bool:
        """Tell whether the folders that `prepare` makes are there."""
        return all(place.is_dir() for place in (self._incoming, self._rejected, self._answers, *self._places))

    def _own(self) -> None:
        """Lock the spool, also one that was mounted over the last: two agents would each carry out what the other took.

        A lock of the process, not flock's: children need none, and a new life in the same process is no stranger. Where
        the volume has no locks nothing tells agents apart, and the storage root's lock has to do.
        """
        path = self.folder / LOCK
        with suppress(FileNotFoundError):
            if self._lock is not None and os.path.samestat(os.fstat(self._lock), path.lstat()):
                return
        opening = partial(durable.open_regular, path, os.O_RDWR | os.O_CREAT, mode=durable.SHARED)
        descriptor = self.reserve.insist(opening)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise PermanentError(
                    Reason.FOREIGN_ROOT,
                    f"{self.folder}: another agent takes its requests from this folder",
                    "one agent a folder: stop the other, or give this one a folder of its own (`requests`)",
                ) from error
        if self._lock is not None:
            os.close(self._lock)
        self._lock = descriptor

    def clear_legacy_status(self) -> None:
        """Remove `backup.status`, so that nobody reads yesterday's word."""
        try:
            (self.folder / LEGACY_STATUS).unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in NAME_IS_TAKEN:
                raise
            log.warning("legacy status not removed", error=error.strerror)

    # Taking what was dropped

    def ripe(self, monotonic: float) -> list[str]:
        """Return the names of dropped files that can be taken now, the oldest first."""
        found: list[tuple[int, str]] = []
        unripe: dict[str, _Seen] = {}
        whole: dict[str, tuple[int, int, int]] = {}
        for entry in os.scandir(self.folder):
            if not is_request_name(entry.name):
                continue
            try:
                facts = entry.stat(follow_symlinks=False)
                seen = self._look(entry.name, facts, monotonic)
            except FileNotFoundError:
                continue
            if seen is None:
                found.append((facts.st_mtime_ns, entry.name))
                whole[entry.name] = _version(facts)
            else:
                unripe[entry.name] = seen
        self._unripe, self._whole = unripe, whole
        self._immovable = {name: version for name, version in self._immovable.items() if name in whole}
        return [name for _, name in sorted(found)]

    @property
    def waits_for_quiet(self) -> bool:
        """Whether a file was seen that may still be being written."""
        return bool(self._unripe)

    def _look(self, name: str, facts: os.stat_result, monotonic: float) -> _Seen | None:
        """Return None when the file is whole, hopeless or has been quiet long enough."""
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST or self._whole.get(name) == _version(facts):
            return None
        try:
            if facts.st_size and is_whole(durable.read(self.folder / name, LARGEST)):
                return None
        except (PermissionError, durable.RefusedFileError):
            return None
        before = self._unripe.get(name)
        now = _Seen(facts.st_ino, facts.st_size, facts.st_mtime_ns, monotonic)
        if before is None or (before.inode, before.size, before.changed_ns) != (now.inode, now.size, now.changed_ns):
            return now
        return None if monotonic - before.since >= QUIET_SECONDS else before

    def take(self, name: str, now: datetime) -> TakenFile | None:
        """Take a dropped file out of the folder and accept or reject it; None where it has gone meanwhile.

        Where that is forbidden it is answered where it stands, and None is returned from then on.
        """
        folder = self._incoming / self.ticket(self._after_newest(name, now))
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
        version = _version(path.lstat())
        if self._immovable.get(name) == version:
            return None
        fault = (
            f"cannot be moved ({error.strerror}): the agent runs as uid {os.getuid()}. It stays where it is, and is "
            f"taken once it can be: remove it, or let that uid own {self.folder}"
        )
        taken = self._reject(path, ticket, (fault,), now)
        self.publish(taken.answer, (name,))
        self._beside(name, taken.answer)
        self._immovable[name] = version
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
        self.publish(taken.answer, None if taken.new else (name,))
        if taken.answer.state is State.REJECTED:
            self._beside(name, taken.answer)
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
            earlier = self.load(identity)
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
            self._write(earlier)
        self._newest[path.name] = _Newest(ticket, earlier.id, earlier.state.final)
        return TakenFile(earlier, new=False)

    def submit(self, request: Request, schedule: str, now: datetime) -> TakenFile:
        """Take a schedule's request, whose id says which due time it is for: submitting it twice is one run.

        Raise PermanentError where it has been submitted, and its entry cannot be read.
        """
        identity = request.id or self.ticket(now)
        earlier = self.load(identity)
        if earlier is not None:
            return TakenFile(earlier, new=False)
        answer = self._accept(request, identity, self.ticket(now), (), schedule, now)
        self.publish(answer)
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
        self.reserve.insist(partial(durable.create, self._path(answer), answer.to_json()))
        if LEGACY_REQUEST in files:
            self.clear_legacy_status()
        return answer

    def _reject(self, path: Path, ticket: str, faults: tuple[str, ...], now: datetime) -> TakenFile:
        name = os.fsencode(path.name).decode(errors="backslashreplace")
        answer = rejected(id=ticket, ticket=ticket, files=(name,), faults=faults, now=now)
        return TakenFile(answer, new=True)

    # The ledger

    def load(self, identity: str) -> Answer | None:
        """Return the ledger's entry of a request, whatever its state; None where the id is unknown.

        Raise PermanentError where there is an entry that cannot be read: of a newer schema, or damaged.
        """
        for place in self._places:
            path = place / f"{identity}.json"
            try:
                return Answer.from_json(durable.read(path, LARGEST_ANSWER))
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
                answers.append(Answer.from_json(durable.read(path, LARGEST_ANSWER)))
            except (durable.RefusedFileError, ValueError) as error:
                log.warning("spool entry unreadable", entry=path.name, error=quoting.shown(error))
        yield from sorted(answers, key=lambda answer: answer.ticket)

    def save(self, answer: Answer) -> None:
        """Write an entry down and tell it to whoever asked: ledger, answers, then the rename into its folder."""
        self._write(answer)
        self.publish(answer)
        self._move(answer)

    def note(self, answer: Answer) -> None:
        """Write an entry down without telling it, before something is started that may end this process."""
        self._write(answer)

    def publish(self, answer: Answer, names: Iterable[str] | None = None) -> None:
        """Write the answer where people look: by its id, beside the dropped file, and the predecessor's one word.

        `names` are the files to answer beside, where not all that the answer is for: an id repeated a thousand times
        has a thousand.
        """
        self._tell(self._answers / f"{answer.id}.json", answer)
        for name in answer.files if names is None else names:
            newest = self._newest_of(name)
            if answer.id != newest.id and answer.ticket < newest.ticket:
                continue
            if name == LEGACY_REQUEST and (newest.final or answer.state is not State.REJECTED):
                self._legacy(answer)
            self._newest[name] = _Newest(max(answer.ticket, newest.ticket), answer.id, answer.state.final)
            if answer.state is not State.REJECTED:
                self._beside(name, answer)

    def _legacy(self, answer: Answer) -> None:
        """Write the predecessor's word, once the newest request of its name has ended.

        A rejected one gets its word too, unless an accepted one is under way: its caller must not wait for ever.
        """
        word = LEGACY_WORD.get(answer.state)
        if word is not None:
            self._tell(self.folder / LEGACY_STATUS, answer, word.encode() + b"\n")

    def _beside(self, name: str, answer: Answer) -> None:
        """Write the answer beside the dropped file."""
        self._tell(self.folder / answer_name(name), answer)

    def _tell(self, path: Path, answer: Answer, content: bytes | None = None) -> None:
        """Write what people read. Where its name is taken the other places tell it: nothing waits for that name."""
        try:
            self._put(path, content or answer.to_json(), sync=content is None and _for_good(answer))
        except OSError as error:
            if error.errno not in NAME_IS_TAKEN:
                raise
            log.warning("answer has no place", file=str(path), request=answer.id, error=error.strerror)

    def _newest_of(self, name: str) -> _Newest:
        if name not in self._newest:
            try:
                answer = AnswerHead.from_json(durable.read(self.folder / answer_name(name), LARGEST_ANSWER))
                self._newest[name] = _Newest(answer.ticket, answer.id, answer.state.final)
            except (OSError, ValueError):
                self._newest[name] = _Newest("", "", final=True)
        return self._newest[name]

    def _after_newest(self, name: str, now: datetime) -> datetime:
        """Return a time for the ticket of a file's next request: a clock set back must not make it the older one."""
        newest = _time_of(self._newest_of(name).ticket)
        return now if newest is None or newest < now else newest + timedelta(microseconds=1)

    def _write(self, answer: Answer) -> None:
        """Replace the entry where it stands now."""
        here = next((path for path in self._paths(answer.id) if path.exists()), self._path(answer))
        self._put(here, answer.to_json())

    def _move(self, answer: Answer) -> None:
        target = self._path(answer)
        for path in self._paths(answer.id):
            if path != target and path.exists():
                self._rename(path, target)

    def _put(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        """Write a file, on a full volume too."""
        self.reserve.insist(partial(durable.write, path, content, sync=sync))

    def _rename(self, path: Path, target: Path) -> None:
        """Rename a file: a folder that must grow for it may meet a full volume."""
        self.reserve.insist(partial(path.rename, target))

    # Forgetting

    def expire(self, now: datetime, keep: timedelta) -> int:
        """Remove answers older than `keep`, their ledger entries and rejected files; return how many files went.

        A call takes a moment at most, and the next one goes on from there. An answer goes by the time it says itself;
        one that is not final, or cannot be read, stays. An id that has gone is new again.
        """
        if self._sweep is None:
            if now < self._next_sweep:
                return 0
            self._next_sweep = now + min(LONGEST_BETWEEN_SWEEPS, keep / SHARE_BETWEEN_SWEEPS)
            self._sweep = self._sweep_before(now - keep)
        until = time.monotonic() + EXPIRY_SECONDS
        removed = 0
        try:
            for went in self._sweep:
                removed += went
                if time.monotonic() > until:
                    break
            else:
                self._sweep = None
        except OSError as error:
            self._sweep = None
            log.warning("answers not expired", folder=str(self.folder), error=str(error))
        if removed:
            log.info("answers expired", files=removed)
        return removed

    def _sweep_before(self, moment: datetime) -> Iterator[bool]:
        """Look at every file that may be older than a moment; yield whether it went."""
        yield from self._sweep_in(self.folder, partial(_is_old, ANSWER_ENDING, moment))
        for place in (self._answers, self._done):
            yield from self._sweep_in(place, partial(_is_old, ".json", moment))
        yield from self._sweep_in(self._rejected, partial(self._is_old_rejected, moment))

    def _sweep_in(self, place: Path, is_old: Callable[["os.DirEntry[str]"], bool]) -> Iterator[bool]:
        with os.scandir(place) as entries:
            for entry in entries:
                old = is_old(entry)
                if old:
                    self._remove(place / entry.name)
                yield old

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if path.parent == self.folder:
            base = path.name.removesuffix(ANSWER_ENDING)
            names = [base, f"{base}.request"]
            if base[-1 - HASH_DIGITS : -HASH_DIGITS] == CUT:
                names += [name for name in self._newest if answer_name(name) == path.name]
            for name in names:
                self._newest.pop(name, None)
                if name == LEGACY_REQUEST:
                    self.clear_legacy_status()

    def _is_old_rejected(self, moment: datetime, entry: "os.DirEntry[str]") -> bool:
        """Tell whether a rejected file has had its time: its answer has, or has gone. A folder is never emptied."""
        ticket = entry.name.removesuffix(".json")
        taken = _time_of(ticket)
        if taken is None or taken >= moment or entry.is_dir(follow_symlinks=False):
            return False
        return not (self._answers / f"{ticket}.json").exists()

    def ticket(self, now: datetime) -> str:
        """Return a new id: the time it was made, and a number for those made within a microsecond or by other lives."""
        return f"{now:%Y%m%dT%H%M%S}{now.microsecond:06d}Z-{os.getpid() & 0xFFFF:04x}{next(self._tickets) & 0xFFFF:04x}"

    @property
    def _pending(self) -> Path:
        return self._spool / "pending"

    @property
    def _running(self) -> Path:
        return self._spool / "running"

    @property
    def _done(self) -> Path:
        return self._spool / "done"

    @property
    def _places(self) -> tuple[Path, ...]:
        return self._pending, self._running, self._done

    def _paths(self, identity: str) -> Iterator[Path]:
        return (place / f"{identity}.json" for place in self._places)

    def _path(self, answer: Answer) -> Path:
        place = {State.QUEUED: self._pending, State.RUNNING: self._running}.get(answer.state, self._done)
        return place / f"{answer.id}.json"


def _version(facts: os.stat_result) -> tuple[int, int, int]:
    """Return what is different once a file was written again."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _is_old(ending: str, moment: datetime, entry: "os.DirEntry[str]") -> bool:
    """Tell whether a file is a final answer of before a moment; its own time only saves reading young ones."""
    if not entry.name.endswith(ending):
        return False
    try:
        if entry.stat(follow_symlinks=False).st_mtime >= moment.timestamp():
            return False
        answer = AnswerHead.from_json(durable.read(Path(entry.path), LARGEST_ANSWER))
    except (OSError, ValueError):
        return False
    return answer.state.final and (answer.finished or answer.received) < moment


def _time_of(ticket: str) -> datetime | None:
    """Return when a ticket was made.

    >>> _time_of("20261123T020000000000Z-00010000")
    datetime.datetime(2026, 11, 23, 2, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        return datetime.strptime(ticket.partition("-")[0], "%Y%m%dT%H%M%S%f%z")
    except ValueError:
        return None


def is_request_name(name: str) -> bool:
    """Tell whether a file of that name in the requests folder is a request (and not an answer, or hidden)."""
    return name.endswith(ENDINGS) and not name.endswith(ANSWER_ENDING) and not name.startswith(".")


def answer_name(name: str) -> str:
    """Return the name of the answer beside a dropped file.

    A name too long for the ending is cut, and told from others by the SHA-256 of the whole name.

    >>> answer_name("x.request"), answer_name("x.json")
    ('x.status.json', 'x.json.status.json')
    """
    base = os.fsencode(name.removesuffix(".request"))
    if len(base) + len(ANSWER_ENDING) <= NAME_MAX:
        return os.fsdecode(base) + ANSWER_ENDING
    cut = NAME_MAX - len(ANSWER_ENDING) - HASH_DIGITS - len(CUT)
    while base[cut] & 0xC0 == 0x80:  # noqa: PLR2004  within a character of UTF-8
        cut -= 1
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:HASH_DIGITS]
    return os.fsdecode(base[:cut]) + CUT + digest + ANSWER_ENDING


def command_of(name: str) -> str | None:
    """Return the id that a file's name gives a request of `backup-agent`'s commands; None for any other file."""
    stem = name.removesuffix(".request")
    return stem if COMMAND_ID.fullmatch(stem) else None


def read_request(path: Path) -> bytes:
    """Return the bytes of a dropped file; raise InvalidRequestError where it is not a plain file of sane size."""
    kind = path.lstat().st_mode
    for test, word in _KINDS:
        if test(kind):
            raise InvalidRequestError((f"{word}, not a file: write the JSON itself into a regular file",))
    try:
        return durable.read(path, LARGEST)
    except durable.TooLargeError:
        raise InvalidRequestError((f"more than {LARGEST} bytes: a request has at most that many",)) from None
    except OSError as error:
        raise InvalidRequestError(
            (f"cannot be read ({error.strerror}): the agent runs as uid {os.getuid()}",)
        ) from None


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _for_good(answer: Answer) -> bool:
    """Tell whether an answer is forced to the disk: the last one to an accepted request, which nobody makes again.

    Earlier ones are made again from the ledger; a flood of rejections would wait for the disk four times a file, and
    what a power cut takes of them is the answer alone: the file is kept.
    """
    return answer.state.final and answer.state is not State.REJECTED
