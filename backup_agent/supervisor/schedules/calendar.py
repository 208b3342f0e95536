"""The schedules' due times, turned into requests. The timer only rings; what is due is decided by core.schedules.

How far each schedule has been handled is kept for good in `<root>/.agent/schedules.json`, apart from the answers: it
tells a run missed while the agent was down from one that was never due.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from backup_agent import durable, quoting
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.requests.request import Request
from backup_agent.core.requests.schedules import Handled, Timetable, decide, request_id
from backup_agent.settings.model import Schedule

log = structlog.get_logger()


class CalendarFile(StoredValue):
    """What is kept on the volume."""

    schedules: dict[str, Handled]


@dataclass
class Counts:
    """What became of a schedule's due times since the agent started."""

    missed: int = 0
    coalesced: int = 0


@dataclass
class Calendar:
    """The schedules in force. `submit` takes a request into the spool; `waits` tells whether one has not started."""

    file: Path
    submit: Callable[[Request, str], None]
    waits: Callable[[str], bool]
    timetables: Mapping[str, Timetable] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    _handled: dict[str, Handled] = field(default_factory=dict)
    _kept: dict[str, Handled] = field(default_factory=dict)
    """What stands on the volume of it."""

    def load(self) -> None:
        """Read how far earlier lives have come. What cannot be read is as good as never seen."""
        try:
            self._handled = dict(CalendarFile.from_json(durable.read(self.file)).schedules)
        except FileNotFoundError:
            return
        except (durable.RefusedFileError, ValueError) as error:
            log.warning("schedule state unreadable", file=str(self.file), error=quoting.shown(error))
        self._kept = dict(self._handled)

    def check(self, now: datetime) -> None:
        """Submit what is due, each due time once; keep how far that is after the request stands in the spool."""
        for name, timetable in self.timetables.items():
            decision = decide(timetable, self._handled.get(name), now, waiting=self.waits(name))
            counts = self.counts.setdefault(name, Counts())
            counts.missed += decision.missed
            counts.coalesced += decision.coalesced
            if decision.due is not None:
                self.submit(_request(name, self.schedules[name], decision.due), name)
            self._handled[name] = decision.handled
            if decision.missed or decision.coalesced:
                log.warning(
                    "schedule not run",
                    schedule=name,
                    outcome=decision.outcome.value,
                    missed=decision.missed,
                    coalesced=decision.coalesced,
                )
        # A schedule that has left the settings and comes back has missed nothing.
        self._handled = {name: handled for name, handled in self._handled.items() if name in self.timetables}
        if self._handled != self._kept:
            self._keep()

    def _keep(self) -> None:
        """Write down how far all schedules are; where the volume refuses, the next check tries again."""
        kept = CalendarFile(schedules=dict(sorted(self._handled.items())))
        try:
            durable.write(self.file, kept.to_json())
        except OSError as error:
            log.warning("schedule state not kept", file=str(self.file), error=error.strerror)
            return
        self._kept = dict(self._handled)


def _request(name: str, schedule: Schedule, due: datetime) -> Request:
    return Request(
        id=request_id(name, due),
        type=schedule.type,
        databases=list(schedule.databases) if schedule.databases else None,
        path=schedule.path,
        labels=schedule.labels,
        requested_by=f"schedule {name}",
    )
