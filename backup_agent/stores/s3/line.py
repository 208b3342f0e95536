"""The line to a bucket: several requests at a time, each repeated by itself, and fewer if the store asks for it.

A far bucket gives one connection a fraction of the line, so parts of a file are sent, and ranges of an object are read,
by several threads. Their requests are repeated here and not by boto3, which knows only one request: a store that
answers "slow down", or a connection on which nothing arrives, slows all of them down. Therefore:

- If one request fails for good, the others are ended at once, in the middle of what they send.
- If one connection makes no progress, only its request is sent again, on another connection.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

from backup_agent.core.reasons import BackupError, Reason, TransientError
from backup_agent.stores.part_body import SendingStoppedError
from backup_agent.stores.s3 import errors
from backup_agent.stores.s3.connections import Flight, flying

Result = TypeVar("Result")
Job = Callable[[Flight], Result]
"""A function that sends one request and uses its answer. It is called again if the request is repeated."""

STALL = 30.0
"""Seconds in which a connection must move one block (256 KiB). A stalled one is ended, and its request repeated."""
ANSWER = 300.0
"""Seconds in which a store must have answered a request that was sent completely."""

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 20.0
_LOOK = 0.5
"""Seconds between two looks for stalled connections."""
_FAREWELL = 1.0
"""Seconds to wait for threads whose connections were ended. One that resolves a name or connects cannot be ended."""

_LOST = ("NoSuchUpload", "PreconditionFailed", "412")
"""Error codes of transient errors that the same request gets again."""


class Line:
    """How many requests may be under way to one store. All transfers of the store share it.

    A refusal for throttling, or a stall, halves their number; answers let it grow again, by one for as many as are
    under way.
    """

    def __init__(self, width: int, attempts: int) -> None:
        """`width` is the largest number of requests at a time, `attempts` how often one request is sent at most."""
        self.width = width
        self._attempts = attempts
        self._allowed = float(width)
        self._under_way = 0
        self._slowed_at = float("-inf")
        self._not_before = 0.0
        self._slowed = 0
        """How often the store has slowed the requests down since its last answer."""
        self._changed = Condition()

    @property
    def allowed(self) -> int:
        """The number of requests that may be under way now."""
        return int(self._allowed)

    def persist(self, job: Job[Result], stop: Event, flights: set[Flight]) -> Result:
        """Carry out a job, again and again while its error may pass, and return its result.

        Raise SendingStoppedError if `stop` is set. While a flight is under way, it is in `flights`.
        """
        failures = 0
        while True:
            with self._place(stop), flying() as flight:
                flights.add(flight)
                try:
                    if stop.is_set():
                        raise stopped()
                    result = job(flight)
                except BackupError as error:
                    failure = _of_flight(error, flight)
                    if stop.is_set() or not _may_pass(failure):
                        raise failure from failure.__cause__
                else:
                    self._answered()
                    return result
                finally:
                    flights.discard(flight)
            slowed = flight.stalled or _is_throttled(failure)
            failures += not _is_throttled(failure)
            if slowed and not self._slow_down(flight.began):
                raise failure
            if failures >= self._attempts:
                raise failure
            if not slowed:
                stop.wait(_pause(failures))

    def carry(self, jobs: Iterable[Job[Result]], ahead: int | None = None) -> Iterator[Result]:
        """Carry out jobs, several at a time, and yield their results in order.

        A job is taken from `jobs` only when its turn comes, so that the ranges of a large object need no more memory.
        With `ahead`, a job is not begun until the one so many before it has been taken: its result is no longer needed
        when the next one is asked for. Raise the first error at once, and end all other jobs.
        """
        transfer = Transfer(self, jobs, ahead)
        try:
            yield from transfer.results()
        finally:
            transfer.end()

    @contextmanager
    def _place(self, stop: Event) -> Iterator[None]:
        """Wait until one more request may be under way."""
        with self._changed:
            while not stop.is_set():
                pause = self._not_before - time.monotonic()
                if pause <= 0 and self._under_way < self.allowed:
                    break
                self._changed.wait(min(pause, _LOOK) if pause > 0 else _LOOK)
            if stop.is_set():
                raise stopped()
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify()

    def _answered(self) -> None:
        with self._changed:
            self._slowed = 0
            if self._allowed < self.width:
                self._allowed = min(self.width, self._allowed + 1 / self._allowed)
                self._changed.notify()

    def _slow_down(self, began: float) -> bool:
        """Halve the number of requests and pause. Return False if the store has been asked too often in vain.

        The failure of a request that began before the last slow-down does not count.
        """
        with self._changed:
            if began < self._slowed_at:
                return True
            self._slowed += 1
            self._allowed = max(1.0, self._allowed // 2)
            self._slowed_at = time.monotonic()
            self._not_before = self._slowed_at + _pause(self._slowed)
            return self._slowed < self._attempts


class Transfer(Generic[Result]):
    """The jobs of one file: its threads, the results that were not taken yet, and the first error."""

    def __init__(self, line: Line, jobs: Iterable[Job[Result]], ahead: int | None) -> None:
        self._line = line
        first = tuple(islice(jobs := iter(jobs), line.width))
        self._width = len(first)
        self._jobs = chain(first, jobs)
        self._begun = 0
        self._all_begun = not first
        self._ahead = math.inf if ahead is None else ahead
        self._taken = 0
        self._results: dict[int, Result] = {}
        self._error: BaseException | None = None
        self._flights: set[Flight] = set()
        self._stop = Event()
        self._changed = Condition()
        self._threads: list[Thread] = []

    def results(self) -> Iterator[Result]:
        """Start the threads and yield the results in order. Meanwhile, end connections that have stalled."""
        for number in range(self._width):
            thread = Thread(target=self._work, name=f"line-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        while True:
            with self._changed:
                while self._error is None and self._taken not in self._results and not self._ended:
                    self._changed.wait(_LOOK)
                    now = time.monotonic()
                    for flight in tuple(self._flights):
                        flight.end_if_stalled(now)
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return
                result = self._results.pop(self._taken)
            yield result
            with self._changed:
                self._taken += 1
                self._changed.notify_all()

    @property
    def _ended(self) -> bool:
        return self._all_begun and self._taken == self._begun

    def end(self) -> None:
        """End everything that is under way. Threads that do not end in time are left to end by themselves."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for flight in tuple(self._flights):
            flight.end()
        until = time.monotonic() + _FAREWELL
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        try:
            while (begun := self._next()) is not None:
                number, job = begun
                result = self._line.persist(job, self._stop, self._flights)
                with self._changed:
                    self._results[number] = result
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  raised again by `results`
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _next(self) -> tuple[int, Job[Result]] | None:
        """Wait for the turn of the next job. Return None at the end."""
        with self._changed:
            while not self._all_begun and not self._stop.is_set() and self._error is None:
                if self._begun < self._taken + self._ahead:
                    if (job := next(self._jobs, None)) is not None:
                        self._begun += 1
                        return self._begun - 1, job
                    self._all_begun = True
                    self._changed.notify_all()
                else:
                    self._changed.wait()
        return None


