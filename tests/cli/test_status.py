"""`status`: the status that the agent serves over HTTP, and the error if it does not answer."""

import fcntl
import os
import re
import signal
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.doctor.features import FeatureFinding
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.protection.health import find_problems
from backup_agent.core.protection.judging import DatabaseProtection
from backup_agent.core.reasons import Reason
from backup_agent.core.status import (
    DestinationStatus,
    ExcludedDatabase,
    Pause,
    PlaceStatus,
    RunStatus,
    ScheduleStatus,
    Status,
)
from backup_agent.stores.features import Feature
from backup_agent.supervisor.status.health import ProblemMemory, facts_of, health
from backup_agent.supervisor.status.http import HttpServer, Page, status_pages
from tests.builders import TAKEN
from tests.cli.conftest import Place, exit_code, on_a_terminal, read

NOW = TAKEN + timedelta(hours=8)

IDLE: dict[str, Any] = {
    "cluster": "demo",
    "version": "0.2.0",
    "started": TAKEN,
    "now": NOW,
    "ready": True,
    "surveyed": True,
    "queue_depth": 0,
    "retention": {"local": {}},
    "settings_valid": True,
    "settings_loaded": TAKEN,
}

ORDERS = DatabaseSummary(
    set="default",
    database="orders",
    artifacts=2,
    size=3 * 1024**2,
    first=TAKEN,
    newest="default/orders/x.backup",
    newest_size=1024,
    last_success={"FULL": TAKEN, "DIFF": TAKEN + timedelta(hours=7)},
    chain_links=2,
    chain_size={"FULL": 1, "DIFF": 1},
    owed={"offsite": 2},
)


def protected(*databases: str, **changes: Any) -> tuple[DatabaseProtection, ...]:
    """Return databases that are backed up each hour."""
    facts: dict[str, Any] = {"set": "default", "state": "protected", "rpo_seconds": 3600.0, "last_success": TAKEN}
    return tuple(DatabaseProtection.model_validate({**facts, "database": name, **changes}) for name in databases)


def with_health(status: Status) -> Status:
    """Return the status with its health, as if all problems had existed for an hour."""
    memory = ProblemMemory()
    memory.dated(find_problems(facts_of(status, {})), NOW - timedelta(hours=1))
    return status.model_copy(update={"health": health(status, {}, memory)})


@contextmanager
def agent(place: Place, **changes: Any) -> Iterator[None]:
    """Serve a status over HTTP as the agent does. `changes` may be values that no agent would have."""
    status = with_health(Status(**IDLE).model_copy(update=changes))
    server = HttpServer("http.page", "127.0.0.1", 0, status_pages(lambda: status))
    place.settings["http"] = {"page": f"127.0.0.1:{server.port}"}
    server.start()
    try:
        yield
    finally:
        server.close()


def test_an_agent_that_does_not_answer_is_an_error_with_a_hint(place: Place) -> None:
    result = place.run("status")

    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "backup-agent: http://127.0.0.1:1/status.json: the agent does not answer (Connection refused)\n"
        "HINT: is `backup-agent run` running in this pod? `backup-agent list` works without it\n"
    )


def test_damage_is_shown_by_place(place: Place) -> None:
    offsite = PlaceStatus(damaged=tuple(f"default/orders/{number}.backup" for number in range(6)))
    with agent(place, places={"local": PlaceStatus(damaged=()), "offsite": offsite}):
        printed = place.run("status").out

    assert printed.startswith("DEGRADED: damaged artifacts at offsite\n- damaged: 6 artifacts at offsite damaged: ")
    assert "default/orders/4.backup, … (1h)\n" in printed
    assert "at local" not in printed


def test_the_agent_is_asked_without_a_proxy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with agent(place):
        assert place.run("status").code == 0


def test_the_status_of_an_agent_that_has_just_started(place: Place) -> None:
    with agent(place):
        result = place.run("status")

    assert result.code == 0
    assert (
        result.out
        == """\
OK

cluster demo: agent 0.2.0, up 8h, ready
Bolt: not asked yet
doctor: the checks have not ended yet
retention: nothing but ad hoc sets is deleted: no `retention` is set
queue: 0 requests
"""
    )


