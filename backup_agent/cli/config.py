"""`backup-agent config`."""

import json
from datetime import UTC, datetime

import click

from backup_agent.catalog.drill_cycles import drill_cycles
from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, DocumentedCommand
from backup_agent.cli.options import json_option, settings_option
from backup_agent.core.drill.budget import MEET_THE_OBJECTIVE, DrillCycle
from backup_agent.settings.load import in_force


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent config",),
    exits={DONE: "shown"},
)
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """Show the settings in force and the origin of each value.

    An origin is the file, the environment or the default. `-` means that the setting has no value.
    """
    found = loaded(context)
    rows = in_force(found)
    drills = [_told(one) for one in drill_cycles(found.settings, datetime.now(UTC))]
    if as_json:
        values = [{"path": row.path, "value": row.value, "from": row.origin} for row in rows]
        printing.as_json({"file": found.source, "settings": values, "drills": drills})
        return 0
    lines = ([row.path, row.origin, _as_written(row.value)] for row in rows)
    printing.table(["SETTING", "FROM", "VALUE"], lines, wraps=True)
    printing.prose(drills, err=True)
    return 0


def _told(cycle: DrillCycle) -> str:
    return f"warning: {cycle}: {MEET_THE_OBJECTIVE}" if cycle.is_late else str(cycle)


def _as_written(value: object) -> str:
    """Return a value as it is written in the settings file."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
