"""Fixtures: a simulated cluster with its neo4j-admin for each test."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.standins import cluster
from backup_agent.standins.neo4j_admin import install
from backup_agent.standins.neo4j_admin.__main__ import main
from backup_agent.standins.neo4j_admin.artifacts import Header, read_header
from backup_agent.standins.neo4j_admin.backup import CLOCK
from tests.standins.served import Served

START = datetime(2026, 11, 23, 2, 0, 0)  # noqa: DTZ001  the stand-in's clock file holds UTC without a zone


@dataclass(frozen=True)
class Simulation:
    """A cluster of three servers with `neo4j`, `orders` and `system`, its neo4j-admin, and a folder for artifacts."""

    folder: Path
    program: Path
    target: Path

    def command(self, *options: str, database: str = "orders", source: str = "server-0:6362") -> tuple[str, ...]:
        """Return the command line of a backup."""
        return (
            str(self.program), "database", "backup", f"--from={source}", f"--to-path={self.target}", *options, database,
        )  # fmt: skip

    def run(self, *arguments: str, version: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run neo4j-admin in an environment of the given variables only.

        It runs in a fork of the test process, which takes a tenth of the time of starting the program of `command`.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                try:
                    signal.alarm(30)
                    os.dup2(out.fileno(), 1)
                    os.dup2(err.fileno(), 2)
                    os.chdir(self.folder)
                    os.environ.clear()
                    os.environ.update(environment)
                    time.tzset()
                    main(list(arguments), str(self.folder), version)
                finally:
                    os._exit(120)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(arguments, code, *texts)

    def backup(self, *options: str, **which: str) -> subprocess.CompletedProcess[str]:
        """Take a backup, dated a minute after the last one."""
        self.later()
        return self.run(*self.command(*options, **which)[1:])

    def artifact(self, *options: str, **which: str) -> tuple[Path, Header]:
        """Take a backup that must write exactly one artifact; return its path and header."""
        before = set(self.target.iterdir())
        completed = self.backup(*options, **which)
        assert completed.returncode == 0, completed.stdout + completed.stderr
        (path,) = set(self.target.iterdir()) - before
        return path, read_header(path)

    def change(self, change: Callable[[cluster.Cluster], cluster.Cluster]) -> None:
        """Save a changed cluster."""
        cluster.save(change(cluster.load(self.folder)), self.folder)

    def commit(self, count: int, database: str = "orders") -> None:
        """Commit transactions in a database."""
        self.change(lambda current: current.with_transactions(database, count))

    def fault(self, do: str, **fields: Any) -> None:
        """Inject a fault into the next backups."""
        self.change(lambda current: current.with_faults({"command": "backup", "do": do, **fields}))

    def later(self) -> None:
        """Advance the clock by a minute."""
        clock = self.folder / CLOCK
        now = datetime.fromisoformat(clock.read_text()) if clock.exists() else START
        clock.write_text((now + timedelta(minutes=1)).isoformat())


def create(version: str, folder: Path) -> Simulation:
    """Create a simulation of a Neo4j version below a folder."""
    simulated, target = folder / "cluster", folder / "backups"
    simulated.mkdir()
    target.mkdir()
    cluster.save(cluster.three_servers(version), simulated)
    return Simulation(simulated, install(folder, simulated), target)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serve a cluster over Bolt out of the test's folder: three servers, unless the test gives another."""
    with ExitStack() as stack:

        def start(world: cluster.Cluster | None = None, **options: Any) -> Served:
            return stack.enter_context(Served(tmp_path, world or cluster.three_servers(), **options))

        yield start


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[[str], Simulation]:
    """Return a function that creates the test's simulation, of a given version."""
    return lambda version: create(version, tmp_path)


@pytest.fixture
def simulation(simulate: Callable[[str], Simulation]) -> Simulation:
    """Create a simulation of the newest version."""
    return simulate("2026.09.0")
