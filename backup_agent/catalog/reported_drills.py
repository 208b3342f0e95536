"""The evidence of drills that ran without the agent (`drill --evidence`), below the prefix `.drills/` of a place.

The credentials of such a drill write only there, and other programs may have them too. So this evidence is a *claim*
unless a trusted key has signed it. The agent reads each object once, and notes on its volume what it has read.
"""

import hashlib
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

from backup_agent import durable
from backup_agent.catalog import evidence
from backup_agent.catalog.evidence import NotedDrill
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.keys import (
    ARTIFACT_SUFFIX,
    EVIDENCE_SUFFIX,
    database_of,
    evidence_key,
    is_key,
    name_of,
)
from backup_agent.core.artifacts.names import DatabaseName, SetName, time_of_artifact
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.store import Store

PREFIX = ".drills/"
MOST_LISTED = 20_000
"""Largest number of objects below the prefix that are looked at."""
MOST_READ = 1000
"""Largest number of objects that one pass reads. The next pass reads others."""
_ENDING = ARTIFACT_SUFFIX + EVIDENCE_SUFFIX


class ReportedDrill(NamedTuple):
    """One object of evidence that was read."""

    artifact: str
    version: str
    evidence: Evidence | None
    """None if it is unreadable."""
    signer: str | None
    """Fingerprint of the trusted key that signed it."""
    fault: str | None
    """Why it is unreadable."""


class ReportedNotes(NoteFolder):
    """The notes on the evidence that was read: its version, and if it was readable what it says, in one line."""

    def add(self, artifact: str, version: str, drill: NotedDrill | None) -> None:
        """Note that the evidence of an artifact was read. `drill` is None if it is unreadable."""
        words = (
            ()
            if drill is None
            else (drill.at.isoformat(), drill.outcome, drill.level, ("signed", "claimed")[drill.claimed])
        )
        self._write(artifact, f"{' '.join((_short(version), *words))}\n".encode())

    def has(self, artifact: str) -> bool:
        """Return whether evidence of an artifact was read."""
        return self._read(artifact) is not None

    def names(self, artifact: str, version: str) -> bool:
        """Return whether this version of an artifact's evidence was read."""
        return bool(version) and (self._read(artifact) or b"").split()[:1] == [_short(version).encode()]

    def of(self, artifact: str) -> NotedDrill | None:
        """Return what the evidence of an artifact says; None without readable evidence."""
        try:
            _, at, outcome, level, origin = (self._read(artifact) or b"").decode().split()
            return NotedDrill(datetime.fromisoformat(at), DrillOutcome(outcome), Level(level), origin == "claimed")
        except (OSError, ValueError):
            return None

    def strike(self, artifact: str) -> None:
        """Remove the note on the evidence of an artifact."""
        self._remove(artifact)


def notes_at(place: Place) -> ReportedNotes:
    """Return the notes on the evidence that was read at a place."""
    return ReportedNotes(place.folder("reported_drills"))


def reported_key(artifact: str) -> str:
    """Return the key of the evidence of an artifact below the prefix."""
    return PREFIX + evidence_key(artifact)


def write(place: Place, keyring: Keyring, done: Evidence) -> Evidence:
    """Write evidence below the prefix, signed if there is a key. Return it as written, or raise the store's error."""
    done = keyring.sign(done)
    evidence.replace(place, reported_key(done.key), done.to_json())
    return done


def read(place: Place, keyring: Keyring, artifact: str) -> ReportedDrill | None:
    """Read the evidence of an artifact below the prefix, or return None without evidence. Raise the store's error."""
    key, version = reported_key(artifact), ""
    try:
        found = place.store.look(key, durable.LIMIT)
        if found is None:
            return None
        version = found.version
        done = evidence.parsed(place, key, artifact, found.content)
        return ReportedDrill(artifact, version, done, evidence.signer(place, keyring, artifact, found.content), None)
    except PermanentError as error:
        if error.failure.reason is not Reason.UNREADABLE:
            raise
        version = version or getattr(error, "version", "")
        return ReportedDrill(artifact, version, None, None, error.failure.error)


def unread(place: Place, keyring: Keyring, artifacts: Collection[str]) -> Iterator[ReportedDrill]:
    """Yield the evidence that was not read yet, for the given artifacts. Raise the store's error."""
    notes, count = notes_at(place), 0
    for artifact, version in sorted(listed(place.store).items()):
        if artifact not in artifacts or notes.names(artifact, version):
            continue
        if (found := read(place, keyring, artifact)) is not None:
            yield found
        count += 1
        if count == MOST_READ:
            return


def listed(store: Store) -> dict[str, str]:
    """Return the artifacts with evidence below the prefix, and its versions. Raise the store's error."""
    found = store.versions(PREFIX, MOST_LISTED)
    names = {key.removeprefix(PREFIX): version for key, version in found.items() if key.endswith(_ENDING)}
    return {name.removesuffix(EVIDENCE_SUFFIX): version for name, version in names.items() if is_key(name)}


def last_taken(place: Place) -> dict[tuple[SetName, DatabaseName], datetime]:
    """Return for each database when its newest artifact with evidence below the prefix was taken, by its name.

    A drill without the agent's notes takes the databases in this order. Raise the store's error.
    """
    newest: dict[tuple[SetName, DatabaseName], datetime] = {}
    for artifact in listed(place.store):
        taken = time_of_artifact(name_of(artifact))
        if taken is not None:
            pair = database_of(artifact)
            newest[pair] = max(taken, newest.get(pair, taken))
    return newest


def last_drill(place: Place, artifact: str) -> NotedDrill | None:
    """Return the result of the last drill of an artifact, by the agent or by another process, as the notes say it."""
    found = (evidence.notes_at(place).of(artifact), notes_at(place).of(artifact))
    return max((one for one in found if one is not None), key=lambda one: one.at, default=None)


def _short(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()[:16]
