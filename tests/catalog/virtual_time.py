"""Virtual time for threads that wait for each other. Time passes at once, and only while all of them wait."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class VirtualTime:
    """A clock for several threads.

    While one of them works, the clock does not move. When all of them wait, it moves to the moment for which the first
    one waits.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self._changed = threading.Condition()
        self._threads = 1  # the test's own
        self._waiting: list[_Waiting] = []

    def replace_in(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a module use this clock, also for its threads and events."""
        clock = self

        class Thread(threading.Thread):
            def start(self) -> None:
                clock._join()
                super().start()

            def run(self) -> None:
                try:
                    super().run()
                finally:
                    clock._leave()

        replaced = SimpleNamespace(Lock=threading.Lock, Event=lambda: VirtualEvent(clock), Thread=Thread)
        monkeypatch.setattr(module, "threading", replaced)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def advance(self, seconds: float) -> None:
        """Let time pass. Other threads run when their waits end."""
        self.wait(seconds, None)

    def wait(self, seconds: float, event: "VirtualEvent | None") -> None:
        """Wait until the time has passed or the event is set."""
        with self._changed:
            if event is not None and event.is_set:
                return
            waiting = _Waiting(self.now + seconds, event)
            self._waiting.append(waiting)
            self._move()
            self._changed.wait_for(lambda: waiting not in self._waiting)

    def wake(self, event: "VirtualEvent") -> None:
        """Wake the threads that wait for an event."""
        with self._changed:
            self._waiting = [one for one in self._waiting if one.event is not event]
            self._changed.notify_all()

    def run(self, *calls: Callable[[], Any]) -> None:
        """Run each call in a thread, and wait for all of them."""
        with ThreadPoolExecutor(len(calls)) as pool:
            for _ in calls:
                self._join()
            running = [pool.submit(self._run, call) for call in calls]
            self._leave()
            wait(running)
            self._join()
        for done in running:
            done.result()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            call()
        finally:
            self._leave()

    def _join(self) -> None:
        with self._changed:
            self._threads += 1

    def _leave(self) -> None:
        with self._changed:
            self._threads -= 1
            self._move()

    def _move(self) -> None:
        if self._waiting and len(self._waiting) == self._threads:
            self.now = min(one.until for one in self._waiting)
            self._waiting = [one for one in self._waiting if one.until > self.now]
            self._changed.notify_all()


class VirtualEvent:
    """An event that is waited for in virtual time."""

    def __init__(self, clock: VirtualTime) -> None:
        self._clock = clock
        self.is_set = False

    def set(self) -> None:
        """Set the event, as `threading.Event` does."""
        self.is_set = True
        self._clock.wake(self)

    def wait(self, seconds: float) -> bool:
        """Wait for the event, as `threading.Event` does."""
        self._clock.wait(seconds, self)
        return self.is_set


class _Waiting:
    """A thread that waits."""

    def __init__(self, until: float, event: VirtualEvent | None) -> None:
        self.until = until
        self.event = event
