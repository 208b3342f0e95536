"""Why a call of neo4j-admin in a drill failed, from its exit code and its last lines.

The texts were seen with Neo4j Community 5.26.31 and 2026.09.0, except where a comment says otherwise.
"""

import re

from backup_agent.core.drill.outcomes import StopCause
from backup_agent.core.neo4j.causes import explain
from backup_agent.core.neo4j.verdict import Completed, EndedBy
from backup_agent.core.reasons import Reason

REFUSED = 1
"""Exit code of a command that began and did not succeed."""

UNKNOWN_COMMAND = 2
"""Exit code of picocli for a command that does not exist."""

_NO_COMMAND = re.compile(r"unmatched arguments? from index \d+: '(?:restore|check|load)'", re.IGNORECASE)

_TEXTS: tuple[tuple[StopCause, re.Pattern[str]], ...] = tuple(
    (cause, re.compile(text, re.IGNORECASE))
    for cause, text in (
        (StopCause.NEWER_VERSION, r"is of a newer version than|downgrade is not supported"),
        # A magic that this version does not know: BZV3 in 2026.09.0, SMV1 in 5.26.31.
        (StopCause.UNKNOWN_FORMAT, r"unsupported format backup format"),
        (StopCause.INCONSISTENT, r"inconsistencies found"),
        (StopCause.NEEDS_RECOVERY, r"please recover database|store needs recovery"),
        (StopCause.COMMUNITY, r"loading of differential neo4j backup is not supported"),
        (StopCause.NO_LICENCE, r"NEO4J_ACCEPT_LICENSE_AGREEMENT|accept the licen[cs]e"),
    )
)

_BY_REASON = {
    Reason.DISK_FULL: StopCause.NO_ROOM,
    Reason.FILE_TOO_LARGE: StopCause.NO_ROOM,
    Reason.OUT_OF_MEMORY: StopCause.NO_MEMORY,
    Reason.ADMIN_MISSING: StopCause.NO_PROGRAM,
    Reason.JAVA_UNSUPPORTED: StopCause.NO_PROGRAM,
    Reason.TOO_MANY_FILES: StopCause.PROGRAM_FAILED,
    Reason.VOLUME_FAULT: StopCause.PROGRAM_FAILED,
}
"""Reason that a line states (core.neo4j.causes) -> cause. Other reasons are those of a backup, and are not used."""

_BY_END = {
    EndedBy.TIMEOUT: StopCause.TIMEOUT,
    EndedBy.STALLED: StopCause.TIMEOUT,
    EndedBy.CANCELLED: StopCause.CANCELLED,
}

_SIGKILL, _SIGTERM = 9, 15
_BY_SIGNAL = {
    number: cause
    for signal, cause in ((_SIGKILL, StopCause.NO_MEMORY), (_SIGTERM, StopCause.KILLED))
    for number in (signal, 128 + signal)
}
"""Signal, or exit code of a shell for it -> cause. SIGKILL is that of the kernel's OOM killer."""


def knows_no_command(completed: Completed) -> bool:
    """Return whether neo4j-admin does not know the command: Community has no `database restore`."""
    return completed.exit_code == UNKNOWN_COMMAND and any(map(_NO_COMMAND.search, completed.last_lines))


def cause_of(completed: Completed) -> StopCause | None:
    """Return why a call failed; None if it succeeded, or if it ended with REFUSED and no known cause explains that.

    Any other exit code is that of a program that could not do its work, whatever the artifact is.
    """
    if completed.ended_by is not None:
        return _BY_END[completed.ended_by]
    if completed.exit_code == 0:
        return None
    if (by_signal := _BY_SIGNAL.get(completed.signal or completed.exit_code or 0)) is not None:
        return by_signal
    for cause, text in _TEXTS:
        if any(map(text.search, completed.last_lines)):
            return cause
    if (explained := explain(completed.last_lines)) and explained.cause.reason in _BY_REASON:
        return _BY_REASON[explained.cause.reason]
    return None if completed.exit_code == REFUSED else StopCause.PROGRAM_FAILED


def how_it_ended(completed: Completed) -> str:
    """Return how a call ended, and its last lines without those of progress."""
    lines = [line for line in completed.last_lines if not _PROGRESS.fullmatch(line)]
    if completed.ended_by is not None:
        end = f"it was ended ({completed.ended_by.value}) after {completed.duration:.0f} s"
    elif completed.signal is not None:
        end = f"it was ended by signal {completed.signal}"
    else:
        end = f"it ended with exit code {completed.exit_code}"
    return "\n".join((end, *lines[-_MOST_LINES:]))


_MOST_LINES = 8
_PROGRESS = re.compile(r"Files: \d+/\d+, data:.*|[. ]*\s*\d+%|-+|Command Failed|Run with '--verbose'.*")


def is_same_refusal(one: Completed, other: Completed) -> bool:
    """Return whether two calls failed for the same reason: with the same text, apart from numbers."""
    return _NUMBERS.sub("", how_it_ended(one)) == _NUMBERS.sub("", how_it_ended(other))


_NUMBERS = re.compile(r"\d+")
