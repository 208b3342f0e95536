"""Shared functions of the benchmarks of the whole agent: describe the machine, install and run the agent.

The agent is installed as in its image. In the development environment it would need more memory and time: structlog
imports `rich` if that is installed (3.5 MiB), and an editable installation slows the start of each process.
"""

import argparse
import compileall
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.agent.live import Live

ROOT = Path(__file__).parents[1]

VERSIONS = """
import json, platform
from importlib import metadata
names = ("apscheduler", "boto3", "neo4j", "prometheus-client", "pydantic", "structlog", "watchdog", "zstandard")
print(json.dumps({"CPython": platform.python_version(), **{name: metadata.version(name) for name in names}}))
"""


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the shared options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="a clean virtual environment to keep; created if it does not exist")
    parser.add_argument("--python", type=Path, help="an interpreter with the agent, instead of a clean environment")
    return parser


def python(chosen: argparse.Namespace, folder: Path) -> Path:
    """Return the interpreter of a virtual environment with the locked packages and a copy of the agent.

    The agent is copied so that editing the sources during a benchmark has no effect.
    """
    if chosen.python is not None:
        return Path(chosen.python).absolute()
    environment: Path = (chosen.venv or folder / "venv").absolute()
    interpreter = environment / "bin" / "python"
    if not interpreter.exists():
        venv.create(environment, with_pip=True)
        lock = ROOT / "requirements.lock"
        pip = (interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run((*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", lock), check=True)
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    agent = packages / "backup_agent"
    shutil.rmtree(agent, ignore_errors=True)
    shutil.copytree(ROOT / "backup_agent", agent, ignore=shutil.ignore_patterns("__pycache__"))
    for level in (0, 2):  # as in the image: children run without -O, the supervisor with -OO
        compileall.compile_dir(packages, quiet=2, optimize=level)
    return interpreter


@contextmanager
def running(
    live: Live, interpreter: Path, environ: Mapping[str, str] | None = None, *, one_processor: bool = False
) -> Iterator[int]:
    """Start the agent with an interpreter, wait until it is ready and idle, and yield its process id."""
    before = os.sched_getaffinity(0)
    with live, mock.patch.object(sys, "executable", str(interpreter)):  # the stand-in uses this process's interpreter
        if one_processor:
            os.sched_setaffinity(
                0, {max(before)}
            )  # for this thread: the agent inherits it, the servers' threads do not
        try:
            live.start(ready=True, **(environ or {}))
        finally:
            os.sched_setaffinity(0, before)
        while not (status := live.status())["surveyed"] or status["running"]:
            time.sleep(0.1)
        assert live.process is not None
        yield live.process.pid
        live.end()


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its ended threads (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def machine(interpreter: Path) -> str:
    """Return a line with the versions and a line with the machine and its load."""
    found = subprocess.run((interpreter, "-c", VERSIONS), capture_output=True, text=True, check=True).stdout
    versions = ", ".join(f"{name} {version}" for name, version in json.loads(found).items())
    models = (row for row in Path("/proc/cpuinfo").read_text().splitlines() if row.startswith("model name"))
    model = next(models, ": unknown").partition(": ")[2]
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{versions}\n{platform.system()} {platform.release()}, {model}, {os.cpu_count()} cores, {load}"


if __name__ == "__main__":
    print(machine(Path(sys.executable)))
