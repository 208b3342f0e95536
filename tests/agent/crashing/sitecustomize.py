"""Kills a process of the agent before its n-th change of the world, chosen by the environment.

Python imports `sitecustomize` by itself where this folder is on PYTHONPATH, so the agent needs no hook for its tests. The
audit events of CPython stand for the steps: each rename, link, write, removal and started process is one.

    CRASH_IN     module whose process is meant: backup_agent (the supervisor), backup_agent.jobs.backup …
    CRASH_AT     number of the change before which it dies, from 0
    CRASH_AMONG  every: each change counts; kinds: the first of each kind that a reader of the files can see
    CRASH_WHO    self, or all: it and every process of the agent at once
    CRASH_ONCE   a file that is made at the death: where it exists, nothing dies
    CRASH_BELOW  the folder whose changes count
"""

import os
import signal
import sys
from itertools import pairwise
from pathlib import Path

CHANGES = {
    "os.rename",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "subprocess.Popen",
    "shutil.rmtree",
}

SEEN = CHANGES - {"os.mkdir"}
"""Those that a reader of the files can see. A file that is opened is a temporary one, and seen when it is renamed or linked."""

REMOVALS = {"os.remove", "os.rmdir"}

BY_PATH = -1
"""What removals have in place of an open folder. Beside one, all that goes from a tree is one kind."""

NUMBERS = str.maketrans("", "", "0123456789abcdef-")
"""What differs between two changes of one kind: times, process ids, counters and random names."""


def _is_meant() -> bool:
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    wanted = os.environ["CRASH_IN"].encode()
    return any(pair == (b"-m", wanted) for pair in pairwise(words))


def _writes(args: tuple[object, ...]) -> bool:
    path, _mode, flags = (*args, None, None, None)[:3]
    opened = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return bool(opened) and isinstance(path, str) and path.startswith(os.environ["CRASH_BELOW"])


def _die() -> None:
    os.close(os.open(os.environ["CRASH_ONCE"], os.O_CREAT | os.O_WRONLY))
    if os.environ["CRASH_WHO"] == "all":
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid() and _is_of_the_agent(name):
                os.kill(int(name), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_of_the_agent(pid: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"CRASH_ONCE={os.environ['CRASH_ONCE']}".encode() in environment


def _install() -> None:
    left = int(os.environ["CRASH_AT"])
    kinds: set[str] | None = set() if os.environ["CRASH_AMONG"] == "kinds" else None
    dying = False

    def counts(event: str, args: tuple[object, ...]) -> bool:
        if kinds is None:
            return event in CHANGES or (event == "open" and _writes(args))
        inside = event in REMOVALS and args[1] != BY_PATH
        kind = event if inside else f"{event} {args[:2]}".translate(NUMBERS)
        if event not in SEEN or kind in kinds:
            return False
        kinds.add(kind)
        return True

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal left, dying
        if dying or not counts(event, args):
            return
        if left > 0:
            left -= 1
            return
        dying = True
        if not Path(os.environ["CRASH_ONCE"]).exists():
            _die()

    sys.addaudithook(hook)


if "CRASH_IN" in os.environ and not Path(os.environ["CRASH_ONCE"]).exists() and _is_meant():
    _install()
