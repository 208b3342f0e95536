"""The FULL that follows when a drill has marked an artifact as damaged."""

from datetime import UTC, datetime, timedelta

from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, PlaceName
from backup_agent.core.artifacts.summarising import summarise
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.core.requests.after_damage import fulls_after_damage
from tests.builders import an_entry

MARKED = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
ORDERS = DatabaseName("orders")


def summary(hours: float | None, set_name: str = "default") -> DatabaseSummary:
    """Return the summary of a database. Its newest restorable FULL is `hours` younger than the mark; None: it has no FULL."""
    found = summarise([an_entry("F1[1-9]", set_name=set_name)], {})
    last = {} if hours is None else {"FULL": MARKED + timedelta(hours=hours)}
    return found.model_copy(update={"last_success": last})


def ids_of_fulls(
    *summaries: DatabaseSummary, marked: datetime | None = MARKED, listed: bool = True
) -> list[str | None]:
    drills = DatabaseDrills(place=PlaceName("offsite"), set=DEFAULT_SET, database=ORDERS, marked=marked)
    found = fulls_after_damage([drills], summaries, {DEFAULT_SET}, {ORDERS} if listed else ())
    return [one.id for one in found]


def test_a_full_is_wanted_until_one_is_newer_than_the_mark() -> None:
    wanted = ["damaged@20261124T020000Z-962fc807"]

    assert ids_of_fulls(summary(-1)) == ids_of_fulls(summary(None)) == wanted
    assert ids_of_fulls(summary(0.5)) == []


def test_no_full_is_wanted_without_a_mark_or_for_a_database_that_is_not_backed_up() -> None:
    assert ids_of_fulls(summary(-1), marked=None) == []
    assert ids_of_fulls(summary(-1), listed=False) == []
    assert ids_of_fulls() == []
    assert ids_of_fulls(summary(-1, "weekly")) == []
    drills = DatabaseDrills(place=PlaceName("local"), set=DEFAULT_SET, database=ORDERS, marked=MARKED)
    assert list(fulls_after_damage([drills], [summary(-1)], (), {ORDERS})) == []
