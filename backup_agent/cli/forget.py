"""`backup-agent forget`."""

import sys

import click

from backup_agent.cli import printing
from backup_agent.cli.asking import confirmed, required_reason, soon, waiting, yes_option
from backup_agent.cli.configured import loaded
from backup_agent.cli.dropping import drop, insist_on_an_agent, wait_for
from backup_agent.cli.planning import planned
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.request import Action
from backup_agent.settings.model import VOLUME, Settings


@click.command()
@click.argument("database")
@required_reason
@yes_option
@waiting
@click.pass_context
def command(
    context: click.Context,
    database: str,
    reason: str,
    yes: bool,
    requested_by: str | None,
    not_after: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Let the last backups of a database go too, because it was dropped for good. Holds still win.

    Shows first what retention will delete of it at every place. The next pass of retention does it, so until then
    `hold` keeps what is to stay.
    """
    settings = loaded(context).settings
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at, and nothing was requested: add --yes")
    insist_on_an_agent(settings, "forget")
    if not as_json:
        _show(settings, database.lower())
    if not yes and not confirmed(f"Forget {database}?"):
        return 1
    asked = {"database": database, "reason": reason, "requested_by": requested_by, "not_after": not_after}
    dropped = drop(settings, {"action": Action.FORGET, **soon(asked)})
    return wait_for(dropped, timeout, as_json=as_json, withdraws=True)


def _show(settings: Settings, database: str) -> None:
    for place in (VOLUME, *settings.storage.destinations):
        try:
            outlook = planned(place, settings, forgotten=database).of(database)
        except (BackupError, OSError) as error:
            printing.line(f"WARNING: {place}: what will go there cannot be shown: {error}", err=True)
            continue
        printing.line(f"{place}: {len(outlook.gone)} of {len(outlook.gone) + len(outlook.kept)} artifacts go")
        outlook.table()
        outlook.warn()
