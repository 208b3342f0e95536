"""Reasons for failures and warnings: the closed list that answers, metrics and logs share.

Code that detects a failure uses a member of this list. `HINTS` tells users what to do.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a request did not succeed as asked. The values appear in answers, metrics and logs."""

    SOURCE_UNREACHABLE = "source_unreachable"
    NO_SUCH_DATABASE = "no_such_database"
    DATABASE_UNAVAILABLE = "database_unavailable"
    VERSION_MISMATCH = "version_mismatch"
    DISCOVERY_STALE = "discovery_stale"
    LOGS_PRUNED = "logs_pruned"
    CHAIN_BROKEN = "chain_broken"
    NO_ARTIFACT = "no_artifact"
    BAD_ARTIFACT = "bad_artifact"
    ADMIN_MISSING = "admin_missing"
    ADMIN_CRASHED = "admin_crashed"
    JAVA_UNSUPPORTED = "java_unsupported"
    DISK_FULL = "disk_full"
    FILE_TOO_LARGE = "file_too_large"
    TOO_MANY_FILES = "too_many_files"
    VOLUME_FAULT = "volume_fault"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    STORAGE_UNREACHABLE = "storage_unreachable"
    STORAGE_AUTH = "storage_auth"
    STORAGE_THROTTLED = "storage_throttled"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    ALREADY_EXISTS = "already_exists"
    UNREADABLE = "unreadable"
    UNRECOGNISED = "unrecognised"
    NOTHING_VERIFIED = "nothing_verified"
    INCONSISTENT = "inconsistent"
    UNEXPECTED_RESULT = "unexpected_result"
    PLUGIN_MISSING = "plugin_missing"
    ARCHIVED = "archived"
    FOREIGN_ROOT = "foreign_root"
    CLOCK = "clock"
    NOT_FOUND = "not_found"
    NO_AGENT = "no_agent"
    INVALID_REQUEST = "invalid_request"
    EXPIRED = "expired"
    COPIES_OWED = "copies_owed"
    INTERNAL = "internal"


ABOUT_ONE_ARTIFACT = frozenset(
    {
        Reason.ALREADY_EXISTS,
        Reason.CHAIN_BROKEN,
        Reason.CHECKSUM_MISMATCH,
        Reason.NO_ARTIFACT,
        Reason.UNREADABLE,
        Reason.UNRECOGNISED,
    }
)
"""Reasons why one artifact is not copied although the destination accepts others."""

