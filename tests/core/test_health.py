"""The health of the agent: which facts are a problem, at which level, and the first line of the status."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.names import DEFAULT_SET, VOLUME
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.protection.health import (
    LASTING,
    CopyRule,
    FailedCheck,
    Health,
    HealthFacts,
    OverdueDrill,
    PlaceFacts,
    ProblemKind,
    assess,
    find_problems,
)
from backup_agent.core.protection.judging import DatabaseProtection
from backup_agent.core.reasons import Reason
from tests.builders import OFFSITE, ORDERS, TAKEN

NOW = TAKEN + timedelta(hours=8)
LONG_AGO = NOW - timedelta(hours=1)
NEW = "OK: 1 problem began less than 5 minutes ago"
KEY = "default/orders/orders-2026-11-23T02-00-00.backup"


def protection(state: str, *databases: str, last: Any = TAKEN) -> tuple[DatabaseProtection, ...]:
    """Return databases in one state, which they have had for a long time."""
    return tuple(
        DatabaseProtection(
            set=DEFAULT_SET, database=name, state=state, why=f"is {state}", since=LONG_AGO, last_success=last
        )
        for name in databases
    )


def failed(*databases: str, minutes: int = 60, reason: Reason = Reason.TIMEOUT) -> dict[str, Attempt]:
    """Return an attempt at each database that failed `minutes` ago."""
    at = NOW - timedelta(minutes=minutes)
    return {
        f"default/{name}": Attempt(at=at, failed_at=at, failing_since=at, reason=reason, error="too slow")
        for name in databases
    }


def summary(owed: int = 0, *, hours: int = 0, **changes: Any) -> DatabaseSummary:
    """Return the summary of orders. Its oldest artifact without a copy was finished `hours` ago."""
    facts: dict[str, Any] = {
        "set": "default", "database": "orders", "artifacts": 3, "size": 3, "chain_links": 1, "newest": KEY,
        "newest_size": 1, "last_success": {}, "chain_size": {}, "first": TAKEN, "owed": {OFFSITE: owed},
        "owed_since": {OFFSITE: NOW - timedelta(hours=hours)} if owed else {},
    }  # fmt: skip
    return DatabaseSummary.model_validate({**facts, **changes})


def health(facts: HealthFacts) -> Health:
    return assess(find_problems(facts), facts.protection, facts.now)


MANY = [f"db{number}" for number in range(198)]
SOUND = HealthFacts(NOW, protection=protection("protected", "orders", "sales", *MANY), places={VOLUME: PlaceFacts()})
"""An agent with 200 databases and no problem."""

TWO_PLACES = {VOLUME: PlaceFacts(), OFFSITE: PlaceFacts()}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({}, "OK", id="nothing is wrong"),
        pytest.param({"protection": ()}, "OK", id="no databases"),
        pytest.param(
            {"protection": protection("late", "a", "b") + protection("unprotected", "c") + protection("protected", *MANY)},
            "DEGRADED: 2 of 201 databases late, 1 unprotected", id="late and unprotected",
        ),
        pytest.param(
            {"protection": protection("excluded", *MANY) + protection("missing", "x") + protection("waiting", "orders")},
            "DEGRADED: 1 of 1 databases no longer listed", id="missing; excluded ones do not count",
        ),
        pytest.param(
            {"protection": protection("late", *MANY) + protection("protected", "orders")},
            "FAILING: 198 of 199 databases late", id="half of the databases late",
        ),
        pytest.param(
            {"protection": protection("late", "a", "b") + protection("protected", "c", "d")},
            "FAILING: 2 of 4 databases late", id="exactly half",
        ),
        pytest.param(
            {"protection": protection("late", "a", "b") + protection("protected", "c", "d", "e")},
            "DEGRADED: 2 of 5 databases late", id="less than half",
        ),
        pytest.param({"attempts": failed("orders")}, "DEGRADED: 1 of 200 databases failed", id="one failed"),
        pytest.param({"attempts": failed("orders", minutes=4)}, NEW, id="a failure four minutes ago"),
        pytest.param({"attempts": failed("orders", reason=Reason.CANCELLED)}, "OK", id="a person cancelled it"),
        pytest.param({"attempts": failed("dropped")}, "OK", id="a failure of a database that is no longer expected"),
        pytest.param(
            {"attempts": failed("orders", "sales", *MANY)}, "FAILING: 200 of 200 databases failed", id="all failed",
        ),
        pytest.param(
            {"protection": protection("late", "a") + protection("protected", "b", "c"), "attempts": failed("b", "c")},
            "FAILING: 1 of 3 databases late, 2 failed", id="each late or failed",
        ),
        pytest.param(
            {"protection": protection("protected", "orders", last=NOW), "attempts": failed("orders")},
            "OK", id="a success since the failure",
        ),
        pytest.param({"not_ready": ["the volume is being surveyed"]}, "FAILING: not ready", id="not ready"),
        pytest.param({"clock_offset": timedelta(minutes=-6)}, "DEGRADED: clocks differ", id="clock"),
        pytest.param(
            {"full_on": NOW + timedelta(hours=20)}, "DEGRADED: disk full on 2026-11-24", id="full tomorrow",
        ),
        pytest.param({"full_on": NOW + timedelta(hours=25)}, "OK", id="full the day after tomorrow"),
        pytest.param({"free_share": 0.04}, "DEGRADED: disk nearly full", id="no space"),
        pytest.param({"paused": "requested by ann"}, "DEGRADED: paused", id="paused"),
        pytest.param({"paused": "requested by ann", "paused_since": NOW - timedelta(minutes=4)}, NEW, id="just paused"),
        pytest.param({"bolt": "refused"}, "DEGRADED: Bolt does not answer", id="bolt"),
        pytest.param({"settings": "cluster: required"}, "DEGRADED: settings refused", id="settings"),
        pytest.param({"unsigned": "no key"}, "DEGRADED: records not signed", id="unsigned"),
        pytest.param(
            {"without_full": {ORDERS: LONG_AGO}}, "DEGRADED: 1 of 200 databases replaced and without a FULL since",
            id="replaced",
        ),
        pytest.param({"refused": 2}, "DEGRADED: databases with refused names", id="refused names"),
        pytest.param(
            {"places": {VOLUME: PlaceFacts(unrecognised=3)}}, "DEGRADED: unrecognised records at local", id="unrecognised",
        ),
        pytest.param(
            {"places": {VOLUME: PlaceFacts(unrestorable=[KEY], unreadable=[KEY], blocked="clock")}},
            "DEGRADED: unrestorable artifacts at local, unreadable artifacts at local, retention blocked at local",
            id="place",
        ),
        pytest.param(
            {"places": {VOLUME: PlaceFacts(damaged=[KEY])}}, "FAILING: damaged artifacts at local",
            id="damaged without another place",
        ),
        pytest.param(
            {"places": {VOLUME: PlaceFacts(damaged=[KEY]), OFFSITE: PlaceFacts()}},
            "DEGRADED: damaged artifacts at local", id="damaged, and another place may heal it",
        ),
        pytest.param(
            {"places": dict.fromkeys(TWO_PLACES, PlaceFacts(damaged=[KEY]))},
            "FAILING: damaged artifacts at local, damaged artifacts at offsite", id="damaged at each place",
        ),
        pytest.param(
            {"places": {VOLUME: PlaceFacts(damaged=[KEY])}, "summaries": [summary(last_success={"FULL": NOW})]},
            "DEGRADED: damaged artifacts at local", id="damaged, and a newer full is sound",
        ),
        pytest.param(
            {"places": TWO_PLACES, "summaries": [summary(2, hours=7)]},
            "DEGRADED: 1 of 200 databases without a copy", id="a copy missing for seven hours",
        ),
        pytest.param({"places": TWO_PLACES, "summaries": [summary(2, hours=5)]}, "OK", id="a copy missing for five hours"),
        pytest.param(
            {"places": TWO_PLACES, "summaries": [summary(2, hours=7)], "copies": {(DEFAULT_SET, ORDERS): CopyRule(1)}},
            "OK", id="one place is enough",
        ),
        pytest.param(
            {
                "places": TWO_PLACES, "summaries": [summary(2, hours=2)],
                "copies": {(DEFAULT_SET, ORDERS): CopyRule(2, timedelta(hours=1))},
            },
            "DEGRADED: 1 of 200 databases without a copy", id="by the grace of an objective",
        ),
        pytest.param(
            {"checks": [FailedCheck("bolt_login", "the login is refused", LONG_AGO)]},
            "DEGRADED: check bolt_login failed", id="check",
        ),
        pytest.param(
            {"drills": [OverdueDrill("default/orders", "orders was never drilled", LONG_AGO)]},
            "DEGRADED: 1 of 200 databases not drilled", id="drill",
        ),
    ],
)  # fmt: skip
def test_the_first_line_has_the_level_and_its_main_causes(changes: dict[str, Any], text: str) -> None:
    assert health(replace(SOUND, **changes)).text == text


def test_problems_come_in_the_order_of_their_importance_with_their_causes() -> None:
    facts = replace(
        SOUND,
        protection=(
            *protection("protected", "a"),
            *protection("late", "b"),
            *protection("unprotected", "c"),
            *protection("missing", "d"),
        ),
        attempts=failed("a", "b"),
        places={VOLUME: PlaceFacts(damaged=[KEY], unrecognised=1), OFFSITE: PlaceFacts()},
        paused="requested by ann; no work is started until `resume`",
        summaries=[summary(1, hours=9)],
    )

    assert [f"{one.kind.value}: {one.text}" for one in health(facts).problems] == [
        "unprotected: c is unprotected",
        "late: b is late; its last backup failed: timeout: too slow",
        "failed: the last backup of a failed: timeout: too slow",
        f"damaged: 1 artifact at local damaged: {KEY}",
        "missing: d is missing",
        "copy_missing: orders has 1 artifact without a copy at offsite",
        "unrecognised: unrecognised records at local: 1; `backup-agent catalog unrecognised` lists them",
        "paused: requested by ann; no work is started until `resume`",
    ]


def test_the_page_has_each_problem_in_the_order_of_its_importance() -> None:
    page = (Path(__file__).parents[2] / "docs" / "health.md").read_text()

    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [kind.value for kind in ProblemKind]


def test_a_database_that_fails_repeatedly_has_failed_since_the_first_failure() -> None:
    attempts = failed("orders", minutes=1)
    attempts["default/orders"] = attempts["default/orders"].model_copy(update={"failing_since": LONG_AGO})

    assert health(replace(SOUND, attempts=attempts)).text == "DEGRADED: 1 of 200 databases failed"


@pytest.mark.parametrize(
    ("lasted", "text"),
    [(LASTING, "DEGRADED: paused"), (LASTING - timedelta(seconds=1), NEW)],
)
def test_a_problem_is_listed_at_once_and_changes_the_health_after_five_minutes(lasted: timedelta, text: str) -> None:
    found = health(replace(SOUND, paused="requested by ann", paused_since=NOW - lasted))

    assert (found.text, len(found.problems)) == (text, 1)


def test_a_problem_stays_the_same_while_its_text_changes() -> None:
    (before,), (after,) = (
        find_problems(HealthFacts(now=now, protection=protection("late", "a"))) for now in (NOW, NOW + LASTING)
    )

    assert before.identity == after.identity == (ProblemKind.LATE, "default/a")
