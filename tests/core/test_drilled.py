"""Problems with drills: a failed drill, and a database whose drill is overdue."""

from datetime import UTC, datetime, timedelta

from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName
from backup_agent.core.drill.evidence import DatabaseDrills, LastDrill
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.protection.drilled import drill_faults
from backup_agent.core.protection.expected import Objective, Rules

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
ORDERS = DatabaseName("orders")
PAIR = DEFAULT_SET, ORDERS
WEEKLY = Rules(objectives=(Objective(databases=("orders",), set=DEFAULT_SET, drilled_every=timedelta(days=7)),))


def drills(*, passed: float | None = None, failed: DrillOutcome | None = None) -> DatabaseDrills:
    """Return the drills of a database: one passed `check` `passed` days ago, and the last one may have failed."""
    last = (
        LastDrill(key="default/orders/a.backup", level=Level.CHECK, outcome=failed, at=NOW, seconds=1)
        if failed
        else None
    )
    proofs = {} if passed is None else dict.fromkeys(Level.CHECK.included, NOW - timedelta(days=passed))
    return DatabaseDrills(place="local", set=DEFAULT_SET, database=ORDERS, passed=proofs, last_done=last)


def faults(*found: DatabaseDrills, began: float = 30, rules: Rules = WEEKLY, level: Level = Level.CHECK) -> list[str]:
    since = {PAIR: NOW - timedelta(days=began)}
    return [one.text for one in drill_faults(found, since, rules, level, NOW)]


def test_a_recent_proof_of_any_place_is_enough() -> None:
    assert faults(drills(passed=9), drills(passed=1)) == []


def test_an_old_proof_and_one_of_a_lower_level_are_overdue() -> None:
    assert faults(drills(passed=8)) == ["drilled last 2026-11-15 at the level check, and drilled_every is 7d"]
    assert faults(drills(passed=1), level=Level.QUERY) == ["drilled never at the level query, and drilled_every is 7d"]


def test_a_new_database_has_until_the_first_due_time_and_the_grace() -> None:
    assert faults(began=6) == []
    assert faults(began=7) == []
    assert faults(began=8) == ["drilled never at the level check, and drilled_every is 7d"]


def test_nothing_is_overdue_without_an_objective() -> None:
    assert faults(rules=Rules()) == []
    assert faults(rules=Rules(objectives=(Objective(databases=("*",), set=DEFAULT_SET),))) == []


def test_a_failure_that_only_a_claim_states_is_a_fault_and_is_called_a_claim() -> None:
    found = drills(passed=1, failed=DrillOutcome.ARTIFACT_FAILED)
    claimed = found.model_copy(update={"claimed": found.last_done, "last_done": None})
    why = "says evidence that no trusted key has signed"

    assert faults(claimed) == [f"the drill of a.backup at local ended as artifact_failed, {why}"]


def test_a_failed_drill_is_a_fault_even_without_an_objective() -> None:
    text = "the drill of a.backup at local ended as content_failed"

    assert faults(drills(passed=9, failed=DrillOutcome.CONTENT_FAILED), rules=Rules()) == [text]
    assert faults(drills(passed=9, failed=DrillOutcome.CONTENT_FAILED)) == [text]
    assert faults(drills(passed=1, failed=DrillOutcome.PASSED)) == []
