"""Evidence of the agent's drills that is to be written at a destination, noted on the volume.

Only the child of a destination writes there, so a drill notes its evidence, and the next pass of retention writes it.
"""

from collections.abc import Iterator

from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.catalog.place import Place
from backup_agent.core.drill.evidence import Evidence


class PendingEvidence(NoteFolder):
    """The evidence that is to be written at one destination, one for each artifact."""

    def add(self, evidence: Evidence) -> None:
        """Note evidence, unless the noted evidence proves more."""
        if evidence.replaces(self._of(evidence.key)):
            self._write(evidence.key, evidence.to_json())

    def __iter__(self) -> Iterator[Evidence]:
        """Yield the noted evidence. Notes that cannot be read are left out."""
        for key in tuple(self._keys()):
            if (found := self._of(key)) is not None:
                yield found

    def strike(self, key: str) -> None:
        """Remove the note on the evidence of an artifact."""
        self._remove(key)

    def _of(self, key: str) -> Evidence | None:
        try:
            return Evidence.from_json(self._read(key) or b"")
        except (OSError, ValueError):
            return None


def pending_at(place: Place) -> PendingEvidence:
    """Return the evidence that is to be written at a destination."""
    return PendingEvidence(place.folder("pending_evidence"))
