"""The process of a drill is killed at each step. What it leaves is removed, and its evidence is whole or absent."""

from pathlib import Path

import pytest

from backup_agent.catalog import evidence
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.jobs.drill_scratch import clear
from backup_agent.signing.keyring import Keyring
from tests.jobs.drills import Vault
from tests.jobs.killed import LONGEST, Dying

pytestmark = pytest.mark.process

DRILL = "backup_agent.jobs.drill:main"


def killed_at_each_step(vault: Vault, key: str, dying: Dying, level: str) -> int:
    """Drill an artifact until no step is left at which the process dies. Return the number of deaths."""
    place = place_of(VOLUME, vault.settings)
    told: list[Evidence] = []
    task = {"place": "local", "what": key, "level": level, "evidence": "beside", "settings": vault.tree}
    dying.order(DRILL, vault.folder, None, {**task, "run": "first"})  # the others replace its evidence
    for step in range(LONGEST):
        ended = dying.order(DRILL, vault.folder, step, {**task, "run": f"r-{step}"})
        found = evidence.read(place, Keyring(place.settings), key)
        if found is not None:
            told.append(found[0])
            assert found[1] is evidence.Origin.NOTED
        for mark in vault.root.rglob("*.damaged.json"):
            mark.unlink()
        if not ended["died"]:
            assert vault.left == []
            assert told[-1].outcome is not DrillOutcome.NOT_DONE
            return step
        clear(vault.scratch)
        assert vault.left == []
    raise AssertionError("it has no end")


def test_a_drill_is_killed_at_each_step(tmp_path: Path, dying: Dying) -> None:
    vault = Vault(tmp_path / "vault")
    full = vault.back_up("FULL", "2026-11-23T02:00:00")

    assert killed_at_each_step(vault, full.key, dying, "restore") > (8 if dying.kinds else 20)


@pytest.mark.nightly
def test_a_drill_that_finds_damage_is_killed_at_each_step(tmp_path: Path, dying: Dying) -> None:
    vault = Vault(tmp_path / "vault")
    vault.back_up("FULL", "2026-11-23T02:00:00")
    full = vault.back_up("FULL", "2026-11-24T02:00:00")
    vault.fault({"do": "exit_1", "command": "restore", "message": "refused"})

    assert killed_at_each_step(vault, full.key, dying, "restore") > (8 if dying.kinds else 20)
