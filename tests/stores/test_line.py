"""Several requests at a time: each is repeated by itself, and all of them slow down and end together."""

import random
import threading
from collections.abc import Callable, Iterator
from threading import Event, Lock
from typing import Any

import pytest
from botocore import exceptions

from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.stores.s3.connections import Flight
from backup_agent.stores.s3.errors import failure_of
from backup_agent.stores.s3.line import Job, Line


def answer(code: str, status: int) -> BackupError:
    """Return the error for an error answer of a store."""
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = exceptions.ClientError(answer, "UploadPart")
    failure = failure_of("offsite", error)
    failure.__cause__ = error
    return failure


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.line._FIRST_PAUSE", 0.001)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("line-")]


def numbered(act: Callable[[int, Flight], int], count: int) -> list[Callable[[Flight], int]]:
    return [lambda flight, number=number: act(number, flight) for number in range(count)]  # type: ignore[misc]  # mypy loses the default


def test_results_come_in_the_order_of_the_jobs_and_not_of_their_ends() -> None:
    last = Event()

    def act(number: int, _flight: Flight) -> int:
        if number == 3:
            last.set()
        assert last.wait(30)
        return number * number

    assert list(Line(4, 5).carry(numbered(act, 8))) == [number * number for number in range(8)]
    assert threads() == []


@pytest.mark.parametrize("width", [1, 3, 8])
def test_no_more_jobs_are_under_way_than_the_width_allows(width: int) -> None:
    lock, under_way, most = Lock(), 0, 0

    def act(number: int, _flight: Flight) -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        threading.Event().wait(random.random() / 500)
        with lock:
            under_way -= 1
        return number

    list(Line(width, 5).carry(numbered(act, 40)))

    assert most <= width


def test_no_job_begins_before_the_result_so_many_before_it_was_used() -> None:
    taken, early = 0, []

    def act(number: int, _flight: Flight) -> int:
        if number >= taken + 3:
            early.append(number)
        return number

    for number in Line(8, 5).carry(numbered(act, 30), ahead=3):
        assert number == taken
        taken += 1

    assert (taken, early) == (30, [])


def test_a_job_is_made_only_when_its_turn_comes() -> None:
    made, used = 0, 0

    def jobs() -> Iterator[Job[int]]:
        nonlocal made
        for number in range(1000):
            made = number + 1
            yield lambda _flight, number=number: number  # type: ignore[misc]  # mypy loses the default

    for result in Line(4, 5).carry(jobs(), ahead=3):
        assert result == used
        assert made <= max(4, used + 3)
        used += 1

    assert used == made == 1000
    assert threads() == []


def test_jobs_that_cannot_be_made_end_the_transfer() -> None:
    def jobs() -> Iterator[Job[int]]:
        for number in range(9):
            yield lambda _flight, number=number: number  # type: ignore[misc]  # mypy loses the default
        raise ValueError("no further job")

    with pytest.raises(ValueError, match="no further job"):
        list(Line(4, 5).carry(jobs()))
    assert threads() == []


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_there_are_as_many_results_as_jobs(count: int) -> None:
    assert list(Line(4, 5).carry(numbered(lambda number, _flight: number, count), ahead=2)) == list(range(count))
    assert threads() == []


@pytest.mark.parametrize(
    "error", [answer("InternalError", 500), answer("RequestTimeout", 400), answer("", 502)], ids=["500", "400", "502"]
)
def test_only_the_job_that_failed_is_carried_out_again(error: BackupError) -> None:
    calls: list[int] = []

    def act(number: int, _flight: Flight) -> int:
        calls.append(number)
        if calls.count(5) in (1, 2) and number == 5:
            raise error
        return number

    assert list(Line(4, 5).carry(numbered(act, 8))) == list(range(8))
    assert sorted(calls) == [0, 1, 2, 3, 4, 5, 5, 5, 6, 7]