def test_an_unprotected_connection_is_shown(place: Place) -> None:
    with agent(place, unprotected_connections={"plain_bolt": "neo4j.uri has neo4j://"}):
        printed = place.run("status").out

    assert "CONNECTION NOT PROTECTED: neo4j.uri has neo4j://\n" in printed


def test_an_agent_that_is_not_ready_says_why_and_exits_3(place: Place) -> None:
    with agent(place, ready=False, not_ready_because=("the volume is being surveyed",)):
        result = place.run("status")

    assert result.code == 3
    assert "NOT READY: the volume is being surveyed" in result.out


def test_an_unwatched_requests_folder_is_shown_and_does_not_affect_readiness(place: Place) -> None:
    fault = "inotify instance limit reached"
    with agent(place, requests_watched=False, requests_watch_fault=fault):
        completed = place.run("status")

    assert completed.code == 0
    assert f"requests folder NOT WATCHED ({fault}): it is listed every 5 seconds\n" in completed.out


def test_the_status_is_json_for_programs(place: Place) -> None:
    with agent(place, databases=(ORDERS,)):
        printed = place.run("status", "--json").json

    assert Status.model_validate(printed).databases == (ORDERS,)


def test_a_pause_is_shown_with_requester_and_reason(place: Place) -> None:
    since = NOW - timedelta(hours=2)
    with agent(place, paused=Pause(since=since, requested_by="ann", reason="the store moves")):
        printed = place.run("status").out
    with agent(place, paused=Pause(since=since, until=NOW + timedelta(hours=1))):
        ends = place.run("status").out

    assert printed.startswith(
        "DEGRADED: paused\n- paused: requested by ann (the store moves); no work is started until `resume` (2h)\n"
    )
    assert "no work is started until 2026-11-23T11:00Z or `resume`" in ends


def test_blocked_retention_is_shown(place: Place) -> None:
    refused = PlaceStatus(blocked=Reason.CLOCK, error="the clock was set")
    with agent(place, places={"local": refused, "offsite": PlaceStatus()}, forgotten=("orders",)):
        out = place.run("status").out

    assert "retention blocked: nothing is deleted at local: clock: the clock was set (1h)\n" in out
    assert "offsite" not in out
    assert "forgotten, so retention deletes every backup of them: orders\n" in out


def test_the_rules_of_each_place_are_shown(place: Place) -> None:
    with agent(place, retention={"local": {"last": 7, "within": "48h"}, "offsite": {}}):
        assert "retention: local: last 7, within 48h; offsite: nothing is deleted\n" in place.run("status").out


