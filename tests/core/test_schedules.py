from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_agent.core.requests.cron import Cron
from backup_agent.core.requests.schedules import (
    GRACE,
    DueDecision,
    DueOutcome,
    Handled,
    Misfire,
    Timetable,
    decide,
    expected_interval,
    next_runs,
    request_id,
)
from tests.examples import examples

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=UTC)


def nightly(expression: str = "0 2 * * *", misfire: Misfire = Misfire.RUN_ONCE, **facts: object) -> Timetable:
    return Timetable("nightly", Cron.parse(expression), misfire, **facts)  # type: ignore[arg-type]  # rows of a table


def handled(through: datetime, timetable: Timetable | None = None) -> Handled:
    return Handled(through=through, cron=str((timetable or nightly()).cron))


SKIP = Misfire.SKIP
HOURLY = "15 * * * *"


@pytest.mark.parametrize(
    ("timetable", "through", "now", "waiting", "expected"),
    [
        pytest.param(nightly(), "22T02:00", "23T01:59:59", False, (DueOutcome.NOT_DUE, None, 0, 0), id="not-yet"),
        pytest.param(nightly(), "22T02:00", "23T02:00:00", False, (DueOutcome.SUBMIT, "23T02:00", 0, 0), id="due"),
        pytest.param(nightly(), "23T02:00", "23T02:00:00", False, (DueOutcome.NOT_DUE, None, 0, 0), id="asked-twice"),
        pytest.param(nightly(), "22T02:00", "23T02:01:59", False, (DueOutcome.SUBMIT, "23T02:00", 0, 0), id="within-the-grace"),
        pytest.param(nightly(), "22T02:00", "23T09:00", False, (DueOutcome.SUBMIT_LATE, "23T02:00", 0, 0), id="missed-while-down-one-run"),
        pytest.param(nightly(), "19T02:00", "23T09:00", False, (DueOutcome.SUBMIT_LATE, "23T02:00", 3, 0), id="missed-four-while-down-one-run-for-the-latest"),
        pytest.param(nightly(misfire=SKIP), "19T02:00", "23T09:00", False, (DueOutcome.SKIPPED, None, 4, 0), id="missed-while-down-skip"),
        pytest.param(nightly(misfire=SKIP), "19T02:00", "23T02:01", False, (DueOutcome.SUBMIT, "23T02:00", 3, 0), id="skip-runs-the-one-that-is-in-time"),
        pytest.param(nightly(HOURLY), "23T01:15", "23T02:15", True, (DueOutcome.COALESCED, None, 0, 1), id="coalesced-while-one-waits"),
        pytest.param(nightly(HOURLY), "23T01:15", "23T04:20", True, (DueOutcome.COALESCED, None, 0, 3), id="three-coalesced-while-one-waits"),
        pytest.param(nightly(suspend=True), "20T02:00", "23T02:00", False, (DueOutcome.SUSPENDED, None, 0, 0), id="suspended"),
        pytest.param(nightly("0 2 * * 0"), "15T02:00", "22T02:00", False, (DueOutcome.SUBMIT, "22T02:00", 0, 0), id="sunday"),
    ],
)  # fmt: skip
def test_a_decision_depends_on_the_timetable_and_the_handled_due_times(
    timetable: Timetable, through: str, now: str, waiting: bool, expected: tuple[DueOutcome, str | None, int, int]
) -> None:
    decision = decide(timetable, handled(utc(through), timetable), utc(now), waiting=waiting)
    outcome, due, missed, coalesced = expected

    assert (decision.outcome, decision.missed, decision.coalesced) == (outcome, missed, coalesced)
    assert decision.due == (utc(due) if due else None)


def test_a_new_schedule_has_missed_no_due_time() -> None:
    first = decide(nightly("* * * * *"), None, utc("23T09:00:30"))

    assert (first.outcome, first.due, first.missed) == (DueOutcome.FIRST_SEEN, None, 0)
    assert decide(nightly("* * * * *"), first.handled, utc("23T09:01")).due == utc("23T09:01")


def test_a_changed_expression_has_missed_no_due_time() -> None:
    """Changed at 15:00 from 02:00 to 14:00, the schedule runs the next day."""
    changed = decide(nightly("0 14 * * *"), handled(utc("23T02:00")), utc("23T15:00"))

    assert changed.outcome is DueOutcome.FIRST_SEEN
    assert decide(nightly("0 14 * * *"), changed.handled, utc("23T15:01")).outcome is DueOutcome.NOT_DUE