def test_a_job_that_fails_each_time_is_given_up() -> None:
    calls: list[int] = []

    def act(number: int, _flight: Flight) -> int:
        calls.append(number)
        raise answer("InternalError", 500)

    with pytest.raises(TransientError) as raised:
        list(Line(1, 5).carry(numbered(act, 1)))

    assert raised.value.failure.reason is Reason.STORAGE_UNREACHABLE
    assert calls == [0] * 5


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(answer("AccessDenied", 403), PermanentError, id="refused"),
        pytest.param(answer("NoSuchUpload", 404), TransientError, id="the upload does not exist"),
        pytest.param(TransientError(Reason.FOREIGN_ROOT, "the lease is lost"), TransientError, id="the lease is lost"),
    ],
)
def test_a_permanent_error_ends_all_jobs_at_once(error: BackupError, kind: type[BackupError]) -> None:
    waiting, ended, calls = Event(), Event(), Lock()
    begun: list[int] = []

    def act(number: int, flight: Flight) -> int:
        with calls:
            begun.append(number)
            if len(begun) == 4:
                waiting.set()
        assert waiting.wait(30)
        if number == 2:
            raise error
        while not flight._ended:  # as a socket does when it is shut down
            ended.wait(0.01)
        raise answer("InternalError", 500)

    with pytest.raises(kind) as raised:
        list(Line(4, 5).carry(numbered(act, 100)))

    assert raised.value.failure == error.failure
    assert sorted(begun) == [0, 1, 2, 3]
    assert threads() == []


def test_a_consumer_that_stops_ends_all_jobs() -> None:
    def act(number: int, flight: Flight) -> int:
        while number and not flight._ended:
            Event().wait(0.01)
        return number

    results = Line(4, 5).carry(numbered(act, 100))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]  # a generator

    assert threads() == []


def test_a_store_that_throttles_gets_half_as_many_requests_and_then_more_again() -> None:
    line, lock = Line(8, 5), Lock()
    together, allowed, refused, under_way, too_many = threading.Barrier(8), [], 0, 0, 0

    def act(number: int, _flight: Flight) -> int:
        nonlocal refused, under_way, too_many
        with lock:
            refuse = refused < 8
            refused += refuse
            under_way += 1
            allowed.append(line.allowed)
            too_many += under_way > allowed[-1]
        if refuse:
            together.wait(30)
        else:
            Event().wait(0.001)
        with lock:
            under_way -= 1
        if refuse:
            raise answer("SlowDown", 503)
        return number

    assert list(line.carry(numbered(act, 60))) == list(range(60))
    assert allowed[:9] == [8] * 8 + [4]  # the refusals of requests that were sent together count once
    assert (line.allowed, too_many) == (8, 0)


def test_a_store_that_throttles_without_end_is_given_up() -> None:
    def act(_number: int, _flight: Flight) -> int:
        raise answer("SlowDown", 503)

    line = Line(8, 5)
    with pytest.raises(TransientError) as raised:
        list(line.carry(numbered(act, 60)))

    assert raised.value.failure.reason is Reason.STORAGE_THROTTLED
    assert line.allowed == 1


def test_a_job_that_makes_no_progress_is_ended_and_carried_out_again() -> None:
    line, calls = Line(8, 5), []

    def act(number: int, flight: Flight) -> int:
        calls.append(number)
        if number == 3 and calls.count(3) == 1:
            flight.within(0)
            while not flight._ended:
                Event().wait(0.01)
            raise answer("", 0)
        return number

    assert list(line.carry(numbered(act, 8))) == list(range(8))
    assert calls.count(3) == 2
    assert line.allowed < 8


@pytest.mark.patience
def test_a_job_that_stalls_each_time_is_given_up_with_the_cause() -> None:
    def act(_number: int, flight: Flight) -> int:
        flight.within(0)
        while not flight._ended:
            Event().wait(0.01)
        raise answer("", 0)

    with pytest.raises(TransientError, match="too little moved on it") as raised:
        list(Line(2, 2).carry(numbered(act, 1)))

    assert raised.value.failure.reason is Reason.STORAGE_UNREACHABLE
