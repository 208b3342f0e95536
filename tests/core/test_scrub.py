"""What is read again next: everything once a period, the longest unread first, never in one burst."""

from datetime import UTC, datetime, timedelta

import pytest

from backup_agent.core.retention.scrub import LEAST, NEVER, Done, KeptArtifact, estimated_seconds, next_slice, verified

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PERIOD = 30 * DAY
GIB = 1 << 30


def test_the_longest_unread_comes_first() -> None:
    kept = [KeptArtifact("b", GIB, NOW - DAY), KeptArtifact("a", GIB, NOW - 2 * DAY), KeptArtifact("c", GIB, NOW)]

    assert [one.key for one in next_slice(kept, NOW, period=PERIOD).artifacts] == ["a"]


def test_all_that_is_late_is_read_at_once() -> None:
    kept = [KeptArtifact(str(number), GIB, NOW - PERIOD - HOUR) for number in range(5)] + [
        KeptArtifact("new", GIB, NOW)
    ]
    due = next_slice(kept, NOW, period=PERIOD)

    assert ([one.key for one in due.artifacts], due.late) == (["0", "1", "2", "3", "4"], 5)


def test_nothing_kept_is_nothing_to_read() -> None:
    due = next_slice([], NOW, period=PERIOD)

    assert (due.artifacts, due.pace) == ((), 0)


def test_what_is_small_counts_for_the_work_of_opening_it() -> None:
    assert KeptArtifact("a", 3, NOW).cost == LEAST


def test_a_day_of_many_recordings_is_spread_over_the_period() -> None:
    last = {str(number): NOW for number in range(300)}
    read_by_day = dict.fromkeys(range(60), 0)
    now, rest = NOW, NOW
    while now < NOW + 60 * DAY:
        kept = [KeptArtifact(key, GIB, when) for key, when in last.items()]
        assert max(now - one.verified for one in kept) <= PERIOD + HOUR
        due = next_slice(kept, now, period=PERIOD)
        if now >= rest:
            for one in due.artifacts:
                last[one.key] = now
                read_by_day[(now - NOW).days] += 1
            rest = Done(now, sum(one.cost for one in due.artifacts), due.pace).rests_until(due.pace)
        now += HOUR

    assert max(read_by_day.values()) <= 2 * 300 / 30


@pytest.mark.parametrize(
    ("recorded", "last", "expected"),
    [
        pytest.param(NOW - DAY, None, NOW - DAY, id="never read: at its recording"),
        pytest.param(NOW - 2 * DAY, NOW - DAY, NOW - DAY, id="read since"),
        pytest.param(NOW - DAY, NOW + DAY, NOW - DAY, id="read by a clock that was ahead"),
        pytest.param(NOW + DAY, None, NEVER, id="recorded by a clock that was ahead"),
    ],
)
def test_when_an_artifact_counts_as_verified(recorded: datetime, last: datetime | None, expected: datetime) -> None:
    assert verified(recorded, last, NOW) == expected


def test_the_rest_is_the_shorter_where_the_pace_of_then_and_of_now_differ() -> None:
    done = Done(NOW, 3600, 1.0)

    assert (done.rests_until(0.5), done.rests_until(2.0)) == (NOW + HOUR, NOW + HOUR / 2)
    assert Done(NOW, 0, 0.0).rests_until(0.0) == NOW


@pytest.mark.parametrize(
    ("measured", "bandwidth", "seconds"),
    [(60.0, 100, 10.0), (60.0, 30, 20.0), (None, 30, 20.0), (60.0, None, 10.0), (None, None, None)],
)
def test_the_slower_of_what_was_measured_and_what_is_allowed_tells_how_long_reading_takes(
    measured: float | None, bandwidth: int | None, seconds: float | None
) -> None:
    assert estimated_seconds(600, measured, bandwidth) == seconds
