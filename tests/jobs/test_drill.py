"""Drills with the stand-in's artifacts, `restore` and `check`: evidence, marks, and the order of databases.

tests/community/test_drills.py drills with real Neo4j.
"""

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog import drill_notes, evidence
from backup_agent.catalog.audit_reading import AuditSource
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.keys import damage_key, evidence_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.audit.lines import AuditKind
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.reasons import Reason
from backup_agent.jobs.drill_scratch import remove_left, scratch_folder
from backup_agent.signing.keyring import Keyring
from tests.jobs.drills import Vault

pytestmark = pytest.mark.process

FIRST, SECOND, THIRD = "2026-11-23T02:00:00", "2026-11-23T03:00:00", "2026-11-24T02:00:00"


@pytest.fixture(name="vault")
def _vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault")


def test_a_chain_is_restored_and_checked_and_the_evidence_names_the_stand_in(vault: Vault) -> None:
    full = vault.back_up("FULL", FIRST)
    differential = vault.back_up("DIFF", SECOND, parent=full)

    drilled = vault.run()

    assert drilled.result.result.reason is None, drilled.result
    found = drilled.only.evidence
    assert (found.outcome, found.reached) == (DrillOutcome.PASSED, Level.CHECK)
    assert list(found.chain) == [full.key, differential.key]
    assert set(found.seconds) == {"fetch", "read", "restore", "check"}
    assert found.restore_seconds is not None
    assert [remark.split(":")[0] for remark in found.remarks] == [
        "This is the stand-in's 'database restore'",
        "This is the stand-in's 'database check'",
    ]


def test_evidence_is_written_beside_the_artifact_recognised_and_remembered_by_level(vault: Vault) -> None:
    full = vault.back_up("FULL", FIRST)

    drilled = vault.run(level="restore").only

    place = place_of(VOLUME, vault.settings)
    read = evidence.read(place, Keyring(place.settings), full.key)
    assert read == (drilled.evidence, evidence.Origin.NOTED)
    (drills,) = drill_notes.remembered(place)
    assert drills == drilled.drills
    assert set(drills.passed) == {Level.READ, Level.RESTORE}
    [line] = [one for one in AuditSource.of_place(place).lines() if one.kind == AuditKind.DRILLED]
    assert (line.key, line.place, line.facts["level"], line.facts["outcome"]) == (
        full.key,
        "local",
        "restore",
        "passed",
    )


def test_evidence_of_another_program_is_not_recognised(vault: Vault) -> None:
    full = vault.back_up("FULL", FIRST)
    written = vault.run(level="read").only.evidence
    forged = written.model_copy(update={"level": Level.QUERY, "reached": Level.QUERY})
    (vault.root / evidence_key(full.key)).write_bytes(forged.to_json())

    place = place_of(VOLUME, vault.settings)
    assert evidence.read(place, Keyring(place.settings), full.key) == (forged, evidence.Origin.UNKNOWN)


def test_a_lower_level_does_not_replace_the_evidence_of_a_higher_one(vault: Vault) -> None:
    full = vault.back_up("FULL", FIRST)
    higher = vault.run(level="check").only.evidence
    vault.run(level="read")

    place = place_of(VOLUME, vault.settings)
    assert evidence.read(place, Keyring(place.settings), full.key) == (higher, evidence.Origin.NOTED)


def test_scratch_data_are_removed_after_every_outcome(vault: Vault) -> None:
    vault.back_up("FULL", FIRST)
    vault.run()
    vault.fault({"do": "exit_1", "command": "restore"})
    vault.run()

    assert vault.left == []


def test_a_killed_drills_scratch_data_are_removed_and_those_of_a_running_drill_are_not(tmp_path: Path) -> None:
    (tmp_path / "drill-dead" / "data").mkdir(parents=True)
    (tmp_path / "drill-dead" / "lock").touch()
    (tmp_path / "drill-young").mkdir()
    (tmp_path / "notes").mkdir()
    with scratch_folder(tmp_path, "live") as live:
        assert remove_left(tmp_path) == ()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["drill-live", "notes"]
        # A program that the drill started has the lock too.
        inherited = os.dup(live.lock)
    (tmp_path / "drill-live").mkdir()
    assert fcntl.fcntl(inherited, fcntl.F_GETFD) >= 0
    os.close(inherited)


BY_CAUSE: list[Any] = [
    pytest.param([{"do": "crash_137", "at": "start"}], {}, "not_done", Reason.OUT_OF_MEMORY, id="killed"),
    pytest.param(
        [{"do": "exit_1", "message": "java.io.IOException: No space left on device"}],
        {},
        "not_done",
        Reason.DISK_FULL,
        id="no room",
    ),
    pytest.param(
        [{"do": "exit_1", "message": "java.lang.OutOfMemoryError: Java heap space"}],
        {},
        "not_done",
        Reason.OUT_OF_MEMORY,
        id="no memory",
    ),
    pytest.param(
        [{"do": "exit_1", "message": "x is of a newer version than the current binaries."}],
        {},
        "not_done",
        Reason.VERSION_MISMATCH,
        id="newer version",
    ),
    pytest.param(
        [{"do": "exit_1", "message": "Unsupported format backup format: BZV9"}],
        {},
        "not_done",
        Reason.VERSION_MISMATCH,
        id="unknown format",
    ),
    pytest.param([{"do": "exit_70", "command": "restore"}], {}, "not_done", Reason.ADMIN_CRASHED, id="crashed"),
    pytest.param([], {"max_size": "1MiB"}, "passed", None, id="small enough"),
    pytest.param([], {"max_size": "1KiB"}, "not_done", Reason.FILE_TOO_LARGE, id="too large"),
    pytest.param([], {"timeout": "1s"}, "not_done", Reason.TIMEOUT, id="timeout"),
    pytest.param(
        [{"do": "exit_1", "command": "check", "message": "Inconsistencies found. See 'x' for details."}],
        {},
        "content_failed",
        Reason.INCONSISTENT,
        id="inconsistent",
    ),
    pytest.param(
        [{"do": "exit_1", "command": "restore", "message": "refused"}],
        {},
        "artifact_failed",
        Reason.BAD_ARTIFACT,
        id="refused twice",
    ),
    pytest.param([{"do": "exit_1", "command": "restore", "times": 1}], {}, "passed", None, id="refused once"),
]


