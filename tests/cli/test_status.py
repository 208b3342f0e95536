"""`status`: the status that the agent serves over HTTP, and the error if it does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.reasons import Reason
from backup_agent.stores.features import Feature, FeatureFinding
from backup_agent.supervisor.status.http import HttpServer, Page, status_pages
from backup_agent.supervisor.status.model import (
    DestinationStatus,
    ExcludedDatabase,
    Pause,
    PlaceStatus,
    RunStatus,
    ScheduleStatus,
    Status,
)
from tests.builders import TAKEN
from tests.cli.conftest import Place

NOW = TAKEN + timedelta(hours=8)

IDLE: dict[str, Any] = {
    "cluster": "demo",
    "version": "0.1.0",
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


@contextmanager
def agent(place: Place, **changes: Any) -> Iterator[None]:
    """Serve a Status over HTTP as the agent does; the changes may be what no agent would tell."""
    status = Status(**IDLE).model_copy(update=changes)
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
        said = place.run("status").out

    assert "DAMAGED at offsite (6): default/orders/0.backup, " in said
    assert "default/orders/4.backup, …\n" in said
    assert "at local" not in said


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
cluster demo: agent 0.1.0, up 8h, ready
Bolt: not asked yet
retention: nothing but ad hoc sets is deleted: no `retention` is set
queue: 0 requests
"""
    )


def test_an_unprotected_connection_is_shown(place: Place) -> None:
    with agent(place, unprotected_connections={"bolt_plain": "neo4j.uri has neo4j://"}):
        said = place.run("status").out

    assert "CONNECTION NOT PROTECTED: neo4j.uri has neo4j://\n" in said


def test_an_agent_that_is_not_ready_says_why_and_exits_3(place: Place) -> None:
    with agent(place, ready=False, not_ready_because=("the volume is being surveyed",)):
        result = place.run("status")

    assert result.code == 3
    assert "NOT READY: the volume is being surveyed" in result.out


def test_an_unwatched_requests_folder_is_shown_and_does_not_affect_readiness(place: Place) -> None:
    fault = "inotify instance limit reached"
    with agent(place, requests_watched=False, requests_watch_fault=fault):
        done = place.run("status")

    assert done.code == 0
    assert f"requests folder NOT WATCHED ({fault}): it is listed every 5 seconds\n" in done.out


def test_the_status_is_json_for_programs(place: Place) -> None:
    with agent(place, databases=(ORDERS,)):
        told = place.run("status", "--json").json

    assert Status.model_validate(told).databases == (ORDERS,)


def test_a_pause_is_shown_with_requester_and_reason(place: Place) -> None:
    with agent(place, paused=Pause(since=NOW - timedelta(hours=2), requested_by="ann", reason="the store moves")):
        assert "PAUSED by ann 2h ago (the store moves): no work is started until `resume`\n" in place.run("status").out
    with agent(place, paused=Pause(since=NOW - timedelta(hours=2))):
        assert "PAUSED 2h ago: no work is started until `resume`\n" in place.run("status").out
    with agent(place, paused=Pause(since=NOW - timedelta(hours=2), until=NOW + timedelta(hours=1))):
        assert "until 2026-11-23T11:00:00Z or `resume`\n" in place.run("status").out


def test_a_pause_older_than_a_day_is_shown_as_a_problem(place: Place) -> None:
    with agent(place, paused=Pause(since=NOW - timedelta(hours=25), overlong=True)):
        assert "PROBLEM: the pause is older than a day" in place.run("status").out


def test_blocked_retention_is_shown(place: Place) -> None:
    refused = PlaceStatus(blocked=Reason.CLOCK, error="the clock was set")
    with agent(place, places={"local": refused, "offsite": PlaceStatus()}, forgotten=("orders",)):
        out = place.run("status").out

    assert "RETENTION BLOCKED at local (clock): the clock was set\n" in out
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
        attempts={
            "default/orders": Attempt(at=NOW, failed_at=NOW - timedelta(minutes=2), reason=Reason.DISK_FULL),
            "default/customers": Attempt(at=NOW, failed_at=NOW - timedelta(minutes=1), reason=Reason.TIMEOUT),
            "default/system": Attempt(at=NOW),
        },
        missing_databases=("gone",),
        without_full={"orders": NOW - timedelta(minutes=7)},
        excluded_databases={"web": ExcludedDatabase(kind="sharded", why="is a sharded database: so it is")},
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
cluster demo: agent 0.1.0, up 8h, ready
Bolt: answers
SETTINGS REFUSED, the last good ones are in force: cluster: required
settings changed, in force after a restart: http.listen
volume: 5.0 GiB free of 10.0 GiB, full on 2026-12-23 at this rate
retention: nothing but ad hoc sets is deleted: no `retention` is set
queue: 2 requests, the oldest for 5s
running: backup default/orders copy, for 3 s, 2.0 KiB
running: cluster, for 0 s
MISSING: SHOW DATABASES no longer lists gone
PROBLEM: orders was replaced or created again, first seen 7m ago, and has no FULL since. One is taken when all copies are online
not backed up: web is a sharded database: so it is

SET/DATABASE       LAST SUCCESS  CHAIN    ARTIFACTS  SIZE     COPIES MISSING  LAST FAILURE
default/orders     1h ago        2 links  2          3.0 MiB  offsite 2       disk_full, 2m ago
default/customers  never         -        0          -        -               timeout, 1m ago

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
    assert result.out.startswith("cluster demo: agent 0.1.0, up 8h, ready\n")
    assert "SETTINGS REFUSED" in result.out
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
        plain, told = place.run("status"), place.run("status", "--json")
    lines = plain.out.splitlines()

    assert all(line.isprintable() for line in (*lines, *told.out.splitlines()))
    assert len([line for line in lines if line.startswith("PAUSED by ann\\x1b[1A")]) == 1
    assert not [line for line in lines if line.startswith("nothing here")]
    assert told.json["paused"]["reason"] == ESCAPES


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

    assert f"Bolt: {silent}; the known databases and servers are 3h old (2026-11-23T07:00:00Z)\n" in old
    assert f"Bolt: {silent}; no topology is known\n" in unknown
    assert "Bolt: answers\n" in fresh
