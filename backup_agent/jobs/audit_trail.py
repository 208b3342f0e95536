"""What a child process writes into the audit log, and how it stores the log at its destination."""

from datetime import UTC, datetime

from backup_agent import durable
from backup_agent.catalog.audit_copies import AuditCopies, Fork
from backup_agent.catalog.audit_log import AuditLog
from backup_agent.catalog.place import Place
from backup_agent.catalog.tenure import Held
from backup_agent.core.audit.lines import AuditLine
from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.core.requests.events import AuditForked, Warned
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.signing.keyring import Keyring

CLOSED_WITHIN = 8
"""A segment on the volume is closed after this part of `limits.keep_audit`, so its lines are kept this much longer."""


class AuditTrail:
    """The audit log, as one task at a place writes it."""

    def __init__(
        self, place: Place, writer: EventWriter, *, request: str | None = None, claimed: str | None = None
    ) -> None:
        """`request` and `claimed` are added to each line that names no request."""
        self.writer = writer
        self._place = place
        self._log = AuditLog(place.root)
        self._asked = {"request": request, "claimed": claimed}

    def note(self, *lines: AuditLine) -> None:
        """Append lines. Raise PermanentError if they cannot be written: then what they announce must not be done."""
        try:
            self._log.append(*map(self._attributed, lines))
        except OSError as error:
            reason = Reason.DISK_FULL if durable.is_full(error) else Reason.INTERNAL
            hint = "make room on the volume: the reserve of the audit log is used up, too"
            raise PermanentError(reason, f"the audit log cannot be written: {error.strerror}", hint) from error

    def tell(self, *lines: AuditLine) -> None:
        """Append lines about what was done. If they cannot be written, only warn."""
        try:
            self.note(*lines)
        except PermanentError as error:
            about = ", ".join(f"{line.kind} {line.key or ''}".strip() for line in lines[:3])
            self.writer.tell(Warned(text="audit line not written", because=f"{about}: {error.failure.error}"))

    def head(self) -> str | None:
        """Return the digest of the last line, for a new record; None if there is no line, or it cannot be read."""
        try:
            return self._log.head().digest or None
        except OSError as error:
            self.writer.tell(Warned(text="audit log not read", because=f"{error.filename}: {error.strerror}"))
            return None

    def store_all(self, held: Held) -> None:
        """Store the whole log at the destination, before the announced deletions are carried out there.

        Nothing is done for the volume. Raise BackupError if the destination does not take it.
        """
        if not self._place.is_volume:
            try:
                self._tell_fork(self._copies(held).store_all())
            except OSError as error:
                raise _unreadable(error) from error

    def store_old(self, held: Held) -> None:
        """Store lines that are some minutes old, and remove those older than `limits.keep_audit`. If it fails, warn."""
        now, keep = datetime.now(UTC), self._place.settings.limits.keep_audit
        try:
            if self._place.is_volume:
                # Without a destination nothing else closes a segment that is small, and only closed ones expire.
                self._log.close(older_than=keep / CLOSED_WITHIN)
                self._log.expire(now, keep)
                return
            copies = self._copies(held)
            self._tell_fork(copies.store_old())
            if held.may_delete:
                copies.expire(now, keep)
        except (OSError, ValueError) as error:
            self._warn(str(error))
        except BackupError as error:
            self._warn(error.failure.error)

    def _copies(self, held: Held) -> AuditCopies:
        return AuditCopies(self._place, held, Keyring(self._place.settings))

    def _attributed(self, line: AuditLine) -> AuditLine:
        return line if line.request is not None else line.model_copy(update=self._asked)

    def _tell_fork(self, fork: Fork | None) -> None:
        if fork is not None:
            self.writer.tell(AuditForked(place=self._place.name, because=fork.because, found=str(fork)))

    def _warn(self, because: str) -> None:
        self.writer.tell(Warned(text="audit log not stored", because=f"{self._place.name}: {because}"))


def _unreadable(error: OSError) -> PermanentError:
    reason = Reason.DISK_FULL if durable.is_full(error) else Reason.INTERNAL
    return PermanentError(reason, f"the audit log cannot be read: {error.filename}: {error.strerror}")
