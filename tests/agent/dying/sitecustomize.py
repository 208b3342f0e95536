"""Lets child processes of the agent die in a chosen way, as the orders in a file say.

Python imports `sitecustomize` by itself if this folder is on PYTHONPATH, so the agent needs no hook for its tests.
DYING_ORDERS names the file, a JSON list. An order is carried out `times` times (1 if not given), and then removed:

    {"module": "backup_agent.jobs.survey", "killed": true}            SIGKILL before the child does anything
    {"module": …, "killed_in": "summary"}                           SIGKILL in the middle of the line of that event
    {"module": …, "say": ["{", "…"], "code": 1}                     the child writes these lines and exits
    {"module": …, "spawn": 11}                                      starting the child fails with this errno
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

SUPERVISOR = "backup_agent.supervisor"


def take(module: str, *, spawn: bool) -> dict[str, Any] | None:
    """Take the first order for a module out of the file."""
    with Path(os.environ["DYING_ORDERS"]).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        orders = json.loads(file.read() or "[]")
        for order in orders:
            if order["module"] == module and ("spawn" in order) is spawn:
                order["times"] = order.get("times", 1) - 1
                file.seek(0)
                file.truncate()
                file.write(json.dumps([one for one in orders if one.get("times", 1) > 0]))
                return dict(order)
    return None


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Stdout:
    """Standard output that ends its process in the middle of an event's line."""

    def __init__(self, stream: TextIO, event: str) -> None:
        self._stream = stream
        self._event = f'{{"event":"{event}"'

    def write(self, text: str) -> int:
        if text.startswith(self._event):
            self._stream.write(text[: len(text) // 2])
            self._stream.flush()
            die()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def become(order: dict[str, Any]) -> None:
    """Carry out an order in the child whose module it names."""
    if order.get("killed"):
        die()
    if "killed_in" in order:
        sys.stdout = Stdout(sys.stdout, order["killed_in"])
        return
    for line in order["say"]:
        sys.stdout.buffer.write(line.encode("latin-1") + b"\n")
    sys.stdout.buffer.flush()
    os._exit(order["code"])


class Popen(subprocess.Popen[bytes]):
    """Fails to start a child if an order says so."""

    def __init__(self, args: Any, *more: Any, **named: Any) -> None:
        order = take(args[-1], spawn=True) if isinstance(args, list) else None
        if order is not None:
            self._child_created = False
            raise OSError(order["spawn"], os.strerror(order["spawn"]))
        super().__init__(args, *more, **named)


def install() -> None:
    words = Path("/proc/self/cmdline").read_bytes().decode().split("\0")
    module = next((after for before, after in pairwise(words) if before == "-m"), None)
    if module == SUPERVISOR:
        subprocess.Popen = Popen  # type: ignore[assignment,misc]  # the supervisor starts its children by it
    elif module is not None and (order := take(module, spawn=False)) is not None:
        become(order)


if "DYING_ORDERS" in os.environ:
    install()
