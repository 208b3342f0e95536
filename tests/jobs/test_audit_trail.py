"""The audit log without a destination: a pass over the volume lets old lines expire."""

from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog import audit_log
from backup_agent.catalog.audit_log import AuditLog
from backup_agent.catalog.audit_reading import AuditSource
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.jobs import audit_trail
from backup_agent.jobs.audit_trail import AuditTrail
from tests.builders import an_event_writer
from tests.catalog.places import place_at


def test_old_lines_expire_although_their_segment_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = place_at(tmp_path)
    log = AuditLog(tmp_path)
    days = [0]

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(days=days[0])

    for module in (audit_log, audit_trail):
        monkeypatch.setattr(module, "datetime", Later)
    closed = []
    for days[0] in (0, 49, 51, 449, 452):
        log.append(AuditLine(kind=AuditKind.STARTED))
        with hold_place(volume) as held:
            AuditTrail(volume, an_event_writer()).store_old(held)
        closed.append(len(log.closed()))

    assert closed == [0, 0, 1, 1, 0]
    kinds = [one.kind for one in AuditSource.of_place(volume).lines()]
    assert kinds == ["started", "started", "expired"]
