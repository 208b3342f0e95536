"""What a pass of retention does with the evidence of drills at its place.

It writes the evidence of the agent's own drills at a destination (catalog.pending_evidence), and reads that of drills
that ran without the agent (catalog.reported_drills).

Signed evidence counts like a drill of the agent, if it names the records that the agent knows. All other evidence is a
claim: a failure that it states is a problem of the health, and it proves nothing. Only evidence by a key of
`drill.trusted` marks an artifact as damaged.
"""

from datetime import datetime

from backup_agent.catalog import drill_notes, evidence, reported_drills
from backup_agent.catalog.contents import Contents
from backup_agent.catalog.evidence import NotedDrill
from backup_agent.catalog.pending_evidence import pending_at
from backup_agent.catalog.place import Place
from backup_agent.catalog.reported_drills import ReportedDrill
from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.events import ArtifactDrilled, DrillMarked, Warned
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.drill_consequences import audit_line, mark_damaged
from backup_agent.signing.keyring import Keyring


class DrillEvidence:
    """The evidence at one place, which must be held."""

    def __init__(self, place: Place, trail: AuditTrail, now: datetime) -> None:
        self._place, self._trail, self._now = place, trail, now
        self._keyring = Keyring(place.settings)
        self._notes = reported_drills.notes_at(place)

    def take(self, found: Contents) -> bool:
        """Write pending evidence, and read evidence that was not read yet. Return whether an artifact was marked.

        A failure only causes a warning: the next pass tries again.
        """
        marked = False
        try:
            for done in pending_at(self._place):
                marked |= self._write(done, found)
            for one in reported_drills.unread(self._place, self._keyring, found.entries):
                marked |= self._take(one)
        except BackupError as error:
            self._warn(error.failure.error)
        except OSError as error:
            self._warn(f"{error.filename}: {error.strerror}")
        return marked

    def _write(self, done: Evidence, found: Contents) -> bool:
        marked = False
        if done.key in found.entries:
            if done.replaces(evidence.recognised(self._place, self._keyring, done.key)):
                evidence.write(self._place, self._keyring, done)
            marked = mark_damaged(self._place, self._keyring, done, self._now, self._trail)
        if marked:
            before = drill_notes.of_database(self._place, *database_of(done.key))
            drills = before.model_copy(update={"marked": self._now})
            drill_notes.remember(self._place, drills)
            self._trail.writer.tell(DrillMarked(key=done.damaged or done.key, drills=drills))
        pending_at(self._place).strike(done.key)
        return marked

    def _take(self, one: ReportedDrill) -> bool:
        """Remember what evidence says, then note that it was read. A crash in between only repeats that."""
        if one.evidence is None:
            self._warn(one.fault or "")
            self._notes.add(one.artifact, one.version, None)
            return False
        # A clock that is wrong, or a lie, must not make later evidence look older.
        done = one.evidence.model_copy(update={"since": min(one.evidence.since, self._now)})
        signed = one.signer is not None and self._names_our_records(done)
        marked = signed and self._mark(done, one.signer)
        before = drill_notes.of_database(self._place, *database_of(done.key))
        drills = before.after(done, marked=self._now if marked else None) if signed else before.claims(done)
        drill_notes.remember(self._place, drills)
        facts = {"evidence": "signed" if signed else "claimed", "key": one.signer}
        self._trail.tell(audit_line(done, **facts))
        self._notes.add(one.artifact, one.version, NotedDrill(done.since, done.outcome, done.level, claimed=not signed))
        # Text of another process is quoted in the log only if a trusted key has signed it.
        reported = done if signed else done.model_copy(update={"error": None, "seconds": {}})
        self._trail.writer.tell(
            ArtifactDrilled(evidence=reported, marked=marked, drills=drills, reported="signed" if signed else "claimed")
        )
        return marked

    def _mark(self, done: Evidence, signer: str | None) -> bool:
        trusted = signer in self._place.settings.drill.trusted
        known = done.model_copy(update={"proven": True})  # its records are the agent's
        return mark_damaged(self._place, self._keyring, known, self._now, self._trail, trusted=trusted)

    def _names_our_records(self, done: Evidence) -> bool:
        """Return whether the drill restored artifacts by the records that the agent knows."""
        noted = self._place.record_notes
        return done.key in done.chain and all(noted.digest(key) == digest for key, digest in done.chain.items())

    def _warn(self, because: str) -> None:
        self._trail.writer.tell(
            Warned(text="evidence of a drill not read or written", because=f"{self._place.name}: {because}")
        )
