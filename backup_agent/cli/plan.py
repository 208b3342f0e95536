"""`backup-agent plan`."""

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, REFUSED, DocumentedCommand
from backup_agent.cli.options import checked_name, json_option, place_option, settings_option, utc_option
from backup_agent.cli.planning import planned
from backup_agent.core.artifacts.names import DatabaseName, database_name


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent plan --deletes",
        "backup-agent plan --place offsite --force",
        "backup-agent plan --forget orders",
    ),
    exits={DONE: "shown", FAILED: "the place cannot be read", REFUSED: "shown; retention would refuse to carry it out"},
)
@place_option
@click.option("--deletes", is_flag=True, help="Show only what would be deleted.")
@click.option("--force", is_flag=True, help="Show what `prune --force` would delete.")
@click.option(
    "--forget",
    callback=checked_name(database_name),
    metavar="DATABASE",
    help="Show what would be deleted once this database is forgotten.",
)
@settings_option
@utc_option
@json_option
@click.pass_context
def command(
    context: click.Context, place: str, deletes: bool, force: bool, forget: DatabaseName | None, as_json: bool
) -> int:
    """Show what retention keeps and deletes, and why.

    Deletes nothing. Reads the place itself, so it needs neither the agent nor Bolt. The clock is not checked: only the
    agent knows whether it can be trusted.
    """
    preview = planned(place, loaded(context).settings, force=force, forgotten=forget)
    if as_json:
        printing.as_json(
            {
                "place": place,
                "plan": preview.result.plan,
                "keep": [{"key": key, "reasons": reasons} for key, reasons in preview.kept.items() if not deletes],
                "delete": [{"key": key, "size": size, "reason": reason} for key, size, reason in preview.deleted],
                "refused": preview.refused,
                "warnings": preview.result.warnings,
            }
        )
    else:
        preview.table(deletes=deletes)
        total = len(preview.deleted) + len(preview.kept)
        printing.line(f"plan {preview.result.plan}: {len(preview.deleted)} of {total} artifacts would be deleted")
        preview.warn()
    return 4 if preview.refused else 0
