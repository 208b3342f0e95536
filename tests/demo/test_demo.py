"""The demo as its user sees it: what is told, what is left, and that nothing stays behind."""

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

PATIENCE = 240.0
PLAIN = "from backup_agent.demo import s3; s3.program = lambda: None; from backup_agent.cli import main; main.main()"
"""The demo of an install without the extra: there is no SeaweedFS."""

PARTS = [
    "02:00 has passed",
    "Somebody drops a request",
    "Orders come in",
    "which served that backup, fails",
    "have pruned their logs",
    "S3 goes away",
    "neo4j-admin breaks on one database",
    "A disk turns a bit over",
    "Retention would delete more than half",
    "At three in the morning",
    "A request with a typo",
    "What the agent has now",
]


@contextmanager
def demo(*arguments: str, plain: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Start the demo beside settings, credentials and proxies of its user's own."""
    program = ["-c", PLAIN] if plain else ["-m", "backup_agent"]
    strangers = {"BACKUP_AGENT_CLUSTER": "mine", "AWS_SESSION_TOKEN": "mine", "http_proxy": "http://127.0.0.1:1"}
    with subprocess.Popen(
        [sys.executable, *program, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **strangers},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read(process: subprocess.Popen[str], until: str) -> str:
    """Return what is told, up to a line that has some words."""
    assert process.stdout is not None
    said = ""
    while until not in (line := process.stdout.readline()):
        said += line
        assert line, said
    return said + line


def processes(folder: Path) -> list[str]:
    """Return the command lines that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def gone(folder: Path) -> bool:
    return not processes(folder)


@pytest.mark.nightly
@pytest.mark.components  # it needs none, but a whole day is too long for the working day's tests
def test_without_the_extra_the_day_goes_on_on_the_volume_and_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo("--dir", str(folder), plain=True) as process:
        said = read(process, "## The agent stays up until Ctrl-C")
        metrics = read(process, "/metrics").split()[2]
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(metrics, timeout=30) as reply:
            assert b"neo4j_backup_" in reply.read()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0, said + rest
    assert "SIMULATED" in said.splitlines()[0]
    assert "Without the extra `demo` there is no S3 server" in said
    assert [part for part in PARTS if part not in said] == ["S3 goes away", "A disk turns a bit over"]
    log = (folder / "agent.log").read_text()
    assert "agent stopped" in log
    assert "Traceback" not in said + rest + log
    assert "succeeded" in json.loads((folder / "backup-requests" / "backup.status.json").read_text())["state"]
    assert list((folder / "backups" / "default" / "orders").glob("*.backup"))
    assert gone(folder)


@pytest.mark.components
def test_with_the_extra_the_day_has_copies_in_a_real_s3_server(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo("--once", "--json", "--dir", str(folder)) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out

    told = [json.loads(line) for line in out.splitlines()]
    parts = [line["part"] for line in told if "part" in line]
    answers = [line["answer"] for line in told if "answer" in line]
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
    shown = "".join(line["output"] for line in (line["shown"] for line in told if "shown" in line))
    assert "more than max_delete_share (0.5) allows" in shown
    assert "5 deleted" in shown
    assert "neo4j-admin database restore" in shown
    assert answers[0]["databases"]["orders"]["copies"] == {"offsite": "stored"}
    assert answers[5]["databases"]["customers"]["copies"] == {"offsite": "owed"}
    assert "SIMULATED" in told[0]["note"]
    assert "SeaweedFS" in told[1]["note"]
    assert gone(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_in_the_middle_of_the_day_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    with demo("--dir", str(folder), plain=True) as process:
        read(process, "## 02:00")
        until((folder / "agent.log").exists, "agent")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in rest
    until(lambda: gone(folder), "end of what the agent had under way")


def test_a_program_dies_with_the_demo_also_where_that_is_killed(tmp_path: Path) -> None:
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


def test_a_program_that_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    program = Program(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], tmp_path / "log")
    until(lambda: (tmp_path / "log").read_text() == "ready\n", "program")
    assert program.running

    begun = time.monotonic()
    program.end(grace=0.2)

    assert not program.running
    assert time.monotonic() - begun < 10


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with demo("--once", "--dir", str(tmp_path), plain=True) as process:
        out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (1, f"backup-agent demo: {tmp_path} is not empty: name a new folder\n")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_commands_of_the_one_who_looks_find_the_keys_in_a_file(tmp_path: Path) -> None:
    server, found = s3.S3Server(Path("weed"), tmp_path), ConfigParser()
    server.write_credentials(tmp_path / "credentials")
    found.read(tmp_path / "credentials")

    assert dict(found["default"]) == {name.lower(): key for name, key in server.credentials.items()}
    assert (tmp_path / "credentials").stat().st_mode & 0o077 == 0


def test_another_port_is_taken_where_8080_is_busy() -> None:
    with socket.socket() as holder:
        with suppress(OSError):  # somebody else holds it: just as well
            holder.bind(("127.0.0.1", day.PORT))
        host, _, port = day._listen(day.PORT).partition(":")

    assert host == "127.0.0.1"
    assert int(port) != day.PORT


def test_a_folder_of_its_own_is_removed_unless_the_day_failed() -> None:
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
