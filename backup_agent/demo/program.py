"""A program of the demo: it ends with the demo, however that ends."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GUARDED = 'exec 3<&0; (read -r _ <&3; kill -KILL -$$) & exec "$@" </dev/null 3<&-'
"""A shell that becomes the program. Standard input is a pipe from the demo: when that is gone, a guard in the
program's group reads its end and kills the group."""


class Program:
    """One running program, in a group of its own: Ctrl-C reaches the demo alone, which then ends it in good order."""

    def __init__(self, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start it, its output appended to a log."""
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
        """Whether it is still there."""
        return self._process.poll() is None

    def end(self, *, grace: float) -> None:
        """Ask it to end, and kill what is left of it after `grace` seconds."""
        self._send(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """Kill the whole group, guard included."""
        self._send(signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
