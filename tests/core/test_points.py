"""Restore points: examples, and simulated days in which every transaction is known."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.restore.points import LEAST_SLACK, NoPoint, Points, RestorePoint, Why
from tests.builders import an_entry
from tests.core.letters import START, entries, names

HOUR = timedelta(hours=1)


def at_hour(number: float) -> datetime:
    return START + number * HOUR


def shown(found: RestorePoint | NoPoint | None) -> str:
    """Return the way and the cut of a restore point, or the neighbours."""
    if found is None:
        return "nothing"
    if isinstance(found, NoPoint):
        before, after = (one.key.rpartition("/")[2] if one else "-" for one in (found.before, found.after))
        return f"{found.why.name}: {before}, {after}"
    until = f" until {(found.until - START) / HOUR:g}" if found.until else ""
    before = f" before {found.before_tx}" if found.before_tx else ""
    lacking = f" lacking since {(found.lacking_since - START) / HOUR:g}" if found.lacking_since else ""
    assert found.last is found.way[-1]
    return names(entry.key for entry in found.way) + until + before + lacking


DAY = "F1[1-10] D1[11-20] D2[21-30] F2[1-40] D3[41-50] E1"


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        pytest.param(DAY, 0.5, "F1 D1 until 0.5", id="inside a differential"),
        pytest.param(DAY, 1.5, "F1 D1 D2 until 1.5", id="inside the next one"),
        pytest.param(DAY, 1, "F1 D1 D2 until 1", id="at the time of a differential: the next one is always right"),
        pytest.param(DAY, 2 - 1 / 120, "F1 D1 D2 until 1.99167 lacking since 2", id="less than a minute before the last"),
        pytest.param(DAY, 2.5, "INSIDE_FULL: D2, F2", id="inside a full"),
        pytest.param(DAY, 3.5, "F2 D3 until 3.5", id="after a full"),
        pytest.param(DAY, 4.5, "F2 D3", id="an empty differential states that nothing came after the one before it"),
        pytest.param(DAY, 4, "F2 D3 until 4", id="an empty differential reaches a moment that the one before does not"),
        pytest.param(DAY, 9, "F2 D3 lacking since 5", id="after the newest artifact"),
        pytest.param(DAY, -1, "TOO_EARLY: -, F1", id="before everything"),
        pytest.param(DAY, 0, "INSIDE_FULL: F1, D1", id="at the time of the first full"),
        pytest.param("F1[1-10]", 5, "F1 lacking since 0", id="a full alone"),
        pytest.param("F1[1-10] F2[1-20]", 0.5, "INSIDE_FULL: F1, F2", id="between two fulls"),
        pytest.param("", 0, "NO_ARTIFACT: -, -", id="no artifact"),
        pytest.param("D1[11-20]", 0, "NO_ARTIFACT: -, -", id="a differential without its full"),
        pytest.param(
            "F1[1-10] D1[11-20] F2[1-30] D2[21-40]", 1.5, "F1 D1 D2 until 1.5",
            id="2026.02: a differential that overlaps a full reaches back over it",
        ),
        pytest.param(
            "F1[1-10] D1[11-20] F2[1-30] D2[21-40]", 2.5, "F2 D2 until 2.5", id="2026.02: the shortest way is preferred"
        ),
    ],
)  # fmt: skip
def test_the_way_to_a_moment_ends_with_the_first_differential_that_reaches_it(
    text: str, moment: float, expected: str
) -> None:
    assert shown(Points(entries(text)).at(at_hour(moment))) == expected


def test_a_damaged_differential_is_not_used() -> None:
    day = tuple(entries(DAY))
    damaged = [entry.key for entry in day if entry.key.endswith("D2")]

    assert shown(Points(day, damaged).at(at_hour(1.5))) == "INSIDE_FULL: D1, F2"
    assert shown(Points(day, damaged).at(at_hour(0.5))) == "F1 D1 until 0.5"


def test_the_window_is_from_the_end_of_the_first_full_to_the_start_of_the_last_differential() -> None:
    day = list(entries(DAY))
    full, differential = Points(day).window() or (None, None)

    assert full == day[0].finished + LEAST_SLACK
    assert differential == max(entry.taken for entry in day if not entry.full) - LEAST_SLACK
    assert Points(entry for entry in day if entry.full).window() is None
    assert Points([]).window() is None


def test_a_larger_known_difference_of_the_clocks_needs_a_later_differential() -> None:
    near = timedelta(minutes=5)
    assert shown(Points(entries(DAY)).at(at_hour(1) - near)) == "F1 D1 until 0.916667"
    assert (
        shown(Points(entries(DAY), offset=lambda _entry: -2 * near).at(at_hour(1) - near)) == "F1 D1 D2 until 0.916667"
    )


def test_a_differential_that_was_started_before_the_moment_may_not_reach_it() -> None:
    points = Points(entries(DAY), started=lambda entry: entry.taken - 2 * HOUR)

    assert shown(points.at(at_hour(0.5))) == "F1 D1 D2 until 0.5 lacking since 0"
    assert shown(points.at(at_hour(3.9))) == "F2 D3 until 3.9 lacking since 3"


def test_a_full_that_was_recorded_after_the_moment_may_contain_later_transactions() -> None:
    day = [entry._replace(finished=entry.taken + HOUR / 4) for entry in entries(DAY)]

    assert shown(Points(day).at(at_hour(0.25))) == "INSIDE_FULL: F1, D1"
    assert shown(Points(day).at(at_hour(0.25) + LEAST_SLACK)) == "INSIDE_FULL: F1, D1"
    assert shown(Points(day).at(at_hour(0.27))) == "F1 D1 until 0.27"


def test_the_newest_point_and_that_of_an_artifact_are_not_cut() -> None:
    points = Points(entries(DAY))
    found = [points.newest(), points.of("default/orders/D2"), points.of("default/orders/E1"), points.of("no/such/one")]

    assert [shown(one) for one in found] == ["F2 D3", "F1 D1 D2", "F2 D3", "nothing"]


LAST_TX = {"F1": 100, "D1": 200, "D2": 300, "F2": 400, "D3": 500, "E1": 500}


@pytest.mark.parametrize(
    ("transaction", "expected"),
    [
        pytest.param(150, "F1 D1 before 150", id="inside a differential"),
        pytest.param(200, "F1 D1 before 200", id="the last transaction of a differential"),
        pytest.param(201, "F1 D1 before 201", id="the first of the next one"),
        pytest.param(202, "F1 D1 D2 before 202", id="the second of the next one"),
        pytest.param(350, "INSIDE_FULL: D2, F2", id="inside a full"),
        pytest.param(450, "F2 D3 before 450", id="after a full"),
        pytest.param(900, "F2 D3 before 900 lacking since 5", id="after the newest artifact"),
        pytest.param(50, "TOO_EARLY: -, F1", id="before everything"),
    ],
)
def test_the_way_to_the_state_before_a_transaction_ends_with_the_differential_that_contains_it(
    transaction: int, expected: str
) -> None:
    points = Points(entries(DAY), last_tx=lambda entry: LAST_TX[entry.key.rpartition("/")[2]])

    assert shown(points.before(transaction)) == expected


def test_without_recorded_transactions_there_is_no_point_for_one() -> None:
    found = Points(entries(DAY)).before(150)

    assert isinstance(found, NoPoint)
    assert (found.why, found.before) == (Why.TOO_EARLY, None)


# Simulated days


@dataclass(frozen=True)
class Day:
    """A day of a database: when each transaction was committed, and what the artifacts contain of them."""

    committed: tuple[datetime, ...]
    """Commit times by the clock of the servers, in order. The append index of a transaction is its position, from 1."""
    entries: tuple[Entry, ...]
    started: dict[str, datetime]

    def points(self) -> Points:
        return Points(self.entries, started=lambda entry: self.started[entry.key])

    def restored(self, point: RestorePoint) -> list[int]:
        """Return the append indexes that a restore brings back: each full whole, differentials up to the cut."""
        reached = point.way[0].highest
        found = set(range(1, reached + 1))
        for link in point.way[1:]:
            assert link.lowest <= reached + 1, "there is a gap"
            reached = link.highest
            kept = reached if point.until is None else bisect_left(self.committed, point.until)
            found |= set(range(link.lowest, min(reached, kept) + 1))
        return sorted(found)


STEP = st.tuples(
    st.sampled_from("FDDD"),
    st.integers(0, 400),  # seconds until neo4j-admin is started
    st.integers(0, 200),  # seconds from its start to the record
    st.integers(0, 100),  # when the content is read, in percent of that time
    st.integers(0, 100),  # which time the header has
    st.integers(-60, 60),  # by how much the agent's clock is wrong
    st.booleans(),  # whether a differential after a full continues the differential before it
)


@st.composite
def days(draw: st.DrawFn) -> Day:
    steps = draw(st.lists(STEP, min_size=1, max_size=9))
    committed = [START - HOUR]
    for gap in draw(st.lists(st.integers(1, 150), max_size=40)):
        committed.append(max(committed[-1], START) + timedelta(seconds=gap))
    made: list[Entry] = []
    started: dict[str, datetime] = {}
    clock = START
    newest: Entry | None = None  # the artifacts that the next differential may continue
    newest_link: Entry | None = None
    for number, (kind, pause, seconds, percent, stamp, wrong, over) in enumerate(steps):
        begun = clock + timedelta(seconds=pause)
        clock = begun + timedelta(seconds=seconds + 1)
        skew = timedelta(seconds=wrong)
        highest = bisect_right(committed, begun + timedelta(seconds=seconds * percent // 100))
        parent = None if kind == "F" else newest_link if over else newest
        lowest = parent.highest + 1 if parent else 1
        empty = lowest > highest
        one = an_entry(
            f"{'E' if empty else 'D' if parent else 'F'}{number}",
            taken=begun + timedelta(seconds=seconds * stamp // 100) + skew,
            finished=clock + skew,
            lowest=0 if empty else lowest,
            highest=0 if empty else highest,
            parent=parent and parent.key,
        )
        if not empty:
            newest = one
            newest_link = one if newest_link is None or not one.full else newest_link
        made.append(one)
        started[one.key] = begun + skew
    return Day(tuple(committed), tuple(made), started)


@st.composite
def days_and_moments(draw: st.DrawFn) -> tuple[Day, datetime]:
    """Return a day and a moment near the time of one of its artifacts, where a decision depends on seconds."""
    day = draw(days())
    one = draw(st.sampled_from(day.entries))
    near = draw(st.sampled_from([one.taken, one.finished, day.started[one.key]]))
    return day, near + timedelta(seconds=draw(st.integers(-130, 130)))


@given(case=days_and_moments())
def test_a_point_restores_the_transactions_before_the_moment_and_no_others(case: tuple[Day, datetime]) -> None:
    day, moment = case
    found = day.points().at(moment)
    if isinstance(found, NoPoint):
        return
    restored = day.restored(found)

    wanted = bisect_left(day.committed, moment)
    assert len(restored) <= wanted
    if found.lacking_since is None:
        assert len(restored) >= wanted
    else:
        assert len(restored) >= bisect_left(day.committed, found.lacking_since - LEAST_SLACK)


def ways(day: Day) -> Iterator[tuple[Entry, ...]]:
    """Yield every way that the append indexes allow, without the module under test."""

    def go_on(way: tuple[Entry, ...]) -> Iterator[tuple[Entry, ...]]:
        yield way
        for other in day.entries:
            last = way[-1]
            overlaps = last.full and other.lowest <= last.highest and last.taken <= other.taken
            if other.full or other.empty or other in way or other.highest <= last.highest:
                continue
            if other.lowest == last.highest + 1 or overlaps:
                yield from go_on((*way, other))

    for full in day.entries:
        if full.full:
            yield from go_on((full,))


@given(case=days_and_moments())
def test_a_moment_is_refused_only_if_no_differential_certainly_reaches_it(case: tuple[Day, datetime]) -> None:
    day, moment = case
    found = day.points().at(moment)
    certain = [
        way
        for way in ways(day)
        if way[0].finished + LEAST_SLACK < moment and len(way) > 1 and day.started[way[-1].key] > moment + LEAST_SLACK
    ]
    if not certain:
        return

    assert isinstance(found, RestorePoint)
    assert found.lacking_since is None
