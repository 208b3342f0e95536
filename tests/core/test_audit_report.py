"""The report for auditors: objectives, points, and what happened in a period."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName
from backup_agent.core.audit.lines import AuditKind, AuditLine, drilled, verified
from backup_agent.core.audit.period import Period
from backup_agent.core.audit.report import AuditReport, DrillFacts, Expected, LogFacts, PointFacts, Sources, report
from backup_agent.core.audit.report_text import markdown, shown
from tests.builders import ATTRIBUTION, OFFSITE, ORDERS, TAKEN, a_record
from tests.core.audits import DIGEST, VOLUME, backed_up, deleted, line

PAIR = (DEFAULT_SET, ORDERS)
GOLDEN = Path(__file__).parent / "golden" / "audit_report.md"
HOUR = timedelta(hours=1)


def at(hours: float) -> datetime:
    return TAKEN + timedelta(hours=hours)


def written(lines: Iterable[tuple[float, AuditLine]]) -> list[AuditLine]:
    """Return the lines of a log, numbered. Each is given with its time in hours after TAKEN."""
    return [
        one.model_copy(update={"n": number, "epoch": 1, "at": at(hour), "pod": "pod-0"})
        for number, (hour, one) in enumerate(lines, start=1)
    ]


def lines_of_backups(*hours: float) -> list[tuple[float, AuditLine]]:
    return [
        (hour, line(AuditKind.RECORDED, a_record(int(hour)).key, digest=DIGEST, facts={"type": "FULL"}))
        for hour in hours
    ]


def point_facts(hour: int, **changes: Any) -> PointFacts:
    record = a_record(hour)
    facts = PointFacts(
        key=record.key,
        type=record.type.value,
        taken=record.header.taken,
        finished=record.finished,
        size=record.size,
        sha256=record.files[0].sha256,
        kept="daily until 2026-12-07",
    )
    return facts._replace(**changes)


def report_of(
    lines: list[AuditLine],
    *points: PointFacts,
    until: float = 24,
    since: float = 0,
    database: DatabaseName | None = None,
    **expected: Any,
) -> AuditReport:
    log = LogFacts(Period(at(since), at(until)), database)
    for one in lines:
        log.take(one)
    sources = Sources.model_validate(
        {
            "cluster": "demo",
            "place": OFFSITE,
            "from": at(since),
            "to": at(until),
            "database": database,
            "lines": len(lines),
            "log_from": lines[0].at if lines else None,
            "log_to": lines[-1].at if lines else None,
            "head": DIGEST,
            "sealed": {"sha256:0f": 3},
            "findings": ("gap: 000000000151-000000000160.jsonl:1: another volume goes on from here",),
            "gaps": ("times are those of the agent's clock",),
        }
    )
    return report(sources, log, points, {PAIR: Expected(**expected)})


STARTED = line(AuditKind.STARTED, facts={"version": "0.2.0"})


@pytest.mark.parametrize(
    ("hours", "missed"),
    [
        pytest.param([1, 2, 3], [], id="in time"),
        pytest.param([1, 3.5], [(2.5, 3.5)], id="a late backup"),
        pytest.param([1], [(2.5, 4)], id="no backup at the end"),
        pytest.param([2], [(1.5, 2), (3.5, 4)], id="no backup at the beginning"),
        pytest.param([], [(1.5, 4)], id="no backup"),
    ],
)
def test_the_times_in_which_the_objective_was_missed_are_named(
    hours: list[float], missed: list[tuple[float, float]]
) -> None:
    lines = written([(0, STARTED), *lines_of_backups(*hours), (4, STARTED)])

    [one] = report_of(lines, until=4, rpo=HOUR, grace=HOUR / 2).databases

    assert [(late.since, late.until) for late in one.missed] == [(at(begin), at(end)) for begin, end in missed]
    assert one.met == (not missed)


def test_a_backup_before_the_period_counts_for_its_beginning() -> None:
    lines = written([*lines_of_backups(0), *lines_of_backups(5), (6, STARTED)])

    [one] = report_of(lines, since=4, until=6, rpo=HOUR, grace=HOUR).databases

    assert [(late.since, late.until) for late in one.missed] == [(at(4), at(5))]
    assert (one.fulls, one.first) == (1, at(5))


def test_without_the_whole_log_or_an_objective_no_objective_is_met() -> None:
    lines = written([*lines_of_backups(1, 2), (3, STARTED)])

    assert report_of(lines, until=9, rpo=9 * HOUR).databases[0].met is None
    assert report_of(lines, until=3).databases[0].met is None
    assert report_of([], rpo=HOUR).databases[0].met is None


def test_drills_and_copies_are_judged_by_their_objectives() -> None:
    key = a_record(0).key
    lines = written(
        [
            (0, STARTED),
            *((0, one) for one in backed_up(0)),
            (1, drilled(OFFSITE, key, level="check", outcome="passed", facts={"restore_seconds": 90})),
            (5, drilled(OFFSITE, key, level="check", outcome="not_done", facts={"reason": "disk_full"})),
            (6, STARTED),
        ]
    )

    [met] = report_of(lines, point_facts(0), until=6, drilled_every=5 * HOUR, copies=2, rto=HOUR).databases
    [missed] = report_of(lines, point_facts(0), until=6, drilled_every=4 * HOUR, copies=3).databases
    [later] = report_of(lines, point_facts(0), until=6, since=2, drilled_every=5 * HOUR).databases

    assert (met.drills_met, met.copies_met, met.slowest_restore_seconds) == (True, True, 90)
    assert (missed.drills_met, missed.copies_met) == (False, False)
    assert (later.drills_met, later.copies_met) == (True, None)
    assert met.points[0].copies == ("local", "offsite")


def test_a_claimed_drill_is_listed_and_proves_nothing() -> None:
    key = a_record(0).key
    claim = {"restore_seconds": 90, "evidence": "claimed", "drilled_at": at(1).isoformat()}
    lines = written(
        [
            (0, STARTED),
            *((0, one) for one in backed_up(0)),
            (3, drilled(OFFSITE, key, level="check", outcome="passed", facts=claim)),
            (6, STARTED),
        ]
    )

    found = report_of(lines, point_facts(0), until=6, drilled_every=5 * HOUR)

    [database] = found.databases
    assert [(one.at, one.claimed) for one in database.drills] == [(at(1), True)]
    assert (database.drills_met, database.slowest_restore_seconds, database.points[0].drilled) == (False, None, None)
    assert "| passed, not signed |" in markdown(found)


def test_evidence_at_the_place_adds_the_drills_that_the_log_does_not_have() -> None:
    key = a_record(0).key
    log = LogFacts(Period(at(0), at(6)), None)
    for one in written([(1, drilled(OFFSITE, key, level="check", outcome="passed"))]):
        log.take(one)

    def evidence(hour: float, name: str = key) -> DrillFacts:
        return DrillFacts(at=at(hour), place=OFFSITE, key=name, level="read", outcome="passed")

    for drill in (evidence(1), evidence(2), evidence(7), evidence(2, "nonsense")):
        log.add_drill(drill)

    assert [one.at for one in log.drills[PAIR]] == [at(1), at(2)]


@pytest.mark.parametrize("time", ["nonsense", "2026-11-23T02:00:00", None, "2999-01-01T00:00:00+00:00"])
def test_an_impossible_time_of_a_drill_is_replaced_by_that_of_its_line(time: str | None) -> None:
    log = LogFacts(Period(at(0), at(6)), None)
    facts = {"drilled_at": time}
    for one in written([(1, drilled(OFFSITE, a_record(0).key, level="check", outcome="passed", facts=facts))]):
        log.take(one)

    assert [one.at for one in log.drills[PAIR]] == [at(1)]


def test_a_deletion_is_listed_with_the_reason_of_its_announcement() -> None:
    old = a_record(0)
    lines = written([(0, one) for one in (*backed_up(0), *deleted(old), *deleted(old, VOLUME))])
    lines += written([(1, line(AuditKind.DELETED, "default/x/x.backup", OFFSITE, why="its deletion was interrupted"))])

    found = report_of(lines)

    assert [(one.place, one.why, one.plan) for one in found.deletions] == [
        ("offsite", "no rule keeps it", "0123"),
        ("local", "no rule keeps it", "0123"),
        ("offsite", "its deletion was interrupted", None),
    ]
    assert report_of(lines, database=DatabaseName("web")).deletions == ()


def test_an_announced_deletion_is_listed_unless_the_artifact_still_exists() -> None:
    gone, kept, elsewhere, done = (a_record(hour) for hour in range(4))
    announced = [*(next(deleted(one)) for one in (gone, kept)), next(deleted(elsewhere, VOLUME)), *deleted(done)]
    lines = written([(1, one) for one in (*backed_up(0, 1, 2, 3), *announced)])

    found = report_of(lines, point_facts(1))

    listed = [(one.kind, one.place, one.keys) for one in found.deletions]
    assert listed == [
        ("deleting", "offsite", (gone.key,)),
        ("deleting", "local", (elsewhere.key,)),
        ("deleted", "offsite", (done.key,)),
    ]
    assert "| announced, not known to be done |" in markdown(found)
    assert report_of(lines, since=2, until=3).deletions == ()
    assert (
        report_of([*lines, *written([(2, next(deleted(gone)))])], until=1.5, database=DatabaseName("web")).deletions
        == ()
    )


def test_drills_before_the_log_began_are_not_missed() -> None:
    lines = written([(5, STARTED), *((6, one) for one in backed_up(6)), (8, STARTED)])

    def met(every: float, since: float, until: float) -> bool | None:
        [found] = report_of(lines, point_facts(6), since=since, until=until, drilled_every=every * HOUR).databases
        return found.drills_met

    assert met(3, since=0, until=8) is None
    assert met(1, since=0, until=8) is False
    assert met(3, since=5, until=8) is True


def test_holds_in_force_are_listed_even_if_they_began_before_the_period() -> None:
    keys = [a_record(hour).key for hour in range(3)]
    lines = written(
        [
            *((0, line(AuditKind.HELD, key, why="audit", claimed="ann")) for key in keys),
            (1, line(AuditKind.RELEASED, keys[0])),
            (5, line(AuditKind.HOLD_ENDED, keys[1], OFFSITE)),
            (99, line(AuditKind.RELEASED, keys[2])),
        ]
    )

    found = report_of(lines, since=4)

    assert [(one.kind, one.keys) for one in found.holds] == [("held", (keys[2],)), ("hold_ended", (keys[1],))]
    assert [one.keys for one in report_of(lines, since=4, database=ORDERS).holds] == [(keys[2],), (keys[1],)]
    assert report_of(lines, since=4, database=DatabaseName("web")).holds == ()


@pytest.mark.parametrize("kind", [AuditKind.RECORDED, AuditKind.DRILLED, AuditKind.DELETED])
def test_lines_about_impossible_artifacts_do_not_stop_the_report(kind: AuditKind) -> None:
    lines = written([(0, STARTED), (1, line(kind, "../../x")), (2, line(kind))])

    assert [one.fulls for one in report_of(lines).databases] == [0]


def full_report() -> AuditReport:
    record = a_record(0, **ATTRIBUTION, admin_version="2026.09.0", server_version="2026.09.0")
    hostile = "</td> | `rm` [x](http://y)\n# Objectives: met"
    lines = written(
        [
            (0, STARTED),
            (0, line(AuditKind.RECORDED, record.key, facts={"type": "FULL", "admin_version": "2026.09.0"})),
            (0.5, line(AuditKind.COPIED, record.key, OFFSITE)),
            *((1, one) for one in verified(OFFSITE, [record.key], None)),
            (2, drilled(OFFSITE, record.key, level="restore", outcome="passed", facts={"restore_seconds": 61.5})),
            (3, line(AuditKind.HELD, record.key, why=hostile, claimed="ann", request="cli@1", facts={"until": "2027"})),
            (4, line(AuditKind.SETTINGS, facts={"keys": ["retention.daily"], "changed": 1})),
            (5, line(AuditKind.FETCHED, None, OFFSITE, keys=(record.key,), facts={"to": "/tmp/out"})),
            *((6, one) for one in deleted(a_record(1))),
            (7, line(AuditKind.DAMAGED, record.key, OFFSITE, why="size 1, recorded 2")),
            (24, STARTED),
        ]
    )
    expected: dict[str, Any] = {"rpo": 12 * HOUR, "grace": HOUR, "rto": HOUR, "copies": 2, "drilled_every": 24 * HOUR}
    return report_of(lines, point_facts(0), point_facts(1, fault="its file is missing"), **expected)


def test_the_whole_report_as_markdown() -> None:
    """`python -m tests.core.test_audit_report` writes the golden file anew."""
    assert markdown(full_report()) == GOLDEN.read_text()


def test_of_a_long_list_only_the_beginning_is_shown() -> None:
    assert shown([str(number) for number in range(20)]).endswith(", 18, 19")
    assert shown([str(number) for number in range(21)]) == "0, 1, 2, 3, 4, …"


def test_the_same_input_gives_the_same_bytes() -> None:
    assert full_report().model_dump_json() == full_report().model_dump_json()


def test_an_empty_report_says_that_nothing_happened() -> None:
    text = markdown(report_of([], database=ORDERS))

    assert "Nothing was deleted in the period." in text
    assert "- only the database orders" in text


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(markdown(full_report()))
