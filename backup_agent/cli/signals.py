"""Handling of SIGINT, SIGTERM and SIGHUP: a command ends with 130, 143 or 129 and without a traceback.

While a command runs, a signal raises an exception, so that the command can clean up. During imports and after the
command, a signal ends the process at once: an exception would be lost, or shown as a traceback.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """Raised inside a command by SIGTERM or SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def code_of(error: BaseException) -> int:
    """Return the exit code of an interrupted command. click may have wrapped the exception."""
    for one in (error, error.__cause__):
        if isinstance(one, Terminated):
            return one.code
    return 128 + signal.SIGINT


def end_at_once() -> None:
    """Let the signals end the process at once, without an exception."""
    _handle(lambda number, _: os._exit(128 + number))


def interrupt() -> None:
    """Let the signals raise KeyboardInterrupt."""
    _handle(_raise)


@contextmanager
def importing() -> Iterator[None]:
    """Within the block, let the signals end the process at once. Do nothing unless `interrupt` is in force."""
    raising = signal.getsignal(signal.SIGTERM) is _raise
    if raising:
        end_at_once()
    yield
    if raising:
        interrupt()


def _raise(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


def _handle(handler: Callable[[int, FrameType | None], object]) -> None:
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # stays ignored under nohup and in background jobs
            signal.signal(number, handler)
