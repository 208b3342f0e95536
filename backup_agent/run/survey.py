"""The survey of the volume at start: what an earlier life left, what the volume allows, what is recorded.

It reads every record, so it is a child: the supervisor keeps the summaries alone.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog import copies, records
from backup_agent.catalog.space import allows_hard_links
from backup_agent.core.summary import DatabaseSummary, summarise
from backup_agent.core.tasks import SurveyTask
from backup_agent.run import staging
from backup_agent.run.telling import Teller, first_line, hold_lifeline


def survey(
    root: Path, open_runs: Collection[str], notes: dict[str, str], copied_sets: Collection[str], teller: Teller
) -> None:
    """Tell what the volume allows, what was put aside, and one summary a set and database."""
    teller.tell("volume", hard_links=allows_hard_links(root))
    now = datetime.now(UTC)
    for run in staging.left(root):
        if run not in open_runs:
            for name in clear(root, run, now):
                teller.tell("aside", run=run, name=name)
    for set_name, database in records.databases(root):
        durable.remove_temporaries(root / set_name / database)
        recorded = records.of_database(root, set_name, database)
        for fault in recorded.unreadable:
            teller.tell("unreadable", fault=fault)
        if recorded.records:
            teller.tell(
                "summary", **_summary(root, recorded, notes if set_name in copied_sets else {}).model_dump(mode="json")
            )
    teller.tell("surveyed")


def clear(root: Path, run: str, now: datetime) -> tuple[str, ...]:
    """Put aside the artifacts in the staging folder of a run that nobody goes on with; remove the rest."""
    moved: list[str] = []
    for set_name, database in records.databases(root / staging.STAGING / run):
        folder = staging.Staging(root, run, set_name, database)
        left = staging.found(folder.target, folder.chain)
        files = [file for artifact in left for file in (artifact, *staging.parts(artifact))]
        moved += staging.put_aside(root, run, files, now)
    staging.Staging(root, run, "", "").remove()
    return tuple(moved)


def _summary(root: Path, recorded: records.Recorded, notes: dict[str, str]) -> DatabaseSummary:
    owed = {
        destination: len(copies.Notes(root, destination, identity).owed(recorded.records))
        for destination, identity in notes.items()
    }
    return summarise(recorded.records, owed)


def main() -> None:
    """Run as a child: the task on stdin, events on stdout."""
    task = SurveyTask.model_validate_json(first_line())
    hold_lifeline()
    survey(Path(task.root), task.open_runs, task.notes, task.copied_sets, Teller())


if __name__ == "__main__":
    main()
