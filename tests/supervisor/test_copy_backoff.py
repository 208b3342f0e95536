"""How long a missing copy waits for its next try."""

import pytest

from backup_agent.core.reasons import Failure, Reason
from backup_agent.supervisor.backoff import FIRST_WAIT, LONGEST_WAIT
from backup_agent.supervisor.work.copy_backoff import CopyBackoff
from tests.builders import OFFSITE

DOWN = Failure(Reason.STORAGE_UNREACHABLE, "connection refused")


def backoff_after(times: int) -> CopyBackoff:
    destination = CopyBackoff(OFFSITE)
    for _ in range(times):
        destination.failed(DOWN, 1000.0)
    return destination


def test_a_new_destination_may_be_tried_at_once_and_its_state_is_unknown() -> None:
    destination = CopyBackoff(OFFSITE)

    assert destination.retry.due(0.0)
    assert destination.up is None


@pytest.mark.parametrize(
    ("times", "wait"),
    [(1, FIRST_WAIT), (2, 2 * FIRST_WAIT), (3, 4 * FIRST_WAIT), (7, LONGEST_WAIT), (5000, LONGEST_WAIT)],
)
def test_each_failure_doubles_the_wait_up_to_a_maximum(times: int, wait: float) -> None:
    destination = backoff_after(times)

    assert destination.retry.wait(1000.0) == wait
    assert not destination.retry.due(1000.0 + wait - 0.1)
    assert destination.retry.due(1000.0 + wait)
    assert (destination.up, destination.failure) == (False, DOWN)


def test_a_success_resets_the_wait() -> None:
    destination = backoff_after(3)
    destination.succeeded()

    assert destination.retry.due(1000.0)
    assert (destination.up, destination.failure) == (True, None)
    destination.failed(DOWN, 1000.0)
    assert destination.retry.wait(1000.0) == FIRST_WAIT


def test_after_a_change_of_settings_the_next_try_is_at_once_and_the_wait_after_it_still_doubles() -> None:
    destination = backoff_after(3)
    destination.retry.try_at_once()

    assert destination.retry.due(1000.0)
    assert not destination.up
    destination.failed(DOWN, 1000.0)
    assert destination.retry.wait(1000.0) == 8 * FIRST_WAIT
