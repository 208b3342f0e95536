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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from backup_agent.cli import main
from backup_agent.core.artifacts.records import ArtifactFile, BackupType, Header, Record

PATIENCE = 30.0
TAKEN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


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
        self.settings = {
            "cluster": "demo",
            "neo4j": {"uri": "neo4j://demo-client:7687"},
            "requests": str(self.requests),
            "storage": {"root": str(self.root), "require_volume": "never"},
            "http": {"listen": "127.0.0.1:1"},
        }

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

    def record(self, hour: int = 0, *, full: bool = True, set_name: str = "default", **changes: Any) -> Record:
        """Write the record of an artifact of `orders`, taken some hours after two."""
        taken = TAKEN + timedelta(hours=hour)
        name = f"orders-{taken:%Y-%m-%dT%H-%M-%S}.backup"
        header = Header(
            magic="BZV3",
            database="orders",
            database_id=UUID(int=7),
            store_id="1-2-record-aligned-1.1",
            taken=taken,
            lowest=1 if full else 10 * hour + 1,
            highest=10 * (hour + 1),
            full=full,
            compressed=True,
            recovered=True,
        )
        facts: dict[str, Any] = {
            "key": f"{set_name}/orders/{name}",
            "cluster": "demo",
            "set": set_name,
            "database": "orders",
            "type": BackupType.FULL if full else BackupType.DIFF,
            "type_reason": "asked" if full else "chain_continues",
            "header": header,
            "files": (ArtifactFile(name=name, size=2048, sha256="ab" * 32),),
            "request": "nightly-1",
            "started": taken,
            "finished": taken,
            "source": "server-1:6362",
        }
        record = Record(**{**facts, **changes})
        path = self.root / f"{record.key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(record.to_json())
        return record


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
