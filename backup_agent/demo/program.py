"""A program that the demo starts and that ends with the demo, also if the demo is killed."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GUARDED = 'exec 3<&0; (read -r _ <&3; kill -KILL -$$) & exec "$@" </dev/null 3<&-'
"""A shell command that becomes the program. Its stdin is a pipe from the demo: when the demo ends, a background process
of the program's group reads the end of the pipe and kills the group."""


class Program:
    """One running program. It has a process group of its own, so that Ctrl-C reaches only the demo."""

    def __init__(self, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start the program and append its output to a log."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", GUARDED, "sh", *argv],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether the program is still running."""
        return self._process.poll() is None

    def end(self, *, grace: float) -> None:
        """Send SIGTERM, and kill the process group after at most `grace` seconds."""
        self._send(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """Kill the whole process group."""
        self._send(signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
