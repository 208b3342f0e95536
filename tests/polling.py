"""Waiting for what another process or thread does: the one place in the tests that sleeps."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 60.0
"""Seconds that are enough for a loaded machine."""


def until(look: Callable[[], Found | None], what: str, patience: float = PATIENCE, *, pause: float = 0.02) -> Found:
    """Return what `look` finds, as soon as it finds something; fail after `patience` seconds."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"no {what} within {patience:g} s"
        time.sleep(pause)
    return found
