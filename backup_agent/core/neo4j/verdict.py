"""Judge one run of neo4j-admin by the artifact that it wrote.

The exit code is not reliable: 1 also means "succeeded but encountered problems" (such as one of several servers being
down), and exit code 0 was seen without an artifact (neo4j/neo4j#13107). Exit code and output only explain why there is
no sound artifact.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from backup_agent.core.artifacts.names import DatabaseName, misnamed
from backup_agent.core.artifacts.records import BackupType, Header
from backup_agent.core.escaping import quoted
from backup_agent.core.neo4j.causes import Cause, explain
from backup_agent.core.neo4j.progress import Transcript
from backup_agent.core.reasons import Failure, Reason


class EndedBy(StrEnum):
    """Why the agent stopped a program."""

    TIMEOUT = "timeout"
    STALLED = "stalled"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Completed:
    """How a program ended. Either `exit_code` or `signal` is set, or neither if it was never started."""

    exit_code: int | None
    signal: int | None = None
    ended_by: EndedBy | None = None
    """Why the agent stopped the program; None if the agent did not stop it."""
    last_lines: tuple[str, ...] = ()
    duration: float = 0.0
    """Run time in seconds."""


class Condition(StrEnum):
    """Result of reading an artifact."""

    SOUND = "sound"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    """Neither the agent's reader nor `backup inspect` knows the format."""


@dataclass(frozen=True)
class NewArtifact:
    """An artifact that neo4j-admin wrote in this run."""

    name: str
    condition: Condition
    header: Header | None = None
    """The header, if it could be read. A sound artifact always has one."""
    error: str = ""
    """Why the artifact is not sound."""
    warnings: tuple[str, ...] = ()
    chain_break: str | None = None
    """Why a differential does not continue the live chain (core.artifacts.chains); None if it does."""


class NextStep(StrEnum):
    """What is done after a run of neo4j-admin."""

    STORED = "stored"
    STORED_WITH_WARNINGS = "stored_with_warnings"
    FAILED = "failed"
    NEEDS_FULL = "needs_full"
    """No differential is possible; a FULL is taken in the same run. `failure` has the cause."""


@dataclass(frozen=True)
class Verdict:
    """The judgement of a run. `artifact` is stored, and all other new artifacts are set aside."""

    outcome: NextStep
    artifact: NewArtifact | None = None
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()


# Output of a JVM that was started directly and failed before its work began. Starting the script may succeed. The
# environment variable is AdminTool's, the unmatched arguments are picocli's, all other texts are the Java launcher's.
_NOT_STARTED = re.compile(
    r"could not find or load main class|"
    r"UnsupportedClassVersionError|compiled by a more recent version|"
    r"could not create the Java Virtual Machine|"
    r"error occurred during initialization of VM|"
    r"unrecognized (?:VM )?option|"
    r"(?:ClassNotFoundException|NoClassDefFoundError|NoSuchMethodError|ExceptionInInitializerError)\b|"
    r"required environment variable '[^']*' is not set|"
    r"unmatched arguments? from index \d+: '(?:database|backup)'",
    re.IGNORECASE,
)


def did_not_start(completed: Completed, transcript: Transcript) -> bool:
    """Return whether a JVM failed before its work began, so that starting it another way may succeed."""
    if transcript.spoke or completed.ended_by is not None or not completed.exit_code:
        return False
    return not completed.last_lines or any(_NOT_STARTED.search(line) for line in completed.last_lines)


_OOM_KILL = Cause(Reason.OUT_OF_MEMORY)
_KILLED = Cause(Reason.INTERRUPTED, "neo4j-admin was stopped by another process than the agent")
_CRASH = Cause(Reason.ADMIN_CRASHED)

# Names and causes of signals that the agent did not send. SIGKILL comes from the kernel's OOM killer.
_SIGNALS: dict[int, tuple[str, Cause]] = {
    1: ("SIGHUP", _KILLED),
    2: ("SIGINT", _KILLED),
    4: ("SIGILL", _CRASH),
    6: ("SIGABRT", _CRASH),
    7: ("SIGBUS", _CRASH),
    8: ("SIGFPE", _CRASH),
    9: ("SIGKILL", _OOM_KILL),
    11: ("SIGSEGV", _CRASH),
    15: ("SIGTERM", _KILLED),
}
_SHELL = 128  # a shell exits with 128 + n if signal n ended its child, and a JVM does so if it handled the signal

_EXIT_CODES = {
    0: Cause(Reason.NO_ARTIFACT, certain=False),
    1: Cause(Reason.ADMIN_CRASHED, certain=False),
    # picocli: the command does not exist (Community has no `database backup`).
    2: Cause(Reason.ADMIN_MISSING, "install neo4j-admin of Neo4j Enterprise: this one does not know the command"),
    # `core.capabilities` has a wrong entry for this version.
    64: Cause(Reason.INTERNAL, "neo4j-admin refused its arguments: please report its version and these lines"),
    # env(1) and shells: the program cannot be executed, or was not found.
    126: Cause(Reason.ADMIN_MISSING),
    127: Cause(Reason.ADMIN_MISSING),
}


