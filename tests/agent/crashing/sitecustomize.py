"""Kills a process of the agent before its n-th change, which variables of the environment choose.

Python imports `sitecustomize` by itself where this folder is on PYTHONPATH, so the agent needs no hook for its tests. The
audit events of CPython stand for the steps: each rename, link, write, removal and started process is one.

    CRASH_IN     module whose process is meant: backup_agent.supervisor, backup_agent.jobs.backup …
    CRASH_AT     number of the change before which it dies, from 0
    CRASH_AMONG  every: each change counts; kinds: the first of each kind that a reader of the files can see
    CRASH_WHO    self, or all: it and every process of the agent at once
    CRASH_ONCE   a file that is made at the death: where it exists, nothing dies
    CRASH_BELOW  the folder whose changes count

Or, in place of CRASH_AT and CRASH_ONCE, a death at each kind of change that a reader of the files can see:

    CRASH_KINDS  a folder with a file for each kind at which a process has died; the next dies at another kind
    CRASH_ARMED  a file: no process dies before it exists
    CRASH_WHO    self, or stop: the process stops there, and the test kills all processes at once
"""

import hashlib
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
"""Changes that a reader of the files can see. Opened files are temporary: they are seen when renamed or linked."""

REMOVALS = {"os.remove", "os.rmdir"}

BY_PATH = -1
"""Stands for the missing folder descriptor in the event of a removal. Removals below an open folder are one kind."""

NUMBERS = str.maketrans("", "", "0123456789abcdef-")
"""Characters that differ between two changes of one kind: in times, process ids, counters and random names."""


def _is_meant() -> bool:
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    wanted = os.environ["CRASH_IN"].encode()
    return any(pair == (b"-m", wanted) for pair in pairwise(words))


def _writes(args: tuple[object, ...]) -> bool:
    path, _mode, flags = (*args, None, None, None)[:3]
    opened = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return bool(opened) and isinstance(path, str) and path.startswith(os.environ["CRASH_BELOW"])


def _die() -> None:
    if os.environ["CRASH_WHO"] == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        return
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


def _made(path: Path, content: str = "") -> bool:
    """Make a file. Return whether it did not exist."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    os.write(descriptor, content.encode())
    os.close(descriptor)
    return True


def _kind(event: str, args: tuple[object, ...]) -> str:
    inside = event in REMOVALS and args[1] != BY_PATH
    return event if inside else f"{event} {args[:2]}".translate(NUMBERS)


class NumberedStep:
    """Chooses the change CRASH_AT, once."""

    def __init__(self) -> None:
        self._left = int(os.environ["CRASH_AT"])
        self._kinds: set[str] | None = set() if os.environ["CRASH_AMONG"] == "kinds" else None

    def __call__(self, event: str, args: tuple[object, ...]) -> bool:
        if self._kinds is None:
            counts = event in CHANGES or (event == "open" and _writes(args))
        else:
            kind = _kind(event, args) if event in SEEN else None
            counts = kind is not None and kind not in self._kinds
            self._kinds |= {kind} if kind else set()
        if not counts:
            return False
        self._left -= 1
        return self._left == -1 and _made(Path(os.environ["CRASH_ONCE"]))


class NewKind:
    """Chooses the first change of a kind at which no process has died."""

    def __init__(self) -> None:
        self._died = Path(os.environ["CRASH_KINDS"])
        self._armed = Path(os.environ["CRASH_ARMED"])

    def __call__(self, event: str, args: tuple[object, ...]) -> bool:
        if event not in SEEN or not self._armed.exists():
            return False
        kind = _kind(event, args)
        return _made(self._died / hashlib.sha256(kind.encode()).hexdigest(), kind)


def _install() -> None:
    is_chosen = NewKind() if "CRASH_KINDS" in os.environ else NumberedStep()

    def hook(event: str, args: tuple[object, ...]) -> None:
        if is_chosen(event, args):
            _die()

    sys.addaudithook(hook)


if "CRASH_IN" in os.environ and _is_meant():
    _install()