def test_due_times_of_a_suspended_schedule_do_not_run_later() -> None:
    suspended = decide(nightly(suspend=True), handled(utc("20T02:00")), utc("23T09:00"))

    assert decide(nightly(), suspended.handled, utc("23T09:01")).outcome is DueOutcome.NOT_DUE
    assert decide(nightly(), suspended.handled, utc("24T02:00")).outcome is DueOutcome.SUBMIT


def test_a_jump_of_the_clock_by_a_century_is_handled_at_once() -> None:
    decision = decide(
        nightly("* * * * *"), handled(utc("23T02:00"), nightly("* * * * *")), utc("23T02:00").replace(year=2126)
    )

    assert (decision.outcome, decision.missed) == (DueOutcome.SUBMIT, 999)


JITTERED = nightly(jitter=timedelta(minutes=10), seed="demo")


def test_jitter_is_constant_for_a_due_time_and_differs_between_due_times() -> None:
    dues = [utc("01T02:00") + DAY * n for n in range(200)]
    delays = [JITTERED.start(due) - due for due in dues]

    assert delays == [JITTERED.start(due) - due for due in dues]
    assert all(timedelta(0) <= delay <= timedelta(minutes=10) for delay in delays)
    assert len(set(delays)) > 100


def test_clusters_with_the_same_schedule_start_at_different_times() -> None:
    other = nightly(jitter=timedelta(minutes=10), seed="other")
    dues = [utc("01T02:00") + DAY * n for n in range(20)]

    assert [JITTERED.start(due) for due in dues] != [other.start(due) for due in dues]


def test_a_due_time_starts_after_its_jitter() -> None:
    due = utc("23T02:00")
    start = JITTERED.start(due)
    before = handled(utc("22T02:00"))

    assert start > due
    assert decide(JITTERED, before, start - SECOND).outcome is DueOutcome.NOT_DUE
    assert decide(JITTERED, before, start).due == due
    assert decide(JITTERED, before, start + GRACE).outcome is DueOutcome.SUBMIT
    assert decide(JITTERED, before, start + GRACE + SECOND).outcome is DueOutcome.SUBMIT_LATE


def test_a_due_time_that_waits_for_its_jitter_does_not_hide_the_previous_one() -> None:
    start = JITTERED.start(utc("23T02:00"))
    decision = decide(JITTERED, handled(utc("21T02:00")), start - SECOND)

    assert (decision.outcome, decision.due) == (DueOutcome.SUBMIT_LATE, utc("22T02:00"))


def test_next_runs_are_those_of_all_schedules_in_order_of_time() -> None:
    timetables = {
        "nightly": nightly(),
        "hourly": Timetable("hourly", Cron.parse(HOURLY)),
        "never": Timetable("never", Cron.parse("* * * * *"), suspend=True),
    }
    runs = next_runs(timetables, utc("23T00:30"), 4)

    assert [(run.schedule, run.start) for run in runs] == [
        ("hourly", utc("23T01:15")),
        ("nightly", utc("23T02:00")),
        ("hourly", utc("23T02:15")),
        ("hourly", utc("23T03:15")),
    ]


def test_a_run_that_waits_for_its_jitter_is_a_next_run() -> None:
    start = JITTERED.start(utc("23T02:00"))

    assert next(JITTERED.runs_after(start - SECOND)) == ("nightly", utc("23T02:00"), start)
    assert next(JITTERED.runs_after(start)).due == utc("24T02:00")


def test_without_schedules_there_are_no_next_runs() -> None:
    assert next_runs({}, utc("23T00:00"), 5) == ()


def test_the_expected_interval_of_workdays_includes_the_weekend() -> None:
    assert expected_interval(Cron.parse("0 2 * * 1-5"), utc("23T02:00")) == 3 * DAY


def test_a_request_id_has_the_schedule_and_the_due_time_in_utc() -> None:
    assert request_id("nightly", utc("23T02:00")) == "nightly@20261123T020000Z"


# A schedule over time, with a spool that remembers request ids and a clock that may be wrong.


