"""Notifications in the agent, by a virtual clock: what is sent and when, and receivers that fail or hang."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from backup_agent.core.protection.health import Health, HealthState
from backup_agent.core.requests.answers import State
from backup_agent.supervisor.work.notifications import (
    MOST_TRIES,
    PAUSE_SECONDS,
    RUN_SECONDS,
    SETTLING_SECONDS,
    Notifications,
)
from tests.builders import an_answer
from tests.supervisor.scripted import BACKUP_SECONDS, Child, ScriptedAgent

MIB = 1 << 20
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
PING = {"kind": "ping", "url_file": "/run/secrets/notify/nightly"}
CHAT = {"kind": "slack", "url_file": "/run/secrets/notify/chat"}
A_RUN = BACKUP_SECONDS + 2 * PAUSE_SECONDS + 10
ALL_TRIES = 2_400.0
"""Seconds. Longer than all tries to send one notification."""

RUNS = 8

Start = Callable[..., ScriptedAgent]


@pytest.fixture(name="start")
def _start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(**notify: dict[str, Any]) -> ScriptedAgent:
        agent = ScriptedAgent(tmp_path, monkeypatch, {"offsite": "works"}, notify=notify)
        agent.go_until(agent.now + 5)
        return agent

    return start


def children(agent: ScriptedAgent) -> list[Child]:
    return [child for child in agent.children if child.module == "backup_agent.jobs.notify"]


def sent(agent: ScriptedAgent) -> list[tuple[str, str]]:
    """Return the receiver of each child, and the phase or the health that it sends."""
    notices = [(child.task["receiver"], child.task["notice"]) for child in children(agent)]
    return [(receiver, notice.get("phase") or notice["health"]) for receiver, notice in notices]


def counted(agent: ScriptedAgent, receiver: str, outcome: str) -> float:
    found: float = agent.agent._metrics.notifications.labels(receiver=receiver, outcome=outcome)._value.get()
    return found


def becomes(agent: ScriptedAgent, state: str, notifications: Notifications | None = None) -> None:
    """Give the health this state, and let the agent look at it."""
    health = Health(state=HealthState(state), text=f"{state}: 1 of 20 databases late")
    (notifications or agent.parts.notifications).health_is(health, NOW, agent.now)


def test_pings_are_sent_at_the_start_of_a_run_and_at_its_success(start: Start) -> None:
    agent = start(nightly=PING)

    agent.ask("r1", "db-1")
    agent.go_until(agent.now + A_RUN)

    assert sent(agent) == [("nightly", "start"), ("nightly", "success")]
    assert [child.task["notice"]["request"] for child in children(agent)] == ["r1", "r1"]
    assert counted(agent, "nightly", "sent") == 2


def test_the_ping_of_a_failed_request_has_the_reason(start: Start) -> None:
    agent = start(nightly=PING)

    agent.ask("r1", "nosuch")
    agent.go_until(agent.now + A_RUN)

    assert sent(agent) == [("nightly", "failure")]
    assert children(agent)[0].task["notice"]["reason"] == "no_such_database"


def test_no_failure_is_sent_for_a_cancelled_request(start: Start) -> None:
    agent = start(nightly=PING)
    answer = an_answer(state=State.CANCELLED)

    agent.parts.notifications.run_changed(answer)
    agent.go_until(agent.now + A_RUN)

    assert sent(agent) == [("nightly", "cancellation")]


def test_a_ping_of_a_schedule_is_not_sent_for_other_runs(start: Start) -> None:
    agent = start(nightly=PING)
    nightly = agent.agent._settings.notify["nightly"].model_copy(update={"schedules": ("nightly",)})
    agent.monkeypatch.setitem(agent.agent._settings.notify, "nightly", nightly)

    agent.ask("r1", "db-1")
    agent.go_until(agent.now + A_RUN)

    assert sent(agent) == []


def test_of_many_runs_the_newest_state_is_sent_with_a_pause_between_two_processes(start: Start) -> None:
    agent = start(nightly=PING)
    began = agent.now

    for number in range(RUNS):
        agent.ask(f"r{number}", "db-1")
    agent.go_until(began + RUNS * BACKUP_SECONDS + 2 * A_RUN)

    assert len(agent.answered) == RUNS
    assert sent(agent)[-1] == ("nightly", "success")
    assert children(agent)[-1].task["notice"]["request"] == f"r{RUNS - 1}"
    assert min(later - earlier for earlier, later in pairwise(agent.notified)) >= PAUSE_SECONDS


def test_a_refused_notification_is_tried_again_a_few_times_then_dropped_and_logged_once(start: Start) -> None:
    agent = start(chat=CHAT)
    agent.refusing.add("chat")

    with capture_logs() as logs:
        for _ in range(int(2 * ALL_TRIES / 60)):
            becomes(agent, "DEGRADED")
            agent.go_until(agent.now + 60)

    assert len(children(agent)) == MOST_TRIES == counted(agent, "chat", "failed")
    assert counted(agent, "chat", "dropped") == 1
    [warning] = [one for one in logs if one["log_level"] == "warning"]
    assert warning["event"] == "notification not sent"
    assert warning["error"] == "the receiver answered HTTP 500"


def test_after_a_dropped_notification_the_next_change_of_health_is_sent(start: Start) -> None:
    agent = start(chat=CHAT)
    agent.refusing.add("chat")
    becomes(agent, "DEGRADED")
    agent.go_until(agent.now + ALL_TRIES)
    agent.refusing.clear()

    with capture_logs() as logs:
        becomes(agent, "FAILING")
        agent.go_until(agent.now + 1000)

    assert sent(agent)[-1] == ("chat", "FAILING")
    assert counted(agent, "chat", "sent") == 1
    assert "notifications are sent again" in [one["event"] for one in logs]


def test_hanging_receivers_delay_no_backup_and_another_receiver_has_its_turn(start: Start) -> None:
    agent = start(chat=CHAT, team=CHAT, nightly=PING)
    agent.hanging.update({"chat", "team"})
    becomes(agent, "DEGRADED")
    agent.go_until(agent.now + 1)
    began = agent.now

    agent.ask("r1", "db-1")
    agent.go_until(began + 3 * RUN_SECONDS + A_RUN)

    assert agent.answered["r1"] <= began + BACKUP_SECONDS + 10
    assert ("nightly", "success") in sent(agent)
    assert (counted(agent, "chat", "failed"), counted(agent, "team", "failed")) == (2, 1)


def test_if_memory_is_small_the_process_gives_way_to_a_backup_and_is_started_again_after_it(start: Start) -> None:
    agent = start(chat=CHAT)
    agent.limit = 256 * MIB
    agent.hanging.add("chat")
    becomes(agent, "DEGRADED")
    agent.go_until(agent.now + 1)
    assert [child.over for child in children(agent)] == [False]

    agent.ask("r1", "db-1")
    agent.go_until(agent.now + 10)
    assert "backup" in [run.kind for _, run in agent.parts.runs]
    assert [child.over for child in children(agent)] == [True]
    agent.go_until(agent.now + 5)
    assert len(children(agent)) == 1

    agent.hanging.clear()
    agent.go_until(agent.now + A_RUN)
    assert "r1" in agent.answered
    assert counted(agent, "chat", "sent") == 1
    assert counted(agent, "chat", "failed") == 0


def test_each_change_of_the_health_is_sent_once(start: Start) -> None:
    agent = start(chat=CHAT, nightly=PING)
    for state in ("DEGRADED", "DEGRADED", "FAILING", "FAILING"):
        becomes(agent, state)
        agent.go_until(agent.now + 60)
    agent.go_until(agent.now + SETTLING_SECONDS)
    becomes(agent, "OK")
    agent.go_until(agent.now + 60)

    assert sent(agent) == [("chat", "DEGRADED"), ("chat", "FAILING"), ("chat", "OK")]
    assert [child.task["notice"]["before"] for child in children(agent)] == ["OK", "DEGRADED", "FAILING"]


def test_a_change_that_ended_before_it_was_sent_is_not_sent(start: Start) -> None:
    agent = start(chat=CHAT)
    agent.refusing.add("chat")
    becomes(agent, "DEGRADED")
    agent.go_until(agent.now + SETTLING_SECONDS)
    agent.refusing.clear()

    becomes(agent, "OK")
    agent.go_until(agent.now + 1000)

    assert counted(agent, "chat", "sent") == 0


def test_a_restart_sends_nothing_twice_and_ok_only_after_problems_had_time_to_appear(start: Start) -> None:
    agent = start(chat=CHAT)
    becomes(agent, "FAILING")
    agent.go_until(agent.now + 60)
    parts = agent.parts
    again = Notifications(
        parts.notifications.file, parts.reloader, parts.runs, parts.backup_queue, parts.orders, parts.counters
    )
    again.load()

    for state in ("OK", "FAILING"):
        becomes(agent, state, again)
        again.advance(agent.now)
    assert sent(agent) == [("chat", "FAILING")]

    agent.go_until(agent.now + SETTLING_SECONDS)
    becomes(agent, "OK", again)
    again.advance(agent.now)
    assert sent(agent) == [("chat", "FAILING"), ("chat", "OK")]


def test_the_supervisor_and_its_tasks_have_the_name_of_the_file_and_not_the_url(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("https://hooks.example.com/secret-path\n")
    agent = start(chat={**CHAT, "url_file": str(file)})

    becomes(agent, "DEGRADED")
    agent.go_until(agent.now + 60)

    assert "secret-path" not in str(children(agent)[0].task)
    assert children(agent)[0].task["settings"]["notify"]["chat"]["url_file"] == str(file)
