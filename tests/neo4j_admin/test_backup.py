"""Against the stand-in, and, as far as Community goes, the real program."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.capabilities import Version
from backup_agent.core.command import Launch, environment
from backup_agent.core.progress import Stage
from backup_agent.core.reasons import Reason
from backup_agent.core.records import BackupType
from backup_agent.core.verdict import EndedBy, Outcome, judge
from backup_agent.neo4j_admin.backup import Attempt, Order, Surroundings, take
from backup_agent.neo4j_admin.program import Program, find, version
from backup_agent.standins import cluster
from backup_agent.standins.neo4j_admin import install
from tests.components.java import java_home
from tests.components.neo4j_community import CommunityHome

ORDER = Order(
    database="orders",
    backup_type=BackupType.FULL,
    sources=("server-0:6362",),
    run_timeout=timedelta(minutes=1),
    stall_timeout=timedelta(minutes=1),
)


@dataclass(frozen=True)
class Place:
    """A simulated cluster, its neo4j-admin, and the folder of a run."""

    around: Surroundings
    cluster: Path
    program: Program

    def fault(self, **fault: Any) -> None:
        cluster.save(cluster.load(self.cluster).with_faults({"command": "backup"} | fault), self.cluster)

    def take(self, order: Order = ORDER, *programs: Program, **changes: Any) -> Attempt:
        return take(order, programs or (self.program,), replace(self.around, **changes))

    def artifacts(self) -> list[str]:
        return sorted(path.name for path in self.around.to_path.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("cluster", "bin", "run", "run/orders"):
        (tmp_path / name).mkdir()
    cluster.save(cluster.three_servers("2026.09.0", databases=("neo4j", "orders")), tmp_path / "cluster")
    program = install(tmp_path / "bin", tmp_path / "cluster")
    environ = {"PATH": "/usr/bin:/bin", "NEO4J_PASSWORD": "hush", "JAVA_HOME": str(tmp_path / "none")}
    around = Surroundings(tmp_path / "run", tmp_path / "run/orders", environ, threading.Event())
    return Place(around, tmp_path / "cluster", find(program, Launch.AUTO, environ)[0])


def test_a_full_is_taken_and_its_story_told(place: Place) -> None:
    attempt = place.take()

    assert attempt.completed.exit_code == 0, attempt.completed.last_lines
    assert (attempt.launch, attempt.version, attempt.warnings) == (Launch.SCRIPT, Version(2026, 9), ())
    assert (attempt.told.stage, attempt.told.full, attempt.told.server) == (Stage.DONE, True, "server-0:6362")
    assert place.artifacts() == [attempt.told.artifact]


def test_a_differential_continues_what_the_folder_holds(place: Place) -> None:
    place.take()
    cluster.save(cluster.load(place.cluster).with_transactions("orders", 5), place.cluster)
    (place.cluster / "clock").write_text("2030-01-01T00:00:00")

    attempt = place.take(replace(ORDER, backup_type=BackupType.DIFF))

    assert attempt.completed.exit_code == 0, attempt.completed.last_lines
    assert attempt.told.full is False
    assert len(place.artifacts()) == 2


def test_a_differential_of_nothing_needs_a_full(place: Place) -> None:
    attempt = place.take(replace(ORDER, backup_type=BackupType.DIFF))

    verdict = judge(attempt.completed, attempt.told, (), database="orders", asked=BackupType.DIFF)
    assert verdict.outcome is Outcome.NEEDS_FULL


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"do": "exit_0_without_artifact"}, None),
        ({"do": "exit_70"}, Reason.ADMIN_CRASHED),
        ({"do": "crash_137"}, Reason.OUT_OF_MEMORY),
        ({"do": "no_space"}, Reason.DISK_FULL),
        ({"do": "logs_pruned"}, Reason.CHAIN_BROKEN),
    ],
    ids=lambda value: value["do"] if isinstance(value, dict) else "",
)
def test_how_the_program_fails_is_understood(place: Place, fault: Mapping[str, str], reason: Reason | None) -> None:
    asked = BackupType.FULL
    if fault["do"] == "logs_pruned":
        asked = BackupType.DIFF
        place.take()
    place.fault(**fault)

    attempt = place.take(replace(ORDER, backup_type=asked))

    failure = judge(attempt.completed, attempt.told, (), database="orders", asked=asked).failure
    assert failure is not None
    assert reason is None or failure.reason is reason, failure.error


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (replace(ORDER, database="no-such"), Reason.NO_SUCH_DATABASE),
        (replace(ORDER, sources=("nobody:6362",)), Reason.SOURCE_UNREACHABLE),
    ],
    ids=["database", "server"],
)
def test_what_is_not_there_is_told_apart(place: Place, order: Order, reason: Reason) -> None:
    attempt = place.take(order)

    failure = judge(attempt.completed, attempt.told, (), database=order.database, asked=BackupType.FULL).failure
    assert failure is not None
    assert failure.reason is reason, failure.error


def test_a_checkpoint_may_be_silent_for_longer_than_a_copy_and_is_seen(place: Place) -> None:
    place.fault(do="slow_checkpoint", seconds=2)
    seen: list[tuple[Stage, int]] = []

    attempt = place.take(
        replace(ORDER, stall_timeout=timedelta(seconds=1)), on_progress=lambda *progress: seen.append(progress)
    )

    assert attempt.completed.exit_code == 0, attempt.completed
    assert (Stage.CHECKPOINT, 0) in seen


def test_a_program_that_hangs_is_found_and_ended(place: Place) -> None:
    place.fault(do="hang", at="copy")

    attempt = place.take(replace(ORDER, stall_timeout=timedelta(seconds=0.5)))

    assert attempt.completed.ended_by is EndedBy.STALLED


def test_a_cancel_ends_it(place: Place) -> None:
    place.fault(do="hang")
    cancel = threading.Event()

    attempt = place.take(cancel=cancel, on_progress=lambda *_: cancel.set())

    assert attempt.completed.ended_by is EndedBy.CANCELLED


def test_odd_output_harms_nobody(place: Place) -> None:
    place.fault(do="odd_output")

    attempt = place.take()

    assert attempt.told.artifact is not None
    assert all(line.isprintable() and len(line) < 5000 for line in attempt.completed.last_lines)


def script(folder: Path, text: str) -> str:
    folder.mkdir()
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def test_where_one_jvm_does_not_start_the_script_does_the_work(place: Place, tmp_path: Path) -> None:
    java = script(
        tmp_path / "java", "echo 'Error: Could not find or load main class org.neo4j.cli.AdminTool' >&2; exit 1"
    )
    direct = Program(Launch.DIRECT, java, str(tmp_path), 21, Version(2026, 9))

    attempt = place.take(ORDER, direct, place.program)

    assert attempt.completed.exit_code == 0, attempt.completed
    assert attempt.launch is Launch.SCRIPT
    (warning,) = attempt.warnings
    assert warning.startswith("neo4j-admin did not start directly (Error: Could not find or load main class")
    assert warning.endswith("): its script was used")


def test_a_direct_start_that_came_to_work_is_not_repeated(place: Place, tmp_path: Path) -> None:
    java = script(tmp_path / "java", "echo \"Start full backup of database 'orders'.\"; exit 1")
    direct = Program(Launch.DIRECT, java, str(tmp_path), 21, Version(2026, 9))

    attempt = place.take(ORDER, direct, place.program)

    assert (attempt.completed.exit_code, attempt.launch) == (1, Launch.DIRECT)
    assert place.artifacts() == []


def test_a_program_without_a_version_gets_plain_options_and_a_warning(place: Place, tmp_path: Path) -> None:
    plain = script(tmp_path / "plain", f'[ "$1" = --version ] && exit 64\nexec {place.program.path} "$@"')

    attempt = place.take(ORDER, Program(Launch.SCRIPT, plain))

    assert attempt.completed.exit_code == 0
    assert attempt.warnings == ("the version of neo4j-admin is unknown: only options known since 5.26 are used",)


def test_the_program_sees_no_secret(place: Place, tmp_path: Path) -> None:
    nosy = script(tmp_path / "nosy", 'env; echo "$@"; cat $NEO4J_CONF/*.conf; exit 1')

    attempt = place.take(ORDER, Program(Launch.SCRIPT, nosy))

    assert attempt.completed.exit_code == 1
    assert any("TZ=UTC" in line for line in attempt.completed.last_lines)
    assert not [line for line in attempt.completed.last_lines if "hush" in line]


@pytest.fixture
def real(
    community_home: Callable[[str], CommunityHome], neo4j_version: str
) -> tuple[tuple[Program, ...], dict[str, str], str]:
    home = community_home(neo4j_version)
    environ = {"NEO4J_HOME": str(home.folder), "JAVA_HOME": str(java_home()), "PATH": "/usr/bin:/bin"}
    return find(None, Launch.AUTO, environ), environ, neo4j_version


def test_the_real_program_tells_the_version_that_its_jars_tell(
    real: tuple[tuple[Program, ...], dict[str, str], str], tmp_path: Path
) -> None:
    (direct, by_script), environ, expected = real
    env = environment(environ, conf=str(Path(environ["NEO4J_HOME"], "conf")), home=direct.home)
    cancel = threading.Event()

    asked = [
        version(replace(program, version=None), env=env, cwd=tmp_path, cancel=cancel) for program in (direct, by_script)
    ]

    assert (direct.launch, by_script.launch) == (Launch.DIRECT, Launch.SCRIPT)
    assert [str(told) for told in (direct.version, *asked)] == [expected] * 3


def test_the_real_program_of_community_is_known_to_have_no_backup(
    real: tuple[tuple[Program, ...], dict[str, str], str], tmp_path: Path
) -> None:
    programs, environ, _ = real
    (tmp_path / "run/orders").mkdir(parents=True)

    attempt = take(ORDER, programs, Surroundings(tmp_path / "run", tmp_path / "run/orders", environ, threading.Event()))

    failure = judge(attempt.completed, attempt.told, (), database="orders", asked=BackupType.FULL).failure
    assert attempt.launch is Launch.SCRIPT, attempt
    assert attempt.completed.exit_code == 2, attempt.completed
    assert failure is not None
    assert (failure.reason, failure.advice) == (
        Reason.ADMIN_MISSING,
        "this neo4j-admin has no backup command: it must be Enterprise's",
    )
    assert "WARN" not in "".join(attempt.completed.last_lines)
