"""Removing answers, ledger entries and rejected files that have had their time.

Forgetting needs no order: each file goes by itself, when it says that it has had its time.
"""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from backup_agent import durable
from backup_agent.core.requests.answers import LARGEST, AnswerHead
from backup_agent.supervisor.requests.answers_folder import AnswersFolder, time_of
from backup_agent.supervisor.requests.drop_folder import ANSWER_ENDING

EXPIRY_SECONDS = 0.02
"""How long one `expire` takes: thousands of young files, or a hundred that go."""

LONGEST_BETWEEN_SWEEPS = timedelta(hours=1)
SHARE_BETWEEN_SWEEPS = 10
"""Nothing outlives its time by more than an hour, or a tenth of that time."""

log = structlog.get_logger()


class Expiry:
    """The sweep over all files that are kept for a time, a moment at a time."""

    def __init__(self, answers: AnswersFolder, done: Path, rejected: Path) -> None:
        """`done` has the ledger's entries of requests that were answered for good, `rejected` the refused files."""
        self._answers = answers
        self._done = done
        self._rejected = rejected
        self._sweep: Iterator[bool] | None = None
        self._next_sweep = datetime.min.replace(tzinfo=UTC)

    def begin_anew(self) -> None:
        """Give up the sweep under way: another folder has come."""
        self._sweep = None

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
            log.warning("answers not expired", folder=str(self._answers.folder), error=str(error))
        if removed:
            log.info("answers expired", files=removed)
        return removed

    def _sweep_before(self, moment: datetime) -> Iterator[bool]:
        """Look at every file that may be older than a moment; yield whether it went."""
        yield from self._sweep_in(self._answers.folder, partial(_is_old, ANSWER_ENDING, moment))
        for place in (self._answers.by_id, self._done):
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
        if path.parent == self._answers.folder:
            self._answers.forget(path.name)

    def _is_old_rejected(self, moment: datetime, entry: "os.DirEntry[str]") -> bool:
        """Tell whether a rejected file has had its time: its answer has, or has gone. A folder is never emptied."""
        ticket = entry.name.removesuffix(".json")
        taken = time_of(ticket)
        if taken is None or taken >= moment or entry.is_dir(follow_symlinks=False):
            return False
        return not (self._answers.by_id / f"{ticket}.json").exists()


def _is_old(ending: str, moment: datetime, entry: "os.DirEntry[str]") -> bool:
    """Tell whether a file is a final answer of before a moment; its own time only saves reading young ones."""
    if not entry.name.endswith(ending):
        return False
    try:
        if entry.stat(follow_symlinks=False).st_mtime >= moment.timestamp():
            return False
        answer = AnswerHead.from_json(durable.read(Path(entry.path), LARGEST))
    except (OSError, ValueError):
        return False
    return answer.state.final and (answer.finished or answer.received) < moment
