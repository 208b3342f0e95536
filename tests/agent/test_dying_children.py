"""A child of the supervisor dies: its result then counts as unknown, and never as empty."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import DatabaseResult, Outcome, PlaceResult
from backup_agent.core.requests.events import (
    BackupReport,
    ChildEvent,
    CopyReport,
    DiscoveryFailed,
    PassReport,
    SurveyFailed,
)
from tests.agent.live import Live
from tests.jobs.worlds import World
from tests.polling import until

DYING = Path(__file__).parent / "dying"
BACKUP, CLUSTER, COPY, PRUNE, SURVEY, VERIFY = (
    "backup_agent.jobs.backup",
    "backup_agent.cluster",
    "backup_agent.jobs.destination",
    "backup_agent.jobs.prune",
    "backup_agent.jobs.survey",
    "backup_agent.jobs.verify",
)
GARBAGE = [
    "\xff\x00{",
    "[1]",
    '{"event": "summary"}',
    '{"event": "topology"}',
    '{"event": "backup_result"}',
    '{"event": "pass_result", "result": {"outcome": 7}}',
]
FAILURE = Failure(Reason.INTERNAL, "it cannot be done")
NOT_SURVEYED = SurveyFailed(failure=FAILURE)
NOT_DISCOVERED = DiscoveryFailed(failure=FAILURE)
NOT_BACKED_UP = BackupReport(result=DatabaseResult(outcome=Outcome.FAILED, reason=FAILURE.reason, error=FAILURE.error))
NOT_PASSED = PassReport(result=PlaceResult(outcome=Outcome.FAILED, reason=FAILURE.reason, error=FAILURE.error))
NOT_COPIED = CopyReport(copied=0, failure=FAILURE)


def deaths(event: str, failure: ChildEvent, *, every: bool = True) -> dict[str, dict[str, Any]]:
    """Return the ways to die, or one of each mechanism.

    A child is killed while it writes `event`; `failure` is the event for a failure.
    """
    mechanisms: dict[str, dict[str, Any]] = {
        "killed in the middle": {"killed_in": event},
        "garbage": {"say": GARBAGE, "code": 0},
        "not started": {"spawn": errno.EAGAIN},
    }
    others: dict[str, dict[str, Any]] = {
        "killed before anything": {"killed": True},
        "exit code 1 with an error event": {"say": [failure.model_dump_json()], "code": 1},
    }
    return mechanisms | others if every else mechanisms


starts = pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["each mechanism", "every way"]
)
"""For a child that dies in a new agent each time: `make test` has one way of each mechanism."""


class Dying:
    """A live agent whose children die as ordered (dying/sitecustomize.py)."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._orders = live.folder / "orders.json"
        self._orders.write_text("[]")
        path = os.pathsep.join(filter(None, (str(DYING), os.environ.get("PYTHONPATH"))))
        live.environ |= {"PYTHONPATH": path, "DYING_ORDERS": str(self._orders)}

    def order(self, module: str, **way: Any) -> None:
        """Let the next process of a module die in a given way."""
        if self.live.process is not None and self.live.process.poll() is None:
            self.live.end_waiting()
        self._orders.write_text(json.dumps([{"module": module, **way}]))

    def until_carried_out(self) -> None:
        until(lambda: self._orders.read_text() == "[]", "death of a child")

    def again(self, module: str, way: dict[str, Any]) -> Live:
        """Restart the agent, and let one of its children die."""
        self.live.kill_all()
        self.order(module, **way)
        return self.live.start(ready=False)


@pytest.fixture(name="dying")
def _dying(live: Live) -> Dying:
    return Dying(live)


@pytest.fixture(name="owing")
def _owing(dying: Dying, live: Live) -> Dying:
    """Return an agent with one artifact on the volume, whose copy is missing at a destination."""
    live.start()
    assert live.ask(id="first", database="orders")["state"] == "succeeded"
    live.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    nowhere = {"type": "s3", "bucket": "backups", "endpoint_url": "http://127.0.0.1:9", "region": "us-east-1"}
    live.settings["storage"]["destinations"] = {"offsite": nowhere}
    return dying


def until_logged(live: Live, event: str, way: str) -> dict[str, Any]:
    """Wait for a log line of an event, and return the first one."""
    return until(lambda: live.events(event), f"{event} ({way})")[0]


def artifacts(live: Live) -> int | None:
    """Return the number of artifacts that the agent knows, or None if it is unknown."""
    databases = live.status().get("databases")
    return None if databases is None else sum(one["artifacts"] for one in databases)


@starts
def test_a_survey_whose_child_died_is_not_taken_for_an_empty_volume(owing: Dying, *, every: bool) -> None:
    believed = {}
    for name, way in deaths("summary", NOT_SURVEYED, every=every).items():
        live = owing.again(SURVEY, way)
        until_logged(live, "survey failed", name)
        status, (code, readyz) = live.status(), live.get("/readyz")
        believed[name] = (
            (code, "the survey of the volume failed" in readyz, status["surveyed"]),
            ("databases" in status, status["destinations"]["offsite"].get("owed")),
            (live.metric("neo4j_backup_copies_owed"), live.metric("neo4j_backup_artifacts")),
            [run["kind"] for run in status["running"] if run["kind"] != "cluster"],
        )

    unknown: tuple[Any, ...] = ((503, True, False), (False, None), (None, None), [])
    assert believed == dict.fromkeys(believed, unknown)
    assert owing.live.ask(id="second", database="neo4j")["reason"] == "copies_owed"  # a backup is still taken
    until(owing.live.is_ready, "agent whose second survey has succeeded", patience=60)
    assert artifacts(owing.live) == 2
    assert owing.live.metric("neo4j_backup_copies_owed") == 2


