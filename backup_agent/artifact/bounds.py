"""Limits for reading one artifact: unpacked bytes, entries of the tar, CPU time.

A few kilobytes of zstd can unpack to gigabytes with millions of tar entries. Exceeding a bound counts as a
problem, not as damage, since a genuine artifact could do so: Neo4j's writer packs the preallocated 256 MiB transaction
log of an empty database into 10 KiB.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from backup_agent.artifact.cursor import Cursor, DamagedError


class TooLongError(DamagedError):
    """Reading took more CPU time than any genuine artifact of this size needs."""


@dataclass(frozen=True)
class Bounds:
    """The bounds. The allowed time is far above the measured need of 5 ms of CPU time for each packed MiB."""

    ratio: int = 1000
    """Largest ratio of unpacked to packed bytes, for an artifact that unpacks to more than `unpacked`."""
    unpacked: int = 2 << 30
    """Bytes that may be unpacked at any ratio."""
    entries: int = 250_000
    """Largest number of tar entries. A store has some hundred files, and each Lucene index some dozens more."""
    seconds: float = 60.0
    """CPU time of the reading thread. A second is added for each `bytes_a_second` packed bytes."""
    bytes_a_second: int = 8 << 20

    def exceeded(self, packed: int, unpacked: int, entries: int) -> Iterator[str]:
        """Yield a text for each bound of size that an artifact exceeds. Call this when all of it has been read."""
        if unpacked > max(self.unpacked, self.ratio * packed):
            yield f"it unpacks to {unpacked} bytes, more than {self.ratio} times its own {packed}"
        if entries > self.entries:
            yield f"its tar has {entries} entries, more than {self.entries}"


class Stopwatch:
    """Measures the CPU time of the calling thread from now on. Time spent waiting for the CPU does not count."""

    def __init__(self, bounds: Bounds, packed: Cursor) -> None:
        self._bounds = bounds
        self._packed = packed
        self._began = time.thread_time()

    def check(self) -> None:
        """Raise TooLongError if more time was used than the bounds allow for the bytes read so far."""
        used = time.thread_time() - self._began
        if used > self._bounds.seconds + self._packed.offset / self._bounds.bytes_a_second:
            text = f"not read further after {used:.0f} s of CPU time: it is not known whether the artifact is complete"
            raise TooLongError(self._packed.where, text)
