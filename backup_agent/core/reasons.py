"""Why something did not end as asked: one closed list, used alike by answers, metrics and logs.

A newcomer would add a word where a failure is met. Do not: pick one from `Reason`, and let `HINTS` say what to do.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The closed list. Values are what users, metrics and logs see."""

    SOURCE_UNREACHABLE = "source_unreachable"
    NO_SUCH_DATABASE = "no_such_database"
    DISCOVERY_STALE = "discovery_stale"
    CHAIN_BROKEN = "chain_broken"
    NO_ARTIFACT = "no_artifact"
    BAD_ARTIFACT = "bad_artifact"
    ADMIN_MISSING = "admin_missing"
    ADMIN_CRASHED = "admin_crashed"
    DISK_FULL = "disk_full"
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
    NOTHING_VERIFIED = "nothing_verified"
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
    {Reason.ALREADY_EXISTS, Reason.CHAIN_BROKEN, Reason.CHECKSUM_MISMATCH, Reason.NO_ARTIFACT, Reason.UNREADABLE}
)
"""Reasons for which one artifact is not copied, though the destination answers and takes others."""

HINTS: dict[Reason, str] = {
    Reason.SOURCE_UNREACHABLE: (
        "check that the servers run with server.backup.enabled=true and server.backup.listen_address=0.0.0.0:6362 "
        "(its default is 127.0.0.1), and that a network policy lets this pod reach port 6362 and Bolt"
    ),
    Reason.NO_SUCH_DATABASE: "SHOW DATABASES names what exists; a role without ACCESS sees `system` alone",
    Reason.DISCOVERY_STALE: (
        "Bolt has not answered for longer than neo4j.max_topology_age: check neo4j.uri and the password file"
    ),
    Reason.CHAIN_BROKEN: "take a FULL; if it happens often, raise db.tx_log.rotation.retention_policy on the servers",
    Reason.NO_ARTIFACT: "neo4j-admin left no artifact: its last lines are in `error`",
    Reason.BAD_ARTIFACT: "what neo4j-admin wrote cannot be restored; it lies in .aside for inspection",
    Reason.ADMIN_MISSING: "set neo4j.admin, $NEO4J_HOME or PATH so that neo4j-admin of the servers' version is found",
    Reason.ADMIN_CRASHED: "neo4j-admin's last lines are in `error`",
    Reason.DISK_FULL: "enlarge the volume, or keep less: see `retention` and `backup-agent list`",
    Reason.OUT_OF_MEMORY: "raise the memory limit of the pod, or lower neo4j.heap",
    Reason.TIMEOUT: "raise limits.run_timeout, or find out what slows the servers",
    Reason.STALLED: "neither output nor bytes for limits.stall_timeout: look at the server's debug.log",
    Reason.CANCELLED: "a cancel request ended it",
    Reason.INTERRUPTED: "the agent's pod was ended in the middle; if that repeats, its memory limit may be too small",
    Reason.STORAGE_UNREACHABLE: "check endpoint_url, DNS and network policy of the destination; the copy is retried",
    Reason.STORAGE_AUTH: "check the credentials and the bucket's policy; the copy is retried",
    Reason.STORAGE_THROTTLED: "the store asks for fewer requests; the copy is retried",
    Reason.CHECKSUM_MISMATCH: "what is stored is not what was read back: look at the volume's health",
    Reason.ALREADY_EXISTS: "another object has this name, and is not overwritten: find out who wrote it",
    Reason.UNREADABLE: "a record, mark or note cannot be read: `backup-agent catalog diff` names it",
    Reason.NOTHING_VERIFIED: (
        "artifacts are there, and none was verified: `backup-agent verify --all` reads them; "
        "`backup-agent catalog diff` names what cannot be read"
    ),
    Reason.ARCHIVED: "the object is in an archive storage class: restore it in the bucket first, then ask again",
    Reason.FOREIGN_ROOT: "another cluster's agent owns this place: give this one a root or prefix of its own",
    Reason.CLOCK: "set the clock of the node",
    Reason.NOT_FOUND: "`backup-agent status` and `backup-agent list` show what exists",
    Reason.NO_AGENT: "start the agent; `backup-agent list` works without it",
    Reason.INVALID_REQUEST: "`backup-agent schema request` prints what a request may say",
    Reason.EXPIRED: "ask again, with a later `not_after` or none, once the agent starts what is asked for",
    Reason.COPIES_OWED: "the backup is safe on the volume; the copy is retried until it succeeds",
    Reason.INTERNAL: "please report this with the log of the run",
}


@dataclass(frozen=True)
class Failure:
    """What went wrong: `reason` for machines, `error` (one or more lines, no secrets) and `hint` for people."""

    reason: Reason
    error: str
    hint: str = ""

    @property
    def advice(self) -> str:
        """The hint to show: this failure's own, else its reason's."""
        return self.hint or HINTS[self.reason]


class BackupError(Exception):
    """A failure on its way to whoever answers for it."""

    def __init__(self, reason: Reason, error: str, hint: str = "") -> None:
        super().__init__(error)
        self.failure = Failure(reason, error, hint)


class PermanentError(BackupError):
    """Trying again will not help."""


class TransientError(BackupError):
    """May pass by itself; whoever owns the retry (one layer only) tries again."""
