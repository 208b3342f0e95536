"""`backup-agent why`."""

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.options import json_option, settings_option
from backup_agent.cli.planning import planned
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.restore.asked import AskedArtifact
from backup_agent.core.retention.outlook import predict
from backup_agent.restore.finding import several


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
    asked = AskedArtifact(artifact)
    found = [
        (plan, key)
        for plan in preview.plans
        for key in (*plan.keep, *(deletion.key for deletion in plan.delete))
        if asked.names(key)
    ]
    if not found:
        raise PermanentError(Reason.NOT_FOUND, f"{artifact}: no artifact of that name is recorded at {place}")
    if len(found) > 1:
        raise several(artifact, [key for _, key in found])
    [(plan, key)] = found
    outlook = predict(plan, key, preview.found.entries.values(), preview.place.policy)
    fault = preview.found.unrestorable.get(key)
    if as_json:
        when = outlook.when.isoformat() if outlook.when else None
        facts = {"reasons": preview.why(plan, key), "outlook": outlook.text, "when": when, "fault": fault}
        printing.as_json({"key": key, **facts})
    else:
        lost = (f"cannot be restored: {fault}",) if fault else ()
        printing.lines((key, *(f"  {reason}" for reason in (*lost, *preview.why(plan, key))), f"  {outlook.text}"))
    return 0
