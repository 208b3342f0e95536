"""What a neo4j-admin can do, by its own version.

The version is the binary's, never an image tag's: a tag that cannot be read once meant "5.26" in silence. Versions
newer than the table get all of it; what a version lacks is refused by the tool itself (exit code 64), so a row that
is wrong costs a backup.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from backup_agent.core.reasons import PermanentError, Reason

# One line of `neo4j-admin --version` ("5.26.31") or `neo4j-admin version` ("neo4j 5.26.31"), whole: a line such as
# "Picked up JAVA_TOOL_OPTIONS: -Dx=1.2.3" around it is the JVM's.
_LINE = re.compile(
    r"(?:neo4j(?:-admin)?[ :-]+)?v?(?P<major>\d{1,4})\.(?P<minor>\d{1,3})(?:\.(?P<patch>\d{1,5}))?"
    r"(?P<suffix>[-+.][0-9A-Za-z.+-]{1,64})?",
    re.IGNORECASE,
)
_FIRST_CALENDAR_YEAR = 2025


@dataclass(frozen=True, order=True)
class Version:
    """A version of Neo4j: 5.26.31, or year.month.patch since 2025.01. A suffix (-SNAPSHOT) does not order."""

    major: int
    minor: int
    patch: int = 0
    suffix: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the version in what `--version`, `version` or dbms.components() printed, or None."""
        for line in text.splitlines():
            if found := _LINE.fullmatch(line.strip()):
                return cls(
                    int(found["major"]), int(found["minor"]), int(found["patch"] or 0), suffix=found["suffix"] or ""
                )
        return None

    @property
    def line(self) -> str:
        """The line it belongs to: `5.26`, `2025`, `2026`. A chain is not continued by another line."""
        return str(self.major) if self.major >= _FIRST_CALENDAR_YEAR else f"{self.major}.{self.minor}"

    def __str__(self) -> str:
        if self.major >= _FIRST_CALENDAR_YEAR:
            return f"{self.major}.{self.minor:02}.{self.patch}{self.suffix}"
        return f"{self.major}.{self.minor}.{self.patch}{self.suffix}"


OLDEST = Version(5, 26)


class Capability(StrEnum):
    """Something that came, or went, with a version."""

    COMPRESS = "--compress"
    TEMP_PATH = "--temp-path"
    INSPECT = "backup inspect"
    SHOW_METADATA = "--show-metadata"
    BACKUP_AGGREGATE = "backup aggregate"
    PREFER_DIFF_AS_PARENT = "--prefer-diff-as-parent"
    REMOTE_ADDRESS_RESOLUTION = "--remote-address-resolution"
    METADATA_USERS = "--include-metadata=users=..."
    PARALLEL_DOWNLOAD = "--parallel-download"
    SKIP_RECOVERY = "--skip-recovery"
    OVERLAP = "overlap of a full and its first differential"


@dataclass(frozen=True)
class Row:
    """A line of the table: from `since` on, and before `until` where it went again."""

    capability: Capability
    since: Version
    source: str
    until: Version | None = None


TABLE = (
    Row(Capability.COMPRESS, OLDEST, "5.26 manual, online-backup, synopsis"),
    Row(Capability.TEMP_PATH, Version(5, 24), "manual, online-backup"),
    Row(Capability.INSPECT, Version(5, 25), "manual, inspect"),
    # Without it these versions list file names only; later ones take it, deprecated, and ignore it.
    Row(Capability.SHOW_METADATA, OLDEST, "manual, inspect", until=Version(2025, 7)),
    Row(Capability.BACKUP_AGGREGATE, Version(2025, 1), "manual, aggregate; 5.26 has only database aggregate-backup"),
    Row(Capability.PREFER_DIFF_AS_PARENT, Version(2025, 4), "2026.07 manual, online-backup"),
    Row(Capability.REMOTE_ADDRESS_RESOLUTION, Version(2025, 9), "2026.07 manual, online-backup"),
    Row(Capability.METADATA_USERS, Version(2025, 10), "2026.07 manual, online-backup"),
    Row(Capability.PARALLEL_DOWNLOAD, Version(2025, 11), "2026.07 manual, online-backup"),
    Row(Capability.SKIP_RECOVERY, Version(2025, 11), "2026.07 manual, online-backup"),
    Row(Capability.OVERLAP, Version(2026, 2), "2026.07 manual, planning, Scheduling for RPO and RTO"),
)


@dataclass(frozen=True)
class Capabilities:
    """What one version can do. `version` is None where the program would not tell it."""

    version: Version | None
    has: frozenset[Capability]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, version: Version | None) -> Self:
        """Return the capabilities of a version; raise PermanentError (admin_missing) for one older than 5.26.

        An unknown version can do what all of them can, with a warning: a backup with plain options beats none.
        """
        if version is None:
            warning = f"the version of neo4j-admin is unknown: only options known since {OLDEST.line} are used"
            everywhere = frozenset(row.capability for row in TABLE if row.since <= OLDEST and row.until is None)
            return cls(None, everywhere, (warning,))
        if version < OLDEST:
            raise PermanentError(
                Reason.ADMIN_MISSING,
                f"neo4j-admin is version {version}; {OLDEST.line} or newer is needed",
            )
        return cls(
            version,
            frozenset(
                row.capability for row in TABLE if row.since <= version and (row.until is None or version < row.until)
            ),
        )


def other_line(admin: Version | None, servers: tuple[str, ...]) -> str | None:
    """Return a warning where a server is of another line than neo4j-admin, else None."""
    if admin is None:
        return None
    known = sorted({version.line for text in servers if (version := Version.parse(text))} - {admin.line})
    if not known:
        return None
    return f"neo4j-admin is version {admin}, servers are of line {', '.join(known)}: use one line for both"