def stopped() -> SendingStoppedError:
    """Return the error of a job that is ended because another one has failed."""
    return SendingStoppedError(TransientError(Reason.STORAGE_UNREACHABLE, "another part could not be sent"))


def _pause(failures: int) -> float:
    """Return the seconds to wait after some failures: between half and all of a time that doubles with each failure."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (failures - 1)) * random.uniform(0.5, 1)


def _of_flight(error: BackupError, flight: Flight) -> BackupError:
    """Return the error of a job. The connection of a stalled one was ended, which looks like any broken connection."""
    if not flight.stalled:
        return error
    text = f"{error}: the connection was ended, since too little moved on it"
    failure = TransientError(Reason.STORAGE_UNREACHABLE, text, "check the network, and proxies before the store")
    failure.__cause__ = error
    return failure


def _is_throttled(error: BackupError) -> bool:
    return error.failure.reason is Reason.STORAGE_THROTTLED


def _may_pass(error: BackupError) -> bool:
    """Return whether the same request may succeed: the store or the network failed, and not for good."""
    if not isinstance(error, TransientError):
        return False
    cause: BaseException | None = error
    while isinstance(cause, BackupError):
        cause = cause.__cause__
    return isinstance(cause, errors.RAISED) and errors.code_of(cause) not in _LOST
