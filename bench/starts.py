"""Measure what the start of each process and command costs: processor time, memory and the number of its modules.

Run by hand: `python bench/starts.py [--rounds 7] [--only NAME]`. Of so many rounds the lowest processor time (user and
system) is shown, since other load on the machine only adds to it. What is started is in `tests/starts.py`; the heavy
modules that each imports, and why, follow the figures.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.machine import machine, options, python
from tests.starts import COMMANDS, PROCESSES, Start, world

STARTS = {**PROCESSES, **{f"backup-agent {name}": start for name, start in COMMANDS.items()}}

TARGETS = {"backup-agent --help": 0.15, "backup-agent status": 0.25}

TELL = """
import atexit, sys
def tell():
    print(len(sys.modules), next(row.split()[1] for row in open("/proc/self/status") if row.startswith("VmHWM")))
atexit.register(tell)
"""
"""Run before a program: at its end it prints the number of its modules and its peak of memory in KiB.

ru_maxrss would be the memory of the benchmark, in which the new process begins.
"""


def start(interpreter: Path, one: Start, environ: Mapping[str, str], first: str = "") -> tuple[float, str]:
    """Start a program; return its processor time in seconds and its output. With -I, as in the image."""
    with subprocess.Popen(
        (interpreter, "-I", "-c", first + one.code, *one.arguments),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{one.code} {one.arguments}: exit code {process.returncode}")
    return used.ru_utime + used.ru_stime, text


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="a process or command, such as copy or status")
    chosen = parser.parse_args()
    starts = {name: one for name, one in STARTS.items() if chosen.only in (None, name, name.split()[-1])}
    with tempfile.TemporaryDirectory(prefix="bench-starts-") as temporary:
        folder = Path(temporary)
        interpreter = python(chosen, folder)
        with world(folder) as environ:
            figures = {name: start(interpreter, one, environ, TELL)[1].split()[-2:] for name, one in starts.items()}
            # Each in turn, so that a busy moment does not fall on one alone.
            rounds = [
                {name: start(interpreter, one, environ)[0] for name, one in starts.items()}
                for _ in range(chosen.rounds)
            ]
        print(machine(interpreter))
        print(f"{chosen.rounds} rounds\n\n{'':26} CPU s  target  peak MiB  modules")
        for name, (modules, peak) in figures.items():
            target = f"{TARGETS[name]:g}" if name in TARGETS else ""
            print(
                f"{name:26} {min(one[name] for one in rounds):5.3f}  {target:>6}  {int(peak) / 1024:8.1f}  {modules:>7}"
            )
        print()
        for name, one in starts.items():
            print(f"{name}: " + "; ".join(f"{module}: {why}" for module, why in sorted(one.imports.items())))


if __name__ == "__main__":
    main()