@pytest.mark.parametrize(("faults", "settings", "outcome", "reason"), BY_CAUSE)
def test_only_a_damaged_artifact_is_marked(
    tmp_path: Path, faults: list[dict[str, Any]], settings: dict[str, Any], outcome: str, reason: Reason | None
) -> None:
    vault = Vault(tmp_path / "vault", drill=settings)
    vault.back_up("FULL", FIRST)
    full = vault.back_up("FULL", THIRD)
    if settings.get("timeout") == "1s":
        vault.fault({"do": "hang", "at": "start", "command": "restore"})
    else:
        vault.fault(*faults)

    drilled = vault.run()

    assert (drilled.only.evidence.outcome, drilled.only.evidence.reason) == (outcome, reason)
    assert drilled.only.marked == (outcome == "artifact_failed")
    assert (vault.root / damage_key(full.key)).exists() == drilled.only.marked
    assert (vault.root / evidence_key(full.key)).exists() == (outcome != "not_done")
    assert drilled.only.evidence.reason is None or drilled.result.result.hint


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_changed_byte_and_a_missing_tail_are_damage(vault: Vault) -> None:
    first = vault.back_up("FULL", FIRST)
    flip(vault.root / first.key)
    second = vault.back_up("FULL", THIRD)
    (vault.root / second.key).write_bytes((vault.root / second.key).read_bytes()[:-4])

    by_key = vault.run(first.key, level="read").only
    assert (by_key.evidence.outcome, by_key.evidence.reason) == ("artifact_failed", Reason.CHECKSUM_MISMATCH)
    # A shorter file is no restore point, so there is nothing to drill.
    assert vault.run(second.key, level="read").result.result.reason is Reason.CHAIN_BROKEN


def test_another_header_than_recorded_is_damage_of_that_artifact(vault: Vault) -> None:
    full = vault.back_up("FULL", FIRST)
    vault.back_up("FULL", THIRD)
    (vault.root / f"{full.key}.json").unlink()
    forged = vault.record(vault.root / full.key, highest=99_999)

    drilled = vault.run(forged.key, level="read").only

    assert (drilled.evidence.outcome, drilled.evidence.reason) == ("artifact_failed", Reason.BAD_ARTIFACT)
    assert drilled.marked


def test_the_only_point_of_a_database_is_never_marked_as_damaged(vault: Vault) -> None:
    full = vault.back_up("FULL", FIRST)
    vault.fault({"do": "exit_1", "command": "restore"})

    drilled = vault.run().only

    assert drilled.evidence.outcome is DrillOutcome.ARTIFACT_FAILED
    assert not drilled.marked
    assert not (vault.root / damage_key(full.key)).exists()


def test_a_database_gets_one_mark_a_day_at_most(vault: Vault) -> None:
    for clock in (FIRST, THIRD, "2026-11-25T02:00:00"):
        vault.back_up("FULL", clock)
    vault.fault({"do": "exit_1", "command": "restore"})

    assert [vault.run().only.marked for _ in range(3)] == [True, False, False]


def test_findings_of_check_mark_nothing_however_often(vault: Vault) -> None:
    for clock in (FIRST, THIRD):
        vault.back_up("FULL", clock)
    vault.fault({"do": "exit_1", "command": "check", "message": "Inconsistencies found."})

    for _ in range(3):
        assert vault.run().only.evidence.outcome is DrillOutcome.CONTENT_FAILED
    assert not list(vault.root.rglob("*.damaged.json"))


def test_the_database_with_the_oldest_proof_is_drilled_first(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault", databases=("orders", "sales"), drill={"budget": "1s"})
    vault.back_up("FULL", FIRST)
    vault.back_up("FULL", FIRST, database="sales")

    turns = [[one.evidence.key.split("/")[1] for one in vault.run(None, level="read").all] for _ in range(2)]

    assert turns in ([["orders", "sales"], ["orders", "sales"]], [["orders"], ["sales"]])


def test_without_notes_the_databases_with_evidence_below_the_prefix_come_last(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault", databases=("orders", "sales"))
    vault.back_up("FULL", FIRST)
    vault.back_up("FULL", FIRST, database="sales")
    vault.run("orders", level="read", evidence="prefix")

    drilled = vault.run(None, level="read", evidence="prefix").all

    assert [one.evidence.key.split("/")[1] for one in drilled] == ["sales", "orders"]
