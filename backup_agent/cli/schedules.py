"""`backup-agent schedules`."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, DocumentedCommand
from backup_agent.cli.options import json_option, settings_option
from backup_agent.core.requests.schedules import next_runs

SHOWN = 5


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent schedules --count 3",),
    exits={DONE: "shown"},
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    default=SHOWN,
    show_default=True,
    help="Number of runs to show for each schedule.",
)
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, count: int, as_json: bool) -> int:
    """Show the next runs of every schedule.

    Times are in the schedule's time zone and in UTC.
    """
    settings = loaded(context).settings
    now = datetime.now(UTC)
    runs = {name: next_runs({name: one}, now, count) for name, one in settings.timetables().items()}
    if as_json:
        printing.as_json(
            {
                name: {
                    **settings.schedules[name].model_dump(mode="json"),
                    "next_runs": [run.start.isoformat() for run in coming],
                }
                for name, coming in runs.items()
            }
        )
        return 0
    if not runs:
        printing.line("no schedules: backups are made only on request")
        return 0
    rows = [
        [
            name,
            settings.schedules[name].cron,
            settings.schedules[name].type,
            f"{run.start.astimezone(ZoneInfo(settings.schedules[name].timezone)):%a %Y-%m-%d %H:%M:%S %Z}",
            printing.utc(run.start),
        ]
        for name, coming in runs.items()
        for run in coming
    ]
    if rows:
        printing.table(["SCHEDULE", "CRON", "TYPE", "LOCAL", "UTC"], rows)
    for name, one in settings.schedules.items():
        if one.suspend:
            printing.line(f"{name}: suspended, so it has no next run")
    return 0
