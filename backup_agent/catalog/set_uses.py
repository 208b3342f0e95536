"""When each ad hoc set was last asked for: such a set goes `limits.keep_adhoc` after its last use.

The newest artifact of a set says when it was last written to. A request that failed, or still waits, is a use too, and
leaves no artifact: so it is noted on the volume.
"""

from datetime import datetime
from pathlib import Path

from pydantic import Field

from backup_agent import durable
from backup_agent.catalog.place import OWN
from backup_agent.core.artifacts.records import StoredValue

MOST = 100
"""Sets that are remembered, those used last: there are far fewer ad hoc sets on a volume."""


class Uses(StoredValue):
    """The last requests for ad hoc sets."""

    used: dict[str, datetime] = Field(default={})
    all_used: datetime | None = None
    """When earlier uses were lost: every set counts as used at that time."""

    def of(self, set_name: str) -> datetime | None:
        """Return when a set was last asked for; None if that is long ago, or it never was."""
        return max((at for at in (self.used.get(set_name), self.all_used) if at is not None), default=None)

    def noting(self, set_name: str, at: datetime) -> "Uses":
        """Return these uses with another one."""
        used = {**self.used, set_name: max(at, self.used.get(set_name, at))}
        newest = sorted(used, key=used.__getitem__, reverse=True)[:MOST]
        return self.model_copy(update={"used": {name: used[name] for name in sorted(newest)}})


def uses(root: Path, now: datetime) -> Uses:
    """Return the uses noted on the volume. If they cannot be read, every set counts as used now.

    Raise OSError if the volume cannot be read.
    """
    try:
        return Uses.from_json(durable.read(_file(root)))
    except FileNotFoundError:
        return Uses()
    except (durable.RefusedFileError, ValueError):
        return Uses(all_used=now)


def note_use(root: Path, set_name: str, at: datetime) -> None:
    """Note that a set was asked for. Raise OSError if the volume refuses."""
    _file(root).parent.mkdir(parents=True, exist_ok=True)
    durable.write(_file(root), uses(root, at).noting(set_name, at).to_json())


def _file(root: Path) -> Path:
    return root / OWN / "adhoc.json"
