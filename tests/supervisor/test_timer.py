from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue

import pytest
import time_machine

from backup_agent.core.requests.cron import Cron
from backup_agent.core.requests.schedules import DueOutcome, Handled, Timetable, decide
from backup_agent.supervisor.schedules.timer import StartTrigger, Timer

BERLIN = "Europe/Berlin"
SELDOM = timedelta(hours=1)
OFTEN = timedelta(milliseconds=20)
PATIENCE = 10.0
MOMENT = timedelta(milliseconds=600)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def timetable(expression: str, timezone: str = "UTC", **facts: object) -> Timetable:
    return Timetable("nightly", Cron.parse(expression, timezone), **facts)  # type: ignore[arg-type]  # rows of a table


class Rings:
    """The calls of a running timer, each with its time."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[str, datetime]] = SimpleQueue()

    def __call__(self, name: str) -> None:
        self._queue.put((name, datetime.now(UTC)))

    def next(self) -> tuple[str, datetime]:
        return self._queue.get(timeout=PATIENCE)

    def until(self, wanted: Callable[[datetime], bool]) -> datetime:
        while not wanted(moment := self.next()[1]):
            pass
        return moment

    def drain(self) -> None:
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                return


def in_the_minute_after(moment: datetime) -> Callable[[datetime], bool]:
    return lambda now: moment <= now < moment + timedelta(minutes=1)


@contextmanager
def running(heartbeat: timedelta, **timetables: Timetable) -> Iterator[tuple[Timer, Rings]]:
    rings = Rings()
    timer = Timer(rings, heartbeat)
    timer.set(timetables)
    timer.start()
    try:
        yield timer, rings
    finally:
        timer.stop()


@pytest.mark.process
@pytest.mark.parametrize(
    ("table", "due"),
    [
        pytest.param(timetable("0 2 * * *", BERLIN), "2026-11-23T01:00", id="every-night"),
        pytest.param(timetable("0 3 * * 0"), "2026-11-29T03:00", id="0-is-Sunday"),
        pytest.param(timetable("30 2 * * *", BERLIN), "2027-03-28T01:00", id="spring-gap"),
        pytest.param(timetable("30 2 * * *", BERLIN), "2027-10-31T00:30", id="autumn"),
        pytest.param(timetable("*/30 * * * *", BERLIN), "2027-10-31T01:30", id="half-hourly-in-the-second-pass"),
        pytest.param(timetable("0 2 * * *", suspend=True), "2026-11-23T02:00", id="suspended-schedules-too"),
    ],
)
def test_the_timer_fires_when_a_schedule_is_due(table: Timetable, due: str) -> None:
    with time_machine.travel(utc(due) - MOMENT, tick=True), running(SELDOM, nightly=table) as (_, rings):
        name, moment = rings.next()

        assert name == "nightly"
        assert utc(due) <= moment < utc(due) + timedelta(seconds=5)


@pytest.mark.process
def test_the_timer_fires_when_the_jitter_is_over() -> None:
    table = timetable("0 2 * * *", jitter=timedelta(minutes=10), seed="demo")
    start = table.start(utc("2026-11-23T02:00"))
    with time_machine.travel(start - MOMENT, tick=True), running(SELDOM, nightly=table) as (_, rings):
        _, moment = rings.next()

        assert start > utc("2026-11-23T02:00")
        assert start <= moment < start + timedelta(seconds=5)


def test_the_timer_does_not_fire_again_in_the_repeated_hour_in_autumn() -> None:
    trigger = StartTrigger(timetable("30 2 * * *", BERLIN))
    now = utc("2027-10-31T00:30:00.001")

    assert trigger.get_next_fire_time(utc("2027-10-31T00:30"), now) == utc("2027-11-01T01:30")


def test_a_clock_set_forward_is_noticed_at_the_next_heartbeat() -> None:
    with (
        time_machine.travel(utc("2026-11-22T12:00"), tick=True) as clock,
        running(OFTEN, nightly=timetable("0 2 * * *")) as (_, rings),
    ):
        rings.next()
        clock.shift(timedelta(hours=20))

        assert rings.until(lambda moment: moment >= utc("2026-11-23T08:00")) < utc("2026-11-23T08:01")


def test_a_clock_set_back_by_years_does_not_make_the_timer_wait_for_years() -> None:
    with (
        time_machine.travel(utc("2036-11-22T12:00"), tick=True) as clock,
        running(OFTEN, nightly=timetable("0 2 * * *")) as (timer, rings),
    ):
        rings.next()
        clock.move_to(utc("2026-11-23T01:00"))
        rings.until(lambda moment: moment.year == 2026)
        rings.next()  # by now APScheduler has computed its next call from the current clock

        assert timer._scheduler.get_job("nightly").next_run_time <= utc("2026-11-23T02:00")


def test_the_timer_does_not_fire_for_replaced_schedules() -> None:
    with (
        time_machine.travel(utc("2026-11-23T01:00"), tick=True),
        running(OFTEN, old=timetable("0 2 * * *"), kept=timetable("0 3 * * *")) as (timer, rings),
    ):
        assert {rings.next()[0] for _ in range(6)} == {"old", "kept"}

        timer.set({"kept": timetable("0 3 * * *"), "new": timetable("0 4 * * *")})
        rings.next()  # a call that was under way
        rings.drain()

        assert {rings.next()[0] for _ in range(6)} == {"kept", "new"}


def test_a_stopped_timer_does_not_fire() -> None:
    with running(OFTEN, nightly=timetable("0 2 * * *")) as (timer, rings):
        rings.next()
    rings.drain()

    assert not timer._pulse.is_alive()
    with pytest.raises(Empty):
        rings._queue.get_nowait()


def test_each_night_runs_once_while_the_clock_jumps_back_and_forth() -> None:
    table = timetable("0 2 * * *")
    handled: Handled | None = None
    submitted = []
    with (
        time_machine.travel(utc("2026-11-22T12:00"), tick=True) as clock,
        running(OFTEN, nightly=table) as (_, rings),
    ):
        for moment in ("22T12:00", "23T02:00:01", "23T01:30", "23T02:00:01", "22T12:00", "23T02:00:01", "24T02:00:01"):
            clock.move_to(utc(f"2026-11-{moment}"))
            target = utc(f"2026-11-{moment}")
            seen = rings.until(in_the_minute_after(target))
            decision = decide(table, handled, seen)
            handled = decision.handled
            if decision.outcome is DueOutcome.SUBMIT:
                submitted.append(decision.due)

    assert submitted == [utc("2026-11-23T02:00"), utc("2026-11-24T02:00")]
