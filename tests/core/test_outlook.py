"""Until when an artifact is kept: predictions come true if backups continue at their pace."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.retention.outlook import Outlook, Pace, predict
from backup_agent.core.retention.plan import Plan, plan
from backup_agent.core.retention.policy import Policy
from tests.builders import an_entry

START = datetime(2026, 10, 5, 1, 30, tzinfo=UTC)
"""A Monday, three weeks before clocks go back in Europe."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def history(count: int, every: timedelta, links: int) -> Iterator[Entry]:
    """Yield `count` artifacts: a full, `links` differentials, a full …"""
    parent = None
    for number in range(count):
        full = number % (links + 1) == 0
        one = an_entry(
            f"{'F' if full else 'D'}{number}",
            taken=START + number * every,
            lowest=1 if full else number * 10 + 1,
            highest=number * 10 + 10,
            parent=None if full else parent,
        )
        yield one
        parent = one.key


def plan_of(entries: list[Entry], policy: Policy, **more: Any) -> Plan:
    return plan(entries, policy, entries[-1].taken + HOUR, force=True, **more)


def outlook_of(
    key: str, count: int = 8, links: int = 3, every: timedelta = DAY, rules: Any = None, **more: Any
) -> Outlook:
    entries = list(history(count, every, links))
    policy = Policy(**({"daily": 3} if rules is None else rules))
    return predict(plan_of(entries, policy, **more), f"default/orders/{key}", entries, policy)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({"last": 3}, id="last"),
        pytest.param({"hourly": 5}, id="hourly"),
        pytest.param({"daily": 2}, id="daily"),
        pytest.param({"weekly": 2}, id="weekly"),
        pytest.param({"monthly": 1}, id="monthly"),
        pytest.param({"within": 2 * DAY}, id="within"),
        pytest.param({"last": 1, "min_chains": 3}, id="min_chains"),
        pytest.param({"last": 1, "min_age": 3 * DAY}, id="min_age"),
        pytest.param({"last": 2, "daily": 3, "weekly": 2, "min_chains": 2, "min_age": DAY}, id="all together"),
    ],
)
@pytest.mark.parametrize(
    ("every", "links"),
    [
        pytest.param(DAY, 0, id="daily fulls"),
        pytest.param(DAY, 3, id="daily differentials"),
        pytest.param(6 * HOUR, 7, id="four a day"),
        pytest.param(3 * DAY, 1, id="every third day"),
    ],
)
def test_predictions_come_true(rules: dict[str, Any], every: timedelta, links: int) -> None:
    policy = Policy(timezone="Europe/Berlin", **rules)
    whole = list(history(400, every, links))
    entries = whole[:30]
    now = plan_of(entries, policy)

    for key in now.keep:
        outlook = predict(now, key, entries, policy)
        assert outlook.when, (key, outlook)
        after = next(number for number, entry in enumerate(whole) if entry.taken == outlook.when)
        assert key in plan_of(whole[:after], policy).keep, (key, outlook)
        assert key not in plan_of(whole[: after + 1], policy).keep, (key, outlook)


def test_a_date_comes_with_the_pace_that_it_assumes() -> None:
    outlook = outlook_of("D7")

    assert outlook == Outlook("daily until 2026-10-15", datetime(2026, 10, 15, 1, 30, tzinfo=UTC), Pace(DAY, 4 * DAY))
    assert str(outlook.pace) == "backups continue at their pace: a point every 1d, a full every 4d"
    assert outlook_of("F4").text == "needed by an artifact kept as daily until 2026-10-15"


def test_a_few_missed_backups_do_not_change_the_pace() -> None:
    entries = [entry for entry in history(30, DAY, 0) if entry.key[-2:] not in ("25", "26")]
    policy = Policy(daily=3)
    outlook = predict(plan_of(entries, policy), "default/orders/F29", entries, policy)

    assert outlook.pace == Pace(DAY, DAY)


@pytest.mark.parametrize(
    ("key", "more", "text"),
    [
        pytest.param("F0", {}, "deleted when the plan is carried out: no rule keeps it, and nothing kept needs it", id="deleted"),
        pytest.param("D1", {"held": {"default/orders/D1": None}}, "no date: held", id="held"),
        pytest.param(
            "F0", {"held": {"default/orders/D1": None}}, "no date: needed by default/orders/D1 (held)", id="needed by a held one"
        ),
        pytest.param("D1", {"rules": {}}, "no date: no retention rule is set", id="no policy"),
        pytest.param("F0", {"count": 1}, "no date: with fewer than two restore points the pace is unknown", id="one point"),
        pytest.param(
            "D2", {"count": 4},
            "no date: it belongs to the newest chain, and one full alone does not tell when the next is due", id="one full",
        ),
        pytest.param("D6", {"damaged": ["default/orders/D6"]}, "needed by an artifact kept as daily until 2026-10-15", id="damaged"),
        pytest.param(
            "D7", {"rules": {"within": 9999 * DAY}, "every": HOUR}, "within until after 2038-03-03",
            id="too far in the future", marks=pytest.mark.patience,
        ),
    ],
)  # fmt: skip
def test_an_outlook_without_a_date_says_why(key: str, more: dict[str, Any], text: str) -> None:
    assert outlook_of(key, **more).text == text


def test_a_broken_artifact_is_kept_as_long_as_a_sound_one() -> None:
    policy = Policy(daily=3, min_chains=2)
    whole = list(history(40, DAY, 0))
    damaged = {whole[9].key}
    entries = whole[:10]
    outlook = predict(plan_of(entries, policy, damaged=damaged), whole[9].key, entries, policy)

    after = next(number for number, entry in enumerate(whole) if entry.taken == outlook.when)
    assert whole[9].key in plan_of(whole[:after], policy, damaged=damaged).keep
    assert whole[9].key not in plan_of(whole[: after + 1], policy, damaged=damaged).keep


def test_an_artifact_outside_the_plan_raises_key_error() -> None:
    with pytest.raises(KeyError, match="default/orders/none"):
        outlook_of("none")
