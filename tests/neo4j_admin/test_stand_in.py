"""Arguments, process, transcript and verdict together, with the stand-in and with Community's real neo4j-admin."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.capabilities import Capabilities
from backup_agent.core.neo4j.command import MIB, Launch, backup_argv, environment, memory
from backup_agent.core.neo4j.progress import Stage, Transcript, patience
from backup_agent.core.neo4j.verdict import Completed, EndedBy, NextStep, Verdict, did_not_start, judge
from backup_agent.core.reasons import Reason
from backup_agent.neo4j_admin.configuration import write
from backup_agent.neo4j_admin.process import run
from backup_agent.neo4j_admin.program import AdminProgram, find, version
from backup_agent.standins import cluster
from backup_agent.standins.neo4j_admin import install
from tests.components.java import java_home
from tests.components.neo4j_community import CommunityHome

LONG = timedelta(minutes=1)


@dataclass(frozen=True)
class Attempt:
    """How one call ended, its transcript, and the verdict without artifacts."""

    completed: Completed
    transcript: Transcript
    verdict: Verdict


def take(
    program: AdminProgram,
    folder: Path,
    environ: Mapping[str, str],
    *,
    database: str = "orders",
    asked: BackupType = BackupType.FULL,
    source: str = "server-0:6362",
    stall_timeout: timedelta = LONG,
    cancel: threading.Event | None = None,
    measure: Callable[[Stage], None] = lambda _: None,
) -> Attempt:
    """Call neo4j-admin as a run does."""
    conf, staging, target = folder / "conf", folder / "temp", folder / database
    for each in (staging, target):
        each.mkdir(parents=True, exist_ok=True)
    allowed = memory(256 * MIB, None, None, launch=program.launch)
    write(conf, allowed)
    env = environment(environ, conf=str(conf), home=program.home, heap=allowed.heap)
    cancel = cancel or threading.Event()
    transcript = Transcript()

    def hear(line: str) -> None:
        nonlocal transcript
        transcript = transcript.after(line)

    def measured() -> int:
        measure(transcript.stage)
        return sum(path.stat().st_size for place in (staging, target) for path in place.iterdir())

    completed = run(
        backup_argv(
            program.argv(allowed),
            Capabilities.of(version(program, env=env, cwd=folder, cancel=cancel)),
            database=DatabaseName(database),
            backup_type=asked,
            sources=(source,),
            to_path=str(target),
            temp_path=str(staging),
            pagecache=allowed.pagecache,
        ),
        env=env,
        cwd=folder,
        timeout=LONG,
        cancel=cancel,
        stall=lambda: patience(transcript.stage, stall_timeout),
        on_line=hear,
        measure=measured,
    )
    return Attempt(
        completed, transcript, judge(completed, transcript, (), database=DatabaseName(database), asked=asked)
    )


@dataclass(frozen=True)
class Place:
    """A simulated cluster, its neo4j-admin, and the folder of a run."""

    folder: Path
    cluster: Path
    program: AdminProgram

    def fault(self, **fault: Any) -> None:
        cluster.save(cluster.load(self.cluster).with_faults({"command": "backup"} | fault), self.cluster)

    def take(self, program: AdminProgram | None = None, **changes: Any) -> Attempt:
        environ = {"PATH": "/usr/bin:/bin", "NEO4J_PASSWORD": "hush"}
        return take(program or self.program, self.folder, environ, **changes)

    def artifacts(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "orders").iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("cluster", "bin", "run"):
        (tmp_path / name).mkdir()
    cluster.save(cluster.three_servers("2026.09.0", databases=("neo4j", "orders")), tmp_path / "cluster")
    program = install(tmp_path / "bin", tmp_path / "cluster")
    return Place(tmp_path / "run", tmp_path / "cluster", find(program, Launch.AUTO, {})[0])


def reason(attempt: Attempt) -> Reason | None:
    return attempt.verdict.failure.reason if attempt.verdict.failure else None


def test_a_full_is_taken_and_its_steps_are_logged(place: Place) -> None:
    attempt = place.take()

    assert attempt.completed.exit_code == 0, attempt.completed.last_lines
    assert (attempt.transcript.stage, attempt.transcript.server) == (Stage.DONE, "server-0:6362")
    assert len(place.artifacts()) == 1


def test_a_differential_continues_the_chain_in_the_folder(place: Place) -> None:
    place.take()
    cluster.save(cluster.load(place.cluster).with_transactions("orders", 5), place.cluster)
    (place.cluster / "clock").write_text("2030-01-01T00:00:00")

    attempt = place.take(asked=BackupType.DIFF)

    assert attempt.completed.exit_code == 0, attempt.completed.last_lines
    assert len(place.artifacts()) == 2


def test_a_differential_without_a_chain_needs_a_full(place: Place) -> None:
    assert place.take(asked=BackupType.DIFF).verdict.outcome is NextStep.NEEDS_FULL


def test_a_differential_without_the_servers_logs_needs_a_full(place: Place) -> None:
    place.take()
    place.fault(do="logs_pruned")

    attempt = place.take(asked=BackupType.DIFF)

    assert attempt.verdict.outcome is NextStep.NEEDS_FULL
    assert reason(attempt) is Reason.CHAIN_BROKEN


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ("exit_0_without_artifact", {Reason.NO_ARTIFACT, Reason.NO_SUCH_DATABASE}),
        ("exit_70", {Reason.ADMIN_CRASHED}),
        ("crash_137", {Reason.OUT_OF_MEMORY}),
        ("no_space", {Reason.DISK_FULL}),
    ],
)
def test_each_failure_of_the_program_has_its_reason(place: Place, do: str, expected: set[Reason]) -> None:
    place.fault(do=do)

    attempt = place.take()

    assert reason(attempt) in expected, attempt


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"database": "no-such"}, Reason.NO_SUCH_DATABASE),
        ({"source": "nobody:6362"}, Reason.SOURCE_UNREACHABLE),
    ],
    ids=["database", "server"],
)
def test_missing_database_and_missing_server_are_distinguished(
    place: Place, changes: dict[str, Any], expected: Reason
) -> None:
    attempt = place.take(**changes)

    assert reason(attempt) is expected, attempt


def test_a_checkpoint_may_be_silent_for_longer_than_a_copy_and_is_seen(place: Place) -> None:
    place.fault(do="slow_checkpoint", seconds=2)
    seen: list[Stage] = []

    attempt = place.take(stall_timeout=timedelta(seconds=1), measure=seen.append)

    assert attempt.completed.exit_code == 0, attempt.completed
    assert Stage.CHECKPOINT in seen


def test_a_program_that_hangs_is_found_and_ended(place: Place) -> None:
    place.fault(do="hang", at="copy")

    attempt = place.take(stall_timeout=timedelta(seconds=0.5))

    assert attempt.completed.ended_by is EndedBy.STALLED
    assert reason(attempt) is Reason.STALLED


def test_a_cancellation_ends_the_program(place: Place) -> None:
    place.fault(do="hang")
    cancel = threading.Event()

    attempt = place.take(cancel=cancel, measure=lambda _: cancel.set())

    assert attempt.completed.ended_by is EndedBy.CANCELLED


def test_output_that_is_not_text_does_no_harm(place: Place) -> None:
    place.fault(do="odd_output")

    attempt = place.take()

    assert attempt.transcript.stage is Stage.DONE
    assert all(line.isprintable() and len(line) < 5000 for line in attempt.completed.last_lines)


def script(folder: Path, text: str) -> AdminProgram:
    folder.mkdir()
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return AdminProgram(Launch.SCRIPT, str(path))


def test_a_program_of_unknown_version_gets_only_options_of_all_versions(place: Place, tmp_path: Path) -> None:
    plain = script(tmp_path / "plain", f'[ "$1" = --version ] && exit 64\nexec {place.program.path} "$@"')

    assert place.take(plain).completed.exit_code == 0


def test_the_program_sees_no_secret(place: Place, tmp_path: Path) -> None:
    nosy = script(tmp_path / "nosy", 'env; echo "$@"; cat $NEO4J_CONF/*.conf; exit 1')

    attempt = place.take(nosy)

    assert "TZ=UTC" in attempt.completed.last_lines
    assert not [line for line in attempt.completed.last_lines if "hush" in line]


def test_a_failed_direct_start_is_recognised(place: Place, tmp_path: Path) -> None:
    text = "echo 'Error: Could not find or load main class org.neo4j.cli.AdminTool' >&2; exit 1"
    java = replace(script(tmp_path / "java", text), launch=Launch.DIRECT, home=str(tmp_path), java=21)

    attempt = place.take(java)

    assert did_not_start(attempt.completed, attempt.transcript)


@dataclass(frozen=True)
class Real:
    """A home of Neo4j Community, and the two ways to start its neo4j-admin."""

    version: str
    environ: Mapping[str, str]
    direct: AdminProgram
    script: AdminProgram


@pytest.fixture
def real(community_home: Callable[[str], CommunityHome], neo4j_version: str) -> Real:
    home = community_home(neo4j_version)
    environ = {"NEO4J_HOME": str(home.folder), "JAVA_HOME": str(java_home()), "PATH": "/usr/bin:/bin"}
    return Real(neo4j_version, environ, *find(None, Launch.AUTO, environ))


def test_the_real_program_has_the_version_of_its_jars(real: Real, tmp_path: Path) -> None:
    write(tmp_path / "conf", memory(None, None, None))
    env = environment(real.environ, conf=str(tmp_path / "conf"), home=real.direct.home)

    asked = [
        version(replace(program, version=None), env=env, cwd=tmp_path, cancel=threading.Event())
        for program in (real.direct, real.script)
    ]

    assert [str(found) for found in (real.direct.version, *asked)] == [real.version] * 3


def test_the_real_program_of_community_has_no_backup_either_way(real: Real, tmp_path: Path) -> None:
    for program in (real.direct, real.script):
        attempt = take(program, tmp_path / program.launch, real.environ)

        assert attempt.completed.exit_code == 2, attempt.completed
        assert did_not_start(attempt.completed, attempt.transcript)
        assert reason(attempt) is Reason.ADMIN_MISSING
        assert "WARN" not in "".join(attempt.completed.last_lines)
