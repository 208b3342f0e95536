"""Passes in child processes that are killed at a given step, and the places that they leave behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.components.seaweedfs import BUCKET, KEYS, SeaweedFS
from tests.jobs.outside import of_bucket, of_folder
from tests.jobs.worlds import RETENTION, World

HERE = Path(__file__).parent
PRUNE = "backup_agent.jobs.prune:main"

LONGEST = 600
"""A number of steps that no pass reaches."""


class Dying:
    """The program that forks dying children (dying.py): at every step, or at the first step of each kind."""

    def __init__(self, *, kinds: bool) -> None:
        self.kinds = kinds

    def __enter__(self) -> Self:
        environ = {**os.environ, **KEYS, "AWS_EC2_METADATA_DISABLED": "true"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "dying.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def run(self, call: str | list[str], world: World, at: int | None, **task: Any) -> dict[str, Any]:
        """Run a child. Return how it ended."""
        return self.order(call, world.root, at, {"run": "r", "settings": world.tree, **task})

    def copy(self, world: World, at: int | None) -> dict[str, Any]:
        """Let the child of the destination make the missing copies."""
        return self.run("destination", world, at, kind="copy", place="offsite", sets=["default"])

    def order(self, call: str | list[str], below: Path, at: int | None, task: dict[str, Any]) -> dict[str, Any]:
        """Run a child that dies before its change number `at`. Changes below the folder `below` are counted."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"call": call, "task": task, "at": at, "kinds": self.kinds, "below": str(below)}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        ended: dict[str, Any] = json.loads(self.process.stdout.readline())
        return ended


class Places:
    """Makes worlds, and reads their files."""

    def __init__(self, folder: Path, server: SeaweedFS | None) -> None:
        self.folder = folder
        self.server = server
        self.client = server.client() if server else None
        self.known: dict[str, bytes] = {}

    def make(self, number: str, fill: Callable[[World], World], *, on_volume: bool = False) -> World:
        root = self.folder / number / "backups"
        root.mkdir(parents=True)
        if self.server is None:
            return fill(World(root))
        prefix = f"{self.folder.name}-{number}"
        destination = {"type": "s3", **self.server.place(prefix), "retention": RETENTION}

        def put(key: str, data: bytes) -> None:
            assert self.client is not None
            self.client.put_object(Bucket=BUCKET, Key=f"{prefix}/demo/{key}", Body=data)

        return fill(World(root, "offsite", {"offsite": destination}, None if on_volume else put))

    def seen(self, world: World, *, hidden: bool = False) -> dict[str, bytes]:
        if not world.destinations:
            return of_folder(world.root)
        return of_bucket(
            self.client, BUCKET, f"{world.destinations['offsite']['prefix']}/demo", self.known, hidden=hidden
        )

    def lease(self, world: World) -> dict[str, Any]:
        assert self.client is not None
        key = f"{world.destinations['offsite']['prefix']}/demo/.agent/lease.json"
        found: dict[str, Any] = json.loads(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        return found


def result_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last event of a child that was not killed."""
    assert told["code"] == 0, told
    last: dict[str, Any] = json.loads(told["told"].splitlines()[-1])
    assert last["event"].endswith("_result")
    return last
