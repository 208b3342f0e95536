"""Builders: a volume and a settings file. Commands run in this process. No agent runs unless a test starts one."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_agent.cli import main
from backup_agent.core.artifacts.records import Record
from tests.builders import a_record, settings_tree
from tests.catalog.places import filled
from tests.polling import PATIENCE, until


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Place:
    """A volume, a requests folder, and settings that name them."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir()
        self.requests.mkdir()
        self.settings = settings_tree(
            requests={"folder": str(self.requests)},
            storage={"root": str(self.root), "require_volume": "never"},
            http={"page": "127.0.0.1:1"},
        )

    @property
    def root(self) -> Path:
        return self.folder / "backups"

    @property
    def requests(self) -> Path:
        return self.folder / "backup-requests"

    @property
    def config(self) -> Path:
        """Write the settings file and return its path."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        return path

    def run(self, *arguments: str) -> Result:
        """Run a command with these settings."""
        return self.run_bare("--config", str(self.config), *arguments)

    def run_bare(self, *arguments: str) -> Result:
        """Run a command without --config."""
        self.capture.readouterr()
        code = main.code(list(arguments))
        out, err = self.capture.readouterr()
        return Result(code, out, err)

    def record(self, hour: int = 0, *, stored: bool = False, **changes: Any) -> Record:
        """Store the record of an artifact taken at `hour`; with its files if `stored`."""
        return filled(self.root).add(a_record(hour, **changes), files=stored)


HOLDS_THE_LOCK = """
import fcntl, pathlib, sys
folder = pathlib.Path(sys.argv[1], ".spool")
folder.mkdir()
lock = (folder / ".lock").open("w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def an_agent(place: Place) -> Iterator[None]:
    """Let another process lock the requests folder as an agent does. It takes no requests."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LOCK, str(place.requests)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@contextmanager
def on_a_terminal(*arguments: str) -> Iterator[tuple[int, int]]:
    """Start `backup-agent` on a new terminal. Yield its process id and the terminal."""
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # as in a shell; a process in the background may have inherited that SIGINT is ignored
        os.execv(sys.executable, [sys.executable, "-m", "backup_agent", *arguments])
    try:
        yield process, terminal
    finally:
        os.close(terminal)


def exit_code(process: int) -> int:
    """Wait for a child process. Return its exit code."""

    def look() -> tuple[int, int] | None:
        ended, status = os.waitpid(process, os.WNOHANG)
        return (ended, status) if ended else None

    _, status = until(look, "end of the command")
    return os.waitstatus_to_exitcode(status)


def read(terminal: int, up_to: str = "") -> str:
    """Return the output up to the text `up_to`, or to the end."""
    text = ""
    while not up_to or up_to not in text:
        assert select.select([terminal], [], [], PATIENCE)[0], text
        try:
            text += os.read(terminal, 4096).decode()
        except OSError:  # the terminal was closed
            break
    return text


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the commands without a terminal, even if the tests have one."""
    with open(os.devnull) as nothing:  # noqa: PTH123  as standard input is
        monkeypatch.setattr("sys.stdin", nothing)
        yield


@pytest.fixture(name="place")
def _place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.delenv("BACKUP_AGENT_CONFIG", raising=False)
    monkeypatch.setattr("backup_agent.catalog.diff.SETTLE_SECONDS", 0.0)
    return Place(tmp_path, capsys)


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    """Run the commands with UTC as the local time zone."""
    with local_time_zone("UTC"):
        yield


@contextmanager
def local_time_zone(name: str) -> Iterator[None]:
    """Set the local time zone of this process during the block."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()
