from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backup_agent.core.requests.cron import Cron, CronError
from tests.examples import examples

BERLIN = "Europe/Berlin"
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(expression: str, timezone: str, start: str, count: int) -> list[str]:
    found = islice(Cron.parse(expression, timezone).after(utc(start)), count)
    return [f"{moment:%m-%d %H:%M}" for moment in found]


@pytest.mark.parametrize(
    ("expression", "timezone", "start", "expected"),
    [
        pytest.param("0 2 * * *", "UTC", "2026-11-22T02:00", ["11-23 02:00", "11-24 02:00"], id="every-night"),
        pytest.param("0 2 * * *", BERLIN, "2026-11-22T12:00", ["11-23 01:00", "11-24 01:00"], id="in-its-zone"),
        pytest.param("0 3 * * 0", "UTC", "2026-11-23T00:00", ["11-29 03:00", "12-06 03:00"], id="0-is-Sunday"),
        pytest.param("0 3 * * 7", "UTC", "2026-11-23T00:00", ["11-29 03:00", "12-06 03:00"], id="7-is-Sunday"),
        pytest.param("0 3 * * sun", "UTC", "2026-11-23T00:00", ["11-29 03:00", "12-06 03:00"], id="SUN-is-Sunday"),
        pytest.param("0 3 * * 1", "UTC", "2026-11-23T04:00", ["11-30 03:00", "12-07 03:00"], id="1-is-Monday"),
        pytest.param("0 3 13 * 5", "UTC", "2026-11-01T00:00", ["11-06 03:00", "11-13 03:00", "11-20 03:00", "11-27 03:00", "12-04 03:00", "12-11 03:00", "12-13 03:00"], id="day-of-month-or-weekday"),
        pytest.param("0 3 * * 5", "UTC", "2026-11-12T00:00", ["11-13 03:00", "11-20 03:00"], id="a-starred-day-of-month-does-not-count"),
        pytest.param("0 3 L * *", "UTC", "2027-01-31T04:00", ["02-28 03:00", "03-31 03:00"], id="last-day-of-month"),
        pytest.param("@daily", "UTC", "2026-11-22T02:00", ["11-23 00:00", "11-24 00:00"], id="@daily"),
        pytest.param("@midnight", "UTC", "2026-11-22T02:00", ["11-23 00:00"], id="@midnight"),
        pytest.param("@hourly", "UTC", "2026-11-22T02:00", ["11-22 03:00", "11-22 04:00"], id="@hourly"),
        pytest.param("@weekly", "UTC", "2026-11-23T02:00", ["11-29 00:00"], id="@weekly"),
        pytest.param("@monthly", "UTC", "2026-11-22T02:00", ["12-01 00:00"], id="@monthly"),
        pytest.param(" @Yearly ", "UTC", "2026-11-22T02:00", ["01-01 00:00"], id="@yearly-in-any-case-and-with-spaces"),
        pytest.param("0 0 29 2 *", "UTC", "2026-11-22T02:00", ["02-29 00:00", "02-29 00:00"], id="leap-day"),
        pytest.param("30 2 * * *", BERLIN, "2027-03-27T12:00", ["03-28 01:00", "03-29 00:30"], id="time-in-the-spring-gap-runs-once-after-it"),
        pytest.param("0,30 2 * * *", BERLIN, "2027-03-27T12:00", ["03-28 01:00", "03-29 00:00"], id="two-times-in-the-gap-are-one-run"),
        pytest.param("*/30 2 * * *", BERLIN, "2027-03-27T12:00", ["03-28 01:00", "03-29 00:00"], id="a-starred-minute-is-not-lost-in-the-gap"),
        pytest.param("0 */2 * * *", BERLIN, "2027-03-27T23:30", ["03-28 01:00", "03-28 02:00"], id="every-second-hour-is-not-lost-in-the-gap"),
        pytest.param("0 3 * * *", BERLIN, "2027-03-27T12:00", ["03-28 01:00", "03-29 01:00"], id="end-of-the-gap"),
        pytest.param("30 2 * * *", BERLIN, "2027-10-30T12:00", ["10-31 00:30", "11-01 01:30"], id="autumn-runs-once"),
        pytest.param("30 2 * * *", BERLIN, "2027-10-31T00:45", ["11-01 01:30"], id="autumn-not-again-after-the-first-occurrence"),
        pytest.param("30 2 * * *", BERLIN, "2027-10-31T01:10", ["11-01 01:30"], id="autumn-not-again-in-the-repeated-hour"),
        pytest.param("0 * * * *", BERLIN, "2027-10-30T23:30", ["10-31 00:00", "10-31 01:00", "10-31 02:00"], id="hourly-through-autumn"),
        pytest.param("0 0-23 * * *", BERLIN, "2027-10-30T23:30", ["10-31 00:00", "10-31 01:00", "10-31 02:00"], id="hourly-without-a-star"),
        pytest.param("0 * * * *", BERLIN, "2027-03-27T23:30", ["03-28 00:00", "03-28 01:00", "03-28 02:00"], id="hourly-through-spring"),
        pytest.param("*/30 * * * *", BERLIN, "2027-10-31T00:15", ["10-31 00:30", "10-31 01:00", "10-31 01:30", "10-31 02:00"], id="half-hourly-through-autumn"),
        pytest.param("40 * * * *", "Australia/Lord_Howe", "2026-10-03T15:00", ["10-03 15:10", "10-03 15:40", "10-03 16:40"], id="a-shift-of-half-an-hour"),
    ],
)  # fmt: skip
def test_due_times_of_an_expression_in_a_time_zone(
    expression: str, timezone: str, start: str, expected: list[str]
) -> None:
    assert due(expression, timezone, start, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        pytest.param("0 0 31 2 *", "an expression that matches at least one date", id="31-February"),
        pytest.param("0 0 30,31 2 *", "an expression that matches at least one date", id="30-or-31-February"),
        pytest.param("0 0 31 4,6,9,11 */2", "an expression that matches at least one date", id="31-of-a-short-month"),
        pytest.param(
            "0 0 */29 2 1L", "an expression that matches at least one date", id="the-last-Monday-and-the-first"
        ),
        pytest.param("0 2 * *", "five fields: minute", id="four-fields"),
        pytest.param("0 0 2 * * *", "five fields: minute", id="seconds"),
        pytest.param("TZ=Europe/Berlin 0 2 * * *", "five fields: minute", id="zone-in-the-expression"),
        pytest.param("", "five fields: minute", id="empty"),
        pytest.param("@reboot", "one of @hourly, @daily", id="@reboot"),
        pytest.param("@every 5m", "one of @hourly, @daily", id="@every"),
        pytest.param("60 * * * *", "0-59 as minute", id="minute-60"),
        pytest.param("0 24 * * *", "0-23 as hour", id="hour-24"),
        pytest.param("0 0 32 * *", "1-31 or L as day of month", id="day-32"),
        pytest.param("0 0 0 * *", "1-31 or L as day of month", id="day-0"),
        pytest.param("0 0 * 13 *", "1-12 or JAN-DEC as month", id="month-13"),
        pytest.param("0 0 * * 8", "0-7 (0 and 7 are Sunday) or SUN-SAT as weekday", id="weekday-8"),
        pytest.param("*/0 * * * *", "0-59 as minute", id="step-of-zero"),
        pytest.param("9" * 190 + " * * * *", "0-59 as minute", id="a-number-without-end"),
        pytest.param("* " * 101, "at most 200 characters", id="too-long"),
    ],
)
def test_an_invalid_or_never_due_expression_is_refused(expression: str, error: str) -> None:
    with pytest.raises(CronError, match=r".") as refused:
        Cron.parse(expression)

    assert error in str(refused.value)


