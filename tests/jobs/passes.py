"""Passes of verification over a volume, and over destinations in memory."""

import errno
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backup_agent.artifact.reading import read_through
from backup_agent.catalog.place import all_places
from backup_agent.core.artifacts.names import artifact_name
from backup_agent.core.artifacts.records import Record
from backup_agent.core.requests.tasks import VerifyTask
from backup_agent.jobs.verify import Verifying
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store
from tests.artifact.writer import Written, artifact
from tests.builders import ORDERS, a_record, an_event_writer, settings_with
from tests.catalog.places import with_store, write_record

LONG_AGO = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)


def put(root: Path, hour: int = 0) -> Record:
    """Put a real artifact and its record on the volume, taken `hour` hours after LONG_AGO."""
    taken = LONG_AGO + timedelta(hours=hour)
    path = root / "default" / "orders" / artifact_name(ORDERS, taken)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(artifact(Written(taken=taken)))
    reading = read_through(path)
    record = a_record(header=reading.header, files=reading.files)
    write_record(root, record)
    return record


def verify(root: Path, store: Store | None = None, **changes: Any) -> list[dict[str, Any]]:
    """Run a pass over the volume. Return its events."""
    return verify_at({"local": store or LocalStore(root, "local")}, root, **changes)


def verify_at(
    stores: Mapping[str, Store],
    root: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    destination: Mapping[str, Any] | None = None,
    cancel: threading.Event | None = None,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Run a pass over one of these places, by default the volume. Return its events.

    `destination` has further settings of each destination.
    """
    destinations = {name: {"type": "s3", "bucket": name, **(destination or {})} for name in stores if name != "local"}
    storage = {"root": str(root), "destinations": destinations}
    task = VerifyTask(**{"run": "verify-1", "place": "local", "seconds": 60, "settings": {}, **changes})
    events: list[dict[str, Any]] = []
    writer = an_event_writer(events)
    cancel = cancel or threading.Event()
    places = all_places(settings_with(storage=storage, **(settings or {})))
    opened = [with_store(one, stores.get(one.name)) for one in places]
    place, *others = sorted(opened, key=lambda one: one.name != task.place)
    Verifying(task, place, tuple(others), writer, cancel).run()
    return events


def keys_of(events: list[dict[str, Any]], name: str) -> list[str]:
    """Return the keys in the events of a given name."""
    return [event["key"] for event in events if event["event"] == name]


def damages_in(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the event that lists all faults of the place."""
    (event,) = (event for event in events if event["event"] == "damages")
    return event


class Blocks(LocalStore):
    """A volume with bad blocks under some artifacts."""

    def __init__(self, root: Path, *bad: str) -> None:
        super().__init__(root, "local")
        self.bad = set(bad)

    def open(self, key: str, start: int = 0) -> Any:
        if key not in self.bad:
            return super().open(key, start)
        with self._classified("open", key):
            raise OSError(errno.EIO, "Input/output error")
