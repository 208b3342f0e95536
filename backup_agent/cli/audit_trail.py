"""What commands write into the audit log of the volume. On a machine without the volume nothing is written."""

import os
from datetime import UTC, datetime

from backup_agent.catalog.place import OWN, Place
from backup_agent.cli import printing
from backup_agent.core.artifacts.names import command_id
from backup_agent.core.audit.lines import AuditLine
from backup_agent.core.requests.events import AuditForked, Warned, parse
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.event_writer import EventWriter


def trail_at(place: Place) -> AuditTrail:
    """Return the audit trail of a command at a place. Its lines have the id of the command; warnings go to stderr."""
    identity = command_id(datetime.now(UTC), os.getpid())
    return AuditTrail(place, EventWriter(_warn), request=identity)


def tell_if_here(place: Place, *lines: AuditLine) -> None:
    """Append lines if this machine has the volume of the agent."""
    if (place.root / OWN).is_dir():
        trail_at(place).tell(*lines)


def _warn(event: str) -> None:
    match parse(event.encode()):
        case AuditForked() as warned:
            printing.line(f"WARNING: {warned.place}: the audit log there has other lines: {warned.found}", err=True)
        case Warned() as warned:
            printing.line(f"WARNING: {warned.text}: {warned.because}", err=True)
