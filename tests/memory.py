"""Measure the peak memory of a program."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

_RUN = """
import runpy, sys
from pathlib import Path
module, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as ended:
    code = ended.code
else:
    code = 0
lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
sys.stderr.write(lines["VmHWM"].split()[0])
sys.stderr.flush()
sys.exit(code)
"""


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    out: str
    err: str
    mib: float
    """Peak resident memory."""


def run(module: str, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None) -> Ended:
    """Run a module of the agent in its own process, whose stdin stays open until the process has ended."""
    argv: Sequence[str] = (sys.executable, "-c", _RUN, module, *arguments)
    with TemporaryFile() as out, TemporaryFile() as err:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            start_new_session=True,
            cwd="/",  # otherwise the current folder comes first on sys.path
            env={**os.environ, **(environ or {})},
        )
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.flush()
        code = process.wait(timeout=60)
        process.stdin.close()
        out.seek(0)
        err.seek(0)
        stderr = err.read().decode()
        messages = stderr.rstrip("0123456789")
        return Ended(code, out.read().decode(), messages, int(stderr[len(messages) :] or 0) / 1024)


def sparse(path: Path, size: int) -> None:
    """Make a sparse file of `size` bytes, which takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
