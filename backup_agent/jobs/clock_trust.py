"""Whether retention can trust this machine's clock: it is compared with other clocks and with the last pass."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from backup_agent import durable
from backup_agent.catalog.contents import Contents
from backup_agent.catalog.place import OWN, Place
from backup_agent.core.artifacts.keys import database_key
from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.requests.schedules import expected_interval
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.core.retention.clock import (
    BOOT_ID,
    SHOWN_SECONDS,
    ClockReading,
    ClockSighting,
    ClockTime,
    Gap,
    distrust,
)


@dataclass(frozen=True)
class PassClock:
    """The clock at one pass of retention: a reading of this machine's clock, and whether it can be trusted."""

    reading: ClockReading
    before: ClockReading | None
    """The reading of the last pass."""
    shown: dict[PlaceName, ClockTime]
    """The times that the destinations' clocks have shown. The volume has no clock."""
    reference: datetime | None
    """The present time according to another clock, if one is known."""
    wrong: str | None
    """Why the clock cannot be trusted; None if it can."""

    @classmethod
    def of(cls, place: Place, task: PruneTask, found: Contents) -> Self:
        """Read the clock, and compare it with other clocks and with the reading of the last pass."""
        now, monotonic = datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME)
        reading = ClockReading(now=now, monotonic=monotonic, boot=Path(BOOT_ID).read_text().strip())
        last = None
        with suppress(OSError, ValueError):
            last = ClockSighting.from_json(durable.read(cls._file(place)))
        known = last.shown if last and last.reading.boot == reading.boot else {}
        shown = {name: one for name, one in known.items() if monotonic - one.monotonic < SHOWN_SECONDS}
        if (store_now := place.store.now()) is not None:
            shown[place.name] = ClockTime(now=store_now, monotonic=monotonic)
        references = {f"{name}'s clock": one.time_at(monotonic) for name, one in shown.items()}
        if task.server_clock is not None:
            references["datetime() of the server"] = task.server_clock.time_at(monotonic)
        before = last.reading if last else None
        wrong = distrust(reading, references, last=before, gaps=_gaps(found, place, now))
        return cls(reading, before, shown, next(iter(references.values()), None), wrong)

    def keep(self, place: Place, *, idle: bool) -> None:
        """Store the clock reading with which the next pass will compare its own, and the times of other clocks.

        If the clock is trusted, its reading is stored. Otherwise the time of another clock is stored in its place, or,
        if no other clock is known, the earlier reading stays: with the untrusted reading the next pass would not notice
        the jump. If the clock is not trusted and the pass has nothing to delete (`idle`), the earlier reading stays as
        well, so that the next pass reports the jump.
        """
        reading = self.reading
        if self.wrong and self.before and (idle or self.reference is None):
            reading = self.before
        elif self.wrong and self.reference is not None:
            reading = self.reading.model_copy(update={"now": self.reference})
        with suppress(OSError):  # a full volume must not stop the pass that makes room on it
            durable.write(self._file(place), ClockSighting(reading=reading, shown=self.shown).to_json())

    @staticmethod
    def _file(place: Place) -> Path:
        return place.root / OWN / "clock.json"


def _gaps(found: Contents, place: Place, now: datetime) -> Iterator[Gap]:
    """Yield the time between the two newest artifacts of each database whose set has a schedule."""
    expected: dict[str, timedelta] = {}
    for timetable_name, timetable in place.settings.timetables().items():
        path = place.settings.schedules[timetable_name].path
        interval = expected_interval(timetable.cron, now)
        expected[path] = min(expected.get(path, interval), interval)
    taken: dict[tuple[SetName, DatabaseName], list[datetime]] = {}
    for one in found.entries.values():
        taken.setdefault((one.set, one.database), []).append(one.taken)
    for (set_name, database), moments in taken.items():
        if set_name in expected and len(moments) > 1:
            before, newest = sorted(moments)[-2:]
            yield Gap(database_key(set_name, database), before, newest, expected[set_name])
