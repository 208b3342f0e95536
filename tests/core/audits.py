"""Builders: segments of audit logs as bytes."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.artifacts.records import Record
from backup_agent.core.audit.lines import START, AuditKind, AuditLine, Head, digest_of_line
from backup_agent.core.audit.segments import Segment
from tests.builders import OFFSITE, TAKEN, a_record

VOLUME = PlaceName("local")
DIGEST = "ab" * 32


def line(kind: AuditKind, key: str | None = None, place: str | None = None, **fields: Any) -> AuditLine:
    return AuditLine(kind=kind, key=key, place=place and PlaceName(place), **fields)


def chain(lines: Iterable[AuditLine], head: Head = START, *, minute: int = 0) -> tuple[bytes, Head]:
    """Return a segment with these lines, a minute apart, and its end."""
    content = b""
    for number, one in enumerate(lines):
        chained = one.chained(head, TAKEN + timedelta(minutes=minute + number), "pod-0")
        written = chained.to_json()
        head = Head(chained.n, chained.epoch, digest_of_line(written))
        content += written
    return content, head


def name_of(content: bytes, fork: str = "") -> str:
    """Return the name of a segment."""
    lines = content.splitlines()
    return Segment(AuditLine.from_json(lines[0]).n, AuditLine.from_json(lines[-1]).n, fork).name


def begun(why: str = "first", **heads: Head) -> AuditLine:
    named = {where: {"n": head.n, "digest": head.digest} for where, head in heads.items()}
    return line(AuditKind.BEGUN, why=why, facts={"heads": named} if named else {})


def backed_up(*hours: int) -> Iterator[AuditLine]:
    """Yield the lines of backups that were recorded and copied."""
    for hour in hours:
        yield line(AuditKind.RECORDED, a_record(hour).key, digest=DIGEST)
        yield line(AuditKind.COPIED, a_record(hour).key, OFFSITE, digest=DIGEST)


def deleted(record: Record, place: str = OFFSITE) -> Iterator[AuditLine]:
    yield line(AuditKind.DELETING, record.key, place, plan="0123", why="no rule keeps it")
    yield line(AuditKind.DELETED, record.key, place, plan="0123")
