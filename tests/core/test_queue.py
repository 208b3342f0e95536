"""Which waiting backups may start."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.names import DatabaseName, RequestId, SetName
from backup_agent.core.requests.queue import Job, may_start


def job(name: str, attempts: int = 0, set_name: str = "default") -> Job:
    request, database = name.split("/")
    return Job(RequestId(request), SetName(set_name), DatabaseName(database), attempts)


@pytest.mark.parametrize(
    ("waiting", "running", "parallel", "expected"),
    [
        pytest.param("A/x B/y", "", 1, "A/x", id="in order"),
        pytest.param("A/x B/y", "C/z", 1, "", id="no slot"),
        pytest.param("A/x B/y", "C/z", 2, "A/x", id="one slot"),
        pytest.param("B/x B/y", "A/x", 2, "B/y", id="one per database"),
        pytest.param("A/x B/x", "", 2, "A/x", id="one per database, both waiting"),
        pytest.param("A/x+ B/y", "", 2, "B/y", id="a second attempt comes last"),
        pytest.param("A/x+", "B/y", 2, "", id="a second attempt waits for running jobs"),
        pytest.param("A/x+ B/y+", "", 2, "A/x+", id="a second attempt runs alone"),
        pytest.param("B/y", "A/x+", 2, "", id="nothing starts beside a second attempt"),
        pytest.param("", "", 3, "", id="nothing waits"),
    ],
)
def test_jobs_that_may_start(waiting: str, running: str, parallel: int, expected: str) -> None:
    def jobs(text: str) -> list[Job]:
        return [job(name.rstrip("+"), attempts=name.count("+")) for name in text.split()]

    assert tuple(jobs(expected)) == may_start(jobs(waiting), jobs(running), parallel)


def test_a_database_in_two_sets_may_be_backed_up_twice_at_once() -> None:
    assert len(may_start([job("A/x", set_name="a"), job("B/x", set_name="b")], [], 2)) == 2


jobs = st.builds(
    Job,
    request=st.sampled_from("ABCDEF"),
    set=st.sampled_from(["s", "t"]),
    database=st.sampled_from("xyz"),
    attempts=st.integers(0, 2),
)


@given(st.lists(jobs, unique=True), st.lists(jobs, unique_by=lambda one: (one.set, one.database)), st.integers(1, 4))
def test_the_rules_hold_for_any_queue(waiting: list[Job], running: list[Job], parallel: int) -> None:
    started = may_start(waiting, running, parallel)
    after = [*running, *started]

    assert len(started) <= max(0, parallel - len(running))
    assert len({(one.set, one.database) for one in started} - {(one.set, one.database) for one in running}) == len(
        started
    )
    assert not (any(one.again for one in started) and len(after) > 1)


@given(st.lists(jobs, unique=True, min_size=1), st.integers(1, 4))
def test_a_job_starts_if_no_other_runs(waiting: list[Job], parallel: int) -> None:
    assert may_start(waiting, [], parallel)


def test_no_waiting_job_is_examined_while_all_slots_are_taken() -> None:
    """1,500 jobs may wait, and the loop asks at each event of a running backup."""

    def waiting() -> Iterator[Job]:
        raise AssertionError("a waiting job was looked at")
        yield

    assert may_start(waiting(), [job("A/x")], 1) == ()
    assert may_start(waiting(), [job("A/x", attempts=1)], 2) == ()
