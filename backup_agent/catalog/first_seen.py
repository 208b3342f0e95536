"""Notes on when the agent first saw something that keeps an artifact and may be forged.

An unrecognised record that names the artifact as its parent may be genuine, for example after the volume was restored
from a snapshot, and then it needs its parent. The same is true of a hold that the agent neither noted nor signed. Both
may also be forged. Therefore they keep the artifact only for a limited time, which later ones do not extend.
"""

from datetime import datetime

from backup_agent.catalog.note_folder import NoteFolder


class FirstSeen(NoteFolder):
    """The artifacts of one place that are kept for something unrecognised, each with the time of its first sight."""

    def first(self, key: str) -> datetime | None:
        """Return when something was first seen that keeps an artifact, or None if there is no readable note."""
        content = self._read(key)
        try:
            return None if content is None else datetime.fromisoformat(content.decode().strip())
        except ValueError:
            return None

    def note(self, key: str, now: datetime) -> None:
        """Note `now` as the time of the first sight."""
        self._write(key, f"{now.isoformat()}\n".encode(), sync=False)

    def strike(self, key: str) -> None:
        """Remove the note on an artifact."""
        self._remove(key)
