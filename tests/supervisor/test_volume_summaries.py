"""The missing copies of destinations that are added, removed and changed while the agent runs."""

import time

import pytest

from backup_agent.core.artifacts.names import DEFAULT_SET, PlaceName
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.reasons import Failure, Reason
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries
from tests.builders import OFFSITE, ORDERS

SURVEYED = {
    "set": "default",
    "database": "orders",
    "artifacts": 3,
    "size": 3,
    "chain_links": 1,
    "newest": "default/orders/x.backup",
    "newest_size": 1,
    "last_success": {},
    "chain_size": {},
    "first": "2026-11-23T02:00:00Z",
    "owed": {"offsite": 2},
}


def tried(holdings: VolumeSummaries) -> list[str]:
    """Return the destinations where copies are, or may be, missing, and which may be tried now."""
    return [
        name for name in holdings.destinations if holdings.owed(name) != 0 and holdings.may_try(name, time.monotonic())
    ]


def counts(holdings: VolumeSummaries, place: PlaceName, owed: int) -> None:
    """Make a pass, which begins now, that counts the missing copies of a database."""
    holdings.set_owed(DEFAULT_SET, ORDERS, {place: owed}, {}, time.monotonic())


@pytest.fixture(name="holdings")
def _holdings() -> VolumeSummaries:
    holdings = VolumeSummaries()
    holdings.use({OFFSITE: "a"}, uncounted_since=None)
    holdings.surveyed([DatabaseSummary.model_validate(SURVEYED)], (), 0.0)
    return holdings


def test_the_missing_copies_that_the_survey_counted_stay_known(holdings: VolumeSummaries) -> None:
    holdings.use({OFFSITE: "a"}, uncounted_since=10.0)

    assert (holdings.owed(OFFSITE), tried(holdings)) == (2, ["offsite"])


def test_the_databases_with_missing_copies_are_known_once_they_are_counted(holdings: VolumeSummaries) -> None:
    assert holdings.databases_owed(OFFSITE) == ("default/orders",)
    counts(holdings, OFFSITE, 0)
    assert holdings.databases_owed(OFFSITE) == ()
    holdings.note_uncounted(OFFSITE, 10.0)
    assert holdings.databases_owed(OFFSITE) is None


@pytest.mark.parametrize("now", [{PlaceName("other"): "a"}, {OFFSITE: "b"}], ids=["another-name", "another-place"])
def test_missing_copies_at_a_new_destination_are_unknown_until_a_pass_counts_them(
    holdings: VolumeSummaries, now: dict[PlaceName, str]
) -> None:
    (name,) = now
    holdings.use(now, uncounted_since=10.0)
    holdings.counted(name, 9.0)  # counted by a pass over the place that had this name before

    assert (holdings.owed(name), tried(holdings)) == (None, [name])
    counts(holdings, name, 3)
    holdings.counted(name, 11.0)
    assert holdings.owed(name) == 3


def test_before_a_survey_the_number_of_missing_copies_is_unknown_and_not_zero() -> None:
    holdings = VolumeSummaries()
    holdings.use({OFFSITE: "a"}, uncounted_since=None)

    assert (holdings.owed(OFFSITE), tried(holdings)) == (None, ["offsite"])


def test_a_destination_whose_copies_could_not_be_counted_is_counted_by_a_pass(holdings: VolumeSummaries) -> None:
    holdings.surveyed([DatabaseSummary.model_validate({**SURVEYED, "owed": {}})], [OFFSITE], 10.0)

    assert (holdings.owed(OFFSITE), tried(holdings)) == (None, ["offsite"])
    holdings.counted(OFFSITE, 11.0)
    assert holdings.owed(OFFSITE) == 0


def test_a_pass_that_counted_nothing_is_tried_again_later(holdings: VolumeSummaries) -> None:
    holdings.use({OFFSITE: "b"}, uncounted_since=10.0)
    holdings.refused(OFFSITE, Failure(Reason.STORAGE_UNREACHABLE, "no route"))

    assert (holdings.owed(OFFSITE), tried(holdings)) == (None, [])


def test_a_destination_without_missing_copies_is_not_tried(holdings: VolumeSummaries) -> None:
    holdings.use({OFFSITE: "a", PlaceName("other"): "b"}, uncounted_since=10.0)
    counts(holdings, OFFSITE, 0)
    holdings.counted(PlaceName("other"), 11.0)

    assert tried(holdings) == []


def test_a_pass_that_counted_before_a_backup_ended_does_not_hide_its_missing_copy(holdings: VolumeSummaries) -> None:
    began = time.monotonic()
    holdings.take(DatabaseSummary.model_validate({**SURVEYED, "owed": {"offsite": 3}}))
    holdings.set_owed(DEFAULT_SET, ORDERS, {OFFSITE: 0}, {}, began)

    assert holdings.owed(OFFSITE) == 3
    counts(holdings, OFFSITE, 0)
    assert holdings.owed(OFFSITE) == 0
