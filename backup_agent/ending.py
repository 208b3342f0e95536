"""Signals that ask the agent to end, blocked while it starts.

The kernel discards a signal that process 1 of a container neither handles nor blocks, and `exec` removes the handlers.
So a SIGTERM during the start would be lost, and the pod would run until SIGKILL. A blocked signal stays pending, also
across `exec`. This module is imported before all others and imports only `signal`.
"""

import signal

ENDING = (signal.SIGTERM, signal.SIGINT)


def hold() -> None:
    """Block the signals. Start no program before `release`, since it would inherit the mask."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def release() -> None:
    """Unblock the signals; those that are pending are delivered."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
