"""A failure and the error that raises it."""

from backup_agent.core.reasons import Failure, PermanentError, Reason


def test_an_error_raises_a_failure_unchanged() -> None:
    failure = Failure(Reason.CLOCK, "the clock jumped", "set it")

    assert PermanentError.of(failure).failure == failure
