"""`drill` without an agent, from the settings and a place alone; and what a killed drill leaves."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_agent import processes
from backup_agent.standins.neo4j_admin.faults import COUNTS
from tests.jobs.drills import Vault
from tests.polling import until

pytestmark = pytest.mark.process

FIRST = "2026-11-23T02:00:00"


@pytest.fixture(name="vault")
def _vault(tmp_path: Path) -> Iterator[Vault]:
    vault = Vault(tmp_path / "vault")
    yield vault
    processes.end_left_behind(f"drill:{vault.scratch}")


def drill(vault: Vault, *words: str, code: int = 0) -> tuple[str, str]:
    process = vault.command(*words)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out, err


def evidence_of(out: str) -> dict[str, Any]:
    (one,) = json.loads(out)
    found: dict[str, Any] = one["evidence"]
    return found


def test_a_drill_prints_what_it_found_and_stores_nothing(vault: Vault) -> None:
    full = vault.back_up("FULL", FIRST)
    before = sorted(vault.root.rglob("*"))

    out, err = drill(vault, "orders")

    first, *facts = out.splitlines()
    assert first.startswith(f"{full.key} at local: passed (level check) in ")
    assert "stand-in" in facts[-1]
    assert err.splitlines()[0] == f"drilling {full.key} from local, level check"
    assert sorted(vault.root.rglob("*")) == before
    assert vault.left == []


def test_evidence_is_stored_below_its_prefix(vault: Vault) -> None:
    full = vault.back_up("FULL", FIRST)

    found = evidence_of(drill(vault, "--all", "--level", "read", "--evidence", "--json")[0])

    stored = vault.root / ".drills" / f"{full.key}.drilled.json"
    assert json.loads(stored.read_text())["key"] == found["key"]
    assert not (vault.root / f"{full.key}.drilled.json").exists()


def test_without_the_agents_notes_the_origin_is_not_proven(vault: Vault) -> None:
    vault.back_up("FULL", FIRST)
    for path in sorted((vault.root / ".agent").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    out, err = drill(vault, "orders", "--level", "read", "--json", code=3)

    assert "ORIGIN NOT PROVEN" in err
    assert evidence_of(out)["proven"] is False


def test_a_failed_drill_exits_with_1_and_says_what_to_do(vault: Vault) -> None:
    vault.back_up("FULL", FIRST)
    vault.fault({"do": "exit_1", "command": "check", "message": "Inconsistencies found."})

    out, err = drill(vault, "orders", code=1)

    assert "content_failed (level check, reached restore)" in out
    assert "live database" in err


def test_an_artifact_a_database_or_all_databases_can_be_drilled(vault: Vault) -> None:
    drill(vault, code=2)
    drill(vault, "orders", "--all", code=2)
    assert "no artifact of sales is recorded" in drill(vault, "sales", code=1)[1]


@pytest.mark.parametrize("command", ["restore", "check"])
def test_a_killed_drill_ends_its_programs_and_the_next_one_removes_its_data(vault: Vault, command: str) -> None:
    vault.back_up("FULL", FIRST)
    vault.fault({"do": "hang_ignoring_sigterm", "command": command, "times": 1})
    process = vault.command("orders")
    until((vault.world / COUNTS).exists, "hanging program")
    left = set(vault.programs)
    assert len(left) >= 2  # the process of the drill, and the program

    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    until(lambda: not set(vault.programs), "end of the programs")
    assert len(vault.left) <= 1  # the process of the drill may have removed the data before it ended
    drill(vault, "orders")
    assert vault.left == []