def test_the_full_status(place: Place) -> None:
    with agent(
        place,
        bolt_up=True,
        queue_depth=2,
        queue_oldest=NOW - timedelta(seconds=5),
        running=(
            RunStatus(run="r", kind="backup", set="default", database="orders", stage="copy", bytes=2048, seconds=3.2),
            RunStatus(run="s", kind="cluster", seconds=0.4),
        ),
        databases=(ORDERS,),
        protection=(
            *protected("orders", last_success=NOW),
            *protected("customers", state="unprotected", why="has no restore point", since=TAKEN, last_success=None),
            *protected("web", state="excluded", why="is a composite database", rpo_seconds=None, last_success=None),
            *protected("scratch", state="excluded", why='is excluded by "!" in databases', rpo_seconds=None),
        ),
        attempts={
            "default/orders": Attempt(
                at=NOW - timedelta(minutes=9), failed_at=NOW - timedelta(minutes=9), error="none"
            ),
            "default/customers": Attempt(
                at=TAKEN, failed_at=TAKEN, failing_since=TAKEN, reason=Reason.TIMEOUT, error="too slow"
            ),
            "test/orders": Attempt(at=NOW, failed_at=NOW, reason=Reason.DISK_FULL),
        },
        excluded_databases={"web": ExcludedDatabase(kind="composite", why="is a composite database")},
        destinations={
            "offsite": DestinationStatus(
                up=False,
                owed=2,
                error="no route",
                retry_seconds=30.0,
                features={
                    Feature.CHECKSUMS: FeatureFinding(has=True, found=NOW, how="PutObject: a checksum in the answer"),
                    Feature.CREATE_IF_ABSENT: FeatureFinding(has=True, found=NOW, how="a second write was refused"),
                    Feature.UPLOAD_LISTS: FeatureFinding(has=False, found=NOW, how="ListMultipartUploads: HTTP 501"),
                },
            ),
            "other": DestinationStatus(owed=0),
        },
        schedules={
            "nightly": ScheduleStatus(
                cron="0 2 * * *",
                timezone="UTC",
                type="FULL",
                suspended=False,
                next_runs=(NOW + timedelta(hours=16),),
            ),
            "hourly": ScheduleStatus(cron="15 * * * *", timezone="UTC", type="DIFF", suspended=True, next_runs=()),
        },
        volume_free=5 * 1024**3,
        volume_total=10 * 1024**3,
        full_on=NOW + timedelta(days=30),
        settings_valid=False,
        settings_fault="cluster: required",
        settings_waiting=("http.listen",),
    ):
        out = place.run("status").out

    assert (
        out
        == """\
FAILING: 1 of 2 databases unprotected, settings refused
- unprotected: customers has no restore point; its last backup failed: timeout: too slow (8h)
- settings: settings refused: cluster: required (1h)

cluster demo: agent 0.2.0, up 8h, ready
Bolt: answers
settings changed, in force after a restart: http.listen
doctor: the checks have not ended yet
volume: 5.0 GiB free of 10.0 GiB, full on 2026-12-23 at this rate
retention: nothing but ad hoc sets is deleted: no `retention` is set
queue: 2 requests, the oldest for 5s
running: backup default/orders copy, for 3 s, 2.0 KiB
running: cluster, for 0 s
excluded: web is a composite database
excluded: scratch is excluded by "!" in databases

SET/DATABASE       STATE        LAST SUCCESS  RPO  LINKS  SIZE     COPIES MISSING
default/customers  unprotected  never         1h   -      -        -
test/orders        failed       never         -    -      -        -
default/orders     protected    1h ago        1h   2      3.0 MiB  offsite 2
default/scratch    excluded     never         -    -      -        -
default/web        excluded     never         -    -      -        -

SCHEDULE  CRON        TIMEZONE  TYPE  NEXT RUN
nightly   0 2 * * *   UTC       FULL  2026-11-24T02:00:00Z, in 16h
hourly    15 * * * *  UTC       DIFF  suspended

DESTINATION  COPIES MISSING  STATE
offsite      2               DOWN: no route; next try in 30 s
other        0               not tried yet
offsite has checksums, create_if_absent
offsite has no upload_lists, as of 2026-11-23: ListMultipartUploads: HTTP 501
"""
    )


def test_after_the_status_of_an_agent_that_refuses_its_settings_their_faults_are_reported(place: Place) -> None:
    with agent(place, settings_valid=False, settings_fault="1 fault"):
        place.settings |= {"colour": "red"}
        result = place.run("status")

    assert result.code == 2
    assert result.out.startswith("DEGRADED: settings refused\n- settings: settings refused: 1 fault (1h)\n")
    assert "\n  colour: unknown key" in result.err


def test_settings_that_the_agent_accepts_are_not_checked_again(place: Place) -> None:
    with agent(place):
        place.settings |= {"colour": "red"}

        assert place.run("status").code == 0


def test_a_faulty_address_is_reported_with_all_faults_of_the_settings(place: Place) -> None:
    place.settings |= {"http": {"page": "nowhere"}, "colour": "red"}

    result = place.run("status")

    assert (result.code, result.out) == (2, "")
    assert "2 faults" in result.err
    assert "http.page: expected host:port to listen on" in result.err


def test_an_agent_with_another_answer_than_a_status_is_an_error(place: Place) -> None:
    pages = {"/status.json": Page(lambda: (503, "text/plain", b"later"))}
    server = HttpServer("http.page", "127.0.0.1", 0, pages)
    place.settings["http"] = {"page": f"127.0.0.1:{server.port}"}
    server.start()
    try:
        result = place.run("status")
    finally:
        server.close()

    assert (result.code, result.out) == (1, "")
    assert "the agent does not answer (HTTP 503)\n" in result.err


