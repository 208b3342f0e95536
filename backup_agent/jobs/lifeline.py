"""Standard input of a child process: its lines are tasks. When it ends, the supervisor needs no further work."""

import os
import signal
import threading
from queue import SimpleQueue

from backup_agent.processes import kill_session, send

STDIN = 0
"""Descriptor of standard input. A thread that waits in `sys.stdin` would hold the lock of its buffer and block exit."""

_BLOCK = 65536


class Lifeline:
    """Reads the tasks of this process from standard input, in a thread.

    If standard input ends while a task is carried out, nothing reads the result, so the whole session is killed. If it
    ends between two tasks, the process has no more work and may exit by itself.
    """

    def __init__(self) -> None:
        """Begin to read."""
        self._tasks: SimpleQueue[bytes | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._busy = False
        threading.Thread(target=self._read, name="lifeline", daemon=True).start()

    def next_task(self) -> bytes | None:
        """Wait for the next task and return it. Return None at the end of standard input."""
        return self._tasks.get()

    def task_done(self) -> None:
        """Note that the task is done. Called before the supervisor is told, which may then close standard input."""
        with self._lock:
            self._busy = False

    def _read(self) -> None:
        begun = bytearray()
        while data := os.read(STDIN, _BLOCK):
            *lines, rest = data.split(b"\n")
            for line in lines:
                with self._lock:
                    self._busy = True
                self._tasks.put(bytes(begun + line))
                begun.clear()
            begun += rest
        with self._lock:
            busy = self._busy
        kill_session(os.getsid(0), but=os.getpid())
        if busy:
            send(os.getpid(), signal.SIGKILL)
        self._tasks.put(None)
