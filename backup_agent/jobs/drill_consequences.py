"""What follows from the evidence of a drill: a damage mark, and a line of the audit log."""

from datetime import datetime, timedelta

from backup_agent.catalog import damage_marks, drill_notes
from backup_agent.catalog.contents import of_database
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.audit.lines import AuditKind, AuditLine, drilled
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.drill.outcomes import is_marked
from backup_agent.core.restore.points import Points
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.summaries import tell_summary
from backup_agent.signing.keyring import Keyring

MARKS_EVERY = timedelta(days=1)
"""A drill marks at most one artifact of a database in this time: each mark is followed by a FULL."""


def mark_damaged(
    place: Place, keyring: Keyring, done: Evidence, now: datetime, trail: AuditTrail, *, trusted: bool = True
) -> bool:
    """Mark the damaged artifact of a drill, and tell the audit log. Return whether it was marked.

    The place must be held. `trusted` is False for evidence of another process that no key of `drill.trusted` signed.
    """
    damaged = done.damaged or done.key
    if not done.proven or database_of(damaged) != database_of(done.key):
        return False
    contents = of_database(place, *database_of(damaged))
    last = drill_notes.of_database(place, *database_of(damaged)).marked
    if damaged not in contents.entries or not is_marked(
        done.outcome,
        other_points=Points(contents.entries.values(), {*contents.unsound, damaged}).newest() is not None,
        marked_today=last is not None and now - last < MARKS_EVERY,
        trusted=trusted,
    ):
        return False
    found = f"a drill failed: {done.error}"
    damage_marks.mark(place, keyring, damaged, found=found, file=None, now=done.since)
    trail.tell(AuditLine(kind=AuditKind.DAMAGED, place=place.name, key=damaged, why=found))
    if place.is_volume:
        tell_summary(*database_of(damaged), place.settings, trail.writer)
    return True


def audit_line(done: Evidence, **facts: object) -> AuditLine:
    """Return the line of the audit log for a drill."""
    measured = {
        "reached": done.reached.value if done.reached is not None else None,
        "restore_seconds": done.restore_seconds,
        "reason": done.reason.value if done.reason is not None else None,
        "drilled_at": done.since.isoformat(),
        **facts,
    }
    known = {name: value for name, value in measured.items() if value is not None}
    return drilled(done.place, done.key, level=done.level.value, outcome=done.outcome.value, facts=known)
