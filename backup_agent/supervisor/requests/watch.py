"""Watch the requests folder by inotify. An event only says that the folder should be listed.

After the folder was replaced, moved or mounted over, inotify reports nothing more. So every scan compares the folder
with the watched one (`still_hears`).
"""

import os
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from backup_agent.supervisor.requests.drop_folder import is_request_name

TELLING = (FileClosedEvent, FileCreatedEvent, FileMovedEvent, DirCreatedEvent, DirMovedEvent)
"""The events requested from the kernel. A client that reads answers causes none of them. `modified` is left out
since it comes while a file is still being written. If the folder itself is deleted, watchdog ends its emitter."""


class Bell(FileSystemEventHandler):
    """Watches one folder and calls `ring` when a file that may be a request appears in it."""

    def __init__(self, folder: Path, ring: Callable[[], None]) -> None:
        """Watch nothing yet."""
        self._folder = folder
        self._ring = ring
        self._observer: BaseObserver | None = None
        self._heard: tuple[int, int] | None = None

    def listen(self) -> None:
        """Watch the folder that exists now at the path. Raise OSError if it cannot be watched (limits of inotify)."""
        self.close()
        self._heard = _identity(self._folder)
        observer = Observer()
        observer.schedule(self, str(self._folder), event_filter=list(TELLING))
        try:
            observer.start()
        except OSError:
            observer.stop()  # otherwise each attempt would leave a thread and three descriptors behind
            raise
        self._observer = observer

    def still_hears(self) -> bool:
        """Return whether the watch is alive and its folder is still the one at the path."""
        return (
            self._observer is not None
            and all(emitter.is_alive() for emitter in self._observer.emitters)
            and self.same_folder()
        )

    def same_folder(self) -> bool:
        """Return whether the folder at the path has the device and inode of the folder that `listen` found.

        A folder that was deleted and made again may have the same inode.
        """
        return self._heard is not None and self._heard == _identity(self._folder)

    def close(self) -> None:
        """Stop watching and forget the folder."""
        self._heard = None
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=2)
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Call `ring` if the event's file may be a request (called by watchdog)."""
        path = event.dest_path if event.event_type == "moved" else event.src_path
        if isinstance(event, TELLING) and is_request_name(Path(os.fsdecode(path)).name):
            self._ring()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
