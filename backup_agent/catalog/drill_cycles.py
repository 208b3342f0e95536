"""How long it takes until the agent's schedules have drilled every database once."""

from collections.abc import Iterator
from datetime import datetime

from backup_agent.catalog import drill_notes
from backup_agent.catalog.place import place_of
from backup_agent.core.drill.budget import DrillCycle, cycle
from backup_agent.core.protection.expected import selects
from backup_agent.core.requests.schedules import expected_interval
from backup_agent.settings.model import ScheduleType, Settings


def drill_cycles(settings: Settings, now: datetime) -> Iterator[DrillCycle]:
    """Yield the cycle of each schedule of drills, by the durations of the last drills at `drill.level`."""
    every = [one.drilled_every for one in settings.objectives if one.drilled_every is not None]
    place = place_of(settings.drilled_place, settings)
    for name, schedule in settings.schedules.items():
        if schedule.type is not ScheduleType.DRILL or schedule.suspend:
            continue
        patterns = schedule.databases or settings.databases
        drilled = [one for one in drill_notes.remembered(place) if selects(patterns, one.database)]
        durations = [one.took[settings.drill.level] for one in drilled if settings.drill.level in one.took]
        interval = expected_interval(schedule.timetable(name, settings.cluster).cron, now)
        yield DrillCycle(
            schedule=name,
            took=cycle(durations, settings.drill.budget, interval),
            measured=len(durations),
            place=place.name,
            level=settings.drill.level,
            wanted=min(every, default=None),
        )
