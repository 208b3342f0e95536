"""What runs beside a drill, which has a JVM. Virtual clock."""

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_agent.supervisor.agent import PageAsked
from backup_agent.supervisor.work.doctor import START_SECONDS
from backup_agent.supervisor.work.status_page import Ask
from tests.supervisor.scripted import ScriptedAgent

MIB = 1 << 20


def busy(agent: ScriptedAgent) -> Iterator[frozenset[str]]:
    """Ask for backups, drills and pages at many distances, while the doctor runs. Yield what runs together."""
    agent.go_until(agent.now + START_SECONDS - 5)
    for second in range(600):
        if second % 31 == 0:
            agent.drop(f"drill-{second}", action="drill", database="db-1")
        if second % 67 == 0:
            agent.ask(f"backup-{second}", "db-1")
        if second % 13 == 0:
            agent.agent._handle(PageAsked(Ask(queue.SimpleQueue(), agent.now + 100)))
        agent.go_until(agent.now + 1)
        yield frozenset(run.kind.partition("_")[0] for _, run in agent.parts.runs)
    agent.go_until(agent.now + 600)
    assert agent.answered.keys() == agent.asked.keys()


def test_where_memory_is_scarce_a_drill_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set(busy(ScriptedAgent(tmp_path, monkeypatch, {"offsite": "works"}, limit=256 * MIB)))

    assert {kinds for kinds in seen if "drill" in kinds} == {frozenset({"drill"})}
    assert {"backup", "check", "copy", "page"} <= {kind for kinds in seen for kind in kinds}


@pytest.mark.parametrize("limit", [1024 * MIB, None])
def test_where_there_is_room_other_work_goes_on_beside_a_drill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    seen = set(busy(ScriptedAgent(tmp_path, monkeypatch, {"offsite": "works"}, limit=limit)))

    together = {kind for kinds in seen if "drill" in kinds for kind in kinds}
    assert together >= {"drill", "check", "copy", "page"}
    assert "backup" not in together
