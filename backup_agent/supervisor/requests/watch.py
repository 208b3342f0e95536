"""The bell at the requests folder. It only rings; the listing is the truth.

inotify goes deaf without a word when its folder is deleted and made again, moved, or mounted over, so every scan
compares the folder with the one that is watched (`still_hears`).
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
"""What the kernel is asked for, so that whoever polls an answer wakes nobody. `modified` comes while a file is still
being written. The deletion of the folder itself watchdog asks for by itself, and ends its emitter then."""


class Bell(FileSystemEventHandler):
    """Watches one folder and rings when something that may be a request appears in it."""

    def __init__(self, folder: Path, ring: Callable[[], None]) -> None:
        """Nothing is heard before `listen`."""
        self._folder = folder
        self._ring = ring
        self._observer: BaseObserver | None = None
        self._heard: tuple[int, int] | None = None

    def listen(self) -> None:
        """Watch the folder that stands there now. Raise OSError where it cannot be watched (limits of inotify)."""
        self.close()
        self._heard = _identity(self._folder)
        observer = Observer()
        observer.schedule(self, str(self._folder), event_filter=list(TELLING))
        try:
            observer.start()
        except OSError:
            observer.stop()  # else each attempt would leave a thread and three descriptors behind
            raise
        self._observer = observer

    def still_hears(self) -> bool:
        """Tell whether the folder there now is the watched one, and its watch is alive."""
        return (
            self._observer is not None
            and all(emitter.is_alive() for emitter in self._observer.emitters)
            and self.same_folder()
        )

    def same_folder(self) -> bool:
        """Tell whether the folder there now has the identity of the one that `listen` found, watched or not.

        A folder that was deleted and made again may have it too.
        """
        return self._heard is not None and self._heard == _identity(self._folder)

    def close(self) -> None:
        """Stop watching, and know no folder."""
        self._heard = None
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=2)
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ring for what may be a request (watchdog's hook)."""
        path = event.dest_path if event.event_type == "moved" else event.src_path
        if isinstance(event, TELLING) and is_request_name(Path(os.fsdecode(path)).name):
            self._ring()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
