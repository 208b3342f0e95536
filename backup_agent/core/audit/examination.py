"""Examining an audit log: whether it is whole, and whether it explains what is at its place.

The segments are read in order, one at a time. Memory depends on the number of artifacts and segments, not on the number
of lines.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.audit.lines import AuditKind, AuditLine, Head, digest_of_line


class AuditFault(StrEnum):
    """What is wrong with a log, or what it does not explain."""

    ALTERED = "altered"
    """A line is not the one that the next line follows: it was altered, added, removed or reordered."""
    REMOVED = "removed"
    """Lines are missing that other lines, or records, name."""
    BRANCH = "branch"
    """No line continues these lines, and none names them as the end of another volume's log."""
    UNPLANNED = "unplanned"
    """An artifact was deleted and no plan announced that."""
    UNEXPLAINED = "unexplained"
    """No line says how a record came to its place, or the record is another one."""
    MISSING = "missing"
    """An artifact is gone and no line says that it was deleted."""
    SEAL = "seal"
    """A segment is not the one that was signed."""
    GAP = "gap"
    """Lines may be missing for a reason that the log itself gives: a lost volume, a crash."""
    TAIL = "tail"
    """Records are newer than the last line: later lines are not here, or not here yet."""


GAPS = frozenset({AuditFault.GAP, AuditFault.TAIL})
"""What a crash or the loss of a volume may cause. All others mean that the log or the records were changed."""


class AuditFinding(NamedTuple):
    """One finding."""

    fault: AuditFault
    where: str
    """A line, a segment, or the key of an artifact."""
    text: str


class RecordFacts(NamedTuple):
    """What the examination needs of a record at the place."""

    key: str
    digest: str
    """SHA-256 of the stored record."""
    finished: datetime
    head: str | None
    """Its `audit_head`."""


@dataclass
class _Artifact:
    """What the log says of an artifact at the place."""

    digests: set[str] = field(default_factory=set)
    there: bool = False
    announced: bool = False
    """Whether a deletion was announced since the artifact came."""


_ARRIVALS = {
    AuditKind.RECORDED: VOLUME,
    AuditKind.ADOPTED: VOLUME,
    AuditKind.COPIED: None,
    AuditKind.ACCEPTED: None,
    AuditKind.RECORD_SIGNED: None,
}
"""Kind of line after which a record is at a place: the volume, or the place of the line."""


