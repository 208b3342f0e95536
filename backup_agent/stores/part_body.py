"""One part of a file as the body of a request: read block by block while it is sent, at a limited rate.

botocore requires `read`, `seek` and `tell`. When it repeats a request, it reads the body again from the start. It also
repeats a request after an exception raised by the body, as after a broken connection; only `CancelledError` ends it.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event, Lock

from backup_agent.core.artifacts.parts import Part
from backup_agent.core.reasons import BackupError, Reason, TransientError
from backup_agent.stores.source import source_changed
from backup_agent.stores.store import Progress

BLOCK = 256 * 1024
"""Bytes sent at once. With the 16 KiB that urllib3 requests, a GiB would cost 1.17 CPU seconds instead of 0.70."""


class SendingStoppedError(CancelledError):
    """Raised by a body to end its request. `because` is the error that the caller gets instead."""

    def __init__(self, because: BackupError) -> None:
        super().__init__(str(because))
        self.because = because


class Throttle:
    """Limits all threads together to `rate` bytes per second, without a burst after a pause."""

    def __init__(
        self, rate: int, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._lock = Lock()
        # At most the bytes of a quarter second: a server closes a connection on which no data arrives for long.
        self.block = max(1, min(BLOCK, rate // 4))

    def wait(self, count: int) -> None:
        """Wait until `count` more bytes may be sent."""
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + count / self._rate
        if start > now:
            self._sleep(start - now)


class PartBody:
    """A file-like window on a part of an open file."""

    def __init__(
        self,
        source: Path,
        descriptor: int,
        part: Part,
        *,
        progress: Progress,
        throttle: Throttle | None = None,
        stop: Event | None = None,
        on_read: Callable[[int], None] = lambda _left: None,
        sha256: str = "",
    ) -> None:
        """`sha256` is the digest of the part, if known: otherwise the body is read once more to compute it.

        `on_read` is called for each block that is about to be sent, with the number of bytes that are left after it.
        """
        self.sha256 = sha256
        self.at_once = False
        """Whether it is sent without asking the store first if it may be (`Expect: 100-continue`)."""
        self._on_read = on_read
        self._source = source
        self._descriptor = descriptor
        self._part = part
        self._progress = progress
        self._throttle = throttle
        self._stop = stop
        self._position = 0
        self._reported = 0
        self._buffer = memoryview(bytearray(min(throttle.block if throttle else BLOCK, part.size)))

    def __len__(self) -> int:
        return self._part.size

    def tell(self) -> int:
        """Return the position within the part."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position within the part."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._part.size}[whence]
        self._position = start + offset
        return self._position

    def read(self, _size: int = -1) -> memoryview:
        """Return the next block, which is valid until the next call. It is empty at the end of the part.

        The requested size is ignored: urllib3 requests 16 KiB, and sends as much as it gets.
        """
        wanted = min(len(self._buffer), self._part.size - self._position)
        if wanted == 0:
            return self._buffer[:0]
        if self._stop and self._stop.is_set():
            raise SendingStoppedError(TransientError(Reason.STORAGE_UNREACHABLE, "another part could not be sent"))
        try:
            count = os.preadv(self._descriptor, [self._buffer[:wanted]], self._part.offset + self._position)
        except OSError as error:
            raise SendingStoppedError(
                TransientError(
                    Reason.INTERNAL, f"cannot read {self._source}: {error.strerror}", "check the health of the volume"
                )
            ) from error
        if count == 0:
            end = self._part.offset + self._position
            raise SendingStoppedError(source_changed(self._source, f"it ends at byte {end}"))
        if self._throttle:
            self._throttle.wait(count)
        self._position += count
        if self._position > self._reported:  # bytes that are sent again are counted once
            try:
                self._progress(self._position - self._reported)
            except BackupError as error:
                raise SendingStoppedError(error) from error
            self._reported = self._position
        self._on_read(self._part.size - self._position)
        return self._buffer[:count]
