"""The demo as its user sees it: its output, the files it leaves, and that all its processes end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backup_agent.demo import day, s3
from backup_agent.demo.program import Program
from backup_agent.demo.world import DemoError
from tests.polling import until

TIMEOUT = 240.0
PLAIN = "from backup_agent.demo import s3; s3.program = lambda: None; from backup_agent.cli import main; main.main()"
"""Runs the demo as if the extra `demo`, which holds SeaweedFS, were not installed."""

PARTS = [
    "02:00 has passed",
    "A user drops a request",
    "Orders come in",
    "the source of that backup, fails",
    "have pruned their logs",
    "S3 fails",
    "neo4j-admin fails for one database",
    "A bit flips on the disk",
    "Retention would delete more than half",
    "Restore: the plan",
    "A request with a typo",
    "The state of the agent at the end",
]


@contextmanager
def demo(*arguments: str, plain: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Start the demo in an environment with settings, credentials and a proxy of its user."""
    program = ["-c", PLAIN] if plain else ["-m", "backup_agent"]
    foreign = {"BACKUP_AGENT_CLUSTER": "mine", "AWS_SESSION_TOKEN": "mine", "http_proxy": "http://127.0.0.1:1"}
    with subprocess.Popen(
        [sys.executable, *program, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **foreign},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read(process: subprocess.Popen[str], until: str) -> str:
    """Return the output up to the first line that contains a text."""
    assert process.stdout is not None
    output = ""
    while until not in (line := process.stdout.readline()):
        output += line
        assert line, output
    return output + line


def processes(folder: Path) -> list[str]:
    """Return the command lines of the running processes that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def all_ended(folder: Path) -> bool:
    return not processes(folder)


@pytest.mark.nightly
@pytest.mark.components  # it needs none, but it is too slow for test-fast
def test_without_the_extra_the_demo_uses_the_volume_alone_and_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo("--dir", str(folder), plain=True) as process:
        output = read(process, "## The agent stays up until Ctrl-C")
        metrics = read(process, "/metrics").split()[1]
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(metrics, timeout=30) as reply:
            assert b"neo4j_backup_" in reply.read()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 0, output + rest
    assert "SIMULATED" in output.splitlines()[0]
    assert "Without the extra `demo` there is no S3 server" in output
    assert [part for part in PARTS if part not in output] == ["S3 fails", "A bit flips on the disk"]
    log = (folder / "agent.log").read_text()
    assert "agent stopped" in log
    assert "Traceback" not in output + rest + log
    assert "succeeded" in json.loads((folder / "backup-requests" / "backup.status.json").read_text())["state"]
    assert list((folder / "backups" / "default" / "orders").glob("*.backup"))
    assert all_ended(folder)


@pytest.mark.components
def test_with_the_extra_the_demo_copies_to_a_real_s3_server(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo("--once", "--json", "--dir", str(folder)) as process:
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, out

    events = [json.loads(line) for line in out.splitlines()]
    parts = [line["part"] for line in events if "part" in line]
    answers = [line["answer"] for line in events if "answer" in line]
    assert [words for words, part in zip(PARTS, parts, strict=True) if words not in part] == []
    assert [answer["state"] for answer in answers] == [
        "succeeded",
        "succeeded",
        "succeeded",
        "succeeded_with_warnings",
        "succeeded",
        "succeeded_with_warnings",
        "failed",
        "failed",
        "succeeded",
        "rejected",
    ]
    assert answers[7]["reason"] == "checksum_mismatch"
    assert answers[8]["places"]["local"]["healed"] == [answers[6]["databases"]["orders"]["artifact"]]
    shown = "".join(line["output"] for line in (line["shown"] for line in events if "shown" in line))
    assert "more than max_delete_share (0.5) allows" in shown
    assert "5 deleted" in shown
    assert "CREATE DATABASE `customers-restored` TOPOLOGY" in shown
    assert answers[0]["databases"]["orders"]["copies"] == {"offsite": "stored"}
    assert answers[5]["databases"]["customers"]["copies"] == {"offsite": "owed"}
    assert "SIMULATED" in events[0]["note"]
    assert "SeaweedFS" in events[1]["note"]
    assert all_ended(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_during_the_demo_ends_all_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    with demo("--dir", str(folder), plain=True) as process:
        read(process, "## 02:00")
        until((folder / "agent.log").exists, "agent")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in rest
    until(lambda: all_ended(folder), "end of the agent's child processes")


def test_a_program_ends_with_the_demo_even_if_the_demo_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, signal; from pathlib import Path; from backup_agent.demo.program import Program\n"
        f"p = Program(['sleep', '600'], Path('{tmp_path}/log'))\n"
        "print(p._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    pid = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stdout)

    until(lambda: not alive(pid), "end of the program")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = Program(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], tmp_path / "log")
    until(lambda: (tmp_path / "log").read_text() == "ready\n", "program")
    assert program.running

    begun = time.monotonic()
    program.end(grace=0.2)

    assert not program.running
    assert time.monotonic() - begun < 10


def test_a_folder_that_is_not_empty_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with demo("--once", "--dir", str(tmp_path), plain=True) as process:
        out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (1, f"backup-agent demo: {tmp_path} is not empty: name a new folder\n")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_credentials_are_written_to_a_private_file_for_the_users_commands(tmp_path: Path) -> None:
    server, found = s3.S3Server(Path("weed"), tmp_path), ConfigParser()
    server.write_credentials(tmp_path / "credentials")
    found.read(tmp_path / "credentials")

    assert dict(found["default"]) == {name.lower(): key for name, key in server.credentials.items()}
    assert (tmp_path / "credentials").stat().st_mode & 0o077 == 0


def test_another_port_is_used_if_8080_is_busy() -> None:
    with socket.socket() as holder:
        with suppress(OSError):  # the port is already in use
            holder.bind(("127.0.0.1", day.PORT))
        host, _, port = day._listen(day.PORT).partition(":")

    assert host == "127.0.0.1"
    assert int(port) != day.PORT


def test_a_temporary_folder_is_removed_unless_the_demo_failed() -> None:
    with day._folder(None) as place:
        assert place.is_dir()
    assert not place.exists()

    with pytest.raises(KeyboardInterrupt), day._folder(None) as place:
        raise KeyboardInterrupt
    assert not place.exists()

    with pytest.raises(DemoError), day._folder(None) as place:
        raise DemoError("odd")
    assert place.is_dir()
    place.rmdir()