@starts
def test_a_discovery_whose_child_died_is_not_taken_for_a_cluster_without_databases(
    dying: Dying, live: Live, *, every: bool
) -> None:
    live.start()
    live.ask(id="first", database="orders")
    believed = {}
    for name, way in deaths("topology", NOT_DISCOVERED, every=every).items():
        dying.again(CLUSTER, way)
        until(live.is_ready, "ready agent")
        answer = live.ask(databases=["ord*"])
        status = live.status()
        believed[name] = (
            answer["state"],
            {database: result["discovery"] for database, result in answer["databases"].items()},
            not status["bolt_up"],
            status["missing_databases"],
            live.events("step failed"),
        )

    kept = {"orders": "last_topology"}
    assert believed == dict.fromkeys(believed, ("succeeded_with_warnings", kept, True, [], []))


def test_a_backup_whose_child_died_is_tried_again_or_fails(dying: Dying, live: Live) -> None:
    live.start()
    believed = {}
    for name, way in deaths("backup_result", NOT_BACKED_UP).items():
        dying.order(BACKUP, **way)
        answer = live.ask(database="orders", type="FULL")
        result = answer["databases"]["orders"]
        until(lambda: artifacts(live) == len(live.records()), f"true number of artifacts ({name})")
        believed[name] = (answer["state"], result["attempts"], result.get("reason"), live.events("step failed"))

    assert believed == {
        "killed before anything": ("succeeded", 2, None, []),
        "killed in the middle": ("succeeded", 2, None, []),
        "exit code 1 with an error event": ("failed", 1, "internal", []),
        "garbage": ("succeeded", 2, None, []),
        "not started": ("failed", 1, "out_of_memory", []),
    }


def test_an_artifact_is_known_even_if_no_child_could_report_it(dying: Dying, live: Live) -> None:
    live.start()
    dying.order(BACKUP, killed_in="summary", times=3)
    answer = live.ask(database="orders")

    assert (answer["state"], answer["reason"]) == ("failed", "interrupted")
    assert len(live.records()) == 1
    until(lambda: artifacts(live) == 1, "artifact that no child reported")
    assert live.is_ready()


@starts
def test_a_copy_whose_child_died_is_still_missing(owing: Dying, *, every: bool) -> None:
    believed = {}
    for name, way in deaths("owed", NOT_COPIED, every=every).items():
        live = owing.again(COPY, way)
        first = until_logged(live, "copy missing", name)["error"]
        shown = live.status()["destinations"]["offsite"]
        of_the_child = any(words in first for words in ("without a report", "could not be started", "cannot be done"))
        believed[name] = (of_the_child, shown["up"], shown["owed"], live.metric("neo4j_backup_copies_owed"))

    assert believed == dict.fromkeys(believed, (True, False, 1, 1))


def test_retention_is_blocked_after_its_child_died_and_its_deletions_are_known(dying: Dying, live: Live) -> None:
    world = World(live.root)
    ways = deaths("summary", NOT_PASSED)
    for number in range(len(ways) + 1):
        world.add(30 - number, 1, 10 * (number + 1))
    live.start()
    believed = {}
    for last, (name, way) in zip(range(len(ways), 0, -1), ways.items(), strict=True):
        live.until_idle()
        dying.order(PRUNE, **way)
        # Retention follows its new settings without a request.
        live.write_settings(retention={"last": last, "max_delete_share": 1})
        dying.until_carried_out()
        place = until(
            lambda: (place := live.status()["places"]["local"]).get("blocked") and place, f"blocked pass ({name})"
        )
        until(lambda: artifacts(live) == len(live.records()), f"true number of artifacts ({name})")
        believed[name] = (place["blocked"], live.events("step failed"), live.is_ready())
        live.ask("p", action="prune", place="local")
        assert len(live.records()) == last
        until(lambda: artifacts(live) == len(live.records()), f"number after a pass that deletes ({name})")

    assert believed == {name: ("out_of_memory" if name == "not started" else "internal", [], True) for name in believed}


def test_a_verification_whose_child_died_has_verified_nothing(dying: Dying, live: Live) -> None:
    live.start()
    live.ask(database="orders")
    live.until_idle()
    believed = {}
    for name, way in deaths("pass_result", NOT_PASSED).items():
        dying.order(VERIFY, **way)
        answer = live.ask("v", action="verify", place="local")
        shown = answer["places"]["local"]
        believed[name] = (answer["state"], shown["outcome"], shown.get("verified"), live.events("step failed"))

    assert believed == dict.fromkeys(believed, ("failed", "failed", None, []))


def test_an_adopted_backup_has_its_log_line_and_no_step_of_the_loop_fails(dying: Dying, live: Live) -> None:
    live.start()
    dying.order(BACKUP, killed_in="backup_result")
    answer = live.ask(id="one", database="orders")
    lines = until(lambda: live.events("backup ended")[1:], "canonical line of the second attempt")

    assert answer["databases"]["orders"]["adopted"] is True
    assert [(line["outcome"], line["adopted"]) for line in lines] == [("succeeded", True)]
    assert live.events("step failed") == []
