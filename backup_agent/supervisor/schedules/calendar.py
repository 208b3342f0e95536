"""Turn the due times of schedules into requests. core.requests.schedules decides which due times are served.

`<root>/.agent/schedules.json` says up to which time each schedule has been handled. Unlike answers, the file never
expires: it distinguishes a run that was missed while the agent was down from a run that was never due.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from backup_agent import durable, quoting
from backup_agent.core.artifacts.records import BackupType, StoredValue
from backup_agent.core.requests.request import Action, Request
from backup_agent.core.requests.schedules import Handled, Timetable, decide, request_id
from backup_agent.settings.model import Schedule, ScheduleType

log = structlog.get_logger()


class CalendarFile(StoredValue):
    """The content of `schedules.json`."""

    schedules: dict[str, Handled]


@dataclass
class Counts:
    """Numbers of due times of a schedule without a request of their own, since the agent started."""

    missed: int = 0
    coalesced: int = 0


@dataclass
class Calendar:
    """The schedules in force.

    `submit(request, schedule)` puts a request into the spool. `waits(schedule)` tells whether a request of the schedule
    has not started yet.
    """

    file: Path
    submit: Callable[[Request, str], None]
    waits: Callable[[str], bool]
    timetables: Mapping[str, Timetable] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    _handled: dict[str, Handled] = field(default_factory=dict)
    _kept: dict[str, Handled] = field(default_factory=dict)
    """The content of the file."""

    def load(self) -> None:
        """Read the file. If it cannot be read, log it and treat every schedule as new."""
        try:
            self._handled = dict(CalendarFile.from_json(durable.read(self.file)).schedules)
        except FileNotFoundError:
            return
        except (durable.RefusedFileError, ValueError) as error:
            log.warning("schedule state unreadable", file=str(self.file), error=quoting.shown(error))
        self._kept = dict(self._handled)

    def check(self, now: datetime) -> None:
        """Submit a request for each schedule that is due. The file is written after the request is in the spool."""
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
        # A schedule that is removed from the settings and added again has missed no runs.
        self._handled = {name: handled for name, handled in self._handled.items() if name in self.timetables}
        if self._handled != self._kept:
            self._keep()

    def _keep(self) -> None:
        """Write the file. If the volume refuses, log it; the next check tries again."""
        kept = CalendarFile(schedules=dict(sorted(self._handled.items())))
        try:
            durable.write(self.file, kept.to_json())
        except OSError as error:
            log.warning("schedule state not kept", file=str(self.file), error=error.strerror)
            return
        self._kept = dict(self._handled)


def _request(name: str, schedule: Schedule, due: datetime) -> Request:
    if schedule.type is ScheduleType.DRILL:
        return Request(
            action=Action.DRILL,
            id=request_id(name, due),
            databases=list(schedule.databases) if schedule.databases else None,
            **{"requested_by": f"schedule {name}", **schedule.fields_given()},
        )
    return Request(
        id=request_id(name, due),
        type=BackupType(schedule.type),
        databases=list(schedule.databases) if schedule.databases else None,
        path=schedule.path,
        **{"requested_by": f"schedule {name}", **schedule.fields_given()},
    )
