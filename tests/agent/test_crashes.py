"""Killed at each step, and started again: answered once, nothing taken twice, nothing recorded that is not there.

The steps are counted from outside (see crashing/sitecustomize.py): every change a process makes to the volume or the
requests folder, and every process it starts. What must hold after each is checked from the files alone.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.agent.live import FINAL, Live
from tests.polling import until

CRASHING = Path(__file__).parent / "crashing"
ENOUGH = 400
"""More steps than any process has."""

SHARES = 6


class Death(NamedTuple):
    """Which process dies, with which others, and among which of its steps the one is chosen (sitecustomize.py)."""

    module: str
    who: str
    among: str
    databases: tuple[str, ...] = ("orders",)
    """The databases of the request. One child backs them up, one after the other."""


def crash(live: Live, death: Death, step: int) -> bool:
    """Let the agent take backups and die at a step; tell whether it got that far."""
    once = live.folder / "crashed"
    live.start(
        ready=False,
        PYTHONPATH=str(CRASHING),
        CRASH_IN=death.module,
        CRASH_AT=str(step),
        CRASH_AMONG=death.among,
        CRASH_WHO=death.who,
        CRASH_ONCE=str(once),
        CRASH_BELOW=str(live.folder),
    )
    live.requests.mkdir(exist_ok=True)
    live.drop("x.request", id="one", type="FULL", databases=list(death.databases))
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


def check_invariants(live: Live, databases: tuple[str, ...]) -> None:
    """Look at the files alone."""
    for database in databases:
        recorded = set()
        for record in live.records(database=database):
            for file in record["files"]:
                content = (live.root / record["set"] / record["database"] / file["name"]).read_bytes()
                assert hashlib.sha256(content).hexdigest() == file["sha256"]
                recorded.add(file["name"])
        assert set(live.artifacts(database=database)) == recorded
    assert list((live.root / ".staging").iterdir()) == []
    spool = live.requests / ".spool"
    for place in ("incoming", "open"):
        assert os.listdir(spool / place) == []
    assert os.listdir(spool / "done") == ["one.json"]


def survive(tmp_path: Path, death: Death, step: int) -> bool:
    """Crash at one step, start again, check; tell whether the step was reached."""
    with Live(tmp_path) as live:
        reached = crash(live, death, step)
        assert live.process is not None
        if death.module == SUPERVISOR and live.process.poll() is None:
            live.kill()  # it may have counted further than its answer
        if live.process.poll() is not None:
            live.start()
        answer = live.answer("x")

        assert answer["state"] in {"succeeded", "succeeded_with_warnings"}, answer
        for database in death.databases:
            assert len(live.records(database=database)) == 1
            assert answer["databases"][database]["artifact"] == live.records(database=database)[0]["key"]
        attempts = sorted(result["attempts"] for result in answer["databases"].values())
        assert attempts[:-1] == [1] * (len(attempts) - 1), "more than one database was charged with the death"
        assert live.end() == 0
        check_invariants(live, death.databases)
        return reached


SUPERVISOR, BACKUP = "backup_agent.supervisor", "backup_agent.jobs.backup"

LEAST = {(SUPERVISOR, "every"): 60, (BACKUP, "every"): 20, (SUPERVISOR, "kinds"): 12, (BACKUP, "kinds"): 10}
"""Steps that each surely has: fewer mean that the counting is broken."""

# `make test` has a death at one step of each kind: each write of a backup in the table "Orders" of docs/design.md. The
# nightly run has one at every step.
CASES = [
    *(
        pytest.param(Death(module, who, "kinds"), 0, 1, id=f"{module.rpartition('.')[2]}-{who}-one of each kind")
        for module, who in ((SUPERVISOR, "self"), (BACKUP, "all"))
    ),
    pytest.param(Death(BACKUP, "self", "kinds", ("orders", "neo4j")), 1, 3, id="backup-self-one of each kind-two"),
    *(
        pytest.param(
            Death(module, who, "every", ("orders", "neo4j") if module == BACKUP else ("orders",)),
            share,
            SHARES,
            id=f"{module.rpartition('.')[2]}-{who}-{share}",
            marks=pytest.mark.nightly,
        )
        for module in (SUPERVISOR, BACKUP)
        for who in ("self", "all")
        for share in range(SHARES)
        # All at once at a step of the supervisor is nearly the supervisor alone: every sixth step will do.
        if not (module == SUPERVISOR and who == "all" and share > 0)
    ),
]


@pytest.mark.parametrize(("death", "share", "shares"), CASES)
def test_killed_at_any_step_the_backup_is_answered_once(tmp_path: Path, death: Death, share: int, shares: int) -> None:
    """The steps are dealt out to shares, so that they run in parallel."""
    last = share
    for step in range(share, ENOUGH, shares):
        last = step
        reached = survive(tmp_path / str(step), death, step)
        shutil.rmtree(tmp_path / str(step))
        if not reached:
            break

    assert LEAST[death.module, death.among] < last < ENOUGH - shares
