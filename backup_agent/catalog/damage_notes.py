"""Damage notes: one for each artifact at a place that the agent found damaged, or undamaged despite a mark.

Every program that can write to a destination can write a damage mark or put an old one back. Therefore a mark at a
destination counts only if a note or its signature confirms it (catalog.damage_marks).
"""

from backup_agent.catalog.note_folder import NoteFolder

_DAMAGED, _SOUND = b"damaged\n", b"sound\n"


class DamageNotes(NoteFolder):
    """The notes on the artifacts of one place."""

    def damaged(self, key: str) -> bool | None:
        """Return whether an artifact was damaged when the agent last read it, or None if there is no note."""
        return {_DAMAGED: True, _SOUND: False}.get(self._read(key) or b"")

    def note(self, key: str, *, damaged: bool) -> None:
        """Note that an artifact is damaged, or that it is undamaged although it has or had a mark."""
        self._write(key, _DAMAGED if damaged else _SOUND)

    def strike(self, key: str) -> None:
        """Remove the note on an artifact."""
        self._remove(key)