class Examination:
    """The examination of one log. `segment` is called for each segment in order, then `findings`."""

    def __init__(self, place: PlaceName, on_line: Callable[[AuditLine], None] = lambda _: None) -> None:
        """`place` is where the log and the records are. `on_line` is called with each line."""
        self._place = place
        self._on_line = on_line
        self._found: list[AuditFinding] = []
        self._ends: dict[str, Head] = {}
        self._continued: set[str] = set()
        self._named: set[str] = set()
        """Ends that the first line of an epoch names."""
        self._loose: dict[str, str] = {}
        """Digest that the first line of a segment follows, and that no segment before ends with -> the segment."""
        self._expired: set[str] = set()
        self._artifacts: dict[str, _Artifact] = {}
        self._recorded: set[str] = set()
        """Artifacts that a line says were recorded on the volume."""
        self._wanted: set[str] = set()
        self.lines = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.head: Head | None = None

    def expect(self, heads: Iterable[str | None]) -> None:
        """Expect lines with these digests. Call this before the first segment."""
        self._wanted.update(filter(None, heads))

    def misses(self, head: str) -> bool:
        """Return whether an expected line has not been found."""
        return head in self._wanted

    def segment(self, name: str, content: bytes) -> None:
        """Examine one segment."""
        head: Head | None = None
        for number, raw in enumerate(content.splitlines(keepends=True), start=1):
            where = f"{name}:{number}"
            if not raw.endswith(b"\n"):
                self._tell(AuditFault.GAP, where, "the last line was cut off: the agent was killed while it wrote")
                break
            try:
                line = AuditLine.from_json(raw)
            except ValueError:
                self._tell(AuditFault.ALTERED, where, "it is not a line of the log")
                continue
            digest = digest_of_line(raw)
            self._chain(where, line, head)
            head = Head(line.n, line.epoch, digest)
            self._wanted.discard(digest)
            self._note_time(line.at)
            self._take(where, line)
            self._on_line(line)
        if head is not None:
            self._ends[head.digest] = head
            if self.head is None or head.n > self.head.n:
                self.head = head

    def findings(self, records: Iterable[RecordFacts]) -> tuple[AuditFinding, ...]:
        """Return all findings, after comparing the log with the records at the place."""
        for digest, where in self._loose.items():
            if digest not in self._expired and digest not in self._ends:
                self._tell(AuditFault.REMOVED, where, "the lines before it are missing")
        self._judge_ends()
        self._judge_records(records)
        return tuple(self._found)

    def _tell(self, fault: AuditFault, where: str, text: str) -> None:
        self._found.append(AuditFinding(fault, where, text))

    def _chain(self, where: str, line: AuditLine, before: Head | None) -> None:
        begins = line.kind == AuditKind.BEGUN
        self._continued.add(line.prev)
        self.lines += 1
        if before is None:
            if line.prev and line.prev not in self._ends:
                self._loose[line.prev] = where
            elif not line.prev and not (begins and line.n == 1):
                self._tell(AuditFault.ALTERED, where, "it follows no line, and is not the first")
        elif line.prev != before.digest:
            self._tell(AuditFault.ALTERED, where, "it does not follow the line before, which is not as it was written")
        elif line.n != before.n + 1 and not begins:
            self._tell(AuditFault.ALTERED, where, f"it is line {line.n}, and the one before is {before.n}")

    def _note_time(self, at: datetime | None) -> None:
        if at is not None:
            self.first = min(self.first or at, at)
            self.last = max(self.last or at, at)

    def _take(self, where: str, line: AuditLine) -> None:
        match line.kind:
            case AuditKind.BEGUN:
                self._take_epoch(where, line)
            case AuditKind.EXPIRED if line.digest is not None:
                self._expired.add(line.digest)
            case AuditKind.TORN:
                file = line.facts.get("file")
                self._tell(AuditFault.GAP, where, f"a line that a crash cut off is in {file}; it says nothing whole")
            case AuditKind.DELETING if line.place == self._place:
                self._announced(where, line)
            case AuditKind.DELETED if line.place == self._place:
                self._deleted(where, line)
            case kind if kind in _ARRIVALS:
                at = _ARRIVALS[AuditKind(kind)] or line.place
                if at == VOLUME and line.key is not None:
                    self._recorded.add(line.key)
                if at == self._place and line.key is not None:
                    one = self._artifacts.setdefault(line.key, _Artifact())
                    one.there, one.announced = True, False
                    one.digests |= {line.digest} if line.digest else set()

    def _take_epoch(self, where: str, line: AuditLine) -> None:
        heads = line.facts.get("heads")
        for place, named in heads.items() if isinstance(heads, dict) else ():
            digest = str(named.get("digest", "")) if isinstance(named, dict) else ""
            self._named.add(digest)
            if place == self._place and place != VOLUME and digest not in self._ends:
                self._tell(
                    AuditFault.REMOVED, where, "it names a line as the end of the other log, and that is not here"
                )
        if line.why == "taken_up":
            self._tell(
                AuditFault.GAP,
                where,
                "another volume goes on from here: what the volume before it wrote and had not stored here is lost",
            )
        elif line.why == "forked":
            self._tell(
                AuditFault.GAP, where, "two volumes have continued the same log: one was restored from a snapshot"
            )

    def _announced(self, where: str, line: AuditLine) -> None:
        one = self._artifacts.get(line.key or "")
        if one is not None:
            one.announced = True
            if one.there and line.plan is None:
                self._tell(AuditFault.UNPLANNED, where, f"no plan names the deletion of {line.key}")

    def _deleted(self, where: str, line: AuditLine) -> None:
        one = self._artifacts.get(line.key or "")
        if one is None:
            return
        if one.there and not one.announced:
            self._tell(AuditFault.UNPLANNED, where, f"{line.key} was deleted, and no line had announced that")
        one.there = False

    def _judge_ends(self) -> None:
        for digest, head in self._ends.items():
            if digest not in self._continued and digest not in self._named and head != self.head:
                self._tell(AuditFault.BRANCH, f"line {head.n}", "no line continues it, and none names it as an end")

    def _judge_records(self, records: Iterable[RecordFacts]) -> None:
        there: set[str] = set()
        older, newer = [], []
        for record in records:
            there.add(record.key)
            one = self._artifacts.get(record.key)
            known = one is not None and record.digest in one.digests
            head_known = record.head is None or record.head not in self._wanted
            if known and head_known:
                continue
            copying = one is None and record.key in self._recorded  # the line of the copy comes after it
            if self.last is None or record.finished > self.last or copying:
                newer.append(record)
            elif self.first is not None and record.finished < self.first:
                older.append(record)
            elif one is None or not one.digests:
                self._tell(AuditFault.UNEXPLAINED, record.key, "no line says how its record came here")
            elif not known:
                self._tell(AuditFault.UNEXPLAINED, record.key, "its record is not the one that the log names")
            else:
                text = f"its record names {record.head} as the last line at its time, and no line here is that"
                self._tell(AuditFault.REMOVED, record.key, text)
        self._tell_span(newer, AuditFault.TAIL, "later than the last line here", older_than=False)
        if not self._expired:
            self._tell_span(older, AuditFault.GAP, "older than the first line here", older_than=True)
        for key, one in self._artifacts.items():
            if one.there and not one.announced and key not in there:
                self._tell(AuditFault.MISSING, key, "it was recorded here, and no deletion explains that it is gone")

    def _tell_span(self, records: list[RecordFacts], fault: AuditFault, what: str, *, older_than: bool) -> None:
        if records:
            at = self.first if older_than else self.last
            ends = sorted(record.finished for record in records)
            end = ends[0] if older_than else ends[-1]
            many = f"{len(records)} records are" if len(records) > 1 else "1 record is"
            text = f"{many} {what} ({_shown(at)}); the farthest is of {_shown(end)}"
            self._tell(fault, self._place, text)


def _shown(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if at else "none"
