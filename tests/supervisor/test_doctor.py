"""The doctor in the agent, by a virtual clock: when it runs, what counts as failing, and how it gives way to backups."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_agent.core.doctor.checks import Check, CheckOutcome, fail, ok
from backup_agent.core.protection.health import ProblemKind
from backup_agent.supervisor import snapshot
from backup_agent.supervisor.children.doctor_steps import STEP_SECONDS
from backup_agent.supervisor.status.metrics import StatusCollector
from backup_agent.supervisor.work.doctor import (
    AGAIN_SECONDS,
    EVERY_SECONDS,
    FAILING_SECONDS,
    START_SECONDS,
    Doctor,
)
from tests.supervisor.scripted import BACKUP_SECONDS, ScriptedAgent

MIB = 1 << 20
RUN_SECONDS = 50.0
"""Longer than a run of the doctor takes in these tests."""

BAD = fail(Check.HOST, "demo does not resolve", "correct it")
STEPS = ["check_cluster", "check_admin", "check_volume", "check_keys", "check_destination"]


@pytest.fixture(name="agent")
def _agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedAgent:
    return ScriptedAgent(tmp_path, monkeypatch, {"offsite": "works"})


def doctor(agent: ScriptedAgent) -> Doctor:
    return agent.parts.doctor


def steps(agent: ScriptedAgent) -> list[str]:
    return [name for child in agent.children if (name := child.module.rpartition(".")[2]).startswith("check_")]


def test_the_doctor_runs_soon_after_the_start_step_by_step_and_then_once_a_day(agent: ScriptedAgent) -> None:
    start = agent.now
    agent.go_until(start + START_SECONDS - 1)
    assert steps(agent) == []

    agent.go_until(start + START_SECONDS + RUN_SECONDS)
    assert steps(agent) == STEPS
    assert {one.check for one in doctor(agent).findings or ()} == set(Check)

    agent.go_until(start + EVERY_SECONDS - 60, every=60)
    assert len(steps(agent)) == len(STEPS)
    agent.go_until(start + START_SECONDS + EVERY_SECONDS + 2 * RUN_SECONDS)
    assert steps(agent) == 2 * STEPS


def test_a_failed_check_is_repeated_soon_and_counts_after_the_second_failure(agent: ScriptedAgent) -> None:
    agent.checks["cluster"] = BAD
    agent.go_until(agent.now + START_SECONDS + RUN_SECONDS)
    assert [one.runs for one in doctor(agent).failing.values()] == [1]

    agent.go_until(agent.now + AGAIN_SECONDS + RUN_SECONDS)
    assert [one.runs for one in doctor(agent).failing.values()] == [2]

    agent.checks["cluster"] = ok(Check.HOST, "demo resolves")
    agent.go_until(agent.now + AGAIN_SECONDS)
    assert len(doctor(agent).failing) == 1
    agent.go_until(agent.now + FAILING_SECONDS + RUN_SECONDS)
    assert len(doctor(agent).failing) == 0


def test_a_step_whose_process_hangs_is_ended_and_its_checks_are_unknown(agent: ScriptedAgent) -> None:
    agent.monkeypatch.setattr(agent, "_check", lambda _: iter([(1e9, None)]))
    agent.go_until(agent.now + START_SECONDS + len(STEPS) * (STEP_SECONDS + 5) + RUN_SECONDS)

    found = {one.check: one for one in doctor(agent).findings or ()}

    assert found[Check.HOST].outcome is CheckOutcome.UNKNOWN
    assert "longer than 120 s" in found[Check.HOST].found


def test_if_memory_is_too_small_for_both_a_backup_ends_the_step_which_is_repeated_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = ScriptedAgent(tmp_path, monkeypatch, {}, limit=256 * MIB)
    agent.go_until(agent.now + START_SECONDS + 1)
    assert steps(agent) == STEPS[:1]

    agent.ask("now", "db-1")
    agent.go_until(agent.now + BACKUP_SECONDS - 5)
    assert agent.began["now"] - agent.asked["now"] < 5
    assert steps(agent) == STEPS[:1]

    agent.go_until(agent.now + BACKUP_SECONDS + RUN_SECONDS)
    assert steps(agent) == [STEPS[0], *STEPS[:4]]


def test_if_memory_allows_both_the_doctor_runs_beside_a_backup(agent: ScriptedAgent) -> None:
    agent.go_until(agent.now + START_SECONDS - 2)
    agent.ask("now", "db-1")
    agent.go_until(agent.now + BACKUP_SECONDS)

    assert len(steps(agent)) > 1
    assert "now" in agent.began


def test_changed_settings_are_checked_soon(agent: ScriptedAgent) -> None:
    agent.go_until(agent.now + START_SECONDS + 1)
    doctor(agent).restart(agent.now)
    agent.go_until(agent.now + START_SECONDS - 5)
    assert steps(agent) == [STEPS[0]]
    agent.go_until(agent.now + 5 + RUN_SECONDS)

    assert steps(agent) == [STEPS[0], *STEPS]


def test_a_check_that_failed_twice_is_a_problem_of_the_health_and_shown_in_the_metrics(agent: ScriptedAgent) -> None:
    agent.checks["cluster"] = BAD
    seen = []
    for seconds in (START_SECONDS + RUN_SECONDS, AGAIN_SECONDS + RUN_SECONDS):
        agent.go_until(agent.now + seconds)
        now = datetime.now(UTC)
        facts = snapshot.LoopFacts(started=now, settings_loaded=now)
        status = snapshot.status(agent.parts, facts, now, agent.now)
        problems = status.health.problems if status.health else ()
        page = "\n".join(
            f"{sample.name} {sample.labels.get('check')} {sample.value:g}"
            for family in StatusCollector(lambda status=status: status).collect()  # type: ignore[misc]  # bound now
            for sample in family.samples
        )
        seen.append([one.subject for one in problems if one.kind is ProblemKind.CHECK])
        assert "neo4j_backup_check host 2" in page
        assert f"neo4j_backup_check_failed_runs host {len(seen)}" in page
        assert "neo4j_backup_check bolt " not in page  # its outcome is unknown

    assert seen == [[], ["host"]]
