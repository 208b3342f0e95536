"""The doctor's findings, by table: what was observed, and what it means."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.names import VOLUME, DatabaseName, PlaceName
from backup_agent.core.capabilities import Version
from backup_agent.core.doctor.certificates import CertificateEnd, judge_certificates
from backup_agent.core.doctor.checks import (
    CHECKS,
    Acceptance,
    Check,
    CheckFinding,
    CheckOutcome,
    Step,
    accepted,
    fail,
    of_step,
    ok,
    unknown,
    warn,
    worst,
)
from backup_agent.core.doctor.cluster import (
    NETWORK,
    OPEN,
    judge_admin,
    judge_backup_listeners,
    judge_backup_ports,
    judge_clock,
    judge_host,
    judge_role,
    judge_versions,
)
from backup_agent.core.doctor.destination import (
    DestinationAsked,
    LifecycleRule,
    NotSeen,
    ShownFeature,
    StoreFacts,
    days,
    judge_destination,
)
from backup_agent.core.doctor.drills import judge_drill_cycles
from backup_agent.core.doctor.examination import CheckRun, DoctorStage, repeated
from backup_agent.core.doctor.volume import (
    FolderFacts,
    RoomFacts,
    judge_hard_links,
    judge_modes,
    judge_requests_folder,
    judge_room,
    judge_volume,
)
from backup_agent.core.drill.budget import DrillCycle
from backup_agent.core.drill.levels import Level
from backup_agent.core.reasons import Failure, Reason

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
TODAY = NOW.date()
OFFSITE = PlaceName("offsite")
DENIED = Failure(Reason.STORAGE_AUTH, "offsite: AccessDenied")
HIDDEN = NotSeen("not allowed")
BOTH = {DatabaseName("system"), DatabaseName("orders")}
MIB, GIB = 1 << 20, 1 << 30
ROOT = FolderFacts("/backups", kind="ext4", mode=0o2770)
CYCLE = DrillCycle("drills", timedelta(days=3), 3, VOLUME, Level.READ, timedelta(days=7))


def test_the_table_has_every_check_once_in_the_order_of_the_names() -> None:
    assert list(CHECKS) == list(Check)
    assert [check for step in Step for check in of_step(step)] == list(Check)


def test_the_page_has_the_table_of_checks() -> None:
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    section = page.partition("## The checks\n")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE) == [
        (check.value, about.what) for check, about in CHECKS.items()
    ]


@pytest.mark.parametrize(
    ("finding", "outcome", "says"),
    [
        pytest.param(judge_host("demo", None), "ok", "demo resolves", id="host"),
        pytest.param(judge_host("demo", "no such name"), "FAIL", "neo4j.uri: demo does not resolve", id="no host"),
        pytest.param(judge_role(BOTH, ()), "ok", "2 databases", id="role"),
        pytest.param(
            judge_role({DatabaseName("system")}, ()), "FAIL", "only `system`", id="role that sees only system"
        ),
        pytest.param(judge_role((), ()), "FAIL", "no database", id="role that sees nothing"),
        pytest.param(judge_role(BOTH, ("SHOW ALIASES: refused",)), "warn", "SHOW ALIASES", id="role with a gap"),
        pytest.param(judge_backup_ports({}), "unknown", "no server is known", id="no server"),
        pytest.param(judge_backup_ports({"a:6362": None}), "ok", "a:6362", id="port"),
        pytest.param(
            judge_backup_ports({"a:6362": None, "b:6362": "b refused"}), "warn", "1 of 2", id="one port closed"
        ),
        pytest.param(judge_backup_ports({"b:6362": "b refused"}), "FAIL", "b refused", id="all ports closed"),
        pytest.param(
            judge_backup_ports({name: f"{name} does not resolve: see X" for name in ("a:1", "b:1", "c:1")}),
            "FAIL",
            "3 of 3 servers cannot be reached: a:1, b:1, c:1: does not resolve: see X",
            id="the same reason of several servers is stated once",
        ),
        pytest.param(judge_backup_listeners({}), "unknown", "no server shows its settings", id="hidden settings"),
        pytest.param(judge_backup_listeners({"a:7687": None}), "ok", "a:7687 accept other machines", id="listener"),
        pytest.param(
            judge_backup_listeners({"a:7687": None, "b:7687": "server.backup.enabled is false"}),
            "warn",
            "1 of 2 servers accept no other machine: b:7687: server.backup.enabled is false",
            id="one listener closed",
        ),
        pytest.param(
            judge_backup_listeners({"b:7687": "server.backup.enabled is false"}), "FAIL", "1 of 1", id="all closed"
        ),
        pytest.param(
            judge_backup_listeners({"b:7687": "server.backup.listen_address is '127.0.0.1:6362'"}, {"b:6362": None}),
            "ok",
            "every backup port accepts connections from here",
            id="closed to others, and the agent is on the same machine",
        ),
        pytest.param(
            judge_backup_listeners({"b:7687": "server.backup.enabled is false"}, {"a:1": None, "b:1": "b refused"}),
            "FAIL",
            "1 of 1",
            id="all closed, and one port of another server open",
        ),
        pytest.param(judge_clock(Check.SERVER_CLOCK, None, "a"), "unknown", "could not be read", id="no clock"),
        pytest.param(judge_clock(Check.SERVER_CLOCK, -30, "a"), "ok", "agrees", id="clock"),
        pytest.param(judge_clock(Check.SERVER_CLOCK, 31, "a"), "warn", "31 s ahead of", id="clock ahead"),
        pytest.param(judge_clock(Check.SERVER_CLOCK, -301, "a"), "FAIL", "301 s behind", id="clock behind"),
        pytest.param(judge_admin("/n", Version(5, 26)), "ok", "version 5.26.0", id="neo4j-admin"),
        pytest.param(judge_admin("/n", None), "ok", "not known yet", id="neo4j-admin without a version"),
        pytest.param(judge_admin("/n", Version(5, 20)), "FAIL", "5.26.0 or newer", id="old neo4j-admin"),
        pytest.param(judge_versions(None, ("5.26.1",)), "unknown", "neo4j-admin", id="no version"),
        pytest.param(judge_versions(Version(5, 26), ()), "unknown", "the servers", id="no servers' version"),
        pytest.param(judge_versions(Version(5, 26), ("5.26.1",)), "ok", "servers 5.26.1", id="versions"),
        pytest.param(judge_versions(Version(5, 26), ("2026.9.0",)), "warn", "2026.09.0", id="other line"),
        pytest.param(judge_volume(ROOT), "ok", "/backups can be written (ext4)", id="volume"),
        pytest.param(judge_volume(FolderFacts("/b")), "ok", "can be made (file system not known)", id="new volume"),
        pytest.param(
            judge_volume(FolderFacts("/b", fault="read-only")), "FAIL", "/b: read-only", id="read-only volume"
        ),
        pytest.param(judge_volume(FolderFacts("/b", own_disk=True)), "FAIL", "own disk", id="no volume"),
        pytest.param(judge_room(RoomFacts(5 * GIB, 10 * GIB, 2 * GIB, "default/a")), "ok", "about 2.0 GiB", id="room"),
        pytest.param(
            judge_room(RoomFacts(3 * GIB, 10 * GIB, 2 * GIB, "default/a")), "warn", "3.0 GiB", id="little room"
        ),
        pytest.param(judge_room(RoomFacts(GIB, 10 * GIB, 2 * GIB, "default/a")), "FAIL", "default/a", id="no room"),
        pytest.param(judge_room(RoomFacts(5 * GIB, 10 * GIB, None)), "ok", "after the first", id="room, no FULL yet"),
        pytest.param(judge_room(RoomFacts(0, 10 * GIB, None)), "warn", "no FULL is recorded", id="full, no FULL yet"),
        pytest.param(judge_room(RoomFacts(GIB, GIB, 1, files=9)), "FAIL", "no inode is free", id="no inode"),
        pytest.param(judge_room(RoomFacts(GIB, GIB, 3 * MIB, "a/b")), "ok", "about 3.0 MiB", id="room, small FULL"),
        pytest.param(judge_hard_links(ROOT, tested=True), "ok", "hard links work", id="links"),
        pytest.param(judge_drill_cycles(()), "ok", "no schedule drills", id="no drills"),
        pytest.param(judge_drill_cycles((CYCLE,)), "ok", "takes 3d (3 measured at local, level read)", id="drills"),
        pytest.param(
            judge_drill_cycles((CYCLE, CYCLE._replace(wanted=timedelta(days=1)))),
            "warn",
            "schedule drills: a cycle of drills takes 3d (3 measured at local, level read), longer than "
            "drilled_every, 1d",
            id="rare drills",
        ),
        pytest.param(judge_hard_links(ROOT, tested=None), "ok", "ext4 has hard links", id="links by kind"),
        pytest.param(judge_hard_links(ROOT, tested=False), "warn", "refuses hard links", id="no links"),
        pytest.param(judge_hard_links(FolderFacts("/b"), tested=None), "unknown", "not known whether", id="links?"),
        pytest.param(judge_modes(ROOT), "ok", "the agent's user (mode 2770)", id="modes"),
        pytest.param(judge_modes(FolderFacts("/b", mode=0o775, foreign=True)), "ok", "another user", id="group"),
        pytest.param(judge_modes(FolderFacts("/b", mode=0o777)), "warn", "every user", id="open to all"),
        pytest.param(judge_modes(FolderFacts("/b")), "unknown", "does not exist", id="no folder"),
        pytest.param(judge_requests_folder(ROOT, watch_fault=None), "ok", "watched", id="requests"),
        pytest.param(judge_requests_folder(ROOT, watch_fault="0"), "warn", "every 5 seconds: 0", id="no inotify"),
        pytest.param(
            judge_requests_folder(FolderFacts("/b", fault="missing"), watch_fault=None),
            "FAIL",
            "missing",
            id="no requests",
        ),
        pytest.param(
            judge_requests_folder(FolderFacts("/b", own_disk=True), watch_fault=None), "warn", "lost", id="own disk"
        ),
        pytest.param(
            judge_requests_folder(FolderFacts("/b", kind="nfs4"), watch_fault=None), "ok", "within 5 s", id="remote"
        ),
    ],
)
def test_observations_are_judged(finding: CheckFinding, outcome: str, says: str) -> None:
    assert (finding.outcome.value, says in finding.found) == (outcome, True), finding
    assert bool(finding.advice) or outcome in {"ok", "unknown"}


@pytest.mark.parametrize(
    ("days", "outcome", "says"),
    [
        pytest.param((-1, 100), "FAIL", "a ended on 2026-11-22", id="ended"),
        pytest.param((7,), "FAIL", "a ends on 2026-11-30", id="soon"),
        pytest.param((8, 200), "warn", "a ends on 2026-12-01", id="later"),
        pytest.param((31, 32), "ok", "2 in use; the next to end: a ends on 2026-12-24", id="good"),
        pytest.param((), "ok", "no certificate is in use", id="none"),
    ],
)
def test_certificates_are_judged_by_the_one_that_expires_first(days: tuple[int, ...], outcome: str, says: str) -> None:
    ends = [CertificateEnd(name, NOW + timedelta(days=count)) for name, count in zip("ab", days, strict=False)]

    found = judge_certificates(ends, (), NOW)

    assert (found.outcome.value, found.found) == (outcome, says)


def test_a_certificate_that_cannot_be_read_is_named() -> None:
    assert judge_certificates((), ["neo4j.ca_file: gone"], NOW).found == "neo4j.ca_file: gone"


SOUND = StoreFacts(
    conditional_writes=ShownFeature(has=True, how="412"),
    checksums=ShownFeature(has=True, how="told"),
    multipart=ShownFeature(has=True, how="listed"),
    deletion=ShownFeature(has=True, how="204"),
    archived=False,
    encryption="AES256",
    versioning=False,
    lock=None,
    rules=(),
    clock_offset=0.0,
)


def findings_for(facts: dict[str, Any], asked: dict[str, Any]) -> dict[Check, CheckFinding]:
    values = {name: getattr(SOUND, name) for name in StoreFacts.__dataclass_fields__}
    found = judge_destination(StoreFacts(**{**values, **facts}), DestinationAsked("offsite", **asked))
    return {finding.check: finding for finding in found}


def test_a_store_without_faults_passes_every_check_of_a_destination() -> None:
    found = findings_for({}, {})

    assert list(found) == list(of_step(Step.DESTINATION))
    assert {finding.outcome for finding in found.values()} == {CheckOutcome.OK}


def test_if_a_store_cannot_be_listed_its_other_checks_are_unknown() -> None:
    assert [(one.check, one.outcome) for one in findings_for({"listing": DENIED}, {}).values()] == [
        (Check.STORE, CheckOutcome.FAIL)
    ]


EXPIRES = LifecycleRule("'tidy'", deletes_after=days(30))
TAGGED = LifecycleRule("'tidy'", deletes_after=days(30), some=True)
ARCHIVES = LifecycleRule("'cold'", archives_after=days(1))
ARCHIVES_LARGE = LifecycleRule("'cold'", archives_after=days(1), least_size=2**20)


@pytest.mark.parametrize(
    ("facts", "asked", "check", "outcome", "says"),
    [
        ({"reading": DENIED}, {}, Check.READING, "FAIL", "AccessDenied"),
        ({"reading": HIDDEN}, {}, Check.READING, "unknown", "not allowed"),
        ({"conditional_writes": ShownFeature(has=False, how="501")}, {}, Check.CONDITIONAL_WRITES, "warn", "no lease"),
        (
            {"conditional_writes": ShownFeature(has=False, how="501")},
            {"single_writer": True},
            Check.CONDITIONAL_WRITES,
            "ok",
            "`single_writer` is set",
        ),
        ({"conditional_writes": DENIED}, {}, Check.CONDITIONAL_WRITES, "FAIL", "AccessDenied"),
        ({"conditional_writes": HIDDEN}, {}, Check.CONDITIONAL_WRITES, "unknown", "not allowed"),
        ({"checksums": ShownFeature(has=False, how="none")}, {}, Check.CHECKSUMS, "ok", "read back"),
        ({"multipart": ShownFeature(has=False, how="none")}, {}, Check.MULTIPART, "warn", "begins again"),
        ({"deletion": DENIED}, {}, Check.DELETION, "FAIL", "AccessDenied"),
        ({"deletion": DENIED}, {"deletes": False}, Check.DELETION, "ok", "not needed"),
        ({"archived": HIDDEN}, {}, Check.STORAGE_CLASS, "unknown", "not allowed"),
        ({"archived": True, "small_class": "GLACIER"}, {}, Check.STORAGE_CLASS, "FAIL", "GLACIER"),
        ({"encryption": HIDDEN}, {}, Check.ENCRYPTION, "unknown", "not allowed"),
        ({"encryption": ""}, {}, Check.ENCRYPTION, "warn", "nothing by default"),
        ({"encryption": ""}, {"encrypts": "aws:kms"}, Check.ENCRYPTION, "ok", "aws:kms"),
        ({"versioning": HIDDEN}, {}, Check.VERSIONING, "unknown", "not allowed"),
        ({"versioning": True, "rules": HIDDEN}, {"retention": True}, Check.VERSIONING, "ok", "old versions"),
        ({"versioning": True}, {}, Check.VERSIONING, "ok", "the agent deletes no artifact"),
        ({"versioning": True}, {"retention": True}, Check.VERSIONING, "warn", "frees no space"),
        (
            {"versioning": True, "rules": (LifecycleRule("'old'", removes_old_versions=True),)},
            {"retention": True},
            Check.VERSIONING,
            "ok",
            "old versions",
        ),
        ({"lock": HIDDEN}, {}, Check.OBJECT_LOCK, "unknown", "not allowed"),
        ({"lock": None}, {"locks": True}, Check.OBJECT_LOCK, "FAIL", "refuses every copy"),
        ({"lock": "GOVERNANCE, 30 days"}, {}, Check.OBJECT_LOCK, "warn", "GOVERNANCE, 30 days"),
        ({"lock": ""}, {"locks": True}, Check.OBJECT_LOCK, "ok", "are locked by put_options"),
        ({"rules": HIDDEN}, {}, Check.LIFECYCLE, "unknown", "not allowed"),
        ({"rules": (EXPIRES,)}, {}, Check.LIFECYCLE, "FAIL", "rule 'tidy' deletes objects after 30 days"),
        ({"rules": (EXPIRES,)}, {"deletes": False}, Check.LIFECYCLE, "warn", "'tidy'"),
        ({"rules": (TAGGED,)}, {}, Check.LIFECYCLE, "warn", "objects with certain tags"),
        ({"rules": (ARCHIVES,)}, {}, Check.LIFECYCLE, "FAIL", "also records"),
        ({"rules": (ARCHIVES_LARGE,)}, {}, Check.LIFECYCLE, "warn", "objects above 1048576 bytes"),
        ({"clock_offset": 400.0}, {}, Check.STORE_CLOCK, "FAIL", "the store is 400 s ahead"),
    ],
)
def test_observations_of_a_store_are_judged(
    facts: dict[str, Any], asked: dict[str, Any], check: Check, outcome: str, says: str
) -> None:
    finding = findings_for(facts, asked)[check]

    assert (finding.outcome.value, says in finding.found) == (outcome, True), finding
    assert bool(finding.advice) or outcome in {"ok", "unknown"}


ACCEPT = {Check.PLAIN_BOLT: Acceptance("spring", TODAY)}


@pytest.mark.parametrize(
    ("finding", "today", "expected"),
    [
        pytest.param(warn(Check.PLAIN_BOLT, "plain", "encrypt"), TODAY, "spring", id="on the last day"),
        pytest.param(warn(Check.PLAIN_BOLT, "plain", "encrypt"), TODAY + timedelta(1), None, id="a day later"),
        pytest.param(fail(Check.PLAIN_BOLT, "plain", "encrypt"), TODAY, "spring", id="a failure"),
        pytest.param(warn(Check.MODES, "open", "close"), TODAY, None, id="another check"),
        pytest.param(ok(Check.PLAIN_BOLT, "encrypted"), TODAY, None, id="no problem"),
        pytest.param(unknown(Check.PLAIN_BOLT, "not seen"), TODAY, None, id="not seen"),
    ],
)
def test_an_outcome_is_accepted_until_the_end_of_its_day(
    finding: CheckFinding, today: date, expected: str | None
) -> None:
    assert accepted(finding, ACCEPT, today).accepted == expected


def test_an_accepted_outcome_does_not_count() -> None:
    failed, warned = fail(Check.PLAIN_BOLT, "plain", "encrypt"), warn(Check.MODES, "open", "close")

    assert worst([failed, warned]) is CheckOutcome.FAIL
    assert worst([accepted(failed, ACCEPT, TODAY), warned]) is CheckOutcome.WARN
    assert worst([accepted(failed, ACCEPT, TODAY)]) is CheckOutcome.OK


def test_a_run_has_a_finding_for_every_check_in_the_order_of_the_table() -> None:
    examination = CheckRun([OFFSITE], {Check.PLAIN_BOLT: "plain: encrypt"})
    stages = []
    while (stage := examination.stage) is not None:
        stages.append(stage)
        for check in of_step(stage.step):
            examination.found(ok(check, "good"))
        examination.ended()

    found = examination.findings({}, TODAY)

    assert stages == [
        *map(DoctorStage, (Step.CLUSTER, Step.ADMIN, Step.VOLUME, Step.KEYS)),
        DoctorStage(Step.DESTINATION, OFFSITE),
    ]
    assert [one.check for one in found] == list(Check)
    assert {one.place for one in found if CHECKS[one.check].step is Step.DESTINATION} == {OFFSITE}
    assert [(one.outcome, one.found, one.advice) for one in found if one.outcome is not CheckOutcome.OK] == [
        (CheckOutcome.WARN, "plain", "encrypt")
    ]


def test_a_check_without_a_finding_is_unknown_and_says_why() -> None:
    examination = CheckRun((), {})
    examination.found(ok(Check.HOST, "good"))
    examination.found(ok(Check.VOLUME, "of another step"))
    examination.ended("killed")
    examination.ended()

    found = {one.check: (one.outcome.value, one.found) for one in examination.findings({}, TODAY)}

    assert (found[Check.HOST], found[Check.BOLT]) == (("ok", "good"), ("unknown", "killed"))
    assert found[Check.NEO4J_ADMIN] == ("unknown", "the check had no result")
    assert Check.VOLUME not in found


def test_a_step_that_is_repeated_loses_its_earlier_findings() -> None:
    examination = CheckRun((), {})
    examination.found(fail(Check.HOST, "bad", "mend"))
    examination.restarted()

    assert {one.check for one in examination.findings({}, TODAY)} == set(of_step(Step.SETTINGS))


def test_a_run_that_has_ended_ignores_further_findings() -> None:
    examination = CheckRun((), {})
    while examination.stage is not None:
        examination.ended()
    before = examination.findings({}, TODAY)
    examination.found(ok(Check.HOST, "late"))
    examination.restarted()

    assert examination.findings({}, TODAY) == before


def test_failures_in_a_row_are_counted_and_an_unknown_outcome_does_not_end_the_count() -> None:
    failed = fail(Check.HOST, "bad", "mend")
    first = repeated({}, [failed, ok(Check.BOLT, "good")], NOW)
    second = repeated(first, [failed], NOW + timedelta(hours=1))
    hidden = repeated(second, [unknown(Check.HOST, "not seen"), unknown(Check.BOLT, "not seen")], NOW)

    assert [(one.runs, one.since) for one in first.values()] == [(1, NOW)]
    assert [(one.runs, one.since) for one in second.values()] == [(2, NOW)]
    assert hidden == second
    assert repeated(second, [ok(Check.HOST, "good")], NOW) == {}


@pytest.mark.parametrize(
    ("listeners", "advice"),
    [
        (None, OPEN),
        ({}, OPEN),
        ({"a:7687": "server.backup.enabled is false", "b:7687": None}, OPEN),
        ({"a:7687": None}, NETWORK),
    ],
    ids=["not asked", "hidden", "one closed", "all open"],
)
def test_a_closed_port_is_the_fault_of_the_network_if_the_server_listens_there(
    listeners: dict[str, str | None] | None, advice: str
) -> None:
    assert judge_backup_ports({"a:6362": "a:6362 refused the connection"}, listeners).advice == advice


def test_facts_for_later_steps_are_kept_until_a_step_reports_them_again() -> None:
    run = CheckRun((), {})
    run.learned(("2026.09.0",), ("a:6362", "b:6362"))
    run.learned((), ())
    assert (run.server_versions, run.backup_addresses) == (("2026.09.0",), ("a:6362", "b:6362"))
    run.learned((), ("a:6362",))

    assert (run.server_versions, run.backup_addresses) == (("2026.09.0",), ("a:6362",))
