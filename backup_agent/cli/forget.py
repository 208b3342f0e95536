"""`backup-agent forget`."""

import sys

import click

from backup_agent.cli import printing
from backup_agent.cli.asking import confirmed, required_reason, waiting, with_deadline, yes_option
from backup_agent.cli.configured import loaded
from backup_agent.cli.dropping import drop, insist_on_an_agent, wait_for
from backup_agent.cli.help import CONFIRMED, DocumentedCommand
from backup_agent.cli.options import checked_name, utc_option
from backup_agent.cli.planning import planned
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, database_name, lowered
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.request import Action
from backup_agent.settings.model import Settings


@click.command(
    cls=DocumentedCommand,
    examples=('backup-agent forget orders --reason "dropped in CHG-42"',),
    exits=CONFIRMED,
)
@click.argument("database", callback=checked_name(database_name))
@required_reason
@yes_option
@utc_option
@waiting
@click.pass_context
def command(
    context: click.Context,
    database: DatabaseName,
    reason: str,
    yes: bool,
    requested_by: str | None,
    not_after: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Let retention delete every backup of a dropped database.

    Even its newest backup will be deleted; held artifacts are kept. First shows what retention will delete at every
    place. The next pass of retention deletes it. Until then, `hold` can keep artifacts.
    """
    settings = loaded(context).settings
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("nothing was requested, because there is no terminal to confirm at: add --yes")
    insist_on_an_agent(settings, "forget")
    if not as_json:
        _show(settings, lowered(database))
    if not yes and not confirmed(f"Forget {database}?"):
        return 1
    asked = {"database": database, "reason": reason, "requested_by": requested_by, "not_after": not_after}
    dropped = drop(settings, {"action": Action.FORGET, **with_deadline(asked)})
    return wait_for(dropped, timeout, as_json=as_json, withdraws=True)


def _show(settings: Settings, database: DatabaseName) -> None:
    for place in (VOLUME, *settings.storage.destinations):
        try:
            preview = planned(place, settings, forgotten=database).of(database)
        except (BackupError, OSError) as error:
            printing.line(f"WARNING: {place}: what will be deleted there cannot be shown: {error}", err=True)
            continue
        total = len(preview.deleted) + len(preview.kept)
        printing.line(f"{place}: {len(preview.deleted)} of {total} artifacts will be deleted")
        preview.table()
        preview.warn()
