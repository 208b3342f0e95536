"""The counters, and how long attempts are remembered."""

from datetime import UTC, datetime, timedelta

from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.answers import DatabaseResult, Outcome
from backup_agent.core.status import Status
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.status.metrics import Metrics
from tests.builders import ORDERS, an_answer

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def unasked() -> Status:
    raise AssertionError("not scraped in this test")


def test_an_old_attempt_at_an_ad_hoc_set_is_forgotten() -> None:
    account = Counters(Metrics(unasked))
    old = Attempt(at=NOW - timedelta(days=8), failed_at=NOW - timedelta(days=8))
    account.attempts = {"default/orders": old, "test/orders": old, "release/orders": Attempt(at=NOW)}

    account.expire({"default"}, NOW - timedelta(days=7))

    assert list(account.attempts) == ["default/orders", "release/orders"]


def test_a_database_counts_as_failing_from_its_first_failure_until_it_succeeds() -> None:
    account = Counters(Metrics(unasked))
    answer = an_answer()
    failed = DatabaseResult(outcome=Outcome.FAILED, reason=Reason.TIMEOUT, error="too slow")
    moments = [NOW + timedelta(hours=hour) for hour in range(4)]
    for result, now in zip((failed, failed, DatabaseResult(outcome=Outcome.SUCCEEDED), failed), moments, strict=True):
        account.backup(answer, ORDERS, result, {"default"}, now)
        attempt = account.attempts["default/orders"]
        assert (attempt.at, attempt.failing_since, attempt.failed) == (
            now,
            {0: moments[0], 1: moments[0], 2: None, 3: moments[3]}[moments.index(now)],
            result is failed,
        )

    assert (attempt.request, attempt.error) == ("one", "too slow")
