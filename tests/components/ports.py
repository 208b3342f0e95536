"""Free ports that parallel test workers do not take from each other.

A port asked from the kernel may be gone before the server binds it, and SeaweedFS wants the port 10000 higher as well. So a
number is taken below the ephemeral range, with a lock on a file of its name that lives as long as the reservation.
"""

import fcntl
import random
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

GRPC_OFFSET = 10_000
"""SeaweedFS listens on each port, and on the port that is higher by this number."""


@dataclass(frozen=True)
class Port:
    """A reserved port of 127.0.0.1."""

    number: int
    _lock: IO[str]

    @classmethod
    def reserve(cls) -> Self:
        """Reserve a port whose companion, `GRPC_OFFSET` higher, is free too."""
        folder = Path(tempfile.gettempdir()) / "neo4j-backup-agent-ports"
        folder.mkdir(mode=0o1777, exist_ok=True)
        for number in random.sample(range(11_000, 20_000), k=1_000):
            lock = (folder / str(number)).open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            if _is_free(number) and _is_free(number + GRPC_OFFSET):
                return cls(number, lock)
            lock.close()
        raise RuntimeError("no free port between 11000 and 20000")

    def release(self) -> None:
        """Release the port."""
        self._lock.close()


def _is_free(number: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
