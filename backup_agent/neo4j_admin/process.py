"""Running a program to its end, whatever that end is, and leaving nothing of it behind.

This is the agent's one place below a run that starts programs. What is easily got wrong: the script forks a second
JVM, so signals go to the group; a child's group is killed before the child is reaped, while its id cannot be another's;
a program that closes its output, or writes two megabytes without a line's end, must neither hang us nor fill memory.
"""

import errno
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Self

from backup_agent.core.neo4j.verdict import Completed, EndedBy
from backup_agent.core.reasons import PermanentError, Reason, TransientError

LAST_LINES = 25
LINE_KEPT = 4096
"""Characters of a line that are kept; the rest is counted."""

_TICK = 0.2  # how long a cancel may go unnoticed
_GRACE = 3.0  # from SIGTERM to SIGKILL: a cancel is promised within five seconds
_DRAIN = 1.0  # how long output of a program that has ended is waited for, where someone still holds its pipe
_CHUNK = 65536

# Terminal sequences: CSI, OSC, and the two-character ones.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# The JVM repeats these variables, which may hold a trust store's password.
_PICKED_UP = re.compile(r"(Picked up \w+):.*")
# Frames of a Java stack trace would push its causes out of the last lines.
_FRAME = re.compile(r"\s+at \S+\(.*\)|\s+\.\.\. \d+ (?:more|common frames omitted)")


class Lines:
    """Turns bytes into printable lines of bounded length."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that these bytes end; a carriage return ends one as well (progress on one line)."""
        *ended, rest = data.replace(b"\r", b"\n").split(b"\n")
        for piece in ended:
            self._add(piece)
            yield from self.end()
        self._add(rest)

    def end(self) -> Iterator[str]:
        """Yield the line begun, if there is one."""
        begun, dropped = bytes(self._begun), self._dropped
        self._begun.clear()
        self._dropped = 0
        text = _clean(begun.decode(errors="replace"))
        dropped += max(0, len(text) - LINE_KEPT)
        text = text[:LINE_KEPT].rstrip()
        if dropped:
            text += f" … ({dropped} more)"
        if text:
            yield text

    def _add(self, piece: bytes) -> None:
        kept = piece[: 4 * LINE_KEPT - len(self._begun)]  # a character takes up to four bytes
        self._begun += kept
        self._dropped += len(piece) - len(kept)


def _clean(text: str) -> str:
    text = _PICKED_UP.sub(r"\1", _ESCAPE.sub("", text)).replace("\t", "    ")
    return "".join(letter for letter in text if letter.isprintable())


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout: timedelta,
    cancel: threading.Event,
    stall: Callable[[], timedelta] | None = None,
    on_line: Callable[[str], None] = lambda _: None,
    measure: Callable[[], int] = lambda: 0,
    pass_fds: Sequence[int] = (),
    grace: float = _GRACE,
    clock: Callable[[], float] = time.monotonic,
) -> Completed:
    """Run a program in a process group of its own, within our session, and return how it ended.

    Both its streams come to `on_line` as one, line by line: printable and cut. `measure`, asked about
    once a second, is any number that changes while work is done, such as bytes written; `stall` tells how long both a
    line and such a change may be missing, at this moment. On timeout, stall or cancel the group gets SIGTERM, and
    SIGKILL `grace` seconds later. Whatever happens, errors of the callables included, the group is gone afterwards.

    Raise PermanentError (admin_missing) where it cannot be started, TransientError where the system lacks memory or
    process ids for it.
    """
    if cancel.is_set():
        return Completed(exit_code=None, ended_by=EndedBy.CANCELLED)
    began = clock()
    with _start(argv, env, cwd, pass_fds) as process:
        try:
            with _Output(process, Lines(), on_line) as output:
                ended_by = _follow(process, output, _Watch(clock, timeout, stall, measure), cancel)
                if ended_by is not None:
                    _end(process, output, clock() + grace, clock)
                _kill_group(process)
                output.drain(clock)
        finally:
            _kill_group(process)
        code = process.wait()
    return Completed(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        ended_by=ended_by,
        last_lines=tuple(output.last),
        duration=clock() - began,
    )


