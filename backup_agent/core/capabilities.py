"""Versions of Neo4j, and the options that each version of neo4j-admin has.

The version is always the one that the program prints, since an image tag may be wrong. A version newer than the table
has all current options. neo4j-admin exits with 64 if it gets an option that it does not know, so a wrong row makes
backups fail.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Self

from backup_agent.core.reasons import PermanentError, Reason

# A whole line of `neo4j-admin --version` ("5.26.31") or `neo4j-admin version` ("neo4j 5.26.31"). Other lines come from
# the JVM and must not match, such as "Picked up JAVA_TOOL_OPTIONS: -Dx=1.2.3".
_LINE = re.compile(
    r"(?:neo4j(?:-admin)?[ :-]+)?v?(?P<major>\d{1,4})\.(?P<minor>\d{1,3})(?:\.(?P<patch>\d{1,5}))?"
    r"(?P<suffix>[-+.][0-9A-Za-z.+-]{1,64})?",
    re.IGNORECASE,
)
_FIRST_CALENDAR_YEAR = 2025


@dataclass(frozen=True, order=True)
class Version:
    """A version of Neo4j: 5.26.31, or year.month.patch since 2025.01. Comparison ignores a suffix (-SNAPSHOT)."""

    major: int
    minor: int
    patch: int = 0
    suffix: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read the version from the output of `--version`, `version` or dbms.components(), or return None."""
        for line in text.splitlines():
            if found := _LINE.fullmatch(line.strip()):
                return cls(
                    int(found["major"]), int(found["minor"]), int(found["patch"] or 0), suffix=found["suffix"] or ""
                )
        return None

    @property
    def calendar(self) -> bool:
        """Whether this is a calendar version (2025.01 or later)."""
        return self.major >= _FIRST_CALENDAR_YEAR

    def same_line(self, other: Self) -> bool:
        """Return whether two versions belong to one release line, so that a chain may continue.

        5.26 is a release line, and all calendar versions together are another.
        """
        return (self.calendar and other.calendar) or (self.major, self.minor) == (other.major, other.minor)

    def __str__(self) -> str:
        if self.calendar:
            return f"{self.major}.{self.minor:02}.{self.patch}{self.suffix}"
        return f"{self.major}.{self.minor}.{self.patch}{self.suffix}"


OLDEST = Version(5, 26)
OVERLAP_SINCE = Version(2026, 2)
"""First version in which a differential may overlap its full."""


@lru_cache(maxsize=256)
def version_of(text: str | None) -> Version | None:
    """Parse a version. Return None if the text is None or contains no version."""
    return Version.parse(text or "")


def newest(versions: Iterable[str]) -> str | None:
    """Return the text of the newest version, or None if none can be read.

    >>> newest(["5.26.9", "5.26.31", "nonsense"])
    '5.26.31'
    """
    known = {version: text for text in versions if (version := version_of(text))}
    return known[max(known)] if known else None


def same_line(one: str | None, other: str | None) -> bool:
    """Return whether two versions belong to one release line. An unknown version matches every other."""
    first, second = version_of(one), version_of(other)
    return first is None or second is None or first.same_line(second)


def may_overlap(version: str | None) -> bool | None:
    """Return whether a differential taken by this neo4j-admin may overlap its full. None means unknown."""
    known = version_of(version)
    return None if known is None else known >= OVERLAP_SINCE


class Capability(StrEnum):
    """An option, command or behaviour of neo4j-admin that not all versions have."""

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
    """Versions with a capability: from `since` on, and before `until` if set."""

    capability: Capability
    since: Version
    source: str
    until: Version | None = None


TABLE = (
    Row(Capability.COMPRESS, OLDEST, "5.26 manual, online-backup, synopsis"),
    Row(Capability.TEMP_PATH, Version(5, 24), "manual, online-backup"),
    Row(Capability.INSPECT, Version(5, 25), "manual, inspect"),
    # Without this option, these versions list only file names. Later versions accept it as deprecated and ignore it.
    Row(Capability.SHOW_METADATA, OLDEST, "manual, inspect", until=Version(2025, 7)),
    Row(Capability.BACKUP_AGGREGATE, Version(2025, 1), "manual, aggregate; 5.26 has only database aggregate-backup"),
    Row(Capability.PREFER_DIFF_AS_PARENT, Version(2025, 4), "2026.07 manual, online-backup"),
    Row(Capability.REMOTE_ADDRESS_RESOLUTION, Version(2025, 9), "2026.07 manual, online-backup"),
    Row(Capability.METADATA_USERS, Version(2025, 10), "2026.07 manual, online-backup"),
    Row(Capability.PARALLEL_DOWNLOAD, Version(2025, 11), "2026.07 manual, online-backup"),
    Row(Capability.SKIP_RECOVERY, Version(2025, 11), "2026.07 manual, online-backup"),
    Row(Capability.OVERLAP, OVERLAP_SINCE, "2026.07 manual, planning, Scheduling for RPO and RTO"),
)


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of one version. `version` is None if it is unknown."""

    version: Version | None
    has: frozenset[Capability]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, version: Version | None) -> Self:
        """Return the capabilities of a version. Raise PermanentError (admin_missing) if it is older than 5.26.

        For an unknown version, return the capabilities that all versions have, with a warning.
        """
        if version is None:
            warning = f"the version of neo4j-admin is unknown: only options of every version since {OLDEST} are used"
            common = frozenset(row.capability for row in TABLE if row.since <= OLDEST and row.until is None)
            return cls(None, common, (warning,))
        if version < OLDEST:
            raise PermanentError(
                Reason.ADMIN_MISSING,
                f"neo4j-admin is version {version}, but {OLDEST} or newer is required",
            )
        return cls(
            version,
            frozenset(
                row.capability for row in TABLE if row.since <= version and (row.until is None or version < row.until)
            ),
        )


def other_line(admin: Version | None, servers: tuple[str, ...]) -> str | None:
    """Return a warning if a server belongs to another release line than neo4j-admin, else None."""
    known = {version for text in servers if (version := version_of(text))}
    others = sorted(version for version in known if admin is not None and not version.same_line(admin))
    if not others:
        return None
    return (
        f"neo4j-admin is version {admin}, but servers are version {', '.join(map(str, others))}: "
        "install neo4j-admin of the servers' release line"
    )
