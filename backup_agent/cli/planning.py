"""What retention would do at a place, as the commands that show it find out: they read the place, and ask nobody."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from backup_agent.catalog.contents import Contents, survey
from backup_agent.catalog.place import Place, place_of
from backup_agent.cli import printing
from backup_agent.core.artifacts.keys import split_key
from backup_agent.core.requests.answers import PlaceResult
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.core.retention.plan import Plan
from backup_agent.jobs.prune_plan import apply_policy, expire_adhoc, told_of
from backup_agent.settings.model import Settings
from backup_agent.supervisor.work.orders import Orders


@dataclass(frozen=True)
class PlacePreview:
    """What would go and stay at a place now."""

    place: Place
    found: Contents
    plans: tuple[Plan, ...]

    @property
    def result(self) -> PlaceResult:
        """As an answer would show it."""
        return told_of(self.plans, self.place, self.found)

    @property
    def refused(self) -> list[str]:
        """What would not be carried out, and why."""
        return [str(refusal) for plan in self.plans for refusal in plan.refused]

    @property
    def kept(self) -> dict[str, list[str]]:
        """Keys, and the reasons of each."""
        return {key: [str(ground) for ground in grounds] for plan in self.plans for key, grounds in plan.keep.items()}

    @property
    def gone(self) -> list[tuple[str, int, str]]:
        """Key, size in bytes and reason of what would go, in the order of deletion."""
        return [(deletion.key, deletion.size, str(deletion)) for plan in self.plans for deletion in plan.delete]

    def of(self, database: str) -> "PlacePreview":
        """Return it with one database's artifacts alone."""

        def its(key: str) -> bool:
            return split_key(key).database == database

        return replace(
            self,
            plans=tuple(
                replace(
                    plan,
                    keep={key: grounds for key, grounds in plan.keep.items() if its(key)},
                    delete=tuple(deletion for deletion in plan.delete if its(deletion.key)),
                )
                for plan in self.plans
            ),
        )

    def table(self) -> None:
        """Print a line an artifact: what goes, in the order of deletion, then what is kept."""
        rows = [["delete", key, printing.size(size), reason] for key, size, reason in self.gone]
        rows += [
            ["keep", key, printing.size(self.found.entries[key].size), "; ".join(reasons)]
            for key, reasons in self.kept.items()
        ]
        if rows:
            printing.table(["", "ARTIFACT", "SIZE", "WHY"], rows)

    def warn(self) -> None:
        """Print what is refused or odd, aside."""
        for line in (*self.refused, *self.result.warnings):
            printing.line(f"WARNING: {line}", err=True)


def planned(name: str, settings: Settings, *, force: bool = False, forgotten: str | None = None) -> PlacePreview:
    """Plan for a place as it stands now, what was forgotten left out, and a database that might be.

    The clock is not judged: what may be deleted by it, only a pass finds out. Raise BackupError, OSError.
    """
    place = place_of(name, settings)
    found = survey(place.store)
    standing = Orders(settings.storage.root / ".agent" / "standing.json")
    standing.load()
    now = datetime.now(UTC)
    task = PruneTask(
        run="plan",
        place=name,
        dry_run=True,
        force=force,
        forgotten={**standing.forgotten, **({forgotten: now} if forgotten else {})},
        settings={},
    )
    return PlacePreview(place, found, (apply_policy(task, found, place, now), *expire_adhoc(found, place, now)))
