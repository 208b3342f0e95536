"""One value of each kind that is stored, with every field set. `python -m tests.stored.values` writes golden files anew.

If a golden file changes, stored documents change: earlier releases must read the new ones, and this one the old ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from backup_agent.catalog.audit_copies import AuditCopyState
from backup_agent.catalog.index import IndexLine
from backup_agent.catalog.journal import Doing, Intent
from backup_agent.catalog.reread_log import ReadingLine, ReadOutcome, SliceState
from backup_agent.catalog.set_uses import Uses
from backup_agent.catalog.tenure import _Sight
from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.names import DatabaseName, PlaceName
from backup_agent.core.artifacts.records import (
    ArtifactFile,
    BackupType,
    Definition,
    Header,
    History,
    Record,
    Signature,
    StoredValue,
)
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.audit.segments import Seal
from backup_agent.core.doctor.features import FeatureFinding
from backup_agent.core.drill.evidence import DatabaseDrills, EntityCounts, Evidence, LastDrill, QueryOutcome, Skipped
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.neo4j.topology import Copy, Topology
from backup_agent.core.ownership.lease import Lease
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.protection.health import HealthState
from backup_agent.core.protection.judging import ExpectedSince
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.answers import (
    Answer,
    DatabaseResult,
    Deletion,
    NotRead,
    Outcome,
    PlaceResult,
    State,
    Unread,
)
from backup_agent.core.requests.schedules import Handled
from backup_agent.core.retention.clock import ClockReading, ClockSighting, ClockTime
from backup_agent.stores.features import Feature, StoreCard
from backup_agent.supervisor.schedules.calendar import CalendarFile
from backup_agent.supervisor.work.audit import SettingsDigests
from backup_agent.supervisor.work.expected_backups import ExpectedFile
from backup_agent.supervisor.work.notifications import NotifiedFile
from backup_agent.supervisor.work.orders_file import Order, OrdersFile
from tests.builders import ORDERS

GOLDEN = Path(__file__).with_name("golden")
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 23, 2, 0, 4, 250_000, tzinfo=UTC)
NAME = "orders-2026-11-23T02-00-00.backup"
KEY = f"default/orders/{NAME}"
PARENT = "default/orders/orders-2026-11-22T02-00-00.backup"

SIGNATURE = Signature(kind="ed25519", key="sha256:0f", public_key="cHVibGlj", value="c2lnbmVk")

DEFINITION = Definition(
    primaries=3,
    secondaries=1,
    default_language="CYPHER 25",
    access="read-write",
    options={"txLogEnrichment": "FULL"},
    aliases=("shop",),
    shards=("orders-g000", "orders-p000"),
)

RECORD = Record(
    key=KEY,
    cluster="demo",
    set="default",
    database="orders",
    type=BackupType.DIFF,
    type_reason="chain_continues",
    parent=PARENT,
    header=Header(
        magic="BZV2",
        database="orders",
        database_id=UUID(int=7),
        store_id="1-2-block-block-1.1",
        taken=NOW,
        lowest=13,
        highest=24,
        full=False,
        compressed=True,
        recovered=False,
    ),
    files=(
        ArtifactFile(name=NAME, size=2048, sha256="ab" * 32, part_size=1024, parts=("ef" * 32, "01" * 32)),
        ArtifactFile(name=f"{NAME}.1", size=1024, sha256="cd" * 32),
    ),
    raw_size=9000,
    database_id="ID-orders",
    history=History(database_id=UUID(int=7), store_id="1-2-block-block-1.1"),
    last_committed_tx=24,
    clock_offset=-1.5,
    definition=DEFINITION,
    request="nightly@20261123T020000Z",
    requested_by="schedule nightly",
    reason="before the upgrade",
    labels={"ticket": "CHG-42"},
    started=NOW,
    finished=LATER,
    source="server-1:6362",
    server_version="2026.09.0",
    admin_version="2026.09.0",
    launch="script",
    exit_code=0,
    warnings=("a server was away",),
    fencing=3,
    audit_head="9a" * 32,
    signature=SIGNATURE,
)
LEASE = Lease(
    holder="a1b2",
    agent="demo-backup-0:/backups",
    token="t1",
    number=3,
    renewal=7,
    period=15.0,
    seat="boot:8:42",
    released=True,
)
REFUSED = {"reason": Reason.DISK_FULL, "error": "/backups: no room", "hint": "make room"}

VALUES: dict[str, StoredValue] = {
    "record": RECORD,
    "hold": Hold(
        key=KEY,
        since=NOW,
        signature=SIGNATURE,
        reason="audit",
        requested_by="the DBA",
        request="h1",
        until=NOW,
    ),
    "audit-copy-state": AuditCopyState(through=130, sealed=120, signer="sha256:0f", looked=NOW),
    "audit-seal": Seal(key="000000000001-000000000130.jsonl", sha256="9a" * 32, head="9a" * 32, signature=SIGNATURE),
    "audit-settings": SettingsDigests(digests={"cluster": "0123456789abcdef"}),
    "damage": Damage(key=KEY, since=NOW, signature=SIGNATURE, found="size 1, recorded 2", file=NAME),
    "evidence": Evidence(
        key=KEY,
        since=LATER,
        signature=SIGNATURE,
        place="offsite",
        level=Level.QUERY,
        reached=Level.CHECK,
        outcome=DrillOutcome.CONTENT_FAILED,
        reason=Reason.UNEXPECTED_RESULT,
        error="queries with another result than expected: orders",
        started=NOW,
        seconds={"fetch": 0.5, "restore": 2.25},
        restore_seconds=3.75,
        size=5,
        chain={PARENT: 64 * "a", KEY: 64 * "b"},
        damaged=PARENT,
        proven=True,
        admin_version="2026.09.0",
        server_version="2026.09.0",
        agent_version="0.2.0",
        counts=EntityCounts(nodes=24, relationships=12),
        report_sha256=64 * "c",
        queries=(QueryOutcome(name="orders", as_expected=False),),
        skipped=(Skipped(step="check", why="the store needs recovery"),),
        remarks=("a stand-in's",),
    ),
    "drills": DatabaseDrills(
        place="offsite",
        set="default",
        database="orders",
        passed={Level.READ: NOW, Level.CHECK: LATER},
        last=LastDrill(
            key=KEY,
            level=Level.CHECK,
            outcome=DrillOutcome.ARTIFACT_FAILED,
            at=LATER,
            seconds=4.25,
            reason=Reason.BAD_ARTIFACT,
        ),
        last_done=LastDrill(
            key=KEY, level=Level.READ, outcome=DrillOutcome.PASSED, at=NOW, seconds=1.5, reason=Reason.BAD_ARTIFACT
        ),
        restore_seconds=3.75,
        took={Level.CHECK: 4.25},
        claimed=LastDrill(
            key=KEY,
            level=Level.READ,
            outcome=DrillOutcome.CONTENT_FAILED,
            at=LATER,
            seconds=0.5,
            reason=Reason.UNEXPECTED_RESULT,
        ),
        marked=LATER,
    ),
    "owner": Owner(id="a1b2", cluster="demo", namespace="prod", system_id="ID-system", agent="demo-backup-0:/backups"),
    "lease": LEASE,
    "store-card": StoreCard(
        identity="somewhere",
        features={
            Feature.CHECKSUMS: FeatureFinding(has=False, found=NOW, how="PutObject: HTTP 501, and accepted without")
        },
    ),
    "sight": _Sight(version="v1", lease=LEASE, since=12.5, boot="b1"),
    "intent": Intent(key=KEY, doing=Doing.DELETING, files=(KEY, f"{KEY}.1"), since=NOW),
    "uses": Uses(used={"test": NOW}, all_used=NOW),
    "slice": SliceState(started=NOW, read=5, pace=1.5, unread=(KEY,), rate=100.0),
    "reading": ReadingLine(
        key=KEY, became=ReadOutcome.UNREAD, size=5, why=NotRead.UNREADABLE, reason=Reason.INTERNAL, error="it broke"
    ),
    "clock": ClockSighting(
        reading=ClockReading(now=NOW, monotonic=1.5, boot="b1"), shown={"offsite": ClockTime(now=NOW, monotonic=1.25)}
    ),
    "schedules": CalendarFile(schedules={"nightly": Handled(through=NOW, cron="0 2 * * * UTC")}),
    "expected": ExpectedFile(
        expected={"default/orders": ExpectedSince(since=NOW, scheduled=True)},
        failures={
            "default/sales": Attempt(
                at=NOW,
                failed_at=NOW,
                failing_since=NOW,
                reason=Reason.TIMEOUT,
                error="too slow",
                request="nightly@20261123T020000Z",
            )
        },
    ),
    "notified": NotifiedFile(health={"chat": HealthState.DEGRADED}),
    "orders": OrdersFile(
        paused=Order(since=NOW, request="p1", requested_by="the DBA", reason="the store moves", until=LATER),
        forgotten={"hr": Order(since=NOW, request="f1")},
    ),
    "topology": Topology(
        seen=NOW,
        copies=(
            Copy(
                database=ORDERS,
                type="standard",
                role="secondary",
                writer=False,
                address="server-1:7687",
                server_id="s1",
                database_id="ID-orders",
                status="online",
                last_committed_txn=24,
                replication_lag=-2,
            ),
            Copy(database=DatabaseName("hr")),
        ),
        aliases={"shop": "orders", "far": None},
        versions=("2026.09.0",),
        backup_addresses={"server-1:7687": "server-1:6362"},
        definitions={"orders": DEFINITION, "hr": Definition()},
        missing=("old",),
        replaced={"orders": NOW},
        former={"old": "ID-old"},
    ),
    "answer": Answer(
        action="backup",
        id="nightly@20261123T020000Z",
        state=State.SUCCEEDED_WITH_WARNINGS,
        files=("x.request",),
        intake="20261123T020000000000Z-0",
        schedule="nightly",
        received=NOW,
        started=NOW,
        finished=LATER,
        position=1,
        behind="nightly@20261123T010000Z",
        waits_for="a backup that runs",
        stage="copies",
        progress={"copies": 1, "of": 2, "database": "orders", "place": "offsite", "bytes": 5, "total": 9},
        set="default",
        set_note="a note",
        databases={
            "orders": DatabaseResult(
                outcome=Outcome.SUCCEEDED_WITH_WARNINGS,
                attempts=1,
                discovery="bolt",
                database_id="ID-orders",
                type="FULL",
                type_reason="asked",
                artifact=KEY,
                size=3072,
                sha256={NAME: "ab" * 32},
                copies={"offsite": "owed"},
                adopted=True,
                started=NOW,
                finished=LATER,
                duration_seconds=4.25,
                stages={"copies": 1.5},
                warnings=("a server was away",),
                **REFUSED,
            ),
            "stock": DatabaseResult(outcome=Outcome.RECORDED, artifact=KEY, copies={"offsite": "waiting"}),
        },
        excluded={"web": "is a sharded database"},
        selected=True,
        places={
            "local": PlaceResult(
                outcome=Outcome.SUCCEEDED,
                plan="p",
                kept=1,
                more_deletions=1,
                deletions=(Deletion(key=KEY, size=5, reason="older than all rules"),),
                deleted=1,
                freed=5,
                kept_versions=7,
                left=1,
                verified=1,
                damaged=(KEY,),
                healed=(KEY,),
                artifacts=2,
                size=5,
                read=1,
                read_size=5,
                estimated_seconds=1.5,
                not_read=(Unread(why=NotRead.NOT_DUE, artifacts=1, size=5, keys=(KEY,)),),
                drills={KEY: DrillOutcome.PASSED},
                marked=1,
                marked_keys=(KEY,),
                dropped=1,
                warnings=("slow",),
                **REFUSED,
            )
        },
        marks={"local": "held"},
        warnings=("old is no longer listed",),
        **REFUSED,
        request={"type": "FULL", "id": "x", "requested_by": "me", "labels": {"ticket": "CHG-42"}},
    ),
}
"""Name of the golden file -> the value."""


@dataclass(frozen=True)
class Line:
    """A line of a file of lines that are not JSON objects."""

    value: Any
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


AUDIT_LINE = AuditLine(
    n=7,
    epoch=1,
    prev="9a" * 32,
    at=datetime(2026, 11, 23, 2, 0, tzinfo=UTC),
    pod="backup-agent-0",
    kind=AuditKind.DELETING,
    place=PlaceName("offsite"),
    key=KEY,
    keys=(KEY,),
    digest="9a" * 32,
    request="nightly@20261123T010000Z",
    claimed="the DBA",
    why="no rule keeps it, and nothing kept needs it",
    plan="0123456789abcdef",
    facts={"kept_as_version": True},
)

LINES = {
    "index-line": Line(IndexLine.of(RECORD, 2222, recognised=True), IndexLine.to_bytes, IndexLine.from_bytes),
    "audit-line": Line(AUDIT_LINE, AuditLine.to_json, AuditLine.from_json),
}


def write_all() -> None:
    """Write every golden file anew."""
    GOLDEN.mkdir(exist_ok=True)
    for name, value in VALUES.items():
        (GOLDEN / f"{name}.json").write_bytes(value.to_json())
    for name, line in LINES.items():
        (GOLDEN / f"{name}.txt").write_bytes(line.write(line.value))


if __name__ == "__main__":
    write_all()
