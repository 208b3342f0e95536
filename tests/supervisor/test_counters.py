"""What has ended is counted, and remembered as long as somebody may ask."""

from datetime import UTC, datetime, timedelta

from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.status.metrics import Metrics
from backup_agent.supervisor.status.model import Attempt, Status

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def unasked() -> Status:
    raise AssertionError("nobody scrapes here")


def test_an_old_attempt_at_a_set_that_nobody_declared_is_forgotten() -> None:
    account = Counters(Metrics(unasked))
    old = Attempt(at=NOW - timedelta(days=8), failed_at=NOW - timedelta(days=8))
    account.attempts = {"default/orders": old, "test/orders": old, "release/orders": Attempt(at=NOW)}

    account.expire({"default"}, NOW - timedelta(days=7))

    assert list(account.attempts) == ["default/orders", "release/orders"]
