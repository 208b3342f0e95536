"""Remove answers, ledger entries and rejected files after the time for which they are kept.

The files of one request may be removed in any order: each file contains its own time.
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
"""Longest duration of one call of `expire`: enough for thousands of young files, or for removing a hundred."""

LONGEST_BETWEEN_SWEEPS = timedelta(hours=1)
SHARE_BETWEEN_SWEEPS = 10
"""A sweep starts an hour after the last one, or after a tenth of the time for which files are kept if that is less."""

log = structlog.get_logger()


class Expiry:
    """The sweep over all files that expire, in many short steps."""

    def __init__(self, answers: AnswersFolder, done: Path, rejected: Path) -> None:
        """`done` contains the ledger's entries with final answers, `rejected` the rejected files."""
        self._answers = answers
        self._done = done
        self._rejected = rejected
        self._sweep: Iterator[bool] | None = None
        self._next_sweep = datetime.min.replace(tzinfo=UTC)

    def begin_anew(self) -> None:
        """Abandon the sweep under way, since the requests folder was replaced."""
        self._sweep = None

    def expire(self, now: datetime, keep: timedelta) -> int:
        """Remove answers older than `keep`, their ledger entries and rejected files; return the number of files.

        A call takes EXPIRY_SECONDS at most, and the next call continues the sweep. An answer's age is counted from the
        time in it. An answer that is not final or cannot be read is kept. A removed id can be used again.
        """
        if self._sweep is None:
            if now < self._next_sweep:
                return 0
            self._next_sweep = now + min(LONGEST_BETWEEN_SWEEPS, keep / SHARE_BETWEEN_SWEEPS)
            self._sweep = self._sweep_before(now - keep)
        until = time.monotonic() + EXPIRY_SECONDS
        removed = 0
        try:
            for was_removed in self._sweep:
                removed += was_removed
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
        """Check every file that may be older than a moment; yield whether it was removed."""
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
        """Return whether a rejected file was taken before a moment and has no answer any more. A directory is kept."""
        intake = entry.name.removesuffix(".json")
        taken = time_of(intake)
        if taken is None or taken >= moment or entry.is_dir(follow_symlinks=False):
            return False
        return not (self._answers.by_id / f"{intake}.json").exists()


def _is_old(ending: str, moment: datetime, entry: "os.DirEntry[str]") -> bool:
    """Return whether a file contains a final answer from before a moment. Files changed since then are not read."""
    if not entry.name.endswith(ending):
        return False
    try:
        if entry.stat(follow_symlinks=False).st_mtime >= moment.timestamp():
            return False
        answer = AnswerHead.from_json(durable.read(Path(entry.path), LARGEST))
    except (OSError, ValueError):
        return False
    return answer.state.final and (answer.finished or answer.received) < moment