def _follow(
    process: subprocess.Popen[bytes], output: "_Output", watch: "_Watch", cancel: threading.Event
) -> EndedBy | None:
    """Read along until the program ends by itself, or return why it must be ended."""
    while not _has_ended(process):
        if output.read(_TICK):
            watch.heard()
        ended_by = EndedBy.CANCELLED if cancel.is_set() else watch.verdict()
        if ended_by is not None:
            return ended_by
    return None


class _Output:
    """The program's streams, read without ever blocking for longer than told."""

    def __init__(self, process: subprocess.Popen[bytes], lines: Lines, on_line: Callable[[str], None]) -> None:
        assert process.stdout is not None  # noqa: S101  for the type checker: it is a pipe
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._pipe = process.stdout
        self._lines = lines
        self._on_line = on_line
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._open = True
        os.set_blocking(self._pipe.fileno(), False)
        self._ending: int | None = None
        # Tells the end at once, also where the pipe is closed before it or held by others after it. Old seccomp
        # profiles forbid it: then the end is seen within a tick.
        with suppress(OSError):
            self._ending = os.pidfd_open(process.pid)
            self._selector.register(self._ending, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        if self._ending is not None:
            os.close(self._ending)

    def read(self, wait: float) -> bool:
        """Read what comes within `wait` seconds or until the program ends, and tell whether anything did."""
        ready = [key.fileobj for key, _ in self._selector.select(wait)]
        if self._pipe not in ready:
            return False
        data = os.read(self._pipe.fileno(), _CHUNK)
        for line in self._lines.feed(data):
            self._tell(line)
        if not data:
            self._selector.unregister(self._pipe)
            self._open = False
        return bool(data)

    def drain(self, clock: Callable[[], float]) -> None:
        """Read the rest: to its end, or for a moment where someone outside the group holds the pipe."""
        if self._ending is not None:
            self._selector.unregister(self._ending)
        until = clock() + _DRAIN
        while self._open and clock() < until:
            self.read(_TICK)
        for line in self._lines.end():
            self._tell(line)

    def _tell(self, line: str) -> None:
        if not _FRAME.fullmatch(line):
            self.last.append(line)
        self._on_line(line)


class _Watch:
    """Tells when a program has had its time, or shows no life."""

    def __init__(
        self,
        clock: Callable[[], float],
        timeout: timedelta,
        stall: Callable[[], timedelta] | None,
        measure: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._stall = stall
        self._measure = measure
        self._deadline = clock() + timeout.total_seconds()
        self._alive = self._looked = clock()
        self._measured = 0

    def heard(self) -> None:
        """A line, or a part of one, has come."""
        self._alive = self._clock()

    def verdict(self) -> EndedBy | None:
        """Return why the program is to be ended now, or None."""
        now = self._clock()
        if now >= self._deadline:
            return EndedBy.TIMEOUT
        patience = self._stall().total_seconds() if self._stall else float("inf")
        if now - self._looked >= min(1.0, patience / 4):
            self._looked = now
            measured = self._measure()
            if measured != self._measured:
                self._measured, self._alive = measured, now
        return EndedBy.STALLED if now - self._alive >= patience else None


def _start(argv: Sequence[str], env: Mapping[str, str], cwd: Path, pass_fds: Sequence[int]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            env=dict(env),
            cwd=str(cwd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            process_group=0,
            pass_fds=pass_fds,
        )
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            raise TransientError(
                Reason.OUT_OF_MEMORY, f"{argv[0]}: cannot be started: {error.strerror}", "raise the pod's limits"
            ) from error
        if error.filename == str(cwd):
            raise PermanentError(Reason.INTERNAL, f"{cwd}: cannot work in this folder: {error.strerror}") from error
        raise PermanentError(
            Reason.ADMIN_MISSING, f"{argv[0]}: it, or the interpreter it names, cannot be started: {error.strerror}"
        ) from error


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether it has ended, and leave it unreaped: its id, which is its group's, stays its own till then."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes], output: _Output, until: float, clock: Callable[[], float]) -> None:
    """Ask the group to end and wait for it, reading on: a full pipe would keep it from ending."""
    os.killpg(process.pid, signal.SIGTERM)
    while not _has_ended(process) and clock() < until:
        output.read(_TICK)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # not reaped, so the group's id is still its own
        os.killpg(process.pid, signal.SIGKILL)
