"""An hour of requests with destinations that fail: what waits for what. The clock is virtual."""

from pathlib import Path

import pytest

from tests.supervisor.scripted import BACKUP_SECONDS, COPY_SECONDS, ScriptedAgent

pytestmark = pytest.mark.patience

HOUR = 3600.0
MIB = 1 << 20
EVERY = 60


def an_hour(folder: Path, monkeypatch: pytest.MonkeyPatch, bad: str, limit: int | None = None) -> ScriptedAgent:
    """Request a backup every minute for an hour. Then let time pass until every wait must have ended."""
    agent = ScriptedAgent(folder, monkeypatch, {"bad": bad, "good": "works"}, limit)
    start = agent.now
    agent.go_until(start + 10.0)
    for number in range(int(HOUR) // EVERY):
        agent.ask(f"r{number}", f"db-{number % 10}")
        agent.go_until(start + 10.0 + (number + 1) * EVERY)
    agent.go_until(start + 2 * HOUR)
    return agent


def lateness(agent: ScriptedAgent) -> float:
    """Return the longest time between a request and its backup."""
    return max(agent.began[identity] - asked for identity, asked in agent.asked.items())


@pytest.mark.parametrize("bad", ["works", "hangs", "refuses", "throttles"])
def test_a_destination_that_fails_for_an_hour_delays_no_backup_and_no_other_destination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    agent = an_hour(tmp_path, monkeypatch, bad)
    good = agent.stored["good"]

    assert len(agent.recorded) == len(good) == HOUR // EVERY
    assert lateness(agent) < 5.0
    assert max(good[key] - recorded for key, recorded in agent.recorded.items()) < 3 * COPY_SECONDS
    assert agent.answered.keys() == agent.asked.keys()
    states = {agent.answer(identity)["state"] for identity in agent.asked}
    assert states == {"succeeded" if bad == "works" else "succeeded_with_warnings"}
    longest = max(agent.answered[identity] - asked for identity, asked in agent.asked.items())
    assert longest < BACKUP_SECONDS + {"works": 15.0, "hangs": 920.0, "refuses": 45.0, "throttles": 120.0}[bad]


def test_a_destination_that_refuses_does_not_cost_a_process_for_each_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One try follows each new artifact, and the waits between tries double."""
    agent = an_hour(tmp_path, monkeypatch, "refuses")
    passes = [child for child in agent.children if child.task.get("place") == "bad"]

    assert len(passes) <= 2 * HOUR // EVERY


@pytest.mark.parametrize("bad", ["works", "hangs", "refuses", "throttles"])
def test_in_the_smallest_pod_backups_and_destinations_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    agent = an_hour(tmp_path, monkeypatch, bad, 256 * MIB)
    good = agent.stored["good"]

    assert agent.together == 0
    assert len(agent.recorded) == len(good) == HOUR // EVERY
    assert lateness(agent) < BACKUP_SECONDS + 120.0
    assert max(good[key] - recorded for key, recorded in agent.recorded.items()) < 240.0
    assert agent.answered.keys() == agent.asked.keys()


def test_in_the_smallest_pod_a_process_copies_what_several_backups_have_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = ScriptedAgent(tmp_path, monkeypatch, {"one": "works"}, 256 * MIB)
    agent.go_until(agent.now + 10.0)
    for number in range(30):
        agent.ask(f"r{number}", f"db-{number % 10}")
    begun = agent.now
    agent.go_until(begun + HOUR)
    took = max(agent.recorded.values()) - begun
    copying = [child for child in agent.children if child.task.get("kind") == "copy"]

    assert len(agent.recorded) == len(agent.stored["one"]) == 30
    assert len(copying) <= took / 120.0 + 2
    assert max(agent.stored["one"][key] - recorded for key, recorded in agent.recorded.items()) < 240.0


@pytest.mark.parametrize(("limit", "together"), [(512 * MIB, 1), (None, 2)], ids=["one fits", "no limit"])
def test_as_many_processes_work_beside_a_jvm_as_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, together: int
) -> None:
    """One backup follows another, so all copies are made beside a backup."""
    agent = ScriptedAgent(tmp_path, monkeypatch, {"one": "works", "two": "works"}, limit)
    agent.go_until(agent.now + 10.0)
    for number in range(10):
        agent.ask(f"r{number}", f"db-{number}")
    agent.go_until(agent.now + 10 * BACKUP_SECONDS + 60.0)

    assert agent.together == together
    assert [len(keys) for keys in agent.stored.values()] == [10, 10]
