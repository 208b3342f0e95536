"""How a drill can end: a closed list of causes, and a table from each cause to its outcome.

Only a damaged artifact is marked. Findings of `check` and unexpected results of queries may as well be those of the
live database, so the artifact stays a restore point. All other causes say nothing of the artifact.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from backup_agent.core.reasons import Failure, Reason


class DrillOutcome(StrEnum):
    """What a drill has shown."""

    PASSED = "passed"
    ARTIFACT_FAILED = "artifact_failed"
    """The artifact is damaged, or cannot be restored."""
    CONTENT_FAILED = "content_failed"
    """The artifact was restored, and its content is not as expected."""
    NOT_DONE = "not_done"
    """Nothing is known: the drill ended before the requested level."""


class StopCause(StrEnum):
    """Why a drill did not pass."""

    CHANGED = "changed"
    BAD_CONTAINER = "bad_container"
    OTHER_HEADER = "other_header"
    REFUSED_TWICE = "refused_twice"
    INCONSISTENT = "inconsistent"
    UNEXPECTED = "unexpected"
    NOT_ONLINE = "not_online"
    REFUSED_DIFFERENTLY = "refused_differently"
    NEEDS_RECOVERY = "needs_recovery"
    NEWER_VERSION = "newer_version"
    UNKNOWN_FORMAT = "unknown_format"
    COMMUNITY = "community"
    NO_ROOM = "no_room"
    NO_MEMORY = "no_memory"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    KILLED = "killed"
    NO_PROGRAM = "no_program"
    NO_LICENCE = "no_licence"
    PLUGIN_MISSING = "plugin_missing"
    QUERY_FAILED = "query_failed"
    NO_SERVER = "no_server"
    NOT_FETCHED = "not_fetched"
    NO_POINT = "no_point"
    PROGRAM_FAILED = "program_failed"


class Consequence(NamedTuple):
    """What follows from a cause."""

    outcome: DrillOutcome
    reason: Reason
    hint: str = ""


_ARTIFACT, _CONTENT, _NOT = DrillOutcome.ARTIFACT_FAILED, DrillOutcome.CONTENT_FAILED, DrillOutcome.NOT_DONE
_LIVE = "check the live database for the same fault: the backup may be a true copy of it"

CONSEQUENCES: dict[StopCause, Consequence] = {
    # The bytes are not those that were read back after the backup.
    StopCause.CHANGED: Consequence(
        _ARTIFACT, Reason.CHECKSUM_MISMATCH, "`backup-agent verify --heal` repairs artifacts"
    ),
    StopCause.BAD_CONTAINER: Consequence(_ARTIFACT, Reason.BAD_ARTIFACT, "take a FULL"),
    StopCause.OTHER_HEADER: Consequence(_ARTIFACT, Reason.BAD_ARTIFACT, "find out which program wrote the artifact"),
    # With room and memory enough, the second try would have succeeded if the first one had failed by chance.
    StopCause.REFUSED_TWICE: Consequence(_ARTIFACT, Reason.BAD_ARTIFACT, "take a FULL"),
    StopCause.INCONSISTENT: Consequence(_CONTENT, Reason.INCONSISTENT, _LIVE),
    StopCause.UNEXPECTED: Consequence(_CONTENT, Reason.UNEXPECTED_RESULT, _LIVE),
    StopCause.NOT_ONLINE: Consequence(_CONTENT, Reason.DATABASE_UNAVAILABLE, _LIVE),
    StopCause.REFUSED_DIFFERENTLY: Consequence(_NOT, Reason.ADMIN_CRASHED),
    # A full without recovery (--skip-recovery) cannot be checked before it is recovered by a server.
    StopCause.NEEDS_RECOVERY: Consequence(
        _NOT, Reason.DATABASE_UNAVAILABLE, "drill this artifact at the level `query`"
    ),
    StopCause.NEWER_VERSION: Consequence(_NOT, Reason.VERSION_MISMATCH, "drill with Neo4j of the servers' version"),
    StopCause.UNKNOWN_FORMAT: Consequence(_NOT, Reason.VERSION_MISMATCH, "drill with Neo4j of the servers' version"),
    StopCause.COMMUNITY: Consequence(
        _NOT,
        Reason.ADMIN_MISSING,
        "drill with Neo4j Enterprise: Community restores no differentials, and opens no block stores",
    ),
    StopCause.NO_ROOM: Consequence(_NOT, Reason.DISK_FULL, "set drill.scratch to a folder on a larger volume"),
    StopCause.NO_MEMORY: Consequence(_NOT, Reason.OUT_OF_MEMORY, "raise the memory limit, or drill at a lower level"),
    StopCause.TOO_LARGE: Consequence(_NOT, Reason.FILE_TOO_LARGE, "raise drill.max_size"),
    StopCause.TIMEOUT: Consequence(_NOT, Reason.TIMEOUT, "raise drill.timeout, or drill at a lower level"),
    StopCause.CANCELLED: Consequence(_NOT, Reason.CANCELLED),
    StopCause.KILLED: Consequence(_NOT, Reason.INTERRUPTED),
    StopCause.NO_PROGRAM: Consequence(_NOT, Reason.ADMIN_MISSING),
    StopCause.NO_LICENCE: Consequence(
        _NOT, Reason.INVALID_REQUEST, "set drill.accept_license to the licence of Neo4j that you accept"
    ),
    StopCause.PLUGIN_MISSING: Consequence(
        _NOT, Reason.PLUGIN_MISSING, "take the query out of drill.queries: a scratch server has no plugins"
    ),
    StopCause.QUERY_FAILED: Consequence(_NOT, Reason.INVALID_REQUEST, "correct the query in drill.queries"),
    StopCause.NO_SERVER: Consequence(_NOT, Reason.DATABASE_UNAVAILABLE, "see the last lines of the scratch server"),
    StopCause.NOT_FETCHED: Consequence(_NOT, Reason.STORAGE_UNREACHABLE),
    StopCause.NO_POINT: Consequence(_NOT, Reason.CHAIN_BROKEN),
    StopCause.PROGRAM_FAILED: Consequence(_NOT, Reason.ADMIN_CRASHED),
}
"""What follows from each cause. An empty hint is that of the reason."""


@dataclass(frozen=True)
class Stop:
    """Why a drill stops."""

    cause: StopCause
    text: str
    """Description in one or more lines, without secrets."""
    failure: Failure | None = None
    """The failure behind the cause, if its reason or hint is more specific than that of the cause."""

    @property
    def outcome(self) -> DrillOutcome:
        """What the drill has shown."""
        return CONSEQUENCES[self.cause].outcome

    @property
    def as_failure(self) -> Failure:
        """The failure as it is reported to users."""
        if self.failure is not None:
            return Failure(self.failure.reason, self.text, self.failure.hint)
        _, reason, hint = CONSEQUENCES[self.cause]
        return Failure(reason, self.text, hint)


class DrillStoppedError(Exception):
    """Ends a drill at the present step."""

    def __init__(
        self, cause: StopCause, text: str, failure: Failure | None = None, artifact: str | None = None
    ) -> None:
        """`artifact` is the key of the damaged artifact, if it is not the last one of the chain."""
        super().__init__(text)
        self.stop = Stop(cause, text, failure)
        self.artifact = artifact


def is_marked(outcome: DrillOutcome, *, other_points: bool, marked_today: bool, trusted: bool = True) -> bool:
    """Return whether a drilled artifact gets a damage mark.

    A mark makes the next backup a FULL, so a database gets at most one a day. The last artifact from which a database
    can be restored is never marked. `trusted` is False for evidence of another process that no trusted key has signed.

    >>> is_marked(DrillOutcome.ARTIFACT_FAILED, other_points=True, marked_today=False)
    True
    >>> is_marked(DrillOutcome.CONTENT_FAILED, other_points=True, marked_today=False)
    False
    """
    return outcome is DrillOutcome.ARTIFACT_FAILED and other_points and not marked_today and trusted
