"""When the clock is too unreliable to delete artifacts."""

from datetime import UTC, datetime, timedelta

import pytest

from backup_agent.core.retention.clock import ClockReading, ClockTime, Gap, distrust

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def reading(now: datetime = NOW, monotonic: float = 100_000.0, boot: str = "b1") -> ClockReading:
    return ClockReading(now=now, monotonic=monotonic, boot=boot)


@pytest.mark.parametrize(
    ("off", "trusted"),
    [
        pytest.param(timedelta(0), True, id="right"),
        pytest.param(5 * MINUTE, True, id="five minutes behind"),
        pytest.param(-5 * MINUTE, True, id="five minutes ahead"),
        pytest.param(5 * MINUTE + timedelta(seconds=1), False, id="more behind"),
        pytest.param(-5 * MINUTE - timedelta(seconds=1), False, id="more ahead"),
        pytest.param(timedelta(days=365), False, id="a year"),
    ],
)
def test_the_clock_is_compared_with_each_reference(off: timedelta, trusted: bool) -> None:
    assert (distrust(reading(), {"S3's Date": NOW + off}) is None) == trusted
    assert (distrust(reading(), {"S3's Date": NOW, "the server": NOW + off}) is None) == trusted


def test_the_fault_names_both_clocks_and_their_times() -> None:
    assert distrust(reading(), {"S3's Date": NOW + HOUR}) == (
        "this machine's clock shows 2026-11-23T12:00:00+00:00, but S3's Date shows 2026-11-23T13:00:00+00:00"
    )


@pytest.mark.parametrize(
    ("last", "error"),
    [
        pytest.param(reading(NOW - HOUR, 100_000 - 3_600), None, id="as much as the other clock"),
        pytest.param(reading(NOW - HOUR, 100_000 - 3_600 + 300), None, id="slewed by five minutes"),
        pytest.param(reading(NOW - 2 * HOUR, 100_000 - 3_600), "set forward by 1:00:00", id="set forward"),
        pytest.param(reading(NOW, 100_000 - 3_600), "set back by 1:00:00", id="set back"),
        pytest.param(reading(NOW - 2 * HOUR, 100_000 - 3_600, "b0"), None, id="after a reboot"),
    ],
)
@pytest.mark.parametrize("references", [{}, {"S3's Date": NOW}], ids=["alone", "with a reference"])
def test_a_clock_that_was_set_since_the_last_pass_is_not_trusted(
    last: ClockReading, error: str | None, references: dict[str, datetime]
) -> None:
    fault = distrust(reading(), references, last=last)

    assert (error is None) == (fault is None)
    assert error is None or error in str(fault)


@pytest.mark.parametrize(
    ("hours", "trusted"),
    [pytest.param(24, True, id="as expected"), pytest.param(72, True, id="three"), pytest.param(73, False, id="more")],
)
def test_without_another_clock_a_long_time_since_the_newest_point_is_not_trusted(hours: int, trusted: bool) -> None:
    gaps = [
        Gap("default/people", NOW - HOUR, NOW, timedelta(hours=24)),
        Gap("default/orders", NOW - hours * HOUR, NOW, timedelta(hours=24)),
    ]

    fault = distrust(reading(), {}, gaps=gaps)

    assert (fault is None) == trusted
    assert fault is None or "the newest point of default/orders" in fault
    assert distrust(reading(), {"S3's Date": NOW}, gaps=gaps) is None


def test_a_reading_of_another_clock_advances_with_monotonic_time() -> None:
    shown = ClockTime(now=NOW, monotonic=100.0)

    assert shown.time_at(3700.0) == NOW + HOUR


def test_a_reading_survives_a_round_trip_through_json() -> None:
    assert ClockReading.model_validate_json(reading().model_dump_json()) == reading()
