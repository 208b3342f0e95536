"""A server as a child process: started, waited for until it works, and reliably ended."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.polling import until

_GUARDED = 'exec 3<&0; (read -r _ <&3; kill -KILL -$$) & exec "$@" </dev/null 3<&-'
"""A shell that becomes the server. Standard input is a pipe from the tests: when they are gone, however they ended, a guard
in the server's group reads its end, and kills the group."""


class Server:
    """One server process in a group of its own, its output in a file. It does not outlive the tests.

    A subclass says how it is started and what proves it ready: never that its port is open, which comes too early for all
    of them.
    """

    name = "server"

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def _launch(
        self, argv: Sequence[str], ready: Callable[[], bool], *, environment: Mapping[str, str], timeout: float = 60
    ) -> None:
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                ("/bin/sh", "-c", _GUARDED, "sh", *argv),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        process = self._process
        try:
            until(lambda: process.poll() is not None or ready(), "readiness", timeout, pause=0.1)
        except AssertionError as error:
            self.kill()
            raise RuntimeError(f"{self.name} was not ready after {timeout:g} s:\n{self._tail()}") from error
        if process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {process.returncode}:\n{self._tail()}")

    def kill(self) -> None:
        """End the whole group with SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL, 10)

    def terminate(self, timeout: float = 60) -> None:
        """Ask the server to end, and wait until it has ended."""
        self._end(signal.SIGTERM, timeout)

    def _end(self, number: signal.Signals, timeout: float) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # the server has ended by itself
            os.killpg(self._process.pid, number)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]
