"""`backup-agent plan`."""

from datetime import UTC, datetime

import click

from backup_agent.catalog.holdings import survey
from backup_agent.cli import printing
from backup_agent.cli.configured import json_option, loaded, settings_option
from backup_agent.core.tasks import PruneTask
from backup_agent.run.places import open_place
from backup_agent.run.prune import Place, apply_policy, expire_adhoc, told_of
from backup_agent.settings.model import VOLUME


@click.command()
@click.option("--place", default=VOLUME, show_default=True, help="`local` or a destination.")
@click.option("--force", is_flag=True, help="What would go with --force.")
@settings_option
@json_option
@click.pass_context
def command(context: click.Context, place: str, force: bool, as_json: bool) -> int:
    """Show what retention keeps and deletes at a place, with a reason an artifact. Deletes nothing.

    Reads the place itself: it works without the agent, and without Bolt. What was forgotten, and the clock, only the
    agent judges.
    """
    settings = loaded(context).settings
    one = Place(place, open_place(place, settings), settings)
    found = survey(one.store)
    task = PruneTask(run="plan", place=place, dry_run=True, force=force, settings={})
    now = datetime.now(UTC)
    plans = (apply_policy(task, found, one, now), *expire_adhoc(found, one, now))
    result = told_of(plans, one)
    kept = {key: [str(ground) for ground in grounds] for each in plans for key, grounds in each.keep.items()}
    gone = [(deletion.key, deletion.size, str(deletion)) for each in plans for deletion in each.delete]
    refused = [str(refusal) for each in plans for refusal in each.refused]
    if as_json:
        printing.as_json(
            {
                "place": place,
                "plan": result.plan,
                "keep": [{"key": key, "reasons": reasons} for key, reasons in kept.items()],
                "delete": [{"key": key, "size": size, "reason": reason} for key, size, reason in gone],
                "refused": refused,
                "warnings": result.warnings,
            }
        )
    else:
        rows = [["delete", key, printing.size(size), reason] for key, size, reason in gone]
        rows += [
            ["keep", key, printing.size(found.entries[key].size), "; ".join(reasons)] for key, reasons in kept.items()
        ]
        if rows:
            printing.table(["", "ARTIFACT", "SIZE", "WHY"], rows)
        click.echo(f"plan {result.plan}: {len(gone)} of {len(gone) + len(kept)} artifacts go")
        for line in (*refused, *result.warnings):
            click.echo(f"WARNING: {line}", err=True)
    return 4 if refused else 0