class Life:
    """A schedule that decides at given times, with the request ids that its spool knows."""

    def __init__(self, timetable: Timetable, start: datetime) -> None:
        self.timetable = timetable
        self.decisions: list[DueDecision] = []
        self.handled: Handled | None = None
        self.ran: list[datetime] = []
        self.ask(start)

    def ask(self, now: datetime, *, waiting: bool = False) -> DueDecision:
        decision = decide(self.timetable, self.handled, now, waiting=waiting)
        self.handled = decision.handled
        self.decisions.append(decision)
        if decision.due and decision.due not in self.ran:  # the spool knows the id
            self.ran.append(decision.due)
        return decision

    def ask_every(self, start: datetime, end: datetime, every: timedelta = timedelta(minutes=10)) -> None:
        while start <= end:
            self.ask(start)
            start += every


def test_a_clock_set_back_over_a_due_time_does_not_run_it_again() -> None:
    life = Life(nightly(), utc("22T12:00"))
    life.ask_every(utc("23T01:58"), utc("23T02:01"), every=timedelta(seconds=30))
    before = list(life.decisions)
    life.ask_every(utc("23T01:30"), utc("23T02:30"), every=timedelta(seconds=30))

    assert life.ran == [utc("23T02:00")]
    assert {decision.outcome for decision in life.decisions[len(before) :]} == {DueOutcome.NOT_DUE}


def test_a_clock_set_back_by_days_does_not_run_due_times_again() -> None:
    life = Life(nightly(), utc("19T12:00"))
    life.ask_every(utc("20T00:00"), utc("23T12:00"))
    life.ask_every(utc("20T12:00"), utc("24T12:00"))

    assert life.ran == [utc("20T02:00"), utc("21T02:00"), utc("22T02:00"), utc("23T02:00"), utc("24T02:00")]


@pytest.mark.parametrize("misfire", Misfire)
def test_a_clock_that_jumps_ahead_and_back_does_not_stop_the_schedule(misfire: Misfire) -> None:
    life = Life(nightly(misfire=misfire), utc("22T12:00"))
    life.ask(utc("22T12:00").replace(year=2036))
    life.ran.clear()
    life.ask_every(utc("22T12:10"), utc("25T12:00"))

    assert life.ran == [utc("23T02:00"), utc("24T02:00"), utc("25T02:00")]


def test_a_clock_that_is_corrected_at_a_due_time_still_runs_it() -> None:
    """After the correction the timer may ask for the first time exactly at the due time."""
    life = Life(nightly(), utc("22T12:00"))
    life.ask(utc("22T12:00").replace(year=2036))

    assert life.ask(utc("23T02:00:01")).due == utc("23T02:00")


@settings(deadline=None, max_examples=examples(40))
@given(
    expression=st.sampled_from(["0 2 * * *", HOURLY, "*/20 * * * *", "0 2 * * 1,3"]),
    misfire=st.sampled_from(Misfire),
    jitter=st.sampled_from([0, 1, 600]),
    steps=st.lists(st.tuples(st.integers(1, 5 * 3600), st.booleans(), st.booleans()), min_size=1, max_size=30),
)
def test_every_due_time_ends_exactly_once(
    expression: str, misfire: Misfire, jitter: int, steps: list[tuple[int, bool, bool]]
) -> None:
    now = start = utc("23T00:00:07")
    table = nightly(expression, misfire, jitter=timedelta(seconds=jitter))
    life = Life(table, start)
    suspended = 0
    for seconds, waiting, suspend in steps:
        now += timedelta(seconds=seconds)
        before = life.handled
        life.timetable = nightly(expression, misfire, jitter=timedelta(seconds=jitter), suspend=suspend)
        if life.ask(now, waiting=waiting).outcome is DueOutcome.SUSPENDED:
            assert before is not None
            assert life.handled is not None
            suspended += sum(before.through < due <= life.handled.through for due in dues(table, start, now))

    settled = life.handled.through if life.handled else start
    submitted = [decision.due for decision in life.decisions if decision.due]
    counted = sum(decision.missed + decision.coalesced for decision in life.decisions)

    assert len(submitted) + counted + suspended == sum(due <= settled for due in dues(table, start, now))
    assert all(earlier < later for earlier, later in pairwise(submitted))


def dues(timetable: Timetable, start: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    for due in timetable.cron.after(start):
        if due > end:
            return found
        found.append(due)
    raise AssertionError
