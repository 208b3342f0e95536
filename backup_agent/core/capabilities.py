"""What a neo4j-admin can do, by its own version.

The version is the binary's, never an image tag's: a tag that cannot be read once meant "5.26" in silence. Versions
newer than the table get all of it; what a version lacks is refused by the tool itself (exit code 64), so a row that
is wrong costs a backup.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
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
    def calendar(self) -> bool:
        """Whether the version is one of year and month (2025.01 and later)."""
        return self.major >= _FIRST_CALENDAR_YEAR

    def same_line(self, other: Self) -> bool:
        """Tell whether a chain may go on from one version to the other.

        All calendar versions are one line, in which the store id says whether a chain goes on; 5.26 is another.
        """
        return (self.calendar and other.calendar) or (self.major, self.minor) == (other.major, other.minor)

    def __str__(self) -> str:
        if self.calendar:
            return f"{self.major}.{self.minor:02}.{self.patch}{self.suffix}"
        return f"{self.major}.{self.minor}.{self.patch}{self.suffix}"


OLDEST = Version(5, 26)
OVERLAP_SINCE = Version(2026, 2)
"""The first version whose differential may overlap its full."""


@lru_cache(maxsize=256)
def version_of(text: str | None) -> Version | None:
    """Return the version that servers or a record name; None if it is absent or cannot be read."""
    return Version.parse(text or "")


def newest(versions: Iterable[str]) -> str | None:
    """Return the newest of some versions, as it was written; None if none can be read.

    >>> newest(["5.26.9", "5.26.31", "nonsense"])
    '5.26.31'
    """
    known = {version: text for text in versions if (version := version_of(text))}
    return known[max(known)] if known else None


def same_line(one: str | None, other: str | None) -> bool:
    """Tell whether two versions are of one line; a version that is not known differs from none."""
    first, second = version_of(one), version_of(other)
    return first is None or second is None or first.same_line(second)


def may_overlap(version: str | None) -> bool | None:
    """Tell whether the first differential of a neo4j-admin may overlap its full; None if the version is unknown."""
    known = version_of(version)
    return None if known is None else known >= OVERLAP_SINCE


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
    Row(Capability.OVERLAP, OVERLAP_SINCE, "2026.07 manual, planning, Scheduling for RPO and RTO"),
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
            warning = f"the version of neo4j-admin is unknown: only options known since {OLDEST} are used"
            everywhere = frozenset(row.capability for row in TABLE if row.since <= OLDEST and row.until is None)
            return cls(None, everywhere, (warning,))
        if version < OLDEST:
            raise PermanentError(
                Reason.ADMIN_MISSING,
                f"neo4j-admin is version {version}; {OLDEST} or newer is needed",
            )
        return cls(
            version,
            frozenset(
                row.capability for row in TABLE if row.since <= version and (row.until is None or version < row.until)
            ),
        )


def other_line(admin: Version | None, servers: tuple[str, ...]) -> str | None:
    """Return a warning if a server is of another line than neo4j-admin, else None."""
    known = {version for text in servers if (version := version_of(text))}
    others = sorted(version for version in known if admin is not None and not version.same_line(admin))
    if not others:
        return None
    return f"neo4j-admin is version {admin}, servers are {', '.join(map(str, others))}: use the same line for both"
