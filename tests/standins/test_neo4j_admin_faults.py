"""Each fault has its documented effect, as often as stated, on the stated database, server and type."""

import errno
import fcntl
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from backup_agent.standins.neo4j_admin import faults
from backup_agent.standins.neo4j_admin.artifacts import NotAnArtifactError, read_header
from tests.standins.conftest import Simulation


def written(simulation: Simulation) -> list[Path]:
    return sorted(simulation.target.iterdir())


@pytest.mark.parametrize(
    ("fault", "exit_code", "artifacts", "text"),
    [
        pytest.param({"do": "exit_1"}, 1, 0, "available strategies", id="exit_1"),
        pytest.param({"do": "exit_1", "message": "Boom"}, 1, 0, "Boom", id="exit_1-message"),
        pytest.param({"do": "exit_1_with_artifact"}, 1, 1, "succeeded but encountered problems", id="with-artifact"),
        pytest.param({"do": "exit_0_without_artifact"}, 0, 0, "CatchUpClientException", id="without-artifact"),
        pytest.param({"do": "exit_70"}, 70, 0, "NullPointerException", id="exit_70"),
        pytest.param({"do": "exit_code", "code": 77}, 77, 1, "", id="exit_code"),
        pytest.param({"do": "crash_137"}, -9, 1, "", id="crash"),
        pytest.param({"do": "crash_137", "at": "start"}, -9, 0, "", id="crash-at-start"),
        pytest.param({"do": "crash_137", "at": "artifact"}, -9, 1, "", id="crash-after-the-artifact"),
        pytest.param({"do": "crash_137", "at": "end"}, -9, 1, "Finished artifact creation", id="crash-at-end"),
        pytest.param({"do": "no_space"}, 1, 1, "No space left on device", id="no_space"),
        pytest.param({"do": "leftover_partial"}, 1, 1, "Connection reset by peer", id="leftover"),
        pytest.param({"do": "artifact_exists"}, 1, 1, "FileAlreadyExistsException", id="exists"),
        pytest.param({"do": "empty_file"}, 0, 1, "Finished artifact creation", id="empty"),
        pytest.param({"do": "two_processes"}, 0, 1, "Finished artifact creation", id="two-processes"),
    ],
)
def test_a_fault_ends_the_command_with_its_exit_code_artifacts_and_message(
    simulation: Simulation, fault: dict[str, Any], exit_code: int, artifacts: int, text: str
) -> None:
    simulation.fault(**fault)
    completed = simulation.backup()

    assert (completed.returncode, len(written(simulation))) == (exit_code, artifacts)
    assert text in completed.stdout + completed.stderr


@pytest.mark.parametrize("do", ["crash_137", "no_space", "leftover_partial"])
@pytest.mark.parametrize("compress", ["true", "false"])
def test_a_fault_during_the_copy_leaves_half_an_artifact(simulation: Simulation, do: str, compress: str) -> None:
    whole = simulation.artifact("--type=FULL", f"--compress={compress}")[0].stat().st_size
    simulation.fault(do)
    simulation.backup("--type=FULL", f"--compress={compress}")
    left = written(simulation)[1]

    assert 0 < left.stat().st_size < whole
    assert read_header(left).full


def test_a_truncated_artifact_has_an_incomplete_frame(simulation: Simulation) -> None:
    simulation.fault("truncated")
    path, _ = simulation.artifact()
    unpacking = zstandard.ZstdDecompressor().decompressobj()
    unpacking.decompress(path.read_bytes()[4:])

    assert not unpacking.eof


@pytest.mark.parametrize("do", ["cut_in_half", "corrupt_byte"])
def test_a_damaged_artifact_does_not_unpack(simulation: Simulation, do: str) -> None:
    simulation.artifact("--type=FULL")
    simulation.fault(do)
    damaged, _ = simulation.artifact("--type=FULL")
    unpacking = zstandard.ZstdDecompressor().decompressobj()
    try:
        unpacking.decompress(damaged.read_bytes()[4:])
    except zstandard.ZstdError:
        return

    assert not unpacking.eof


def test_an_artifact_can_have_an_unknown_magic(simulation: Simulation) -> None:
    simulation.fault("unknown_magic")
    completed = simulation.backup()

    assert completed.returncode == 0
    with pytest.raises(NotAnArtifactError, match="BZV3"):
        read_header(written(simulation)[0])


