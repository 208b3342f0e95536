"""Contents of the status page for two made-up clusters: one of six databases with problems, and a large one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import DEFAULT_SET, VOLUME, DatabaseName, artifact_name
from backup_agent.core.artifacts.summarising import summarise
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.doctor.checks import Check, CheckFinding, CheckOutcome
from backup_agent.core.drill.evidence import DatabaseDrills, LastDrill
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.page.database import DatabasePoints, PointRow, StoredArtifacts, points_of
from backup_agent.core.page.overview import (
    Overview,
    ShownDatabase,
    ShownProblem,
    coming_backups,
    late_since,
    overview,
    rows_each,
)
from backup_agent.core.page.tables import Cell, Tone
from backup_agent.core.protection.health import Health, HealthState, Problem, ProblemKind, assess
from backup_agent.core.protection.judging import DatabaseProtection, Protection
from backup_agent.core.requests.request import Action
from backup_agent.core.retention.policy import Policy
from backup_agent.core.status import (
    CheckStatus,
    DestinationStatus,
    DoctorStatus,
    OpenRequestStatus,
    PlaceStatus,
    RunStatus,
    ScheduleStatus,
    Status,
)
from tests.builders import OFFSITE, TAKEN, an_entry

NOW = TAKEN + timedelta(days=7, hours=15, minutes=42)

SCHEDULES = {
    "hourly": ScheduleStatus(cron="15 * * * *", timezone="Europe/Berlin", type="DIFF", suspended=False, next_runs=tuple(NOW + timedelta(minutes=33 + 60 * n) for n in range(5))),
    "nightly": ScheduleStatus(cron="0 2 * * *", timezone="Europe/Berlin", type="FULL", suspended=False, next_runs=tuple(NOW + timedelta(hours=8 + 24 * n) for n in range(5)), missed=1),
    "weekly-drill": ScheduleStatus(cron="0 12 * * 6", timezone="Europe/Berlin", type="DRILL", suspended=True, next_runs=()),
}  # fmt: skip

POLICY = Policy(last=12, hourly=24, daily=14, monthly=6)


def a_status(**fields: Any) -> Status:
    """Return the status of a healthy agent with nothing to do."""
    facts: dict[str, Any] = {
        "cluster": "demo",
        "version": "0.1",
        "started": NOW - timedelta(days=12, hours=3),
        "now": NOW,
        "ready": True,
        "surveyed": True,
        "queue_depth": 0,
        "retention": {"local": {}},
        "settings_valid": True,
        "settings_loaded": NOW - timedelta(days=12),
        "health": Health(state=HealthState.OK, text="OK"),
        "bolt_up": True,
        "volume_free": 412 << 30,
        "volume_total": 1 << 40,
        "databases": (),
        "protection": (),
    }
    return Status(**{**facts, **fields})


def a_problem(kind: ProblemKind, subject: str, text: str, **fields: Any) -> Problem:
    facts = {"level": HealthState.DEGRADED, "short": text, "since": NOW - timedelta(hours=3)}
    return Problem(kind=kind, subject=subject, text=text, **{**facts, **fields})


def a_chain(database: str, days: float, links: int, *, hours: float = 1, number: int = 1) -> Iterator[Entry]:
    """Yield a full that was taken `days` days ago, and `links` differentials, one every `hours` hours."""
    for link in range(links + 1):
        taken = NOW - timedelta(days=days) + timedelta(hours=hours * link)
        yield an_entry(
            artifact_name(DatabaseName(database), taken),
            database=database,
            full=link == 0,
            taken=taken,
            finished=taken + timedelta(minutes=2),
            lowest=1 if link == 0 else 1000 * number + 10 * link,
            highest=1000 * number + 10 * link + 9,
            size=(3 << 30) + number * (1 << 24) if link == 0 else (5 << 20) + link * 70_000,
        )


def some_weeks(database: str, *, until: float = 0.02, differentials: bool = True) -> tuple[Entry, ...]:
    """Return the artifacts that retention keeps of nightly fulls and hourly differentials. The newest is `until` days old."""
    entries = [entry for week in range(10, 1, -3) for entry in a_chain(database, 7 * week, 0, number=20 - week)]
    for day in range(8, 0, -1):
        links = min(23, int((day - 0.64 - until) * 24) + 16 if day == 1 else 23) if differentials and day <= 3 else 0
        entries += a_chain(database, day - 0.36 + until if day == 1 else day, links, number=50 - day)
    return tuple(entry for entry in entries if NOW - entry.taken >= timedelta(days=until))


def a_summary(entries: tuple[Entry, ...], **missing: int) -> DatabaseSummary:
    return summarise(entries, {OFFSITE: entries[-missing["offsite"] :]} if missing.get("offsite") else {OFFSITE: ()})


def protected(database: str, last: Entry | None, **fields: Any) -> DatabaseProtection:
    facts: dict[str, Any] = {
        "state": Protection.PROTECTED,
        "last_success": last.finished if last else None,
        "rpo_seconds": 3600.0,
        "grace_seconds": 7200.0,
        "schedules": ("hourly", "nightly"),
        "deadline": last.finished + timedelta(hours=3) if last else None,
    }
    return DatabaseProtection(set="default", database=database, **{**facts, **fields})


def demo() -> Overview:
    """Return the page of a cluster of six databases: one is late, one has a damaged chain, one lacks copies."""
    stored = {name: some_weeks(name) for name in ("orders", "customers", "inventory", "system")}
    stored["billing"] = some_weeks("billing", until=0.31)
    stored["sessions"] = some_weeks("sessions", differentials=False, until=0.3)
    damaged = stored["inventory"][-9].key
    protection = [
        protected(name, stored[name][-1]) for name in ("orders", "customers", "inventory", "system", "sessions")
    ]
    late = stored["billing"][-1]
    protection.append(
        protected(
            "billing",
            late,
            state=Protection.LATE,
            why="has no restore point since 2026-11-30T08:16Z; a backup was due by 2026-11-30T11:18Z",
            since=late.finished + timedelta(hours=3),
        )
    )
    protection.append(protected("archive", None, state=Protection.EXCLUDED, why="is excluded by '!archive'"))
    problems = (
        a_problem(
            ProblemKind.LATE,
            "default/billing",
            "billing has no restore point since 2026-11-30T10:16Z; its last backup failed: server_unreachable: "
            "demo-server-2:6362 refused the connection; `backup-agent show hourly@20261130T161500Z` has more",
        ),
        a_problem(ProblemKind.DAMAGED, "local", f"1 artifact at local damaged: {damaged}", since=NOW - timedelta(hours=11)),
        a_problem(
            ProblemKind.COPY_MISSING, "default/customers", "customers has 7 artifacts without a copy at offsite",
            since=NOW - timedelta(hours=7),
        ),
    )  # fmt: skip
    drills = (
        DatabaseDrills(
            place=OFFSITE, set="default", database="orders",
            passed={Level.READ: NOW - timedelta(days=2), Level.RESTORE: NOW - timedelta(days=2), Level.CHECK: NOW - timedelta(days=2)},
            last_done=LastDrill(
                key=stored["orders"][-40].key, level=Level.CHECK, outcome=DrillOutcome.PASSED,
                at=NOW - timedelta(days=2), seconds=320.0,
            ),
            restore_seconds=184.0,
        ),
    )  # fmt: skip
    status = a_status(
        health=assess(problems, protection, NOW),
        databases=tuple(a_summary(entries, offsite=7 if name == "customers" else 0) for name, entries in stored.items()),
        protection=tuple(protection),
        drills=drills,
        destinations={
            OFFSITE: DestinationStatus(up=True, owed=7),
            "archive": DestinationStatus(up=False, owed=0, error="HTTP 503 SlowDown", retry_seconds=30),
        },
        places={
            VOLUME: PlaceStatus(pruned=NOW - timedelta(minutes=20), deleted=61, freed=1 << 35, damaged=(damaged,), unrestorable=(), unreadable={}, unrecognised=0, oldest_verified=NOW - timedelta(days=6)),
            OFFSITE: PlaceStatus(pruned=NOW - timedelta(hours=2), deleted=12, damaged=(), unrestorable=(), unreadable={}, unrecognised=2),
        },
        retention={"local": POLICY.rules, "offsite": {"daily": 30, "monthly": 12}},
        full_on=NOW + timedelta(days=71),
        topology_seen=NOW - timedelta(minutes=6),
        queue_depth=3,
        queue_oldest=NOW - timedelta(minutes=4),
        requests=(
            OpenRequestStatus(id="hourly@20261130T171500Z", action=Action.BACKUP, state="running", asks="DIFF", received=NOW - timedelta(minutes=27), stage="copies"),
            OpenRequestStatus(id="before-upgrade", action=Action.BACKUP, state="queued", asks="orders, customers FULL", received=NOW - timedelta(minutes=4), position=1, behind="hourly@20261130T171500Z", requested_by="ann", reason="CHG-4711, upgrade to 2026.09"),
            OpenRequestStatus(id="verify-all", action=Action.VERIFY, state="queued", asks="offsite", received=NOW - timedelta(minutes=1)),
        ),
        running=(
            RunStatus(run="backup-12", kind="backup", set="default", database="system", stage="copying", bytes=1 << 29, total=3 << 30, estimated_seconds=64, seconds=22),
            RunStatus(run="copy-4", kind="copy", destination=OFFSITE, stage="sending", bytes=1 << 28, seconds=9),
        ),
        schedules=SCHEDULES,
        doctor=DoctorStatus(
            ended=NOW - timedelta(hours=5),
            checks=(
                CheckStatus(finding=CheckFinding(check=Check.BACKUP_PORTS, outcome=CheckOutcome.FAIL, found="demo-server-2:6362 refuses the connection", advice="set server.backup.listen_address=0.0.0.0:6362 on the server"), failed_runs=1),
                CheckStatus(finding=CheckFinding(check=Check.LIFECYCLE, outcome=CheckOutcome.WARN, found="a rule expires objects after 30 days", advice="restrict the rule to other prefixes", place=OFFSITE)),
                CheckStatus(finding=CheckFinding(check=Check.BOLT, outcome=CheckOutcome.OK, found="3 servers and 7 databases are listed")),
                CheckStatus(finding=CheckFinding(check=Check.ROOM, outcome=CheckOutcome.OK, found="412.0 GiB are free, the next FULL needs 3.1 GiB")),
            ),
        ),
    )  # fmt: skip
    held = stored["orders"][-30].key
    points = []
    for name, entries in stored.items():
        owed = tuple(entry.key for entry in entries[-7:]) if name == "customers" else ()
        local = StoredArtifacts(
            VOLUME, entries, {damaged: "its SHA-256 differs from the record"} if name == "inventory" else {},
            {held: Hold(key=held, since=NOW, reason="audit 2026", request="h")}, policy=POLICY,
        )  # fmt: skip
        copied = [entry for entry in entries if entry.key not in owed]
        older = [entry for week in (20, 30, 40) for entry in a_chain(name, 7 * week, 0, number=1)]
        copies = StoredArtifacts(OFFSITE, (*older, *copied), owed=owed, policy=Policy(daily=30, monthly=12))
        points.append(points_in(status, name, local, copies))
    return overview(status, points)


def points_in(status: Status, name: str, *stored: StoredArtifacts) -> DatabasePoints:
    pair = DEFAULT_SET, DatabaseName(name)
    return points_of(
        *pair, stored, [one for one in status.drills if one.database == name], NOW,
        most=rows_each(status),
        command=lambda key: f"kubectl exec -n prod demo-backup-0 -- backup-agent restore {hash(key) & 0xFFFFFFFF:08x}",
        coming=coming_backups(status).get(pair, ()),
        late_since=late_since(status).get(pair),
    )  # fmt: skip


def large(databases: int = 200, points: int = 25) -> Overview:
    """Return the page of a cluster of many databases with long names, one of which is late."""
    names = [f"customer-{number:04}-production-eu" for number in range(databases)]
    late = databases // 2
    stored = {}
    for number, name in enumerate(names):
        fulls = [one for day in range(12, 1, -1) for one in a_chain(name, day + number % 7 / 10, 0, number=30 - day)]
        links = a_chain(name, 0.6, points - len(fulls) - 1, number=90)
        stored[name] = (*fulls, *links)
    protection = [protected(name, entries[-1]) for name, entries in stored.items()]
    problem = a_problem(
        ProblemKind.LATE, f"default/{names[late]}", f"{names[late]} has no restore point since 2026-11-29T02:00Z"
    )
    protection[late] = protected(
        names[late], stored[names[late]][-1], state=Protection.LATE, deadline=NOW - timedelta(hours=3)
    )
    status = a_status(
        health=assess((problem,), protection, NOW),
        databases=tuple(a_summary(entries) for entries in stored.values()),
        protection=tuple(protection),
        destinations={OFFSITE: DestinationStatus(up=True, owed=0)},
        schedules=SCHEDULES,
    )
    found = []
    for name, entries in stored.items():
        local = StoredArtifacts(VOLUME, entries, policy=Policy(daily=14))
        found.append(points_in(status, name, local, StoredArtifacts(OFFSITE, entries, policy=Policy(daily=30))))
    return overview(status, found)


def with_text(shown: Any, text: str) -> Any:
    """Return a value like `shown`, in which `text` replaces every text that may come from outside."""
    if isinstance(shown, Tone) or not shown:
        return shown
    if isinstance(shown, str):
        return text
    if isinstance(shown, Cell):
        return Cell(text, shown.tone, shown.anchor)
    if isinstance(shown, ShownProblem):
        return shown._replace(text=text)
    if isinstance(shown, PointRow):
        return shown._replace(notes=text, command=text)
    if isinstance(shown, ShownDatabase):
        return shown._replace(name=text, points=with_text(shown.points, text))
    if isinstance(shown, tuple):
        return (
            type(shown)(*(with_text(one, text) for one in shown))
            if hasattr(shown, "_fields")
            else tuple(with_text(one, text) for one in shown)
        )
    if hasattr(shown, "__dataclass_fields__"):
        own = ("id", "ticks", "seldom", "made", "marks", "oldest", "tone", "set")
        return replace(
            shown,
            **{name: with_text(getattr(shown, name), text) for name in shown.__dataclass_fields__ if name not in own},
        )
    return shown
