"""A volume and a settings file, and the command line called in this process: no agent, unless a test says so."""

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_agent.cli import main
from backup_agent.core.artifacts.records import Record
from backup_agent.stores.local import LocalStore
from tests.builders import a_record, settings_tree
from tests.catalog.places import FilledStore
from tests.polling import PATIENCE


@dataclass(frozen=True)
class Result:
    """What a command came to."""

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
            requests=str(self.requests),
            storage={"root": str(self.root), "require_volume": "never"},
            http={"listen": "127.0.0.1:1"},
        )

    @property
    def root(self) -> Path:
        return self.folder / "backups"

    @property
    def requests(self) -> Path:
        return self.folder / "backup-requests"

    @property
    def config(self) -> Path:
        """The settings file, written anew."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        return path

    def run(self, *arguments: str) -> Result:
        """Run a command with these settings."""
        return self.run_bare("--config", str(self.config), *arguments)

    def run_bare(self, *arguments: str) -> Result:
        """Run a command with these arguments alone."""
        self.capture.readouterr()
        code = main.code(list(arguments))
        out, err = self.capture.readouterr()
        return Result(code, out, err)

    def record(self, hour: int = 0, *, stored: bool = False, **changes: Any) -> Record:
        """Record an artifact of that hour; `stored`: with its files."""
        return FilledStore(LocalStore(self.root)).add(a_record(hour, **changes), files=stored)


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
    """Let another process hold the requests folder as an agent does. It takes nothing."""
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
    """Start `backup-agent` on a terminal of its own; yield its process id and the terminal."""
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-m", "backup_agent", *arguments])
    try:
        yield process, terminal
    finally:
        os.close(terminal)


def read(terminal: int, until: str = "") -> str:
    """Return what is written up to some word, or to the end."""
    said = ""
    while not until or until not in said:
        assert select.select([terminal], [], [], PATIENCE)[0], said
        try:
            said += os.read(terminal, 4096).decode()
        except OSError:  # how the end of a terminal reads
            break
    return said


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run in this process ask no terminal, though the tests may have one."""
    with open(os.devnull) as nothing:  # noqa: PTH123  as standard input is
        monkeypatch.setattr("sys.stdin", nothing)
        yield


@pytest.fixture(name="place")
def _place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.delenv("BACKUP_AGENT_CONFIG", raising=False)
    return Place(tmp_path, capsys)
