"""The choice of artifacts to verify: each once per period, those verified longest ago first, evenly over time."""

from datetime import UTC, datetime, timedelta

import pytest

from backup_agent.core.retention.verify_slices import (
    LEAST,
    NEVER,
    FinishedSlice,
    KeptArtifact,
    estimated_seconds,
    next_slice,
    verified,
)

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PERIOD = 30 * DAY
GIB = 1 << 30


def test_the_artifact_verified_longest_ago_comes_first() -> None:
    kept = [KeptArtifact("b", GIB, NOW - DAY), KeptArtifact("a", GIB, NOW - 2 * DAY), KeptArtifact("c", GIB, NOW)]

    assert [artifact.key for artifact in next_slice(kept, NOW, period=PERIOD).artifacts] == ["a"]


def test_all_late_artifacts_are_read_at_once() -> None:
    kept = [KeptArtifact(str(number), GIB, NOW - PERIOD - HOUR) for number in range(5)] + [
        KeptArtifact("new", GIB, NOW)
    ]
    due = next_slice(kept, NOW, period=PERIOD)

    assert ([artifact.key for artifact in due.artifacts], due.late) == (["0", "1", "2", "3", "4"], 5)


def test_without_artifacts_there_is_nothing_to_read() -> None:
    due = next_slice([], NOW, period=PERIOD)

    assert (due.artifacts, due.pace) == ((), 0)


def test_a_small_artifact_counts_with_the_cost_of_opening_it() -> None:
    assert KeptArtifact("a", 3, NOW).cost == LEAST


def test_artifacts_recorded_on_one_day_are_verified_over_the_whole_period() -> None:
    count = 90
    last = {str(number): NOW for number in range(count)}
    read_by_day = dict.fromkeys(range(60), 0)
    now, rest = NOW, NOW
    while now < NOW + 60 * DAY:
        kept = [KeptArtifact(key, GIB, when) for key, when in last.items()]
        assert max(now - artifact.verified for artifact in kept) <= PERIOD + HOUR
        due = next_slice(kept, now, period=PERIOD)
        if now >= rest:
            for artifact in due.artifacts:
                last[artifact.key] = now
                read_by_day[(now - NOW).days] += 1
            rest = FinishedSlice(now, sum(artifact.cost for artifact in due.artifacts), due.pace).rests_until(due.pace)
        now += HOUR

    assert max(read_by_day.values()) <= 2 * count / 30


@pytest.mark.parametrize(
    ("recorded", "last", "expected"),
    [
        pytest.param(NOW - DAY, None, NOW - DAY, id="never read"),
        pytest.param(NOW - 2 * DAY, NOW - DAY, NOW - DAY, id="read after its recording"),
        pytest.param(NOW - DAY, NOW + DAY, NOW - DAY, id="read by a clock that was ahead"),
        pytest.param(NOW + DAY, None, NEVER, id="recorded by a clock that was ahead"),
    ],
)
def test_an_artifact_is_verified_when_it_was_recorded_or_last_read(
    recorded: datetime, last: datetime | None, expected: datetime
) -> None:
    assert verified(recorded, last, NOW) == expected


def test_the_faster_pace_decides_when_the_next_slice_starts() -> None:
    done = FinishedSlice(NOW, 3600, 1.0)

    assert (done.rests_until(0.5), done.rests_until(2.0)) == (NOW + HOUR, NOW + HOUR / 2)
    assert FinishedSlice(NOW, 0, 0.0).rests_until(0.0) == NOW


@pytest.mark.parametrize(
    ("measured", "bandwidth", "seconds"),
    [(60.0, 100, 10.0), (60.0, 30, 20.0), (None, 30, 20.0), (60.0, None, 10.0), (None, None, None)],
)
def test_the_slower_of_measured_and_allowed_rate_gives_the_estimated_time(
    measured: float | None, bandwidth: int | None, seconds: float | None
) -> None:
    assert estimated_seconds(600, measured, bandwidth) == seconds