def test_a_header_can_hold_wrong_values(simulation: Simulation) -> None:
    _, honest = simulation.artifact("--type=FULL")
    simulation.fault("wrong_database")
    _, database = simulation.artifact("--type=FULL")
    simulation.fault("wrong_database_id")
    _, database_id = simulation.artifact("--type=FULL")
    simulation.fault("wrong_store_id", type="DIFF")
    simulation.commit(1)
    _, store = simulation.artifact("--type=DIFF")
    simulation.fault("unrecovered")
    _, unrecovered = simulation.artifact("--type=FULL")

    assert (honest.database, database.database) == ("orders", "another")
    assert honest.database_id != database_id.database_id
    assert (honest.store != store.store, store.full) == (True, False)
    assert (honest.recovered, unrecovered.recovered) == (True, False)


@pytest.mark.parametrize(
    ("do", "expected"), [("gap", (14, 15)), ("overlap", (12, 15)), ("empty_diff", (0, 0)), ("logs_pruned", (1, 15))]
)
def test_a_fault_changes_the_range_of_a_differential(
    simulation: Simulation, do: str, expected: tuple[int, int]
) -> None:
    simulation.artifact()
    simulation.commit(3)
    simulation.fault(do, type="DIFF")
    _, header = simulation.artifact("--type=AUTO")

    assert (header.lowest, header.highest) == expected


def test_an_artifact_in_parts_is_read_through_its_manifest(simulation: Simulation) -> None:
    simulation.fault("split_parts", part_bytes=2000)
    simulation.backup()
    manifest, *parts = written(simulation)

    assert (manifest.stat().st_size, len(parts)) == (24, 3)
    assert read_header(manifest).database == "orders"
    simulation.change(lambda cluster: cluster.with_faults())
    simulation.commit(1)
    assert not simulation.artifact("--type=DIFF")[1].full


def test_the_counts_in_an_artifact_can_be_zero(simulation: Simulation) -> None:
    simulation.fault("no_counts")
    path, _ = simulation.artifact()

    assert b"\0\0\0\1" + bytes(16) + b"checkpoint.0" in zstandard.ZstdDecompressor().decompressobj().decompress(
        path.read_bytes()[4:]
    )


def test_odd_output_cannot_be_decoded(simulation: Simulation) -> None:
    simulation.fault("odd_output")
    completed = subprocess.run(simulation.command(), cwd=simulation.folder, capture_output=True, timeout=30, check=True)

    assert max(map(len, completed.stdout.split(b"\n"))) == 2 << 20
    assert b"\x1b[31m" in completed.stdout
    with pytest.raises(UnicodeDecodeError):
        completed.stdout.decode()


def test_a_slow_backup_is_written_at_the_given_rate(simulation: Simulation) -> None:
    simulation.fault("slow", bytes_per_second=20_000)
    before = time.monotonic()
    path, _ = simulation.artifact()

    assert time.monotonic() - before >= path.stat().st_size / 20_000


@pytest.mark.parametrize(("do", "behind"), [("slow_checkpoint", "Start full"), ("slow_recovery", "Start recovering")])
def test_a_stage_without_output_can_be_slow(simulation: Simulation, do: str, behind: str) -> None:
    simulation.fault(do, seconds=0.5)
    lines = simulation.backup("--type=FULL").stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if behind in line]
    begun, ended = (datetime.fromisoformat(line[:23]) for line in lines[at : at + 2])

    assert ended - begun >= timedelta(seconds=0.499)


