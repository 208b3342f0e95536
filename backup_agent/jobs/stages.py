"""The stages of a run: reported when they begin, timed when they end."""

import time

from backup_agent.jobs.event_writer import EventWriter


class Stages:
    """The present stage of a run, and the duration of each stage."""

    def __init__(self, writer: EventWriter) -> None:
        """Start without a stage."""
        self._writer = writer
        self._name: str | None = None
        self._since = 0.0
        self._seconds: dict[str, float] = {}

    def enter(self, name: str) -> None:
        """Begin a stage and end the stage before. Entering the present stage again does nothing."""
        if name == self._name:
            return
        self._end()
        self._name = name
        self._since = time.monotonic()
        self._writer.stage(name)

    def seconds(self) -> dict[str, float]:
        """Return the duration of each stage in seconds, the present stage up to now."""
        self._end()
        return {name: round(seconds, 3) for name, seconds in self._seconds.items()}

    def _end(self) -> None:
        if self._name is not None:
            now = time.monotonic()
            self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._since
            self._since = now
