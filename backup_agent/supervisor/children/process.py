"""Child processes. A child reads a task from stdin, writes events to stdout, and ends or waits for its next task.

The supervisor keeps the child's stdin open. When stdin closes during a task, the child ends itself and all processes it
started; when stdin closes between two tasks, the child ends.
"""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import IO

from backup_agent.core.requests import events
from backup_agent.core.requests.events import Event, MalformedEvent, TaskEnded, UnknownEvent
from backup_agent.processes import LOCK_DESCRIPTOR, TAG, kill_session, send, tag
from backup_agent.supervisor.children.environment import of_child

LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Told:
    """An event that a child wrote."""

    run: str
    event: Event | MalformedEvent


@dataclass(frozen=True)
class Ended:
    """The end of a run, after all of its events.

    `code` is the exit code of the child, or minus the number of a signal. It is 0 if the child waits for its next task.
    """

    run: str
    code: int


class Child:
    """One child process, in a session of its own. It carries out one run at a time."""

    def __init__(
        self,
        run: str,
        module: str,
        task: bytes,
        tell: Callable[[Told | Ended], None],
        *,
        root: str,
        keep: int | None,
        remote: bool = False,
        ignored: Callable[[str, str], None] | None = None,
    ) -> None:
        """Start `python -m <module>` and write its first task, one line of JSON, to its stdin.

        `keep` is the descriptor of the root's lock, which the child inherits; a command has none. `remote` says whether
        the task uses a destination; if not, the child gets no credentials for destinations. `ignored(module, kind)`
        is called for each line that is not an event of this version. Raise OSError, with no process left behind, if the
        child or a thread for its pipes cannot be started.
        """
        self.module = module
        self._run: str | None = run
        self._ended = False
        self._lock = threading.Lock()
        self._tell = tell
        self._ignored = ignored
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if keep is None else (keep,),
            env={
                **of_child(module, os.environ, remote=remote),
                TAG: tag(os.getpid(), root),
                **({} if keep is None else {LOCK_DESCRIPTOR: str(keep)}),
            },
        )
        self.pid = self._process.pid
        try:
            self._start_thread(self._follow, f"follow {self.pid}")
        except OSError:
            self._process.communicate()
            raise
        self._write(task)

    @property
    def waits(self) -> bool:
        """Whether the child waits for its next task, as far as is known: it may have just been killed."""
        return self._run is None and not self._ended

    @property
    def ended(self) -> bool:
        """Whether the process has ended and was reaped."""
        return self._ended

    def give(self, run: str, task: bytes) -> bool:
        """Let a child that waits carry out another run. Return False, with nothing done, if its process has ended.

        If the child dies before it reads the task, the run ends like one whose child died. Raise OSError, with the
        child killed, if no thread can be started.
        """
        with self._lock:
            if self._ended:
                return False
            self._run = run
        self._write(task)
        return True

    def _write(self, task: bytes) -> None:
        """Write a task in a thread, since the pipe may take only a part of it at once."""

        def write() -> None:
            # Without a reader the child has ended. Its exit code says why, and `_follow` closes its stdin.
            with suppress(BrokenPipeError, ValueError):
                self._stdin.write(task + b"\n")
                self._stdin.flush()

        self._start_thread(write, f"task of {self.pid}")

    def _start_thread(self, target: Callable[[], None], name: str) -> None:
        try:
            threading.Thread(target=target, name=name, daemon=True).start()
        except RuntimeError as error:  # no more threads: a child whose pipes are not served must not go on
            self.kill()
            raise OSError(errno.EAGAIN, f"{os.strerror(errno.EAGAIN)} (no thread for it)") from error

    @property
    def _stdin(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise TypeError("a child is started with pipes")
        return self._process.stdin

    def _follow(self) -> None:
        """Read events until the process ends. Output between two runs belongs to no run and is ignored."""
        stdout = self._process.stdout
        if stdout is None:
            raise TypeError("a child is started with pipes")
        for line in iter(partial(stdout.readline, LONGEST_LINE), b""):
            event = events.parse(line)
            if isinstance(event, UnknownEvent):
                if self._ignored is not None:
                    self._ignored(self.module, event.kind)
            elif isinstance(event, TaskEnded):
                self._end_run(0)
            elif self._run is not None:
                self._tell(Told(self._run, event))
        code = self._process.wait()
        self.let_go()
        stdout.close()
        self._end_run(code, ended=True)

    def _end_run(self, code: int, *, ended: bool = False) -> None:
        with self._lock:  # a run that `give` begins either gets its end here, or does not begin
            run, self._run, self._ended = self._run, None, ended
        if run is not None:
            self._tell(Ended(run, code))

    def let_go(self) -> None:
        """Close stdin: a child that waits for work exits by itself."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def ask_to_end(self) -> None:
        """Send SIGTERM to the child only. The child ends the processes that it started and reports the outcome."""
        send(self.pid, signal.SIGTERM)

    def ask_to_yield(self) -> None:
        """Send SIGUSR1 to the child only: a copy pass ends after the artifact under way (jobs.copy)."""
        send(self.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """Kill all processes of the session."""
        kill_session(self.pid)

    def kill_leftovers(self) -> None:
        """Kill the processes that the last run has left in the session, but not the child itself, which waits."""
        kill_session(self.pid, but=self.pid)
