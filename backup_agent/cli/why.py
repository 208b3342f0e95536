"""`backup-agent why`."""

import click

from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, DocumentedCommand
from backup_agent.cli.options import json_option, place_option, settings_option, utc_option
from backup_agent.cli.planning import planned
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.restore.asked import AskedArtifact
from backup_agent.core.retention.outlook import predict
from backup_agent.restore.finding import ambiguous


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent why default/orders/orders-2026-11-23T02-00-00.backup",
        "backup-agent why 1a2b3c4d --place offsite",
    ),
    exits={DONE: "shown", FAILED: "no such artifact, or the place cannot be read"},
)
@click.argument("artifact")
@place_option
@settings_option
@utc_option
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
        raise ambiguous(artifact, [key for _, key in found])
    [(plan, key)] = found
    outlook = predict(plan, key, preview.found.entries.values(), preview.place.policy)
    fault = preview.found.unrestorable.get(key)
    reasons = preview.why(plan, key, printing.utc if as_json else printing.moment)
    if as_json:
        when = outlook.when.isoformat() if outlook.when else None
        facts = {"reasons": reasons, "outlook": outlook.text, "when": when, "fault": fault}
        printing.as_json({"key": key, **facts})
    else:
        lost = (f"cannot be restored: {fault}",) if fault else ()
        printing.line(key)
        printing.prose(f"  {text}" for text in (*lost, *reasons, outlook.text))
    return 0