ESCAPES = "\x1b[1A\x1b[2K\rnothing here\n\x9b2K\u202e\u200b"


def test_text_from_outside_cannot_hide_or_forge_a_line(place: Place) -> None:
    pause = Pause(since=NOW - timedelta(hours=2), requested_by=f"ann{ESCAPES}", reason=ESCAPES)
    attempt = Attempt(at=NOW, failed_at=NOW, reason=Reason.DISK_FULL)
    destination = DestinationStatus(up=False, error=ESCAPES)
    with agent(
        place, paused=pause, bolt_up=False, bolt_error=ESCAPES, bolt_notes=(ESCAPES,), attempts={f"default/x{ESCAPES}": attempt},
        missing_databases=(ESCAPES,), forgotten=(ESCAPES,), destinations={"offsite": destination},
        places={"local": PlaceStatus(damaged=(ESCAPES,), blocked=Reason.CLOCK, error=ESCAPES)},
    ):  # fmt: skip
        plain, with_json = place.run("status"), place.run("status", "--json")
    lines = plain.out.splitlines()

    assert all(line.isprintable() for line in (*lines, *with_json.out.splitlines()))
    assert len([line for line in lines if line.startswith("- paused: requested by ann\\x1b[1A")]) == 1
    assert not [line for line in lines if line.startswith("nothing here")]
    assert with_json.json["paused"]["reason"] == ESCAPES


def test_a_long_name_does_not_widen_every_row(place: Place) -> None:
    attempt = Attempt(at=NOW, failed_at=NOW, reason=Reason.DISK_FULL)
    with agent(place, databases=(ORDERS,), attempts={f"default/{'x' * 5000}": attempt}):
        out = place.run("status").out

    assert max(map(len, out.splitlines())) < 200
    assert "xxx…xxx" in out


def test_the_age_of_an_old_topology_is_shown(place: Place) -> None:
    silent = "demo-client:7687 refused the connection"
    with agent(
        place,
        bolt_up=False,
        bolt_error=silent,
        bolt_reason=Reason.SOURCE_UNREACHABLE,
        topology_seen=NOW - timedelta(hours=3),
    ):
        old = place.run("status").out
    with agent(place, bolt_up=False, bolt_error=silent, bolt_reason=Reason.SOURCE_UNREACHABLE):
        unknown = place.run("status").out
    with agent(place, bolt_up=True, topology_seen=NOW):
        fresh = place.run("status").out

    assert f"\nBolt: {silent}; the known databases and servers are 3h old (2026-11-23T07:00:00Z)\n" in old
    assert f"\nBolt: {silent}; no topology is known\n" in unknown
    assert "Bolt: answers\n" in fresh


MANY = [f"tenant-{number:03}" for number in range(199)]
ONE_BROKEN = {
    "protection": protected(*MANY, "orders"),
    "attempts": {
        "default/orders": Attempt(
            at=TAKEN, failed_at=TAKEN, failing_since=TAKEN, reason=Reason.TIMEOUT, error="no answer " * 20
        )
    },
}


def test_of_200_databases_the_one_that_failed_comes_first_and_the_others_are_counted(place: Place) -> None:
    with agent(place, **ONE_BROKEN):
        printed = place.run("status").out.splitlines()

    assert printed[0] == "DEGRADED: 1 of 200 databases failed"
    assert printed[1].startswith("- failed: the last backup of orders failed: timeout: no answer")
    first = next(number for number, line in enumerate(printed) if line.startswith("SET/DATABASE"))
    assert printed[first + 1].startswith("default/orders")
    assert printed[first + 1].split()[1] == "failed"
    assert printed[-1] == "and 185 protected: `backup-agent status --database '*'` shows them"
    assert len(printed) < 30


def test_no_line_is_wider_than_the_terminal(place: Place) -> None:
    with agent(place, **ONE_BROKEN), on_a_terminal("--config", str(place.config), "status") as (_, terminal):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        printed = read(terminal).splitlines()

    assert printed[0] == "\x1b[33mDEGRADED\x1b[0m: 1 of 200 databases failed"
    assert max(len(re.sub(r"\x1b\[\d+m", "", line)) for line in printed) <= 80
    assert len(printed) < 24


