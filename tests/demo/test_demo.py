"""The demo as its user sees it: its output, the files it leaves, and that all its processes end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup_agent.demo import day, s3
from backup_agent.demo.errors import DemoError
from backup_agent.demo.program import Program
from tests.polling import until

TIMEOUT = 240.0
PLAIN = "from backup_agent.demo import s3; s3.program = lambda: None; from backup_agent.cli import main; main.main()"
"""Runs the demo as if the extra `demo`, which holds SeaweedFS, were not installed."""

ACTS = [
    "The agent was down at 02:00",
    "A user drops a request",
    "Orders come in",
    "have pruned their logs",
    "The disk is full",
    "There is room again",
    "S3 fails",
    "A bit of an artifact flips",
    "A request with a typo",
    "Retention would delete more than 30 %",
    "Is all well?",
    "A drill",
    "A restore",
    "How to go on",
]
MORE = ["have pruned their logs", "S3 fails", "A bit of an artifact flips"]
"""The acts that only --full shows."""


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


def not_in(output: str, acts: list[str]) -> list[str]:
    return [act for act in acts if act not in output]


@pytest.mark.nightly
@pytest.mark.components  # it uses no component, but is too slow for test-fast
def test_without_the_extra_the_demo_uses_the_volume_alone_and_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo("--full", "--dir", str(folder), plain=True) as process:
        output = read(process, "How to go on")
        output += read(process, "backup-agent status")
        metrics = re.search(r"http:\S+/metrics", output)
        assert metrics is not None
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(metrics[0], timeout=30) as reply:
            assert b"neo4j_backup_" in reply.read()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 0, output + rest
    assert "SIMULATED" in output.splitlines()[0]
    assert "Without the extra `demo` there is no S3 server" in output
    assert not_in(output, ACTS) == ["S3 fails", "A bit of an artifact flips"]
    log = (folder / "agent.log").read_text()
    assert "agent stopped" in log
    assert "Traceback" not in output + rest + log
    assert all_ended(folder)


@pytest.mark.components
def test_with_the_extra_the_demo_copies_to_a_real_s3_server_and_fits_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo("--once", "--dir", str(folder)) as process:
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output

    lines = output.splitlines()
    assert not_in(output, ACTS) == MORE
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 80 and str(folder) not in line and sys.executable not in line] == []
    assert "SIMULATED" in lines[0]
    assert "S3 server are real" in " ".join(lines[:3])
    assert "orders: FULL (asked), 2.0 MiB, offsite: stored" in output
    assert "-> failed (disk_full), as intended" in output
    assert "2 deleted" in output
    assert "OK" in lines[[line.strip() for line in lines].index("$ backup-agent status") + 1]
    assert "passed: customers-" in output
    assert output.count(": OK") == 2  # the artifacts that were copied to the server
    assert output.count('"online", "online"') == 3
    assert lines[-1].endswith(" demo --keep")
    assert "Traceback" not in output + (folder / "agent.log").read_text()
    assert all_ended(folder)


@pytest.mark.nightly
@pytest.mark.components
def test_with_full_the_demo_shows_every_act(tmp_path: Path) -> None:
    with demo("--once", "--full", "--json", "--dir", str(tmp_path / "demo")) as process:
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output

    events = [json.loads(line) for line in output.splitlines()]
    acts = [line["act"] for line in events if "act" in line]
    states = [line["answer"]["state"] for line in events if "answer" in line]
    assert [words for words, act in zip(ACTS, acts, strict=True) if words not in act] == []
    assert states[4:8] == ["failed", "succeeded", "succeeded_with_warnings", "succeeded"]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.nightly), signal.SIGTERM], ids=["ctrl-c", "sigterm"]
)
def test_a_signal_during_the_demo_ends_all_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    with demo("--dir", str(folder), plain=True) as process:
        read(process, "down at 02:00")
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

    assert dict(found["default"]) == {name.lower(): key for name, key in server._credentials.items()}
    assert (tmp_path / "credentials").stat().st_mode & 0o077 == 0


def test_another_port_is_used_if_the_usual_one_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy, day._held(busy.getsockname()[1]) as held:
        assert held.getsockname()[1] != busy.getsockname()[1]


def test_the_port_is_held_for_the_agent_alone() -> None:
    with day._held(0) as held:
        address = held.getsockname()
        with socket.create_server(address):  # as the agent listens, with SO_REUSEADDR
            pass
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(address)


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