@pytest.mark.parametrize("timezone", ["Europe/Nowhere", "", "Europe", "../UTC", "/etc/passwd", "localtime", "UTC\0"])
def test_an_unknown_time_zone_is_refused(timezone: str) -> None:
    with pytest.raises(ValueError, match="IANA time zone"):
        Cron.parse("0 2 * * *", timezone)


@pytest.mark.parametrize(
    ("expression", "shortest", "longest"),
    [
        pytest.param("0 2 * * *", timedelta(days=1), timedelta(days=1), id="nightly"),
        pytest.param("15 * * * *", timedelta(hours=1), timedelta(hours=1), id="hourly"),
        pytest.param("*/7 * * * *", timedelta(minutes=4), timedelta(minutes=7), id="every-seven-minutes"),
        pytest.param("0 2 * * 1-5", timedelta(days=1), timedelta(days=3), id="not-on-weekends"),
        pytest.param(
            "*/5 9-17 * * 1-5", timedelta(minutes=5), timedelta(days=2, hours=15, minutes=5), id="office-hours"
        ),
        pytest.param("0 0 1 * *", timedelta(days=28), timedelta(days=31), id="monthly"),
        pytest.param("0 0 31 * *", timedelta(days=31), timedelta(days=61), id="months-of-31-days"),
        pytest.param("0 0 1,2 1 *", timedelta(days=1), timedelta(days=364), id="two-days-a-year"),
        pytest.param("0 0 29 2 *", timedelta(days=1461), timedelta(days=1461), id="leap-days"),
    ],
)
def test_gaps_cover_a_whole_calendar(expression: str, shortest: timedelta, longest: timedelta) -> None:
    assert Cron.parse(expression).gaps(date(2026, 1, 3)) == (shortest, longest)


