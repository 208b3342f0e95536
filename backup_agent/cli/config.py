"""`backup-agent config`."""

import json

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.settings.load import in_force


@click.command()
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """Show every setting with its value and where that came from: the file, the environment or a default.

    `-` is no value.
    """
    found = loaded(context)
    rows = in_force(found)
    if as_json:
        values = [{"path": row.path, "value": row.value, "from": row.origin} for row in rows]
        printing.as_json({"file": found.source, "settings": values})
        return 0
    printing.table(["SETTING", "VALUE", "FROM"], [[row.path, _said(row.value), row.origin] for row in rows])
    return 0


def _said(value: object) -> str:
    """Return a value as the settings file would have it."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
