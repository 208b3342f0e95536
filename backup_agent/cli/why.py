"""`backup-agent why`."""

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.options import json_option, settings_option
from backup_agent.cli.planning import planned
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.retention.outlook import predict


@click.command()
@click.argument("artifact")
@click.option("--place", default=VOLUME, show_default=True, help="`local` or a destination.")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, artifact: str, place: str, as_json: bool) -> int:
    """Show why an artifact is kept or deleted, and when.

    The time of its deletion assumes that backups go on at the present pace.
    """
    preview = planned(place, loaded(context).settings)
    key = artifact.removeprefix(f"{preview.place.root}/")
    for plan in preview.plans:
        if key in plan.keep or any(deletion.key == key for deletion in plan.delete):
            outlook = predict(plan, key, preview.found.entries.values(), preview.place.policy)
            fault = preview.found.unrestorable.get(key)
            if as_json:
                when = outlook.when.isoformat() if outlook.when else None
                facts = {"reasons": plan.why(key), "outlook": outlook.text, "when": when, "fault": fault}
                printing.as_json({"key": key, **facts})
            else:
                lost = (f"cannot be restored: {fault}",) if fault else ()
                printing.lines((key, *(f"  {reason}" for reason in (*lost, *plan.why(key))), f"  {outlook.text}"))
            return 0
    raise PermanentError(Reason.NOT_FOUND, f"{key}: no artifact of that key is recorded at {place}")
