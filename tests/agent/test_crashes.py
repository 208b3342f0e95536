"""An agent is killed at each step and started again: each request is answered once, and each record has its artifact.

The steps are counted from outside (see crashing/sitecustomize.py): every change a process makes to the volume or the
requests folder, and every process it starts. What must hold after each is checked from the files alone.
"""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from backup_agent.standins import cluster as simulated
from tests.agent.crashes import (
    ENOUGH,
    SUPERVISOR,
    Death,
    Kinds,
    after_it,
    crash,
    final,
    until_dead_or_answered,
)
from tests.agent.live import Live
from tests.polling import until

KINDS = 13
"""Kinds of steps of a backup. One process more than these runs: what it does after them waits for a lock."""

SHARES = 6


def check_invariants(live: Live, databases: Sequence[str] = ("orders",), requests: Sequence[str] = ("one",)) -> None:
    """Check the invariants from the files alone."""
    for database in databases:
        recorded = set()
        for record in live.records(database=database):
            for file in record["files"]:
                content = (live.root / record["set"] / record["database"] / file["name"]).read_bytes()
                assert hashlib.sha256(content).hexdigest() == file["sha256"]
                recorded.add(file["name"])
        assert set(live.artifacts(database=database)) == recorded
    assert list((live.root / ".staging").iterdir()) == []
    assert live.open_entries() == []
    assert sorted(os.listdir(live.requests / ".spool" / "done")) == sorted(f"{request}.json" for request in requests)


def survive(tmp_path: Path, death: Death, step: int) -> bool:
    """Crash at one step, start again, and check. Return whether the step was reached."""
    with Live(tmp_path) as live:
        reached = crash(live, death, step)
        answer = after_it(live, death)

        assert answer["state"] in {"succeeded", "succeeded_with_warnings"}, answer
        for database in death.databases:
            assert len(live.records(database=database)) == 1
            assert answer["databases"][database]["artifact"] == live.records(database=database)[0]["key"]
        attempts = sorted(result["attempts"] for result in answer["databases"].values())
        assert attempts[:-1] == [1] * (len(attempts) - 1), "more than one database was charged with the death"
        assert live.end() == 0
        check_invariants(live, death.databases)
        return reached


BACKUP = "backup_agent.jobs.backup"

LEAST = {(SUPERVISOR, "every"): 60, (BACKUP, "every"): 20}
"""Least number of steps of each kind of death. With fewer, the counting would be broken."""

# `make test` has a death at one step of each kind, in the tests below: each write of a backup in the table "Orders" of
# docs/design.md. The nightly run has one at every step.
CASES = [
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
def test_a_backup_that_is_killed_at_any_step_is_answered_once(
    tmp_path: Path, death: Death, share: int, shares: int
) -> None:
    """The steps are divided into shares, which run in parallel."""
    last = share
    for step in range(share, ENOUGH, shares):
        last = step
        reached = survive(tmp_path / str(step), death, step)
        shutil.rmtree(tmp_path / str(step))
        if not reached:
            break

    assert LEAST[death.module, death.among] < last < ENOUGH - shares


def attempted(live: Live) -> bool:
    """Return whether an attempt at a backup has begun that has no answer: a second death would let it fail."""
    entries = (live.requests / ".spool" / "open").glob("*.json")
    return any(
        result["attempts"] for entry in entries for result in json.loads(entry.read_text())["databases"].values()
    )


def test_the_supervisor_dies_at_each_kind_of_step_and_answers_each_request_once(live: Live) -> None:
    kinds = Kinds(live, SUPERVISOR, "self")
    requests: list[str] = []
    for _ in range(ENOUGH):
        before = len(kinds.died)
        recovering = bool(requests) and attempted(live)
        kinds.arm(armed=not recovering)
        live.start(ready=False)
        if recovering:
            live.final(requests[-1])
            kinds.arm()
        if not requests or final(live, requests[-1]):
            requests.append(f"r{len(requests)}")
            live.drop(f"{requests[-1]}.request", id=requests[-1], type="FULL", database="orders")
        if until_dead_or_answered(live, requests[-1]) and live.end() == 0 and len(kinds.died) == before:
            break

    assert len(kinds.died) > 12
    assert [live.answer(request)["state"] for request in requests] == ["succeeded"] * len(requests)
    assert sorted(live.answer(request)["databases"]["orders"]["artifact"] for request in requests) == [
        record["key"] for record in live.records()
    ]
    check_invariants(live, requests=requests)


@pytest.mark.parametrize("everything", [True, False], ids=["with everything", "alone"])
def test_a_backup_dies_at_each_kind_of_step_and_each_request_is_answered_once(
    tmp_path: Path, *, everything: bool
) -> None:
    """Each of many backups is stopped before a change of another kind. Then they are killed, or all processes at once."""
    databases = [f"dbb{number}" for number in range(KINDS + 1)]  # kinds do not contain these letters and digits
    with Live(tmp_path, simulated.three_servers(databases=databases)) as live:
        live.settings["limits"] = {"parallel": len(databases)}
        kinds = Kinds(live, BACKUP, "stop")
        kinds.arm()
        live.start()
        for database in databases:
            live.drop(f"{database}.request", id=database, type="FULL", database=database)
        until(lambda: len(kinds.died) >= KINDS, "process stopped at each kind of step")
        if everything:
            live.kill_all()
            live.environ = {}
            live.start()
        else:
            kinds.arm(armed=False)
            until(lambda: len(list(live.stopped())) >= KINDS, "stopped processes")
            for pid in live.stopped():
                os.kill(pid, signal.SIGKILL)
        answers = {database: live.answer(database) for database in databases}

        assert len(kinds.died) == KINDS
        assert {answer["state"] for answer in answers.values()} <= {"succeeded", "succeeded_with_warnings"}, answers
        for database in databases:
            (record,) = live.records(database=database)
            assert answers[database]["databases"][database]["artifact"] == record["key"]
        assert live.end() == 0
        check_invariants(live, databases, databases)
