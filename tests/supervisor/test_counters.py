"""The counters, and how long attempts are remembered."""

from datetime import UTC, datetime, timedelta

from backup_agent.core.protection.attempt import Attempt
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.status.metrics import Metrics
from backup_agent.supervisor.status.model import Status

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def unasked() -> Status:
    raise AssertionError("not scraped in this test")


def test_an_old_attempt_at_an_ad_hoc_set_is_forgotten() -> None:
    account = Counters(Metrics(unasked))
    old = Attempt(at=NOW - timedelta(days=8), failed_at=NOW - timedelta(days=8))
    account.attempts = {"default/orders": old, "test/orders": old, "release/orders": Attempt(at=NOW)}

    account.expire({"default"}, NOW - timedelta(days=7))

    assert list(account.attempts) == ["default/orders", "release/orders"]
