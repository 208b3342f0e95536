"""Child processes, one for each run. A child reads its task from stdin and writes events to stdout.

The supervisor keeps the child's stdin open. When stdin closes, the child ends itself and all processes it started.
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
from functools import lru_cache, partial

import structlog

from backup_agent.core.requests import events
from backup_agent.core.requests.events import Event, MalformedEvent, UnknownEvent
from backup_agent.processes import LOCK_DESCRIPTOR, TAG, send, session, tag
from backup_agent.supervisor.children.environment import of_child

LONGEST_LINE = 1 << 20

MOST_KINDS = 100
"""How many kinds of ignored lines are remembered, so that each kind is logged once."""

QUICK = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Variables for every child. Without it, pydantic searches all installed packages for plugins, which takes 20 ms."""


log = structlog.get_logger()


@dataclass(frozen=True)
class Told:
    """An event that a child wrote."""

    run: str
    event: Event | MalformedEvent


@dataclass(frozen=True)
class Ended:
    """The end of a child, after all of its events. `code` is the exit code, or minus the number of a signal."""

    run: str
    code: int


class Child:
    """One running child, in a session of its own."""

    def __init__(
        self,
        run: str,
        module: str,
        task: bytes,
        tell: Callable[[Told | Ended], None],
        *,
        root: str,
        keep: int,
        remote: bool = False,
    ) -> None:
        """Start `python -m <module>` and write its task, one line of JSON, to its stdin.

        `keep` is the descriptor of the root's lock, which the child inherits. `remote` says whether the task uses a
        destination; if not, the child gets no credentials for destinations. Raise OSError, with no process left behind,
        if the child or the thread that reads its events cannot be started.
        """
        self.run = run
        self.module = module
        self._tell = tell
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(keep,),
            env={
                **of_child(module, os.environ, remote=remote),
                **QUICK,
                TAG: tag(os.getpid(), root),
                LOCK_DESCRIPTOR: str(keep),
            },
        )
        self.pid = self._process.pid
        try:
            threading.Thread(target=self._follow, args=(task,), name=f"follow {run}", daemon=True).start()
        except RuntimeError as error:  # no more threads: a child whose events are not read must not go on
            self.kill()
            self._process.communicate()
            raise OSError(errno.EAGAIN, f"{os.strerror(errno.EAGAIN)} (no thread for it)") from error

    def _follow(self, task: bytes) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise TypeError("a child is started with pipes")
        try:
            stdin.write(task + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # the child ended at once: its events and its exit code say why
        for line in iter(partial(stdout.readline, LONGEST_LINE), b""):
            event = events.parse(line)
            if isinstance(event, UnknownEvent):
                _ignore(self.module, event.kind)
            else:
                self._tell(Told(self.run, event))
        code = self._process.wait()
        with suppress(BrokenPipeError):
            stdin.close()
        stdout.close()
        self._tell(Ended(self.run, code))

    def ask_to_end(self) -> None:
        """Send SIGTERM to the child only. The child ends the processes that it started and reports the outcome."""
        send(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill all processes of the session, also those that are forked while the session is being listed."""
        killed: set[int] = set()
        while found := set(session(self.pid)) - killed:
            for pid in found:
                send(pid, signal.SIGKILL)
            killed |= found


@lru_cache(MOST_KINDS)
def _ignore(module: str, kind: str) -> None:
    """Log once that lines of a kind are ignored: events of a newer child, or output of a library (no kind)."""
    log.warning("unknown event ignored", module=module, kind=kind or "no event")
