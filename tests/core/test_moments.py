"""Parsing times that people type."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.restore.moments import Moment, parse_moment
from backup_agent.core.time_zones import zone

HALF_PAST_ONE = datetime(2026, 11, 28, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-28 02:30 Europe/Berlin",
        "2026-11-28 02:30:00 Europe/Berlin",
        "2026-11-28T02:30 Europe/Berlin",
        "2026-11-28T02:30:00+01:00",
        "2026-11-28T01:30:00Z",
        "2026-11-28T01:30Z",
        "2026-11-28 01:30 UTC",
        "2026-11-28 01:30:00 UTC",
        " 2026-11-28 01:30 -00:00",
        "2026-11-27 20:30 America/New_York",
        "2026-11-28 07:15 Asia/Kathmandu",
    ],
)
def test_a_time_is_read_in_its_zone_or_with_its_offset(text: str) -> None:
    assert parse_moment(text).at == HALF_PAST_ONE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-28 02:30 Europe/Berlin", "2026-11-28 01:30:00 UTC (2026-11-28 02:30:00 Europe/Berlin)"),
        ("2026-11-28T02:30:00+01:00", "2026-11-28 01:30:00 UTC (2026-11-28 02:30:00 UTC+01:00)"),
        ("2026-11-28 01:30 UTC", "2026-11-28 01:30:00 UTC"),
        ("2026-11-28 01:30 Europe/London", "2026-11-28 01:30:00 UTC"),
    ],
)
def test_a_time_is_shown_in_utc_and_in_its_zone(text: str, shown: str) -> None:
    assert str(parse_moment(text)) == shown


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not a time: write it as"),
        ("02:30", "is not a time: write it as"),
        ("yesterday", "is not a time: write it as"),
        ("2026-11-28", "is not a time: write it as"),
        ("2026-11-28 02:30", "has no time zone: write it as '2026-11-28 02:30 Europe/Berlin'"),
        ("2026-11-28T02:30:00", "has no time zone"),
        ("2026-11-28 02:30 Berlin", "'Berlin' is not an IANA time zone such as Europe/Berlin"),
        ("2026-11-28 02:30 localtime", "'localtime' is not an IANA time zone"),
        ("2026-11-28 02:30 Europe", "'Europe' is not an IANA time zone"),
        ("2026-11-28 02:30 ../../etc/passwd", "is not a time: write it as"),
        ("2026-02-30 02:30 UTC", "is not a time: day is out of range"),
        ("2026-11-28 24:30 UTC", "is not a time: hour must be in"),
        ("2026-11-28T02:30:00+25:00", "is not a time"),
        ("0001-01-01T00:00:00+05:00", "the year is too early or too late"),
        ("9999-12-31 23:59 America/New_York", "the year is too early or too late"),
        ("\uff12026-11-28 02:30 UTC", "is not a time: write it as"),
    ],
)
def test_a_text_that_is_not_a_time_is_refused_with_the_expected_form(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has no") as refused:
        parse_moment(text)

    assert fault in str(refused.value)


def test_a_time_that_the_clocks_skip_is_refused_with_both_times_in_utc() -> None:
    with pytest.raises(ValueError, match="no such time") as refused:
        parse_moment("2026-03-29 02:30 Europe/Berlin")

    assert str(refused.value).endswith(
        "there is no such time, because the clocks go forward in Europe/Berlin: name it in UTC, as "
        "'2026-03-29 00:30:00 UTC' or '2026-03-29 01:30:00 UTC'"
    )


def test_a_time_that_the_clocks_repeat_is_refused_with_both_times_in_utc() -> None:
    with pytest.raises(ValueError, match="two such times") as refused:
        parse_moment("2026-10-25 02:30 Europe/Berlin")

    assert str(refused.value).endswith(
        "there are two such times in Europe/Berlin: name it in UTC, as "
        "'2026-10-25 00:30:00 UTC' or '2026-10-25 01:30:00 UTC'"
    )


ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"])


SECONDS = st.integers(631152000, 2840140800)
"""Seconds since 1970, from 1990 to 2060."""


@given(seconds=SECONDS, name=ZONES)
def test_a_local_time_is_read_as_that_time_or_refused(seconds: int, name: str) -> None:
    moment = Moment(datetime.fromtimestamp(seconds, UTC), zone(name))
    text = f"{moment.at.astimezone(moment.zone):%Y-%m-%d %H:%M:%S} {name}"
    try:
        found = str(parse_moment(text))
    except ValueError as error:
        found = str(error)

    assert f"{moment.at:%Y-%m-%d %H:%M:%S} UTC" in found
