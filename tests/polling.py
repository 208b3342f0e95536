"""Wait for another process or thread. This is the only place in the tests that sleeps."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 60.0
"""Seconds. Enough on a loaded machine."""


PAUSE_OF_CPU = 8
"""Seconds of a pause, at least, for each second of CPU that the call before it took."""


def until(look: Callable[[], Found | None], what: str, patience: float = PATIENCE, *, pause: float = 0.02) -> Found:
    """Call `look` until it returns a true value, and return that. Fail after `patience` seconds.

    If `look` takes much CPU, as the listing of a bucket does, the pauses between the calls are longer than `pause`.
    """
    end = time.monotonic() + patience
    begun = time.thread_time()
    while not (found := look()):
        assert time.monotonic() < end, f"no {what} within {patience:g} s"
        time.sleep(max(pause, PAUSE_OF_CPU * (time.thread_time() - begun)))
        begun = time.thread_time()
    return found
