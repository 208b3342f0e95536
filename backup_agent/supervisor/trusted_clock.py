"""The clock by which answers expire: the clock of this machine, as long as another clock agrees with it.

If the clock were set forward, all answers would look old at once. So nothing expires unless the servers or a
destination show about the same time, and nothing expires after the clock was set while the agent ran.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from backup_agent import durable
from backup_agent.core.retention.clock import BOOT_ID, SHOWN_SECONDS, ClockReading, ClockSighting, ClockTime, distrust

log = structlog.get_logger()


def utc_now() -> datetime:
    """Return the time of this machine, trusted or not."""
    return datetime.now(UTC)


def read_clocks() -> ClockReading:
    """Return the readings of this machine's clocks."""
    return ClockReading(
        now=utc_now(),
        monotonic=time.clock_gettime(time.CLOCK_BOOTTIME),
        boot=Path(BOOT_ID).read_text().strip(),
    )


@dataclass
class TrustedClock:
    """The time of this machine if it can be trusted. Passes of retention store clock readings in `file`."""

    file: Path
    server_clock: Callable[[], ClockTime | None]
    read: Callable[[], ClockReading] = read_clocks
    _last: ClockReading | None = None
    """The last trusted reading, or the first one. Later readings must be consistent with it."""
    _logged: int | None = None
    """The level at which distrust was logged; None while the clock is trusted."""

    def now(self) -> datetime | None:
        """Return the time, or None if the clock cannot be trusted. Distrust is logged once."""
        reading = self.read()
        seen = self._seen(reading.boot)
        last = self._last or (seen.reading if seen else reading)
        references = {
            f"{name}'s clock": shown.time_at(reading.monotonic)
            for name, shown in (seen.shown if seen else {}).items()
            if reading.monotonic - shown.monotonic < SHOWN_SECONDS
        }
        if (server := self.server_clock()) is not None:
            references["datetime() of the server"] = server.time_at(reading.monotonic)
        wrong = distrust(reading, references, last=last)
        if wrong is None and references:
            self._last, self._logged = reading, None
            return reading.now
        self._last = last
        self._log(wrong)
        return None

    def _log(self, wrong: str | None) -> None:
        """Log once that nothing expires, and why. At INFO if no other clock was seen: this is normal after a start."""
        before, self._logged = self._logged, logging.INFO if wrong is None else logging.WARNING
        if before is not None and before >= self._logged:
            return
        if wrong is None:
            log.info("answers do not expire yet", because="no other clock has been seen yet")
        else:
            log.warning(
                "answers do not expire", because=wrong, hint="set the clock of the node, then restart the agent"
            )

    def _seen(self, boot: str) -> ClockSighting | None:
        with suppress(OSError, ValueError):
            seen = ClockSighting.from_json(durable.read(self.file))
            return seen if seen.reading.boot == boot else None
        return None