def test_the_databases_that_match_are_all_shown_with_their_problems(place: Place) -> None:
    with agent(place, **ONE_BROKEN):
        tenants = place.run("status", "--database", "TENANT-1*").out.splitlines()
        orders = place.run("status", "--database", "default/orders").out.splitlines()
        nothing = place.run("status", "--database", "order")

    assert len([line for line in tenants if line.startswith("default/tenant-1")]) == 99
    assert not [line for line in tenants if line.startswith("- ")]
    assert [line.split()[0] for line in orders if line] == ["DEGRADED:", "-", "SET/DATABASE", "default/orders"]
    assert nothing.out.endswith("\n\nno database matches order; did you mean orders?\n")


def test_with_problems_only_problems_are_shown(place: Place) -> None:
    late = protected(*MANY, state="late", why="is late", since=TAKEN)
    with agent(place, protection=late):
        few, all_of_them = place.run("status").out.splitlines(), place.run("status", "--problems").out.splitlines()
    with agent(place):
        none = place.run("status", "--problems").out

    assert few[0] == "FAILING: 199 of 199 databases late"
    assert few[11] == "- and 189 more: `backup-agent status --problems` shows all"
    assert (len(all_of_them), all_of_them[199]) == (200, "- late: tenant-198 is late (8h)")
    assert none == "OK\nno problems\n"


@pytest.mark.parametrize(
    ("changes", "code", "line"),
    [
        ({}, 0, "OK"),
        ({"settings_valid": False, "settings_fault": "1 fault"}, 3, "DEGRADED: settings refused"),
        ({"ready": False, "not_ready_because": ("the agent is ending",)}, 5, "FAILING: not ready"),
    ],
    ids=["ok", "degraded", "failing"],
)
def test_a_check_prints_one_line_and_its_exit_code_is_the_health(
    place: Place, changes: dict[str, Any], code: int, line: str
) -> None:
    with agent(place, **changes):
        result = place.run("status", "--check")

    assert (result.code, result.out, result.err) == (code, f"{line}\n", "")


def test_a_health_that_is_not_known_yet_is_not_ok(place: Place) -> None:
    with agent(place, surveyed=False, ready=True):
        result = place.run("status", "--check")

    assert (result.code, result.out) == (3, "UNKNOWN: the health is not known yet\n")


def test_no_answer_to_a_check_is_an_error(place: Place) -> None:
    assert place.run("status", "--check").code == 1


@pytest.mark.parametrize("other", [("--problems",), ("--watch",), ("--database", "x")])
def test_a_check_takes_no_other_option(place: Place, other: tuple[str, ...]) -> None:
    assert place.run("status", "--check", *other).code == 2


def test_a_watched_status_is_shown_again_until_it_is_interrupted(place: Place) -> None:
    with agent(place), on_a_terminal("--config", str(place.config), "status", "--watch") as (process, terminal):
        shown = read(terminal, "queue: 0 requests")
        os.kill(process, signal.SIGINT)
        code = exit_code(process)

    assert shown.startswith("\x1b[H\x1b[2J\x1b[32mOK\x1b[0m\r\n")
    assert code == 130


def test_another_agent_on_the_port_is_an_error(place: Place) -> None:
    owner_file = place.root / "owner.json"
    with agent(place, cluster="other"):
        other_cluster = place.run("status")
    owner_file.write_text('{"schema": 1, "id": "0123", "cluster": "demo"}')
    with agent(place, owner="4567"):
        other_owner = place.run("status", "--check")
    with agent(place, owner="0123"):
        ours = place.run("status")

    assert (other_cluster.code, other_cluster.out) == (1, "")
    assert "another agent answers (cluster other), not that of the settings file (cluster demo)" in other_cluster.err
    assert (other_owner.code, other_owner.out) == (1, "")
    assert (
        "another agent answers (cluster demo, owner 4567), not that of the settings file (cluster demo, owner 0123)"
        in other_owner.err
    )
    assert ours.code == 0
