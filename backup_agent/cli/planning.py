"""Preview what retention would do at a place. A preview reads the place itself and needs no agent."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from backup_agent.catalog.contents import Contents, survey
from backup_agent.catalog.holds import holds_at
from backup_agent.catalog.place import Place, place_of
from backup_agent.cli import printing
from backup_agent.core.artifacts.keys import database_key, split_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.reasons import Failure
from backup_agent.core.requests.answers import PlaceResult
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.core.restore.asked import artifact_id
from backup_agent.core.retention.plan import KeepReason, Plan, Rule
from backup_agent.jobs.prune_plan import apply_policy, as_result, expire_adhoc
from backup_agent.settings.model import Settings
from backup_agent.supervisor.work.orders_file import OrdersFile, orders_file, read_orders

HEAD = ("", "SET/DATABASE", "ID", "TAKEN", "SIZE", "WHY")
NEVER_CUT = (0, 2, 3, 4)
"""Columns of HEAD that are shown whole even if the terminal is narrow."""


@dataclass(frozen=True)
class PlacePreview:
    """What retention would keep and delete at a place now."""

    place: Place
    found: Contents
    plans: tuple[Plan, ...]

    @property
    def result(self) -> PlaceResult:
        """The preview in the form of an answer."""
        return as_result(self.plans, self.place, self.found)

    @property
    def refused(self) -> list[str]:
        """The reasons why retention would refuse to carry out the plans."""
        return [str(refusal) for plan in self.plans for refusal in plan.refused]

    @property
    def kept(self) -> dict[str, list[str]]:
        """Key -> reasons, for each artifact that would be kept. Times are in UTC."""
        return {
            key: self._reasons(key, reasons, printing.utc) for plan in self.plans for key, reasons in plan.keep.items()
        }

    def why(self, plan: Plan, key: str, time: Callable[[datetime], str]) -> list[str]:
        """Return why an artifact is kept or deleted. `time` shows a time. Raise KeyError if it is not in the plan."""
        return self._reasons(key, plan.keep[key], time) if key in plan.keep else list(plan.why(key))

    def _reasons(self, key: str, reasons: Iterable[KeepReason], time: Callable[[datetime], str]) -> list[str]:
        hold = self.holds.get(key)
        held = f"held {hold.in_words(time)}" if hold is not None else None
        return [held if held and reason.rule is Rule.HELD else reason.text(time) for reason in reasons]

    @cached_property
    def holds(self) -> dict[str, Hold]:
        """Key -> the hold that counts."""
        return holds_at(self.place, self.found.holds)

    @property
    def deleted(self) -> list[tuple[str, int, str]]:
        """Key, size in bytes and reason of each artifact that would be deleted, in the order of deletion."""
        return [(deletion.key, deletion.size, str(deletion)) for plan in self.plans for deletion in plan.delete]

    def of(self, database: DatabaseName) -> "PlacePreview":
        """Return the preview of one database's artifacts."""

        def matches(key: str) -> bool:
            return split_key(key).database == database

        return replace(
            self,
            plans=tuple(
                replace(
                    plan,
                    keep={key: reasons for key, reasons in plan.keep.items() if matches(key)},
                    delete=tuple(deletion for deletion in plan.delete if matches(deletion.key)),
                )
                for plan in self.plans
            ),
        )

    def table(self, *, deletes: bool = False) -> None:
        """Print a row for each artifact: first what is deleted, in the order of deletion, then what is kept."""
        rows = [self._row("delete", key, reason) for key, _, reason in self.deleted]
        if not deletes:
            for key, reasons in (item for plan in self.plans for item in plan.keep.items()):
                rows.append(
                    self._row("keep", key, "; ".join(self._reasons(key, map(_short, reasons), printing.moment)))
                )
        if rows:
            printing.table(HEAD, rows, never_cut=NEVER_CUT, wraps=True)

    def _row(self, what: str, key: str, why: str) -> list[str]:
        entry = self.found.entries[key]
        name = database_key(entry.set, entry.database)
        return [what, name, artifact_id(key), printing.minute(entry.taken), printing.size(entry.size), why]

    def warn(self) -> None:
        """Print refusals and warnings on stderr."""
        printing.prose((f"WARNING: {text}" for text in (*self.refused, *self.result.warnings)), err=True)


def _short(reason: KeepReason) -> KeepReason:
    """Return a reason with the id of an artifact in place of its key."""
    return reason._replace(detail=artifact_id(reason.detail)) if reason.rule is Rule.NEEDED else reason


def planned(
    name: str, settings: Settings, *, force: bool = False, forgotten: DatabaseName | None = None
) -> PlacePreview:
    """Return what retention would do at a place now, as if the database `forgotten` were forgotten too.

    The clock is not checked: only a pass of retention does that. Raise BackupError or OSError if the place cannot be
    read.
    """
    place = place_of(name, settings)
    found = survey(place, indexed=False)
    orders = read_orders(orders_file(place.root))
    if isinstance(orders, Failure):
        printing.line(f"WARNING: {orders.error}", err=True)
        orders = OrdersFile()
    now = datetime.now(UTC)
    task = PruneTask(
        run="plan",
        place=name,
        dry_run=True,
        force=force,
        forgotten={**orders.forgotten_since, **({forgotten: now} if forgotten else {})},
        settings={},
    )
    return PlacePreview(place, found, (apply_policy(task, found, place, now), *expire_adhoc(found, place, now)))
