"""An agent that is ended in the middle of its work: out of memory, by a signal, a killed child, a full volume."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backup_agent.standins import cluster as simulated
from tests.agent.live import Live
from tests.polling import until

ROOM = 3 << 20
REFUSING = Path(__file__).parent / "refusing"


def test_a_database_whose_backup_kills_the_whole_container_does_not_stop_the_others(tmp_path: Path) -> None:
    """As the kernel does if a container runs out of memory, each time the backup of that database runs."""
    names = ("big", "small-1", "small-2")
    with Live(tmp_path, simulated.three_servers(databases=names)) as live:
        live.fault({"do": "hang", "command": "backup", "database": "big"})
        live.start()
        live.drop("x.request", id="night", databases=list(names), type="FULL")
        for attempt in (1, 2):
            live.until_stage("night")
            until_attempt(live, "big", attempt)
            live.kill_all()
            live.start()
        answer = live.final("night")

        assert (answer["state"], answer["reason"]) == ("failed", "interrupted")
        assert "memory limit" in answer["hint"]
        assert answer["databases"]["big"]["reason"] == "interrupted"
        assert [answer["databases"][name]["outcome"] for name in names[1:]] == ["succeeded"] * 2
        assert [len(live.records(database=name)) for name in names] == [0, 1, 1]
        live.kill_all()
        live.start()
        assert live.final("night") == answer
        assert live.open_entries() == []
        assert list((live.root / ".staging").iterdir()) == []


def test_a_run_that_was_killed_is_tried_once_more(live: Live) -> None:
    live.fault({"do": "hang", "command": "backup", "times": 1})
    live.start()
    live.drop("x.request", id="one", database="orders")
    live.until_stage("one")
    assert live.process is not None
    os.kill(_child_of(live.process.pid), signal.SIGKILL)
    answer = live.final("one")

    assert answer["state"] == "succeeded"
    assert answer["databases"]["orders"]["attempts"] == 2
    live.until_idle()


def test_a_run_whose_supervisor_was_killed_ends_within_seconds(live: Live) -> None:
    live.fault({"do": "hang_ignoring_sigterm", "command": "backup"})
    live.start()
    live.drop("x.request", id="one", database="orders")
    live.until_stage("one")
    live.kill()

    until(lambda: not list(live.processes()), "end of all processes", patience=5)


@pytest.mark.parametrize("redirected", ["2>/dev/full", "<&- >&- 2>&-"], ids=["no-room-for-the-log", "all-closed"])
def test_the_agent_works_whatever_its_standard_streams_are(live: Live, redirected: str) -> None:
    live.write_settings()
    # Without a buffer nothing would be left to write at the end.
    python = ["env", "--unset=PYTHONUNBUFFERED", sys.executable]
    command = [*python, "-m", "backup_agent", "run", "--config", str(live.config)]
    with subprocess.Popen(["sh", "-c", f'exec "$@" {redirected}', "sh", *command]) as process:
        try:
            until(live.requests.is_dir, "requests folder")
            answer = live.ask(database="orders")
            streams = {Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in range(3)}
        finally:
            process.terminate()

    assert answer["state"] == "succeeded"
    assert live.root / ".lock" not in streams
    assert process.returncode == 0


def test_sigterm_ends_an_idle_agent_at_once(live: Live) -> None:
    live.start()
    begun = time.monotonic()

    assert live.end() == 0
    assert time.monotonic() - begun < 5


def test_after_sigterm_a_run_has_its_grace_and_the_agent_takes_no_request_and_does_not_spin(live: Live) -> None:
    live.fault({"do": "slow_checkpoint", "seconds": 8})
    live.start()
    live.drop("x.request", id="one", database="orders")
    live.until_stage("one")
    live.drop("y.request", id="two", database="neo4j")
    until(lambda: live.answer_of("two"), "second request")
    live.signal(signal.SIGTERM)
    until(lambda: live.events("ending"), "the ending")
    live.drop("z.request", database="neo4j")  # an event for the watch; the next process of the agent takes the request
    before = _cpu_seconds(live)
    assert live.process is not None
    with pytest.raises(subprocess.TimeoutExpired):
        live.process.wait(timeout=1.5)  # the agent must use little processor time during this second
    used = _cpu_seconds(live) - before

    assert live.process.wait(timeout=20) == 0
    assert used < 0.3
    assert live.answer_of("one")["state"] == "succeeded"
    assert live.answer_of("two")["state"] == "queued"
    assert (live.requests / "z.request").exists()
    live.start()
    assert live.final("two")["state"] == "succeeded"
    assert live.answer("z")["state"] == "succeeded"


def test_a_run_beyond_the_grace_of_sigterm_is_interrupted_and_tried_again_after_a_restart(live: Live) -> None:
    live.settings["limits"] = {"shutdown_grace": "1s"}
    live.fault({"do": "hang_ignoring_sigterm", "command": "backup", "times": 1})
    live.start()
    live.drop("x.request", id="one", database="orders")
    live.until_stage("one")

    assert live.end() == 0
    assert list(live.processes()) == []
    assert live.answer_of("one")["state"] == "running"
    live.start()
    answer = live.final("one")
    assert answer["state"] == "succeeded"
    assert answer["databases"]["orders"]["attempts"] == 2


def test_an_artifact_that_was_finished_before_a_kill_is_adopted_and_not_taken_again(live: Live) -> None:
    live.fault({"do": "hang", "at": "end", "command": "backup", "times": 1})
    live.start()
    live.drop("x.request", id="one", database="orders", type="FULL")
    until(lambda: list((live.root / ".staging").glob("*/*/*/*.backup")), "artifact in staging")
    live.until_stage("one", "done")
    live.kill_all()
    live.start()
    answer = live.final("one")

    assert answer["state"] == "succeeded"
    assert answer["databases"]["orders"]["adopted"]
    [record] = live.records()
    assert record["exit_code"] is None
    assert record["definition"]["primaries"] == 3
    assert (
        record["last_committed_tx"] is None
    )  # the answers of Bolt before the second attempt do not apply to the artifact


def test_an_unfinished_artifact_is_set_aside_and_reported(live: Live) -> None:
    live.fault({"do": "hang", "at": "copy", "command": "backup", "times": 1})
    live.start()
    live.drop("x.request", id="one", database="orders", type="FULL")
    until(lambda: list((live.root / ".staging").glob("*/*/*/*.backup")), "half an artifact")
    live.kill_all()
    live.start()
    answer = live.final("one")

    assert answer["state"] == "succeeded"
    assert not answer["databases"]["orders"]["adopted"]
    assert len(list((live.root / ".aside").iterdir())) == 1
    assert live.events("unfinished artifact set aside")


@pytest.mark.parametrize(
    ("module", "reason"),
    [("backup_agent.jobs.backup", "out_of_memory"), ("backup_agent.cluster", "source_unreachable")],
)
def test_if_a_process_cannot_be_started_its_request_fails_and_the_agent_continues(
    live: Live, module: str, reason: str
) -> None:
    refused = live.folder / "refused"
    refused.touch()
    path = os.pathsep.join(filter(None, (str(REFUSING), os.environ.get("PYTHONPATH"))))
    live.environ = {"PYTHONPATH": path, "REFUSE_MODULE": module, "REFUSE_WHILE": str(refused)}
    live.start()
    answer = live.ask(databases=["ord*"])

    assert (answer["state"], answer["reason"]) == ("failed", reason)
    assert "could not be started: Resource temporarily unavailable" in answer["error"]
    refused.unlink()
    live.write_settings(databases=["*", "!never"])  # so that the cluster is queried again at once
    until(lambda: live.events("settings reloaded"), "settings read again")
    assert live.ask("again", databases=["ord*"])["state"] == "succeeded"


def test_a_second_agent_at_the_same_root_is_refused(live: Live, tmp_path: Path) -> None:
    live.start()
    config = json.loads(json.dumps(live.settings))
    config["requests"]["folder"] = str(tmp_path / "other")
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps(config))
    command = [sys.executable, "-m", "backup_agent", "run", "--config", str(other)]
    second = subprocess.run(command, capture_output=True, check=False, timeout=30)

    assert second.returncode == 4
    assert b"another agent has locked this storage root" in second.stderr
    assert live.is_ready()


@pytest.fixture(name="small")
def _small(tmp_path: Path) -> Iterator[Live]:
    """A live agent whose volume is a small tmpfs."""
    with Live(tmp_path, simulated.three_servers(databases=("neo4j", "orders", "large"))) as live:
        live.root.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(live.root)]
        mounted = subprocess.run(mount, capture_output=True, check=False)
        if mounted.returncode:
            if "CI" in os.environ:
                pytest.fail(mounted.stderr.decode())
            pytest.skip("mounting is refused here")
        try:
            yield live
        finally:
            subprocess.run(["umount", "-l", str(live.root)], check=True)


def test_on_a_full_disk_only_backups_that_do_not_fit_fail(small: Live) -> None:
    small.change(lambda cluster: cluster.with_database("large", store_bytes=2 * ROOM))
    small.start()
    answer = small.ask(databases=["large", "neo4j", "orders"], patience=60)

    assert (answer["state"], answer["reason"]) == ("failed", "disk_full")
    assert "enlarge the volume" in answer["hint"]
    assert [answer["databases"][name]["outcome"] for name in ("neo4j", "orders")] == ["succeeded"] * 2
    assert small.artifacts(database="large") == []
    assert small.is_ready()


def test_an_agent_starts_and_answers_on_a_volume_without_room(small: Live) -> None:
    small.settings["schedules"] = {"nightly": {"cron": "0 2 * * *"}}
    small.root.joinpath(".agent").mkdir()
    fill(small.root / "ballast")
    small.start()
    answer = small.ask(database="orders")

    assert (answer["state"], answer["reason"]) == ("failed", "disk_full")
    assert small.metric("neo4j_backup_bolt_up") == 1
    small.root.joinpath("ballast").unlink()
    assert small.ask(database="orders")["state"] == "succeeded"


def fill(path: Path) -> None:
    """Fill the volume."""
    with suppress(OSError), path.open("wb", buffering=0) as ballast:
        while ballast.write(b"\0" * 4096):
            pass


def until_attempt(live: Live, database: str, number: int) -> None:
    """Wait for an attempt at a database of the request `night`."""

    def look() -> bool:
        result = live.answer_of("night").get("databases", {}).get(database, {})
        return bool(result.get("attempts") == number)

    until(look, f"attempt {number} at {database}")


def _child_of(pid: int) -> int:
    """Return the one child of a process that runs a backup."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"backup_agent.jobs.backup" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no run")


def _cpu_seconds(live: Live) -> float:
    assert live.process is not None
    fields = Path(f"/proc/{live.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
