"""The child process that works at one destination: copies, retention, holds and verification, one task at a time.

It stays for the next task, so that the client library is imported once, connections stay open, and the lease is held
from the first task that writes there until the process ends. The module of a kind of task is imported when its first
task comes.
"""

import threading
from importlib import import_module

from pydantic import TypeAdapter

from backup_agent import processes
from backup_agent.catalog.place import Place, place_of
from backup_agent.core.requests.tasks import PlaceTask
from backup_agent.jobs.event_writer import EventWriter, serve
from backup_agent.settings.model import Settings


class KeptPlace:
    """The place of the last task, with its open store."""

    def __init__(self) -> None:
        self._place: Place | None = None

    def perform(self, task: PlaceTask, settings: Settings, writer: EventWriter, cancel: threading.Event) -> None:
        """Carry out a task at the place of the last task, or at another one if the settings differ."""
        if self._place is None or self._place.name != task.place or self._place.settings is not settings:
            self.leave()
            self._place = place_of(task.place, settings)
            self._place.holding.keeps = True
        import_module(f"backup_agent.jobs.{task.kind}").perform(task, self._place, writer, cancel)

    def leave(self) -> None:
        """Give up the lease of the place, if it is held."""
        if self._place is not None:
            self._place.holding.end()


def main() -> None:
    """Run as a child process: tasks on stdin, events on stdout."""
    kept = KeptPlace()
    try:
        serve(TypeAdapter(PlaceTask), kept.perform)
    finally:
        kept.leave()


if __name__ == "__main__":
    main()
    processes.leave()
