"""Giving memory back to the system: glibc keeps what Python has freed unless it is asked.

Measured on CPython 3.11, Debian 12: 2 to 3 MiB after start-up, and what a flood of requests has taken.
"""

import ctypes
import gc


def give_back() -> None:
    """Return freed memory to the system, where the C library can (musl cannot, and needs no telling)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
