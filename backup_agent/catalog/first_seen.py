"""Notes on when an artifact was first claimed: an unrecognised record named it as its parent.

The record may be genuine, for example after the volume was restored from a snapshot, and then it needs its parent. It
may also be forged. Therefore a claim protects the parent only for a limited time, which later claims do not extend.
"""

from datetime import datetime

from backup_agent.catalog.note_folder import NoteFolder


class Claims(NoteFolder):
    """The claimed artifacts of one place."""

    def first(self, key: str) -> datetime | None:
        """Return when an artifact was first claimed, or None if there is no readable note."""
        content = self._read(key)
        try:
            return None if content is None else datetime.fromisoformat(content.decode().strip())
        except ValueError:
            return None

    def note(self, key: str, now: datetime) -> None:
        """Note `now` as the time of the first claim on an artifact."""
        self._write(key, f"{now.isoformat()}\n".encode(), sync=False)

    def strike(self, key: str) -> None:
        """Remove the note on an artifact."""
        self._remove(key)
