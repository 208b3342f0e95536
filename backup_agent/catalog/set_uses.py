"""The time of the last request for each ad hoc set: such a set expires `limits.keep_adhoc` after its last use.

A request that failed or is still queued counts as a use, but has no artifact. Therefore requests are noted on the
volume.
"""

from datetime import datetime
from pathlib import Path

from pydantic import Field

from backup_agent import durable
from backup_agent.catalog.place import OWN
from backup_agent.core.artifacts.names import SetName
from backup_agent.core.artifacts.records import StoredValue

MOST = 100
"""Largest number of sets in the notes: the most recently used. A volume has far fewer ad hoc sets."""


class Uses(StoredValue):
    """The last requests for ad hoc sets."""

    used: dict[SetName, datetime] = Field(default={})
    all_used: datetime | None = None
    """Time at which earlier notes were found to be lost, or None. Every set counts as used at that time."""

    def of(self, set_name: SetName) -> datetime | None:
        """Return the time of the last request for a set, or None if it is unknown."""
        return max((at for at in (self.used.get(set_name), self.all_used) if at is not None), default=None)

    def noting(self, set_name: SetName, at: datetime) -> "Uses":
        """Return these uses with one more request."""
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


def note_use(root: Path, set_name: SetName, at: datetime) -> None:
    """Note a request for a set. Raise OSError if the note cannot be written."""
    _file(root).parent.mkdir(parents=True, exist_ok=True)
    durable.write(_file(root), uses(root, at).noting(set_name, at).to_json())


def _file(root: Path) -> Path:
    return root / OWN / "adhoc.json"
