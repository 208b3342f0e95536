"""`backup-agent why`."""

from datetime import UTC, datetime

import click

from backup_agent.catalog.holdings import survey
from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core.outlook import until
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.tasks import PruneTask
from backup_agent.run.places import open_place
from backup_agent.run.prune import Place, apply_policy, expire_adhoc
from backup_agent.settings.model import VOLUME


@click.command()
@click.argument("artifact")
@click.option("--place", default=VOLUME, show_default=True, help="`local` or a destination.")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, artifact: str, place: str, as_json: bool) -> int:
    """Say why an artifact is kept or will go, and when, if backups go on at the present pace."""
    settings = loaded(context).settings
    one = Place(place, open_place(place, settings), settings)
    found = survey(one.store)
    key = artifact.removeprefix(f"{one.root}/")
    now = datetime.now(UTC)
    task = PruneTask(run="why", place=place, dry_run=True, settings={})
    for planned in (apply_policy(task, found, one, now), *expire_adhoc(found, one, now)):
        if key in planned.keep or any(deletion.key == key for deletion in planned.delete):
            outlook = until(planned, key, found.entries.values(), one.policy)
            if as_json:
                when = outlook.when.isoformat() if outlook.when else None
                printing.as_json({"key": key, "reasons": planned.why(key), "outlook": outlook.text, "when": when})
            else:
                click.echo("\n".join((key, *(f"  {reason}" for reason in planned.why(key)), f"  {outlook.text}")))
            return 0
    raise PermanentError(Reason.NOT_FOUND, f"{key}: nothing of that key is recorded at {place}")
