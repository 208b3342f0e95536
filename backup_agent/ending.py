"""Signals that ask the agent to end, held back while it starts.

The kernel drops a signal that process 1 of a container neither handles nor blocks, and `exec` takes the handlers away.
So a SIGTERM during the start would be lost, and the pod would live until SIGKILL. A blocked one waits, across `exec`
too. This module is imported before anything else, and itself imports next to nothing.
"""

import signal

ENDING = (signal.SIGTERM, signal.SIGINT)


def hold() -> None:
    """Let the signals wait. Programs that are started meanwhile would inherit this: start none before `release`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def release() -> None:
    """Let the signals through, those that have come meanwhile too."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
