"""Whether a backup is to be kept: judged from the artifact, and from what neo4j-admin said only where there is none.

Its exit code says little: 1 is also "succeeded but encountered problems" (a server of several was down), and 0 has
been seen with nothing written (neo4j/neo4j#13107). The code explains a failure; it never makes one.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from backup_agent.core.artifacts.names import misnamed
from backup_agent.core.artifacts.records import BackupType, Header
from backup_agent.core.escaping import quoted
from backup_agent.core.neo4j.progress import Transcript
from backup_agent.core.reasons import Failure, Reason


class EndedBy(StrEnum):
    """Why we ended it; a program that ended by itself has none."""

    TIMEOUT = "timeout"
    STALLED = "stalled"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Completed:
    """How a program ended: by exit code or by signal, one of them; neither where it was never started."""

    exit_code: int | None
    signal: int | None = None
    ended_by: EndedBy | None = None
    last_lines: tuple[str, ...] = ()
    duration: float = 0.0
    """Seconds by the monotonic clock."""


class Condition(StrEnum):
    """What reading an artifact told."""

    SOUND = "sound"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    """Neither our reader nor `backup inspect` knows its format."""


@dataclass(frozen=True)
class NewArtifact:
    """A new artifact in the folder that neo4j-admin wrote to."""

    name: str
    condition: Condition
    header: Header | None = None
    """Of a sound one always; of others where it could be read."""
    error: str = ""
    """What is wrong with one that is not sound."""
    warnings: tuple[str, ...] = ()
    chain_break: str | None = None
    """Why a differential does not continue the chain we mean (core.chains), or None."""


class NextStep(StrEnum):
    """What to do next."""

    STORED = "stored"
    STORED_WITH_WARNINGS = "stored_with_warnings"
    FAILED = "failed"
    NEEDS_FULL = "needs_full"
    """A differential cannot be had: take a FULL in the same run. `failure` tells why."""


@dataclass(frozen=True)
class Verdict:
    """The judgement. `artifact` is the one to store; all other new artifacts are to be put aside."""

    outcome: NextStep
    artifact: NewArtifact | None = None
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Cause:
    """Why there is no artifact. A `certain` cause also explains one that is damaged."""

    reason: Reason
    hint: str = ""
    certain: bool = True
    needs_full: bool = False


def _row(cause: _Cause, *texts: str) -> tuple[re.Pattern[str], _Cause]:
    return re.compile("|".join(texts), re.IGNORECASE), cause


_TLS = "check neo4j.backup_tls against dbms.ssl.policy.backup of the servers: both sides have it, or neither"
_JAVA = "set JAVA_HOME to a Java that this Neo4j supports: 17 or 21 for 5.26, 21 for 2025.01, 21 or 25 since 2025.10"
_HEAP = "raise the memory limit of the pod; neo4j.heap and neo4j.pagecache divide it by hand"

# Texts that name the cause wherever they stand among the last lines, the first row first.
_CERTAIN = (
    # java.io.IOException on volume or staging, in Linux' words; the second is a project quota.
    _row(_Cause(Reason.DISK_FULL), r"no space left on device", r"disk quota exceeded", r"not enough space"),
    # The heap, direct buffers, or a JVM that could not even begin.
    _row(
        _Cause(Reason.OUT_OF_MEMORY, _HEAP),
        r"OutOf(?:Direct)?MemoryError",
        r"insufficient memory for the Java Runtime",
        r"could not reserve enough space for",
        r"cannot allocate memory",
    ),
    # The images' entrypoint without a licence.
    _row(
        _Cause(Reason.ADMIN_CRASHED, "set NEO4J_ACCEPT_LICENSE_AGREEMENT to yes or eval in the pod's environment"),
        r"NEO4J_ACCEPT_LICENSE_AGREEMENT",
        r"accept the licen[cs]e",
    ),
    # Java's launcher: no such class in lib.
    _row(_Cause(Reason.ADMIN_MISSING), r"could not find or load main class", r"NoClassDefFoundError: org/neo4j"),
    # Java's launcher: a class file newer than the JVM.
    _row(_Cause(Reason.ADMIN_MISSING, _JAVA), r"UnsupportedClassVersionError", r"compiled by a more recent version"),
    # Community answers so to `database backup`, with exit code 2.
    _row(
        _Cause(Reason.ADMIN_MISSING, "this neo4j-admin has no backup command: it must be Enterprise's"),
        r"unmatched arguments? from index \d+: 'backup'",
    ),
    # An unknown key under strict validation, exit code 70: ours are known, so it came by neo4j.additional_config.
    _row(
        _Cause(Reason.ADMIN_CRASHED, "the file in neo4j.additional_config holds a setting this version does not know"),
        r"unrecognized setting",
        r"no declared setting with name",
    ),
    # What a differential needs and does not find: a full in the folder, the same store, or the logs on the server.
    _row(
        _Cause(Reason.CHAIN_BROKEN, needs_full=True),
        r"differential backups require that a full",
        r"no existing backup found",
        r"unable to find valid backup chain",
        r"(?:store|database) ?ids?\b.{0,40}(?:mismatch|do(?:es)? not match)",
        r"transactions?(?: logs?)?\b.{0,80}(?:pruned|no longer|not available|unavailable|missing)",
        r"no longer has the transaction",
        r"TRANSACTION_PRUNED|STORE_ID_MISMATCH",
    ),
    # The folder's owner: fsGroup missing, or a share that refuses chmod (Azure Files over SMB).
    _row(
        _Cause(Reason.ADMIN_CRASHED, "check that the volume is writable for the pod's user (fsGroup, 7474)"),
        r"AccessDeniedException",
        r"permission denied",
        r"operation not permitted",
        r"read-only file system",
    ),
)

# Texts that a run may survive, since several servers are tried: the last of them counts.
_LATEST = (
    # Before the plain network texts, one of which a failed handshake wraps.
    _row(
        _Cause(Reason.SOURCE_UNREACHABLE, _TLS),
        r"SSLException",
        r"NotSslRecord",
        r"PKIX path",
        r"handshake",
        r"certificate",
    ),
    # The client's own patience with a silent server, ten minutes; a checkpoint is silent.
    _row(
        _Cause(
            Reason.TIMEOUT,
            "the server was silent for too long, often in a checkpoint: raise "
            "dbms.cluster.network.client_inactivity_timeout there and in neo4j.additional_config",
        ),
        r"inactivity[ _]?timeout",
        r"CatchUp\w*Timeout",
        r"ReadTimeoutException",
    ),
    # Java's and Netty's words for a server that is not there, and neo4j-admin's own of 3.5.
    _row(
        _Cause(Reason.SOURCE_UNREACHABLE),
        r"connection (?:was )?(?:refused|reset|closed|timed out)",
        r"connect(?:ion)? timed? ?out",
        r"ConnectException",
        r"ClosedChannelException",
        r"UnknownHostException",
        r"UnresolvedAddress",
        r"name or service not known",
        r"failure in name resolution",
        r"no route to host",
        r"network is unreachable",
        r"(?:unable|failed) to connect",
        r"could not connect",
        r"(?:un|not )(?:reach|contact)able",
        r"no servers? could be reached",
        r"using the available strategies",
    ),
    # Not sourced word for word for 5.x and later: the known forms, and the words of Neo4j's own status codes.
    _row(
        _Cause(Reason.NO_SUCH_DATABASE),
        r"(?:unknown|no such|non-?existent) database",
        r"database (?:with name )?(?:'[^']*' |\S+ )?(?:does not exist|is not known|is unknown)",
        r"database (?:with name )?(?:'[^']*' |\S+ )?(?:was |could )?not (?:be )?found",
        r"DatabaseNotFound",
        r"DATABASE_(?:UNKNOWN|ID_NOT_FOUND)",
        r"unable to (?:find|resolve) (?:a )?database",
        r"no databases? (?:found|match)",
    ),
    # Whatever the tool's reason: it could not take the differential, and nothing above explains it.
    _row(_Cause(Reason.CHAIN_BROKEN, needs_full=True), r"differential backup of database '[^']*' failed"),
)

# What a JVM started directly says when it never came to its work; the script may do better. Java's launcher says the
# first six, AdminTool the seventh, picocli the last: it found no such command among the classes it was given.
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


def did_not_start(completed: Completed, told: Transcript) -> bool:
    """Tell whether a JVM ended by itself, before it began to work, in a way that another start may cure."""
    if told.spoke or completed.ended_by is not None or not completed.exit_code:
        return False
    return not completed.last_lines or any(_NOT_STARTED.search(line) for line in completed.last_lines)


_OOM_KILL = _Cause(Reason.OUT_OF_MEMORY)
_ENDED = _Cause(Reason.INTERRUPTED, "someone other than the agent ended neo4j-admin")
_CRASH = _Cause(Reason.ADMIN_CRASHED)

# Names as kill(1) has them. SIGKILL from outside is the kernel's when memory ends.
_SIGNALS: dict[int, tuple[str, _Cause]] = {
    1: ("SIGHUP", _ENDED),
    2: ("SIGINT", _ENDED),
    4: ("SIGILL", _CRASH),
    6: ("SIGABRT", _CRASH),
    7: ("SIGBUS", _CRASH),
    8: ("SIGFPE", _CRASH),
    9: ("SIGKILL", _OOM_KILL),
    11: ("SIGSEGV", _CRASH),
    15: ("SIGTERM", _ENDED),
}
_SHELL = 128  # a shell answers 128 + n for a child that signal n ended, and so does a JVM that obeyed it

_EXIT_CODES = {
    0: _Cause(Reason.NO_ARTIFACT, certain=False),
    1: _Cause(Reason.ADMIN_CRASHED, certain=False),
    # picocli's own: the command is not there (Community has no `database backup`).
    2: _Cause(Reason.ADMIN_MISSING, "this neo4j-admin does not know the command: it must be Enterprise's"),
    # The version's table was wrong about an option.
    64: _Cause(Reason.INTERNAL, "neo4j-admin refused the arguments: please report its version with these lines"),
    # env(1), shells: found but not to be executed; not found.
    126: _Cause(Reason.ADMIN_MISSING),
    127: _Cause(Reason.ADMIN_MISSING),
}


def judge(
    completed: Completed, told: Transcript, found: tuple[NewArtifact, ...], *, database: str, asked: BackupType
) -> Verdict:
    """Judge one run of neo4j-admin: `found` are the new artifacts in its folder, `asked` the type in its arguments.

    What we ended because of a cancel is not kept. Of several sound artifacts of the database the newest is kept, since
    one run makes one.
    """
    if completed.ended_by is EndedBy.CANCELLED:
        failure = Failure(Reason.CANCELLED, "neo4j-admin was ended: the request was cancelled")
        return Verdict(NextStep.FAILED, failure=failure)

    faults = {each.name: fault for each in found if (fault := _fault(each, database, asked))}
    good = sorted((each for each in found if each.name not in faults), key=_taken)
    if good:
        artifact = good[-1]
        warnings = (
            *artifact.warnings,
            *_unrecovered(artifact.header),
            *_complaints(completed, told),
            *(
                f"{name} was put aside: {faults.get(name, 'a newer one came with it')}"
                for name in (each.name for each in found if each is not artifact)
            ),
        )
        outcome = NextStep.STORED_WITH_WARNINGS if warnings else NextStep.STORED
        return Verdict(outcome, artifact, warnings=warnings)

    cause = _cause(completed)
    left = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    broken = next((each.chain_break for each in found if each.chain_break and each.condition is Condition.SOUND), None)
    if broken is not None and asked is not BackupType.FULL:
        return Verdict(NextStep.NEEDS_FULL, failure=Failure(Reason.CHAIN_BROKEN, left))
    if found and not cause.certain:
        cause = _Cause(Reason.BAD_ARTIFACT)
    said = _telling(completed)
    head = f"{_ending(completed, told)}{f': {said}' if said else ''}{f'; it left {left}' if left else ''}"
    error = "\n".join((head, *completed.last_lines))
    outcome = NextStep.NEEDS_FULL if cause.needs_full and asked is not BackupType.FULL else NextStep.FAILED
    return Verdict(outcome, failure=Failure(cause.reason, error, cause.hint))


def _fault(found: NewArtifact, database: str, asked: BackupType) -> str | None:
    """Return what keeps an artifact from being the one asked for, or None."""
    if found.condition is not Condition.SOUND or found.header is None:
        return found.error or f"it is {found.condition}"
    if found.header.database.lower() != database.lower():
        return f"its header names database {quoted(found.header.database)}, not {quoted(database)}"
    if fault := misnamed(found.name, database, found.header.taken):
        return fault
    if asked is BackupType.FULL and not found.header.full:
        return "it is a differential, a FULL was asked for"
    if not found.header.full and found.chain_break is not None:
        return f"it does not continue the chain: {found.chain_break}"
    return None


def _unrecovered(header: Header | None) -> tuple[str, ...]:
    """Warn of a FULL that is not ready to restore (`--skip-recovery` of 2025.11 and later, which is not asked for)."""
    if header is None or not header.full or header.recovered:
        return ()
    return ("its header says `not recovered`: a restore has to recover it first, and `database check` refuses it",)


def _taken(found: NewArtifact) -> tuple[float, str]:
    return (found.header.taken.timestamp() if found.header else 0.0, found.name)


def _complaints(completed: Completed, told: Transcript) -> tuple[str, ...]:
    """Return why a run that left a good artifact is no plain success."""
    if completed.exit_code == 0 and completed.ended_by is None:
        return ()
    said = _telling(completed)
    return (_ending(completed, told) + (f": {said}" if said else ""),)


def _telling(completed: Completed) -> str | None:
    """Return the last line that says why, of those that are known to."""
    return next((line for line in reversed(completed.last_lines) if _known(line)), None)


def _known(line: str) -> bool:
    return any(text.search(line) for text, _ in (*_CERTAIN, *_LATEST))


def _cause(completed: Completed) -> _Cause:
    if completed.ended_by is EndedBy.TIMEOUT:
        return _Cause(Reason.TIMEOUT)
    if completed.ended_by is EndedBy.STALLED:
        return _Cause(Reason.STALLED)
    by_code = _by_code(completed)
    if by_code is _OOM_KILL or completed.exit_code in (126, 127):
        return by_code
    return _by_text(completed.last_lines) or by_code


def _by_text(lines: tuple[str, ...]) -> _Cause | None:
    for text, cause in _CERTAIN:
        if any(text.search(line) for line in lines):
            return cause
    for line in reversed(lines):
        for text, cause in _LATEST:
            if text.search(line):
                return cause
    return None


def _by_code(completed: Completed) -> _Cause:
    signal = _signal(completed)
    if signal is not None:
        return _SIGNALS.get(signal, ("", _CRASH))[1]
    return _EXIT_CODES.get(completed.exit_code or 0, _CRASH)


def _signal(completed: Completed) -> int | None:
    """Return the signal that ended it, told directly or by a shell in between."""
    if completed.signal is not None:
        return completed.signal
    code = completed.exit_code or 0
    return code - _SHELL if code - _SHELL in _SIGNALS else None


def _ending(completed: Completed, told: Transcript) -> str:
    if completed.ended_by is EndedBy.TIMEOUT:
        return f"neo4j-admin was ended after {completed.duration:.0f} s, in stage {told.stage}"
    if completed.ended_by is EndedBy.STALLED:
        return f"neo4j-admin was ended: neither output nor bytes, in stage {told.stage}"
    signal = _signal(completed)
    if signal is not None:
        return f"neo4j-admin was ended by {_SIGNALS.get(signal, (f'signal {signal}', _CRASH))[0]}"
    return f"neo4j-admin ended with exit code {completed.exit_code}"