def judge(
    completed: Completed,
    transcript: Transcript,
    found: tuple[NewArtifact, ...],
    *,
    database: DatabaseName,
    asked: BackupType,
) -> Verdict:
    """Judge one run of neo4j-admin. `found` are the artifacts that it wrote, `asked` is the type in its arguments.

    A cancelled run stores nothing. If there are several sound artifacts, the newest is stored.
    """
    if completed.ended_by is EndedBy.CANCELLED:
        failure = Failure(Reason.CANCELLED, "neo4j-admin was stopped because the request was cancelled")
        return Verdict(NextStep.FAILED, failure=failure)

    faults = {new.name: fault for new in found if (fault := _fault(new, database, asked))}
    sound = sorted((new for new in found if new.name not in faults), key=_taken)
    if sound:
        artifact = sound[-1]
        warnings = (
            *artifact.warnings,
            *_recovery_warnings(artifact.header),
            *_end_warnings(completed, transcript),
            *(
                f"{name} was set aside: {faults.get(name, 'the run also wrote a newer artifact')}"
                for name in (new.name for new in found if new is not artifact)
            ),
        )
        outcome = NextStep.STORED_WITH_WARNINGS if warnings else NextStep.STORED
        return Verdict(outcome, artifact, warnings=warnings)

    cause = _cause(completed, asked)
    rejected = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    broken = next((new.chain_break for new in found if new.chain_break and new.condition is Condition.SOUND), None)
    if broken is not None and asked is not BackupType.FULL:
        return Verdict(NextStep.NEEDS_FULL, failure=Failure(Reason.CHAIN_BROKEN, rejected))
    if found and not cause.certain:
        cause = Cause(Reason.BAD_ARTIFACT)
    head = f"{_end_with_cause(completed, transcript)}{f'; it wrote {rejected}' if rejected else ''}"
    error = "\n".join((head, *completed.last_lines))
    outcome = NextStep.NEEDS_FULL if cause.needs_full else NextStep.FAILED
    return Verdict(outcome, failure=Failure(cause.reason, error, cause.hint))


def _fault(new: NewArtifact, database: DatabaseName, asked: BackupType) -> str | None:
    """Return why an artifact is not the one that was requested, or None if it is."""
    if new.condition is not Condition.SOUND or new.header is None:
        return new.error or f"it is {new.condition}"
    if new.header.database.lower() != database.lower():
        return f"its header names database {quoted(new.header.database)}, not {quoted(database)}"
    if fault := misnamed(new.name, database, new.header.taken):
        return fault
    if asked is BackupType.FULL and not new.header.full:
        return "it is a differential, but a FULL was requested"
    if not new.header.full and new.chain_break is not None:
        return f"it does not continue the chain: {new.chain_break}"
    return None


def _recovery_warnings(header: Header | None) -> tuple[str, ...]:
    """Warn of a FULL without recovery (`--skip-recovery` since 2025.11, which the agent does not use)."""
    if header is None or not header.full or header.recovered:
        return ()
    return ("its header says `not recovered`: a restore must recover it first, and `database check` refuses it",)


def _taken(new: NewArtifact) -> tuple[float, str]:
    return (new.header.taken.timestamp() if new.header else 0.0, new.name)


def _end_warnings(completed: Completed, transcript: Transcript) -> tuple[str, ...]:
    """Warn if the program did not end by itself with exit code 0."""
    if completed.exit_code == 0 and completed.ended_by is None:
        return ()
    return (_end_with_cause(completed, transcript),)


def _end_with_cause(completed: Completed, transcript: Transcript) -> str:
    """Describe how the program ended, with the line that states a known cause."""
    explained = explain(completed.last_lines)
    return _end(completed, transcript) + (f": {explained.line}" if explained else "")


def _cause(completed: Completed, asked: BackupType) -> Cause:
    if completed.ended_by is EndedBy.TIMEOUT:
        return Cause(Reason.TIMEOUT)
    if completed.ended_by is EndedBy.STALLED:
        return Cause(Reason.STALLED)
    by_code = _by_code(completed)
    explained = explain(completed.last_lines)
    if explained is None or by_code is _OOM_KILL or completed.exit_code in (126, 127):
        return by_code
    cause = explained.cause
    return cause.of_full if asked is BackupType.FULL and cause.of_full is not None else cause


def _by_code(completed: Completed) -> Cause:
    signal = _signal(completed)
    if signal is not None:
        return _SIGNALS.get(signal, ("", _CRASH))[1]
    return _EXIT_CODES.get(completed.exit_code or 0, _CRASH)


def _signal(completed: Completed) -> int | None:
    """Return the signal that ended the program, even if a shell in between reports it as an exit code."""
    if completed.signal is not None:
        return completed.signal
    code = completed.exit_code or 0
    return code - _SHELL if code - _SHELL in _SIGNALS else None


def _end(completed: Completed, transcript: Transcript) -> str:
    if completed.ended_by is EndedBy.TIMEOUT:
        return f"neo4j-admin was stopped after {completed.duration:.0f} s, in stage {transcript.stage}"
    if completed.ended_by is EndedBy.STALLED:
        return f"neo4j-admin was stopped because it made no progress, in stage {transcript.stage}"
    signal = _signal(completed)
    if signal is not None:
        return f"neo4j-admin was ended by {_SIGNALS.get(signal, (f'signal {signal}', _CRASH))[0]}"
    return f"neo4j-admin ended with exit code {completed.exit_code}"
