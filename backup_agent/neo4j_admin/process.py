"""Runs a program until it ends or must be ended, and leaves none of its processes behind.

Of the modules that a run uses, only this one starts programs. The script of neo4j-admin forks a second JVM, so signals
are sent to the process group. The group is killed before the child is reaped: until then the id of the group cannot
belong to another group. A program that closes its output, or writes two megabytes without a line break, must neither
block the agent nor fill its memory.
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
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Self

from backup_agent import durable
from backup_agent.core.neo4j.verdict import Completed, EndedBy
from backup_agent.core.reasons import PermanentError, Reason, TransientError

LAST_LINES = 25
LINE_KEPT = 4096
"""Number of characters of a line that are kept. The rest are only counted."""

_TICK = 0.2  # seconds until a cancel is noticed
_GRACE = 3.0  # seconds from SIGTERM to SIGKILL: a cancel takes at most five
_DRAIN = 1.0  # seconds to wait for output after the program has ended, if another process still has its pipe
_CHUNK = 65536

# Terminal sequences: CSI, OSC, and the two-character ones.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# The JVM prints these variables, which may contain the password of a trust store.
_PICKED_UP = re.compile(r"(Picked up \w+):.*")
# Frames of a Java stack trace are left out of the last lines, where they would displace the causes.
_FRAME = re.compile(r"\s+at \S+\(.*\)|\s+\.\.\. \d+ (?:more|common frames omitted)")


class Lines:
    """Turns bytes into printable lines of bounded length."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that these bytes complete. A carriage return ends a line too (progress on one line)."""
        *ended, rest = data.replace(b"\r", b"\n").split(b"\n")
        for piece in ended:
            self._add(piece)
            yield from self.end()
        self._add(rest)

    def end(self) -> Iterator[str]:
        """Yield the incomplete line, if there is one."""
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
    stdin: Path | None = None,
    grace: float = _GRACE,
    clock: Callable[[], float] = time.monotonic,
) -> Completed:
    """Run a program in its own process group, within the agent's session, and return how it ended.

    `on_line` gets the lines of both output streams, printable and shortened. `measure` is called about once a second
    and returns any number that changes while work is done, such as bytes written. `stall` returns the longest time that
    may pass without output and without a change of that number. On timeout, stall or cancel the group gets SIGTERM, and
    `grace` seconds later SIGKILL. No process of the group is left in any case, even if a callable raises. `stdin` is a
    file for standard input.

    Raise PermanentError (admin_missing) if the program cannot be started, and TransientError if the system lacks memory
    or process ids for it.
    """
    if cancel.is_set():
        return Completed(exit_code=None, ended_by=EndedBy.CANCELLED)
    began = clock()
    with _input(stdin) as standard_input, _start(argv, env, cwd, pass_fds, standard_input) as process:
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
    """Read the output until the program ends by itself, or return why it must be ended."""
    while not _has_ended(process):
        if output.read(_TICK):
            watch.note_output()
        ended_by = EndedBy.CANCELLED if cancel.is_set() else watch.verdict()
        if ended_by is not None:
            return ended_by
    return None


class _Output:
    """The program's output, read without blocking for longer than a given time."""

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
        # A pidfd shows the program's end at once, even if the pipe is closed earlier or kept open by another process.
        # Old seccomp profiles forbid pidfd_open: then the end is noticed within a tick.
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
        """Read output for `wait` seconds or until the program ends, and return whether there was any."""
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
        """Read the rest of the output, for about `_DRAIN` seconds at most: another process may keep the pipe open."""
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
    """Finds out whether a program has exceeded its time or has stalled."""

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

    def note_output(self) -> None:
        """Note that there was output."""
        self._alive = self._clock()

    def verdict(self) -> EndedBy | None:
        """Return why the program must be ended now, or None."""
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


@contextmanager
def _input(path: Path | None) -> Iterator[int]:
    """Open a file for standard input; without one, standard input is empty."""
    if path is None:
        yield subprocess.DEVNULL
        return
    descriptor = durable.open_regular(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _start(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, pass_fds: Sequence[int], stdin: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            env=dict(env),
            cwd=str(cwd),
            stdin=stdin,
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
            raise PermanentError(
                Reason.INTERNAL, f"{cwd}: cannot be used as working directory: {error.strerror}"
            ) from error
        raise PermanentError(
            Reason.ADMIN_MISSING, f"{argv[0]}: it, or the interpreter it names, cannot be started: {error.strerror}"
        ) from error


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a process has ended, without reaping it: until then no other process or group can get its id."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes], output: _Output, until: float, clock: Callable[[], float]) -> None:
    """Send SIGTERM to the group, and wait until `until`. Read meanwhile: a full pipe would keep it from ending."""
    os.killpg(process.pid, signal.SIGTERM)
    while not _has_ended(process) and clock() < until:
        output.read(_TICK)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # not reaped, so no other group can have its id
        os.killpg(process.pid, signal.SIGKILL)
