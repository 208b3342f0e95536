"""The files of answers: `answers/<id>.json`, `x.status.json` beside `x.request`, and `backup.status`.

Other programs may write there. The agent reads these files only to find the newest request of a file name.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from backup_agent import durable
from backup_agent.core.requests.answers import LARGEST, LEGACY_WORD, Answer, AnswerHead, State
from backup_agent.supervisor.requests.drop_folder import ANSWER_ENDING
from backup_agent.supervisor.requests.reserve import Reserve

LEGACY_REQUEST = "backup.request"
LEGACY_STATUS = "backup.status"
NAME_MAX = 255
"""Bytes of the longest file name."""

NAME_IS_TAKEN = frozenset({errno.EISDIR, errno.EPERM, errno.ENAMETOOLONG})
"""errnos that no retry can fix: the target is a directory, belongs to another user, or has an invalid name."""

CUT = "~"
HASH_DIGITS = 16
"""Digits of the hash that follows CUT in the name of an answer whose full name would be too long."""

log = structlog.get_logger()


@dataclass(frozen=True)
class _Newest:
    """The newest request of a file name, whose answer is beside the file."""

    intake: str
    id: str
    final: bool


class AnswersFolder:
    """The answers in one requests folder. Each method may raise OSError."""

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        """`reserve` is the reserve on the volume of the folder."""
        self.folder = folder
        self.by_id = folder / "answers"
        self._reserve = reserve
        self._newest: dict[str, _Newest] = {}

    def clear_legacy_status(self) -> None:
        """Remove `backup.status`, which would be read as the result of the next request."""
        try:
            (self.folder / LEGACY_STATUS).unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in NAME_IS_TAKEN:
                raise
            log.warning("legacy status not removed", error=error.strerror)

    def publish(self, answer: Answer, names: Iterable[str] | None = None) -> None:
        """Write an answer to `answers/<id>.json`, beside the dropped files and, for `backup.request`, `backup.status`.

        If `names` is given, write beside these dropped files only: a request that is sent often has many files.
        """
        content = answer.to_json()
        self._write(self.by_id / f"{answer.id}.json", answer, content)
        for name in answer.files if names is None else names:
            newest = self._newest_of(name)
            if answer.id != newest.id and answer.intake < newest.intake:
                continue
            # The caller of a rejected request reads backup.status, too, unless an accepted request is under way.
            if name == LEGACY_REQUEST and (newest.final or answer.state is not State.REJECTED):
                self._legacy(answer)
            self._newest[name] = _Newest(max(answer.intake, newest.intake), answer.id, answer.state.final)
            if answer.state is not State.REJECTED:
                self._write(self.folder / answer_name(name), answer, content)

    def _legacy(self, answer: Answer) -> None:
        """Write the state of a final answer to `backup.status`, in the words of the agent's predecessor."""
        word = LEGACY_WORD.get(answer.state)
        if word is not None:
            self._write(self.folder / LEGACY_STATUS, answer, word.encode() + b"\n", sync=False)

    def write_beside(self, name: str, answer: Answer) -> None:
        """Write the answer beside the dropped file."""
        self._write(self.folder / answer_name(name), answer, answer.to_json())

    def _write(self, path: Path, answer: Answer, content: bytes, *, sync: bool = True) -> None:
        """Write one file of an answer. If its name cannot be used, log that: the other files have the answer, too."""
        try:
            self._reserve.insist(partial(durable.write, path, content, sync=sync and _for_good(answer)))
        except OSError as error:
            if error.errno not in NAME_IS_TAKEN:
                raise
            log.warning("answer file not written", file=str(path), request=answer.id, error=error.strerror)

    def _newest_of(self, name: str) -> _Newest:
        if name not in self._newest:
            try:
                answer = AnswerHead.from_json(durable.read(self.folder / answer_name(name), LARGEST))
                self._newest[name] = _Newest(answer.intake, answer.id, answer.state.final)
            except (OSError, ValueError):
                self._newest[name] = _Newest("", "", final=True)
        return self._newest[name]

    def note_newest(self, name: str, intake: str, answer: Answer) -> None:
        """Note that a dropped file repeats a request that was accepted before."""
        self._newest[name] = _Newest(intake, answer.id, answer.state.final)

    def after_newest(self, name: str, now: datetime) -> datetime:
        """Return `now`, or if the file's newest intake is not earlier, a time just after that intake.

        With this time, the file's next request counts as the newest even if the clock was set back.
        """
        newest = time_of(self._newest_of(name).intake)
        return now if newest is None or newest < now else newest + timedelta(microseconds=1)

    def forget(self, name: str) -> None:
        """Forget the newest request whose answer had this file name, since that answer was removed."""
        base = name.removesuffix(ANSWER_ENDING)
        names = [base, f"{base}.request"]
        if base[-1 - HASH_DIGITS : -HASH_DIGITS] == CUT:
            names += [dropped for dropped in self._newest if answer_name(dropped) == name]
        for dropped in names:
            self._newest.pop(dropped, None)
            if dropped == LEGACY_REQUEST:
                self.clear_legacy_status()


def time_of(intake: str) -> datetime | None:
    """Return the time at which an intake was made, or None if the text is not an intake.

    >>> time_of("20261123T020000000000Z-00010000")
    datetime.datetime(2026, 11, 23, 2, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        return datetime.strptime(intake.partition("-")[0], "%Y%m%dT%H%M%S%f%z")
    except ValueError:
        return None


def answer_name(name: str) -> str:
    """Return the name of the answer beside a dropped file.

    A name that would be too long is cut, and gets the beginning of the SHA-256 of the whole name.

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


def _for_good(answer: Answer) -> bool:
    """Return whether an answer is synced to disk: only the final answer to an accepted request is.

    Earlier answers are written again from the ledger. A rejected file itself is kept, so its answer may be lost in a
    power failure; syncing it would cost four waits for the disk per file.
    """
    return answer.state.final and answer.state is not State.REJECTED