def test_the_text_of_a_cron_has_expression_and_zone() -> None:
    assert str(Cron.parse("0 2 * * *", BERLIN)) == "0 2 * * * Europe/Berlin"


# The oracle applies the rules in a slow and simple way: to sets of numbers instead of text, minute by minute.


@dataclass(frozen=True)
class Wanted:
    minutes: frozenset[int]
    hours: frozenset[int]
    weekdays: frozenset[int]
    zone: str

    @property
    def cron(self) -> Cron:
        fields = [",".join(map(str, sorted(part))) for part in (self.minutes, self.hours, self.weekdays)]
        return Cron.parse(f"{fields[0]} {fields[1]} * * {fields[2]}", self.zone)

    def matches(self, local: datetime) -> bool:
        return local.minute in self.minutes and local.hour in self.hours and local.isoweekday() in self.weekdays

    def due_between(self, start: datetime, end: datetime) -> list[datetime]:
        moment = (start - timedelta(hours=30)).replace(second=0)
        highest = self._local(moment)
        found = []
        while (moment := moment + MINUTE) <= end:
            local = self._local(moment)
            if len(self.hours) == 24:
                reached = [local]
            else:  # in the repeated hour in autumn nothing is due, and times in the gap in spring are all due at its end
                reached = [highest + MINUTE * step for step in range(1, (local - highest) // MINUTE + 1)]
            if any(map(self.matches, reached)) and moment > start:
                found.append(moment)
            highest = max(highest, local)
        return found

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)


@cache
def shifts(zone: str) -> list[datetime]:
    """Return times from 2026 to 2028, each less than six hours after a change of the zone's UTC offset."""
    info = ZoneInfo(zone)
    moment, found = utc("2026-01-01T00:00"), []
    while moment.year < 2029:
        later = moment + timedelta(hours=6)
        if moment.astimezone(info).utcoffset() != later.astimezone(info).utcoffset():
            found.append(later)
        moment = later
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[Wanted, datetime]:
    zone = draw(st.sampled_from(ZONES))
    hours = st.one_of(st.just(frozenset(range(24))), st.frozensets(st.integers(0, 4), min_size=1), st.frozensets(st.integers(0, 23), min_size=1))  # fmt: skip
    wanted = Wanted(
        minutes=draw(st.frozensets(st.integers(0, 59), min_size=1, max_size=4)),
        hours=draw(hours),
        weekdays=draw(st.one_of(st.just(frozenset(range(1, 8))), st.frozensets(st.integers(1, 7), min_size=1))),
        zone=zone,
    )
    near = draw(st.sampled_from([*shifts(zone), utc("2027-06-15T12:00")]))
    return wanted, near + timedelta(seconds=draw(st.integers(-9 * 3600, 6 * 3600)))


@settings(deadline=None, max_examples=examples(40))
@given(cases())
def test_due_times_match_the_oracle_in_every_zone(case: tuple[Wanted, datetime]) -> None:
    wanted, start = case
    end = start + timedelta(hours=12)

    assert list(takewhile(lambda due: due <= end, wanted.cron.after(start))) == wanted.due_between(start, end)


def test_the_previous_of_many_due_times_is_the_last_at_or_before_a_moment() -> None:
    every_five_minutes = Cron.parse("*/5 * * * *")

    assert every_five_minutes.previous_or_at(utc("2026-11-23T02:04")) == utc("2026-11-23T02:00")
    assert Cron.parse("* 2 * * *").previous_or_at(utc("2026-11-23T09:00")) == utc("2026-11-23T02:59")


@settings(deadline=None, max_examples=examples(40))
@given(cases())
def test_the_due_time_after_the_previous_one_is_in_the_future(case: tuple[Wanted, datetime]) -> None:
    wanted, moment = case
    previous = wanted.cron.previous_or_at(moment)

    assert previous <= moment < wanted.cron.next_after(previous)
    assert wanted.cron.previous_or_at(previous) == previous


@settings(deadline=None, max_examples=examples(40))
@given(cases())
def test_cronsim_agrees_for_expressions_that_are_not_hourly(case: tuple[Wanted, datetime]) -> None:
    """Without stars, cronsim also runs a missing time after the gap, and a repeated time once."""
    wanted, moment = case
    assume(len(wanted.hours) < 24)
    ours = wanted.cron.next_after(moment)
    theirs = CronSim(wanted.cron.expression, moment.astimezone(ZoneInfo(wanted.zone)))

    assert ours == next(due for due in (due.astimezone(UTC) for due in theirs) if due > moment)


@given(st.text(max_size=40) | st.text(alphabet="0123456789*/,-#L@ SUNMON", max_size=30))
def test_any_text_is_parsed_or_raises_cron_error(text: str) -> None:
    now = utc("2026-11-23T02:00")
    with suppress(CronError):
        assert Cron.parse(text).next_after(now) > now
