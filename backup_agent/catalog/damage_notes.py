"""What the agent knows of damage at a place: a note for each artifact that it found damaged, or undamaged after all.

Every program that can write to a destination can write a damage mark, and an old mark can be put back. So a mark there
is believed only as far as these notes or its signature say (catalog.damage_marks).
"""

from backup_agent.catalog.note_folder import NoteFolder

_DAMAGED, _SOUND = b"damaged\n", b"sound\n"


class DamageNotes(NoteFolder):
    """The notes on the artifacts of one place."""

    def damaged(self, key: str) -> bool | None:
        """Return whether the agent found an artifact damaged when it last looked, or None if there is no note."""
        return {_DAMAGED: True, _SOUND: False}.get(self._read(key) or b"")

    def note(self, key: str, *, damaged: bool) -> None:
        """Note that an artifact is damaged, or that it is not although there is or was a mark."""
        self._write(key, _DAMAGED if damaged else _SOUND)

    def strike(self, key: str) -> None:
        """Remove the note on an artifact."""
        self._remove(key)