@contextmanager
def hanging(simulation: Simulation, until: str) -> Iterator[subprocess.Popen[str]]:
    """Start a backup that hangs after it has printed a line."""
    process = subprocess.Popen(
        simulation.command("--type=FULL"), cwd=simulation.folder, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert process.stdout
    try:
        for line in process.stdout:
            if until in line:
                break
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_a_hanging_backup_ends_on_sigterm_with_143(simulation: Simulation) -> None:
    simulation.fault("hang")
    with hanging(simulation, "Start full backup") as process:
        process.terminate()

        assert process.wait(10) == 143
    assert written(simulation) == []


def test_sigterm_leaves_the_partial_artifact_and_the_staging_folder(simulation: Simulation, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    simulation.fault("hang", at="copy")
    process = subprocess.Popen((*simulation.command("--type=FULL"), f"--temp-path={staging}"), cwd=simulation.folder)
    while not any(path.stat().st_size for path in written(simulation)):
        assert process.poll() is None
    process.terminate()

    assert process.wait(10) == 143
    assert len(written(simulation)) == 1
    assert len(list(staging.iterdir())) == 1


def test_keep_failed_keeps_a_failed_backup(simulation: Simulation) -> None:
    simulation.fault("no_space")
    simulation.backup("--keep-failed")

    assert [path.is_dir() for path in written(simulation)] == [True, False]


def test_a_backup_that_ignores_sigterm_ends_on_sigkill(simulation: Simulation) -> None:
    simulation.fault("hang_ignoring_sigterm")
    with hanging(simulation, "Start full backup") as process:
        # The line is printed before the signal is ignored, so wait until the process ignores it.
        status = Path(f"/proc/{process.pid}/status")
        while not _ignores(status, signal.SIGTERM):
            assert process.poll() is None
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.kill()

        assert process.wait(10) == -9


def _ignores(status: Path, number: int) -> bool:
    (mask,) = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigIgn:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_the_second_process_outlives_the_first_until_the_group_gets_a_signal(simulation: Simulation) -> None:
    hang, split = ({"command": "backup", "do": do} for do in ("hang", "two_processes"))
    simulation.change(lambda cluster: cluster.with_faults(hang, split))
    with hanging(simulation, "Start full backup") as process:
        process.terminate()
        first = process.wait(10)
        assert process.stdout
        os.killpg(process.pid, signal.SIGTERM)

        assert first == 143
        # The second process has the pipe open until it ends.
        assert process.stdout.read() == ""


@pytest.mark.parametrize(
    ("fields", "options", "strikes"),
    [
        pytest.param({}, {}, True, id="any"),
        pytest.param({"database": "orders"}, {}, True, id="database"),
        pytest.param({"database": "neo4j"}, {}, False, id="another-database"),
        pytest.param({"server": "server-0:6362"}, {}, True, id="server"),
        pytest.param({"server": "server-1:6362"}, {}, False, id="another-server"),
        pytest.param({"type": "AUTO"}, {}, True, id="requested-type"),
        pytest.param({"type": "FULL"}, {}, True, id="type-of-the-artifact"),
        pytest.param({"type": "DIFF"}, {}, False, id="another-type"),
        pytest.param({"command": "inspect"}, {}, False, id="another-command"),
    ],
)
def test_a_fault_strikes_only_what_its_fields_match(
    simulation: Simulation, fields: dict[str, Any], options: dict[str, str], strikes: bool
) -> None:
    simulation.fault("exit_70", **fields)

    assert (simulation.backup(**options).returncode == 70) == strikes


def test_a_fault_strikes_as_often_as_its_times(simulation: Simulation) -> None:
    simulation.fault("exit_70", times=2)

    assert [simulation.backup("--type=FULL").returncode for _ in range(3)] == [70, 70, 0]
    simulation.fault("exit_70", times=2, id="again")
    assert simulation.backup("--type=FULL").returncode == 70


def test_faults_are_counted_under_a_lock(simulation: Simulation) -> None:
    simulation.fault("exit_70", times=1)
    with (simulation.folder / faults.COUNTS).open("a") as counts:
        fcntl.flock(counts, fcntl.LOCK_EX)
        process = subprocess.Popen(simulation.command(), cwd=simulation.folder, stderr=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)

    assert process.wait(30) == 70


@pytest.mark.parametrize(
    ("command", "arguments"), [("version", ["--version"]), ("inspect", ["backup", "inspect", "."])]
)
@pytest.mark.parametrize(
    ("do", "exit_code"), [("exit_1", 1), ("exit_70", 70), ("crash_137", -9), ("exit_code", 5), ("odd_output", 0)]
)
def test_faults_strike_other_commands_too(
    simulation: Simulation, command: str, arguments: list[str], do: str, exit_code: int
) -> None:
    simulation.fault(do, command=command, code=5)

    assert simulation.run(*arguments).returncode == exit_code


def test_a_misspelt_fault_fails_the_command(simulation: Simulation) -> None:
    simulation.fault("exit_seventy")
    completed = simulation.backup()

    assert completed.returncode == 99
    assert "`do` must be one of exit_1," in completed.stderr


def test_a_full_disk_is_reported_as_an_io_exception(simulation: Simulation) -> None:
    """A limit of the file size stands in for a full disk, which would need root."""
    simulation.change(lambda cluster: cluster.with_database("orders", store_bytes=3 << 20))
    simulation.later()

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    completed = subprocess.run(
        simulation.command(), cwd=simulation.folder, preexec_fn=limit, capture_output=True, text=True, check=False
    )

    assert completed.returncode == 1
    assert f"java.io.IOException: {os.strerror(errno.EFBIG)}" in completed.stdout


def test_a_closed_pipe_does_not_end_the_backup(simulation: Simulation) -> None:
    simulation.later()
    process = subprocess.Popen(simulation.command(), cwd=simulation.folder, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.close()

    assert process.wait(30) == 0
    assert len(written(simulation)) == 1


def test_every_kind_of_fault_is_tested(request: pytest.FixtureRequest) -> None:
    source = request.path.read_text()

    assert [kind for kind in faults.KINDS if f'"{kind}"' not in source] == []