HINTS: dict[Reason, str] = {
    Reason.SOURCE_UNREACHABLE: (
        "check that the servers run with server.backup.enabled=true and server.backup.listen_address=0.0.0.0:6362 "
        "(its default is 127.0.0.1), and that a network policy lets this pod reach port 6362 and Bolt"
    ),
    Reason.NO_SUCH_DATABASE: "list the databases with SHOW DATABASES; a role without ACCESS sees only `system`",
    Reason.DATABASE_UNAVAILABLE: (
        "see currentStatus and statusMessage in SHOW DATABASES: the server that was asked does not serve the store now"
    ),
    Reason.VERSION_MISMATCH: (
        "run neo4j-admin of the servers' version: this neo4j-admin and the server have no common version of the backup "
        "protocol"
    ),
    Reason.DISCOVERY_STALE: (
        "check neo4j.uri and the password file: Bolt has not answered for longer than neo4j.max_topology_age"
    ),
    Reason.LOGS_PRUNED: (
        "raise db.tx_log.rotation.retention_policy on the servers: they deleted transaction logs while the store was "
        "copied, which needs all logs since the copy began"
    ),
    Reason.CHAIN_BROKEN: "take a FULL; if it happens often, raise db.tx_log.rotation.retention_policy on the servers",
    Reason.NO_ARTIFACT: "see `error` for the last lines of neo4j-admin, which wrote no artifact",
    Reason.BAD_ARTIFACT: "inspect the artifact in .aside: it cannot be restored",
    Reason.ADMIN_MISSING: "set neo4j.admin, $NEO4J_HOME or PATH so that neo4j-admin of the servers' version is found",
    Reason.ADMIN_CRASHED: "see `error` for the last lines of neo4j-admin",
    Reason.JAVA_UNSUPPORTED: (
        "set JAVA_HOME to a Java that this Neo4j supports: 17 or 21 for 5.26, 21 for 2025.01, 21 or 25 since 2025.10"
    ),
    Reason.DISK_FULL: "enlarge the volume, or keep fewer artifacts (`retention` in the settings, `backup-agent list`)",
    Reason.FILE_TOO_LARGE: "use a volume whose file system holds files of this size, or raise the limit (`ulimit -f`)",
    Reason.TOO_MANY_FILES: "raise the limit of open files (`ulimit -n`) of the container: Neo4j recommends 40000",
    Reason.VOLUME_FAULT: (
        "look at the volume, its file server and the node's kernel log; after a stale handle delete the pod, so that "
        "the volume is mounted again"
    ),
    Reason.OUT_OF_MEMORY: "raise the memory limit of the pod, or lower neo4j.heap",
    Reason.TIMEOUT: "raise limits.run_timeout, or find out what slows the servers",
    Reason.STALLED: "look at the server's debug.log: the backup made no progress for limits.stall_timeout",
    Reason.CANCELLED: "a request to cancel it has ended this request",
    Reason.INTERRUPTED: "the agent's pod was stopped during the run; if this repeats, raise its memory limit",
    Reason.STORAGE_UNREACHABLE: "check endpoint_url, DNS and network policies for the destination; the copy is retried",
    Reason.STORAGE_AUTH: "check the credentials and what they permit at the destination; the copy is retried",
    Reason.STORAGE_THROTTLED: "the store asks for fewer requests; the copy is retried",
    Reason.CHECKSUM_MISMATCH: "check the volume for errors: stored content differs from what was written",
    Reason.ALREADY_EXISTS: "find out which program wrote the object of this name; it is not overwritten",
    Reason.UNREADABLE: "a record, mark or note cannot be read: `backup-agent catalog diff` shows which",
    Reason.UNRECOGNISED: (
        "`backup-agent catalog unrecognised` lists such records; `backup-agent catalog accept` accepts the trusted ones"
    ),
    Reason.NOTHING_VERIFIED: (
        "there are artifacts, but none was verified: run `backup-agent verify --all`; "
        "`backup-agent catalog diff` shows what cannot be read"
    ),
    Reason.INCONSISTENT: "run `neo4j-admin database check` on the live database: it may have the same fault",
    Reason.UNEXPECTED_RESULT: "run the query on the live database; correct `expect` in drill.queries if it is wrong",
    Reason.PLUGIN_MISSING: "a scratch server has no plugins: take the query out of drill.queries",
    Reason.ARCHIVED: "restore the object from its archive storage class, then send the request again",
    Reason.FOREIGN_ROOT: "another cluster's agent owns this place: configure another root or prefix for this agent",
    Reason.CLOCK: "correct the clock of the node",
    Reason.NOT_FOUND: "see `backup-agent status` and `backup-agent list` for what exists",
    Reason.NO_AGENT: "start the agent; `backup-agent list` also works without it",
    Reason.INVALID_REQUEST: "see `backup-agent schema request` for the fields of a request",
    Reason.EXPIRED: "send the request again with a later `not_after`, or without it",
    Reason.COPIES_OWED: "the backup is safe on the volume; the copy is retried until it succeeds",
    Reason.INTERNAL: "please report this with the log of the run",
}


@dataclass(frozen=True)
class Failure:
    """A failure as it is reported to users."""

    reason: Reason
    error: str
    """Description in one or more lines, without secrets."""
    hint: str = ""
    """What to do, if more specific than the hint of the reason."""

    @property
    def advice(self) -> str:
        """The hint to show: that of the failure, or else that of the reason."""
        return self.hint or HINTS[self.reason]


class BackupError(Exception):
    """An error that carries a `Failure`."""

    def __init__(self, reason: Reason, error: str, hint: str = "") -> None:
        super().__init__(error)
        self.failure = Failure(reason, error, hint)


class PermanentError(BackupError):
    """An error that a retry cannot fix."""

    @staticmethod
    def of(failure: Failure) -> "PermanentError":
        """Return a PermanentError with this failure."""
        return PermanentError(failure.reason, failure.error, failure.hint)


class TransientError(BackupError):
    """An error that may pass. Exactly one layer retries the operation."""
