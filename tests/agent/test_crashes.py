"""Killed at each step, and started again: answered once, nothing taken twice, nothing recorded that is not there.

The steps are counted from outside (see crashing/sitecustomize.py): every change a process makes to the volume or the
requests folder, and every process it starts. What must hold after each is checked from the files alone.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.agent.live import FINAL, Live
from tests.polling import until

CRASHING = Path(__file__).parent / "crashing"
ENOUGH = 400
"""More steps than any process has."""

SHARES = 6


def crash(live: Live, module: str, step: int, who: str) -> bool:
    """Let the agent take a backup of `orders` and die at a step; tell whether it got that far."""
    once = live.folder / "crashed"
    live.start(
        ready=False,
        PYTHONPATH=str(CRASHING),
        CRASH_IN=module,
        CRASH_AT=str(step),
        CRASH_WHO=who,
        CRASH_ONCE=str(once),
        CRASH_BELOW=str(live.folder),
    )
    live.requests.mkdir(exist_ok=True)
    live.drop("x.request", id="one", type="FULL", database="orders")
    assert live.process is not None
    process = live.process

    def over() -> bool:
        return process.poll() is not None or final(live, "x") is not None

    until(over, "end of the agent or its answer")
    return once.exists()


def final(live: Live, name: str) -> dict[str, object] | None:
    try:
        content: dict[str, object] = json.loads((live.requests / f"{name}.status.json").read_text())
    except (OSError, ValueError):
        return None
    return content if content["state"] in FINAL else None


def check_invariants(live: Live) -> None:
    """Look at the files alone."""
    recorded = set()
    for record in live.records():
        for file in record["files"]:
            content = (live.root / record["set"] / record["database"] / file["name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
            recorded.add(file["name"])
    assert set(live.artifacts()) == recorded
    assert list((live.root / ".staging").iterdir()) == []
    spool = live.requests / ".spool"
    for place in ("incoming", "open"):
        assert os.listdir(spool / place) == []
    assert os.listdir(spool / "done") == ["one.json"]


def survive(tmp_path: Path, module: str, step: int, who: str) -> bool:
    """Crash at one step, start again, check; tell whether the step was reached."""
    with Live(tmp_path) as live:
        live.at_once = True
        reached = crash(live, module, step, who)
        assert live.process is not None
        if module == "backup_agent.supervisor" and live.process.poll() is None:
            live.kill()  # it may have counted further than its answer
        if live.process.poll() is not None:
            live.start()
        answer = live.answer("x")

        assert answer["state"] in {"succeeded", "succeeded_with_warnings"}, answer
        assert len(live.records()) == 1
        assert answer["databases"]["orders"]["artifact"] == live.records()[0]["key"]
        assert live.end() == 0
        check_invariants(live)
        return reached


LEAST = {"backup_agent.supervisor": 60, "backup_agent.jobs.backup": 20}
"""Steps that each surely has: fewer mean that the counting is broken."""

CASES = [
    pytest.param(module, who, share, id=f"{module.rpartition('.')[2]}-{who}-{share}")
    for module in LEAST
    for who in ("self", "all")
    for share in range(SHARES)
    # All at once at a step of the supervisor is nearly the supervisor alone: every fourth step will do.
    if not (module == "backup_agent.supervisor" and who == "all" and share > 0)
]


@pytest.mark.parametrize(("module", "who", "share"), CASES)
def test_killed_at_any_step_the_backup_is_answered_once(tmp_path: Path, module: str, who: str, share: int) -> None:
    """The steps are dealt out to shares, so that they run in parallel."""
    last = share
    for step in range(share, ENOUGH, SHARES):
        last = step
        reached = survive(tmp_path / str(step), module, step, who)
        shutil.rmtree(tmp_path / str(step))
        if not reached:
            break

    assert LEAST[module] < last < ENOUGH - SHARES
