"""Wait for another process or thread. This is the only place in the tests that sleeps."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 60.0
"""Seconds. Enough on a loaded machine."""


def until(look: Callable[[], Found | None], what: str, patience: float = PATIENCE, *, pause: float = 0.02) -> Found:
    """Call `look` until it returns a true value, and return that. Fail after `patience` seconds."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"no {what} within {patience:g} s"
        time.sleep(pause)
    return found
