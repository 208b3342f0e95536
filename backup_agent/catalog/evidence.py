"""The evidence of drills at a place.

Every program that can write at a place can write evidence. So evidence is *recognised* only if the agent noted its
SHA-256 on the volume when it wrote it, or if a key that the settings trust has signed it. Other evidence is never
believed.
"""

from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from backup_agent import durable
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.catalog.place import Place
from backup_agent.catalog.record_notes import digest_of
from backup_agent.catalog.volume_records import first_fault
from backup_agent.core.artifacts.keys import evidence_key
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.store import ObjectTooLargeError


class Origin(StrEnum):
    """Who wrote evidence."""

    NOTED = "noted"
    """This agent."""
    SIGNED = "signed"
    """A key of `signing`, or of `drill.trusted`."""
    UNKNOWN = "unknown"


class NotedDrill(NamedTuple):
    """The result of an artifact's last drill, as its note says it."""

    at: datetime
    outcome: DrillOutcome
    level: Level
    claimed: bool = False
    """Whether it is only a claim of another process: no trusted key has signed its evidence."""

    def __str__(self) -> str:
        """Return `passed query 2026-11-30`."""
        return f"{self.outcome.value} {self.level.value} {self.at:%Y-%m-%d}{', not signed' * self.claimed}"


_MOST_ANNOUNCED = 16


class EvidenceNotes(NoteFolder):
    """The notes on the evidence that the agent wrote at a place: SHA-256, time, outcome and level, in one line.

    While evidence is being replaced, further lines have the earlier evidence: after a crash either may be there.
    """

    def announce(self, evidence: Evidence, content: bytes) -> None:
        """Note evidence that is about to be written, in addition to the evidence that it replaces.

        That may be any of several, if the processes of earlier drills were killed here one after the other.
        """
        before = (self._read(evidence.key) or b"").splitlines(keepends=True)[:_MOST_ANNOUNCED]
        self._write(evidence.key, b"".join((_line(evidence, content), *before)))

    def add(self, evidence: Evidence, content: bytes) -> None:
        """Note the evidence of an artifact. `content` is its stored form."""
        self._write(evidence.key, _line(evidence, content))

    def has(self, key: str) -> bool:
        """Return whether the agent wrote evidence of an artifact."""
        return self._read(key) is not None

    def names(self, key: str, content: bytes) -> bool:
        """Return whether the agent wrote this evidence of an artifact."""
        return digest_of(content).encode() in (line.split(b" ")[0] for line in (self._read(key) or b"").splitlines())

    def of(self, key: str) -> NotedDrill | None:
        """Return the result of an artifact's last drill, or None if there is no readable note."""
        try:
            _, at, outcome, level = (self._read(key) or b"").decode().partition("\n")[0].split()
            return NotedDrill(datetime.fromisoformat(at), DrillOutcome(outcome), Level(level))
        except (OSError, ValueError):
            return None

    def strike(self, key: str) -> None:
        """Remove the note on an artifact's evidence."""
        self._remove(key)


def _line(evidence: Evidence, content: bytes) -> bytes:
    words = (digest_of(content), evidence.since.isoformat(), evidence.outcome.value, evidence.level.value)
    return f"{' '.join(words)}\n".encode()


def notes_at(place: Place) -> EvidenceNotes:
    """Return the notes on the evidence at a place."""
    return EvidenceNotes(place.folder("evidence"))


def write(place: Place, keyring: Keyring, evidence: Evidence) -> Evidence:
    """Write the evidence of a drill beside its artifact. Evidence of an earlier drill is replaced.

    It is signed if there is a key. Return it as written. Raise the store's error if it cannot be written.
    """
    evidence = keyring.sign(evidence)
    content = evidence.to_json()
    notes_at(place).announce(evidence, content)
    replace(place, evidence_key(evidence.key), content)
    notes_at(place).add(evidence, content)
    return evidence


def replace(place: Place, key: str, content: bytes) -> None:
    """Write evidence under a key, whatever is there. Raise the store's error if it cannot be written."""
    try:
        before = place.store.look(key, durable.LIMIT)
        version = before.version if before is not None else None
    except ObjectTooLargeError as error:
        version = error.version
    place.store.swap(key, content, version)


def read(place: Place, keyring: Keyring, artifact: str) -> tuple[Evidence, Origin] | None:
    """Return the evidence of an artifact's last drill, and who wrote it, or None if the artifact has no evidence.

    Raise PermanentError (`unreadable`) if it is invalid or belongs to another artifact, or the store's error.
    """
    key = evidence_key(artifact)
    try:
        content = place.store.read(key, durable.LIMIT)
    except PermanentError as error:
        if error.failure.reason is Reason.NOT_FOUND:
            return None
        raise
    evidence = parsed(place, key, artifact, content)
    if notes_at(place).names(artifact, content):
        return evidence, Origin.NOTED
    return evidence, Origin.UNKNOWN if signer(place, keyring, artifact, content) is None else Origin.SIGNED


def recognised(place: Place, keyring: Keyring, artifact: str) -> Evidence | None:
    """Return the evidence of an artifact's last drill; None unless it is readable and recognised.

    Raise TransientError if the place cannot be read.
    """
    with suppress(PermanentError):
        found = read(place, keyring, artifact)
        if found is not None and found[1] is not Origin.UNKNOWN:
            return found[0]
    return None


def parsed(place: Place, key: str, artifact: str, content: bytes) -> Evidence:
    """Return evidence of an artifact that was read from `key`.

    Raise PermanentError (`unreadable`) if it is invalid, or the evidence of another artifact or place.
    """
    try:
        evidence = Evidence.from_json(content)
    except ValueError as error:
        raise PermanentError(Reason.UNREADABLE, f"{place.name}: {key}: {first_fault(error)}") from None
    if evidence.key != artifact or evidence.place != place.name:
        text = f"it is the evidence of {evidence.key} at {evidence.place}"
        raise PermanentError(Reason.UNREADABLE, f"{place.name}: {key}: {text}")
    return evidence


def signer(place: Place, keyring: Keyring, artifact: str, content: bytes) -> str | None:
    """Return the fingerprint of the trusted key that signed evidence; None if no trusted key did."""
    return keyring.signer(Evidence, artifact, content, also=place.settings.drill.trusted)
