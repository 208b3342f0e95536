"""How long it takes until the agent's schedules have drilled every database once, for `config`."""

from collections.abc import Iterator
from datetime import UTC, datetime

from backup_agent.catalog import drill_notes
from backup_agent.catalog.place import Place, place_of
from backup_agent.cli import printing
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.drill.budget import cycle
from backup_agent.core.protection.expected import selects
from backup_agent.core.requests.schedules import expected_interval
from backup_agent.settings.model import ScheduleType, Settings


def cycles(settings: Settings) -> Iterator[tuple[str, bool]]:
    """Yield a line for each schedule of drills, and whether it warns: the cycle is longer than `drilled_every`.

    Durations are those of the last drills at `drill.level`. Databases that were never drilled there are not counted.
    """
    every = [one.drilled_every for one in settings.objectives if one.drilled_every is not None]
    place = _place(settings)
    for name, schedule in settings.schedules.items():
        if schedule.type is not ScheduleType.DRILL or schedule.suspend:
            continue
        patterns = schedule.databases or settings.databases
        drilled = [one for one in drill_notes.remembered(place) if selects(patterns, one.database)]
        durations = [one.took[settings.drill.level] for one in drilled if settings.drill.level in one.took]
        interval = expected_interval(schedule.timetable(name, settings.cluster).cron, datetime.now(UTC))
        took = cycle(durations, settings.drill.budget, interval)
        known = f"{len(durations)} measured at {place.name}, level {settings.drill.level.value}"
        text = f"schedule {name}: a cycle of drills takes {printing.age(took)} ({known})"
        if every and took > min(every):
            advice = "raise drill.budget, or drill more often"
            yield f"warning: {text}, longer than drilled_every, {printing.age(min(every))}: {advice}", True
        else:
            yield text, False


def _place(settings: Settings) -> Place:
    return place_of(settings.drill.place or next(iter(settings.storage.destinations), VOLUME), settings)
