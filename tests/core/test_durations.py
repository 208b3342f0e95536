"""Durations of the settings."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from backup_agent.core.durations import PositiveDuration, duration, written_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("6h", timedelta(hours=6)),
        ("30d", timedelta(days=30)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "90", "15 m", "1h30m", "1.5h", "-1h", "5M", "5w", "m", "36501d", "9" * 13 + "s", 90, None, "٣h"]
)
def test_an_invalid_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="15m"):
        duration(text)


@given(st.integers(0, 36500 * 86400))
def test_a_duration_reads_back_as_it_was_written(seconds: int) -> None:
    assert duration(written_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("value", "expected"), [(timedelta(0), "0s"), (timedelta(minutes=90), "90m"), (timedelta(days=7), "7d")]
)
def test_a_duration_is_written_with_the_largest_unit_that_fits(value: timedelta, expected: str) -> None:
    assert written_duration(value) == expected


def test_a_positive_duration_is_at_least_a_second() -> None:
    positive: TypeAdapter[timedelta] = TypeAdapter(PositiveDuration)

    assert positive.validate_python("1s") == timedelta(seconds=1)
    with pytest.raises(ValidationError, match="at least 1s"):
        positive.validate_python("0s")
