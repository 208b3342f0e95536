"""The agent and the process of a drill are killed at each step: the request is answered once, and nothing is left.

tests/jobs/test_killed_drill.py kills the process alone, at a chosen few steps in `make test`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.agent.crashes import CRASHING, ENOUGH, SUPERVISOR, Kinds, final, until_dead_or_answered
from tests.agent.live import Live
from tests.polling import until

pytestmark = [pytest.mark.process, pytest.mark.nightly]

DRILL = "backup_agent.jobs.drill"
SHARES = 3


@pytest.fixture(name="drilled")
def _drilled(live: Live, tmp_path: Path) -> Live:
    """An agent with one artifact, whose scratch folder is not on the volume."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    live.write_settings(schedules={}, drill={"level": "check", "scratch": str(scratch)})
    live.start()
    assert live.ask("first", database="orders", type="FULL")["state"] == "succeeded"
    assert live.end() == 0
    return live


def scratch(live: Live) -> list[Path]:
    found = Path(live.settings["drill"]["scratch"])
    return [*found.iterdir(), *(live.root / ".staging").iterdir()]


def evidence(live: Live) -> dict[str, Any] | None:
    """Return the evidence of the artifact: it is whole, or absent."""
    paths = list(live.root.glob("default/orders/*.drilled.json"))
    return json.loads(paths[0].read_text()) if paths else None


def check_end(live: Live) -> None:
    found = evidence(live)
    assert found is not None
    assert found["outcome"] == "passed"
    assert list(live.leftovers()) == []
    until(lambda: scratch(live) == [], "removal of the scratch data")
    assert live.open_entries() == []


@pytest.mark.parametrize("share", range(SHARES))
def test_agent_and_drill_are_killed_at_each_step_and_the_request_succeeds_in_the_end(drilled: Live, share: int) -> None:
    live, deaths = drilled, 0
    live.drop("d.request", action="drill", database="orders")
    for step in range(share, ENOUGH, SHARES):
        once = live.folder / f"crashed-{step}"
        live.start(
            ready=False,
            PYTHONPATH=str(CRASHING),
            CRASH_IN=DRILL,
            CRASH_AT=str(step),
            CRASH_AMONG="every",
            CRASH_WHO="all",
            CRASH_ONCE=str(once),
            CRASH_BELOW=str(live.folder),
        )
        until_dead_or_answered(live, "d", patience=180)
        evidence(live)
        if not once.exists():
            break
        deaths += 1

    assert deaths > 6
    assert live.answer("d")["state"] == "succeeded"
    check_end(live)
    assert live.end() == 0


def test_the_process_of_a_drill_is_killed_at_each_kind_of_step_and_each_request_ends(drilled: Live) -> None:
    live = drilled
    kinds = Kinds(live, DRILL, "self")
    kinds.arm()
    live.start()
    answers: list[dict[str, Any]] = []
    for number in range(ENOUGH):
        before = len(kinds.died)
        answers.append(live.ask(f"d{number}", action="drill", database="orders"))
        evidence(live)
        if len(kinds.died) == before:
            break
        until(lambda: scratch(live) == [], "removal of what the killed drill left")

    assert len(kinds.died) > 8
    assert {(one["state"], one.get("reason")) for one in answers[:-1]} <= {("failed", "internal"), ("succeeded", None)}
    assert answers[-1]["state"] == "succeeded"
    check_end(live)


def test_the_supervisor_is_killed_at_each_kind_of_step_of_a_drill_and_answers_each_request(drilled: Live) -> None:
    live = drilled
    kinds = Kinds(live, SUPERVISOR, "self")
    kinds.arm()
    requests: list[str] = []
    for _ in range(ENOUGH):
        before = len(kinds.died)
        live.start(ready=False)
        if not requests or final(live, requests[-1]):
            requests.append(f"d{len(requests)}")
            live.drop(f"{requests[-1]}.request", id=requests[-1], action="drill", database="orders")
        if until_dead_or_answered(live, requests[-1]) and live.end() == 0 and len(kinds.died) == before:
            break

    assert len(kinds.died) > 8
    assert {live.answer(request)["state"] for request in requests} == {"succeeded"}
    live.start()
    check_end(live)
