"""Requests: forms of ids, expiry, requester and reason, and a file with secrets."""

import json
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from backup_agent.cli import main
from tests.agent.live import Live
from tests.builders import ATTRIBUTION, TRACE
from tests.polling import until

HOURLY = "0 * * * *"
PAST = "2026-01-01T00:00:00Z"


def test_a_request_file_cannot_use_the_id_of_a_schedules_run(live: Live) -> None:
    """Neither with the id of a schedule's run, nor with its former form, which any file may have."""
    live.settings["schedules"] = {"hourly": {"cron": HOURLY, "databases": ["orders"], "type": "FULL"}}
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    identities = {name: f"hourly{name}{due:%Y%m%dT%H%M%SZ}" for name in "@-"}
    live.start()
    answers = {name: live.ask(f"x{name}", id=taken, database="neo4j") for name, taken in identities.items()}
    assert live.end() == 0
    live.handled("hourly", f"{HOURLY} UTC", timedelta(hours=2))
    live.start()

    until(live.artifacts, "the schedule's backup")
    assert live.final(identities["@"])["schedule"] == "hourly"
    assert {name: answer["state"] for name, answer in answers.items()} == {"@": "rejected", "-": "succeeded"}
    assert "an id without `@` expected" in answers["@"]["error"]


def test_a_schedules_run_can_be_cancelled_by_its_id(live: Live) -> None:
    live.settings["schedules"] = {"hourly": {"cron": HOURLY, "databases": ["orders"]}}
    live.handled("hourly", f"{HOURLY} UTC", timedelta(hours=2))
    live.fault({"do": "hang", "database": "orders"})
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    live.start()
    identity = f"hourly@{due:%Y%m%dT%H%M%SZ}"
    live.until_stage(identity)

    assert main.code(["--config", str(live.config), "cancel", identity, "--timeout", "20"]) == 0
    assert live.final(identity)["state"] == "cancelled"


def test_a_request_after_its_not_after_fails_without_being_started(live: Live) -> None:
    live.start()
    backup = live.ask("b", database="orders", not_after=PAST)
    pause = live.ask("p", action="pause", not_after=PAST)
    prune = live.ask("q", action="prune", not_after=PAST)

    assert [(one["state"], one["reason"]) for one in (backup, pause, prune)] == [("failed", "expired")] * 3
    assert live.artifacts() == []
    assert live.status().get("paused") is None
    assert live.ask("later", database="orders", not_after="2100-01-01T00:00:00Z")["state"] == "succeeded"


def test_a_request_that_expires_during_a_pause_is_never_started(live: Live) -> None:
    live.start()
    live.ask("p", action="pause")
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    answers = [live.ask(action, action=action, not_after=soon) for action in ("backup", "prune")]
    live.ask("r", action="resume")

    assert [one["reason"] for one in answers] == ["expired", "expired"]
    assert live.artifacts() == []


def waits(live: Live, name: str) -> bool:
    """Return whether the answer to a request says that it waits for the end of a pause."""
    return (live.answer_of(name) or {}).get("waits_for") == "the end of the pause"


def test_a_pass_and_a_backup_can_be_cancelled_during_a_pause(live: Live) -> None:
    live.start()
    live.ask("p", action="pause")
    live.drop("prune.request", id="prune", action="prune")
    live.drop("verify.request", id="verify", action="verify")
    live.drop("backup.request", id="backup")
    for name in ("prune", "verify", "backup"):
        until(partial(waits, live, name), f"answer to {name} that names the pause")
        assert live.ask("c", action="cancel", id=name)["state"] == "succeeded"

    assert {live.final(name)["state"] for name in ("prune", "verify", "backup")} == {"cancelled"}


def test_record_and_log_have_the_attribution_of_a_request(live: Live) -> None:
    live.settings["retention"] = {"last": 2}
    live.start()
    attribution: dict[str, Any] = {"requested_by": "the DBA", "reason": "before the upgrade", "traceparent": TRACE}
    live.ask("backup", id="backup", database="orders", traceparent=TRACE, **ATTRIBUTION)
    live.ask("pause", id="pause", action="pause", **attribution)
    live.ask("resume", id="resume", action="resume", **attribution)
    live.ask("prune", id="prune", action="prune", **attribution)
    live.ask("lost", id="lost", action="release", artifact="default/orders/x.backup", **attribution)

    def lines(event: str, request: str) -> list[dict[str, object]]:
        return [line for line in live.events(event) if line.get("request") == request]

    for event, request in (
        ("backup ended", "backup"),
        ("retention applied", "prune"),
        *(
            (event, request)
            for event in ("request", "request answered")
            for request in ("backup", "pause", "resume", "prune", "lost")
        ),
    ):
        (line,) = until(partial(lines, event, request), f"line {event} of {request}")
        expected = {"requested_by": "the DBA", "request_reason": "before the upgrade", "trace_id": TRACE.split("-")[1]}
        assert line.items() >= expected.items(), (event, request)
        assert line.get("labels") == (ATTRIBUTION["labels"] if request == "backup" else None), (event, request)
    (record,) = live.records()
    assert record.items() >= ATTRIBUTION.items() <= live.answer_of("backup")["request"].items()


def test_answer_and_log_quote_nothing_of_a_link_to_a_file_with_secrets(live: Live) -> None:
    secret = live.folder / "shadow"
    secret.write_text("root:$6$hunter2:19000:0:99999:7:::\n")
    secret.chmod(0o640)
    live.start()
    os.link(secret, live.requests / "x.request")
    (live.requests / "y.request").write_text('{"hunter2 key": "hunter2", "database": "hunter2;", "action": "hunter2"}')

    assert {live.answer(name)["state"] for name in ("x", "y")} == {"rejected"}
    texts = [path.read_text() for path in live.requests.rglob("*.json") if ".spool/rejected" not in str(path)]
    assert texts
    assert not [text for text in (*texts, *live.text) if "hunter2" in text]
    assert secret.stat().st_mode & 0o777 == 0o640
    assert json.loads((live.requests / "x.status.json").read_text())["error"].startswith("not JSON at line 1, column 1")


def test_a_request_file_with_a_name_of_255_bytes_is_answered(live: Live) -> None:
    live.start()
    name = "x" * 247
    (live.requests / f"{name}.request").write_text('{"database": "orders"}')
    found = until(lambda: list(live.requests.glob("xxx*~*.status.json")), "answer")
    until(lambda: json.loads(found[0].read_text())["state"] == "succeeded", "success")
