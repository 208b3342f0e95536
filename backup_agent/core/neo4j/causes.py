"""Explain why a run of neo4j-admin failed, from the last lines of its output.

The texts are those of Java, Linux and Neo4j. tests/core/transcripts.yaml has an example and the source of every row.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backup_agent.core.reasons import Reason


@dataclass(frozen=True)
class Cause:
    """Why a run left no sound artifact."""

    reason: Reason
    hint: str = ""
    certain: bool = True
    """Whether the cause also explains a damaged artifact."""
    needs_full: bool = False
    """Whether a FULL may succeed although this differential failed."""
    of_full: "Cause | None" = None
    """The cause if a FULL was asked for; None if it is the same."""


@dataclass(frozen=True)
class Explanation:
    """A cause, and the line that states it."""

    cause: Cause
    line: str


_Row = tuple[str, Cause]
"""A regular expression and the cause that it states. Compiling all would take 5 ms at the start of each backup."""


def _row(cause: Cause, *texts: str) -> _Row:
    return "|".join(texts), cause


_TLS = "check neo4j.backup_tls against dbms.ssl.policy.backup of the servers: both or neither must be set"
_HEAP = "raise the memory limit of the pod, or set neo4j.heap and neo4j.pagecache"
_CHANGED = "look for a database that was replaced or restored while it was copied, and send the request again"

# A line is explained by the first row that matches it.
TEXTS: tuple[_Row, ...] = (
    # java.io.IOException with Linux' error texts; the second is that of a project quota.
    _row(
        Cause(Reason.DISK_FULL),
        r"no space left on device",
        r"disk quota exceeded",
        r"not (?:have )?enough space",
        r"running out of disk space",
    ),
    _row(Cause(Reason.FILE_TOO_LARGE), r"file too large"),
    _row(Cause(Reason.TOO_MANY_FILES), r"too many open files"),
    # A fault of the network or the disk below the volume, including FUSE and a damaged file system.
    _row(
        Cause(Reason.VOLUME_FAULT),
        r"stale (?:NFS )?file handle",
        r"(?:input/output|remote I/O) error",
        r"transport endpoint is not connected",
        r"structure needs cleaning",
    ),
    _row(
        Cause(Reason.OUT_OF_MEMORY, "raise the limit of processes (pids) of the pod, or its memory limit"),
        r"unable to create (?:new )?native thread",
        r"pthread_create failed",
    ),
    # Heap or direct buffers are exhausted, or the JVM could not start.
    _row(
        Cause(Reason.OUT_OF_MEMORY, _HEAP),
        r"OutOf(?:Direct)?MemoryError",
        r"insufficient memory for the Java Runtime",
        r"could not reserve enough space for",
        r"cannot allocate memory",
    ),
    # The entrypoint of Neo4j's images prints these if no licence is accepted.
    _row(
        Cause(Reason.ADMIN_CRASHED, "set NEO4J_ACCEPT_LICENSE_AGREEMENT to yes or eval in the pod's environment"),
        r"NEO4J_ACCEPT_LICENSE_AGREEMENT",
        r"accept the licen[cs]e",
    ),
    # Java's launcher: the class is not in lib.
    _row(Cause(Reason.ADMIN_MISSING), r"could not find or load main class", r"NoClassDefFoundError: org/neo4j"),
    # Java's launcher: the class file is newer than the JVM. Neo4j's own text is a warning.
    _row(
        Cause(Reason.JAVA_UNSUPPORTED),
        r"UnsupportedClassVersionError",
        r"compiled by a more recent version",
        r"unsupported (?:version of the )?Java\b",
    ),
    # Neo4j Community, which has no `database backup`, with exit code 2.
    _row(
        Cause(Reason.ADMIN_MISSING, "install neo4j-admin of Neo4j Enterprise: this one has no backup command"),
        r"unmatched arguments? from index \d+: 'backup'",
    ),
    # Strict validation found an unknown key, with exit code 70. All versions know the keys that the agent writes.
    _row(
        Cause(Reason.ADMIN_CRASHED, "remove the setting that this version does not know from neo4j.additional_config"),
        r"unrecognized setting",
        r"no declared setting with name",
    ),
    # A differential needs the transactions since its parent; a FULL needs those that are committed while it is copied.
    _row(
        Cause(Reason.CHAIN_BROKEN, needs_full=True, of_full=Cause(Reason.LOGS_PRUNED)),
        r"pulling tx failed consecutively",
        r"transactions?(?: logs?)?\b.{0,80}(?:pruned|no longer|not available|unavailable|missing)",
        r"no longer has the transaction",
        r"unable to find transaction or chunk with append index",
        r"TRANSACTION_PRUNED",
    ),
    _row(
        Cause(Reason.CHAIN_BROKEN, needs_full=True, of_full=Cause(Reason.ADMIN_CRASHED, _CHANGED)),
        r"(?:store|database) ?ids?\b.{0,40}(?:mismatch|do(?:es)? not match)",
        r"STORE_ID_MISMATCH",
    ),
    # A differential needs a FULL in the folder.
    _row(
        Cause(Reason.CHAIN_BROKEN, needs_full=True, of_full=Cause(Reason.ADMIN_CRASHED)),
        r"differential backups require that a full",
        r"no existing backup found",
        r"unable to find valid backup chain",
    ),
    # The folder has another owner: fsGroup is not set, or the share refuses chmod (Azure Files over SMB).
    _row(
        Cause(Reason.ADMIN_CRASHED, "check that the pod's user can write to the volume (fsGroup 7474)"),
        r"AccessDeniedException",
        r"permission denied",
        r"operation not permitted",
        r"read-only file system",
    ),
    # The handshake of the backup protocol, which is not TLS.
    _row(
        Cause(Reason.VERSION_MISMATCH),
        r"negotiate application protocol",
        r"(?:Client|Server)HandshakeException",
    ),
    # TLS comes before the network errors, because a failed handshake may be reported inside one of them.
    _row(
        Cause(Reason.SOURCE_UNREACHABLE, _TLS),
        r"SSLException",
        r"NotSslRecord",
        r"PKIX path",
        r"handshake",
        r"certificate",
    ),
    # neo4j-admin gives up on a silent server after ten minutes. A server is silent during a checkpoint.
    _row(
        Cause(
            Reason.TIMEOUT,
            "the server sent nothing for too long, often because of a checkpoint: raise "
            "dbms.cluster.network.client_inactivity_timeout on the servers and in neo4j.additional_config",
        ),
        r"inactivity[ _]?timeout",
        r"CatchUp\w*Timeout",
        r"ReadTimeoutException",
    ),
    # Texts of Java and Netty for a server that cannot be reached.
    _row(
        Cause(Reason.SOURCE_UNREACHABLE),
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
    ),
    # The server knows the database and does not serve its store: it is stopped, starting, quarantined or being copied.
    _row(
        Cause(Reason.DATABASE_UNAVAILABLE),
        r"(?:STORE|DATABASE)_?UNAVAILABLE",
        r"E_LISTING_STORE",
        r"(?:store|database)\b.{0,80}\bis (?:currently )?(?:unavailable|offline|stopped|quarantined)",
        r"(?:store|database)\b.{0,80}\bis (?:currently )?not (?:\(yet\) )?(?:available|online)",
    ),
    # The exact texts of 5.x and later are not known. These are older forms and Neo4j's status codes.
    _row(
        Cause(Reason.NO_SUCH_DATABASE),
        r"(?:unknown|no such|non-?existent) database",
        r"database (?:with name )?(?:'[^']*' |\S+ )?(?:does not exist|is not known|is unknown)",
        r"database (?:with name )?(?:'[^']*' |\S+ )?(?:was |could )?not (?:be )?found",
        r"DatabaseNotFound",
        r"DATABASE_(?:UNKNOWN|ID_NOT_FOUND)",
        r"unable to (?:find|resolve) (?:a )?database",
        r"no databases? (?:found|match)",
    ),
)

# Texts that say only that the backup failed. They are used if no other error line is known.
VAGUE: tuple[_Row, ...] = (
    # neo4j-admin 3.5
    _row(Cause(Reason.SOURCE_UNREACHABLE), r"using the available strategies"),
    _row(
        Cause(Reason.CHAIN_BROKEN, needs_full=True, of_full=Cause(Reason.ADMIN_CRASHED)),
        r"differential backup of database '[^']*' failed",
    ),
)

# Warnings in Neo4j's log, from the JVM, and in the JVM's log. INFO lines do not count as warnings, because 5.26 logs
# failed differentials at INFO.
_WARNING = re.compile(r"(?:\S+\s+){0,5}\S*?\bwarn(?:ing)?\b|\d{4}-\d\d-\d\d \S+ DEBUG\b", re.IGNORECASE)
# Faults that follow from another one: the removal of temporary files, and the heap dump after an OutOfMemoryError.
_FOLLOWS = re.compile(
    r".*\b(?:fail(?:ed|ure)|unable|could not|cannot)\b.{0,20}\b(?:delet|remov|clean)|"
    r".*(?:\.hprof\b|\bheap dump|\bdump file is incomplete)",
    re.IGNORECASE,
)
_SUPPRESSED = "Suppressed: "
"""Begins a Java exception that was raised while another one was handled."""
# An exception that is printed below the log line to which it belongs.
_EXCEPTION = re.compile(r"\s*(?:Caused by: |Suppressed: )?(?:[a-z]\w*\.)+[A-Z][\w$]*(?:: |$)")


def explain(lines: tuple[str, ...]) -> Explanation | None:
    """Return the cause that the last known error line states, or None if no line is known.

    Warnings are used only if no error line is known, since a program may warn and then succeed.
    """
    warnings = frozenset(_warnings(lines))
    errors = [line for at, line in enumerate(lines) if at not in warnings]
    warned = [line for at, line in enumerate(lines) if at in warnings]
    return _last(errors, TEXTS) or _last(errors, VAGUE) or _last(warned, TEXTS)


def _warnings(lines: Iterable[str]) -> Iterator[int]:
    """Yield the indices of warnings and of faults that follow from others, with the exceptions printed below them."""
    inside = False
    for at, line in enumerate(lines):
        begins = _WARNING.match(line) or _FOLLOWS.match(line)
        inside = bool(begins or (inside and _EXCEPTION.match(line)))
        if inside or line.lstrip().startswith(_SUPPRESSED):
            yield at


def _last(lines: list[str], rows: tuple[_Row, ...]) -> Explanation | None:
    for line in reversed(lines):
        for text, cause in rows:
            if re.search(text, line, re.IGNORECASE):
                return Explanation(cause, line)
    return None
