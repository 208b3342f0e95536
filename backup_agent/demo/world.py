"""The surroundings of the demo: a folder, a simulated cluster, a stand-in for neo4j-admin, and the agent."""

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import yaml

from backup_agent.demo import cypher_shell, s3, simulate
from backup_agent.demo.errors import DemoError
from backup_agent.demo.program import Program
from backup_agent.demo.s3 import DIRECT
from backup_agent.standins import cluster as simulated
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.bolt.statements import PROVIDERS, SEEDS
from backup_agent.standins.neo4j_admin import install

Found = TypeVar("Found")

DATABASES = ("orders", "customers")
STORE_BYTES = 2 * 1024 * 1024
TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.1
FINAL = ("succeeded", "succeeded_with_warnings", "failed", "cancelled", "rejected")
END_SECONDS = 30.0
NIGHT = "0 2 * * *"
ZONES = ("Europe/Berlin", "America/New_York")

SSH = """#!/bin/sh
# The simulated servers share this machine: what a plan runs on one of them runs here.
shift
exec sh -c "$*"
"""


class World:
    """The folder of the demo and the programs that run in it. `close` ends all of them."""

    def __init__(self, folder: Path) -> None:
        """Make the folder without starting a program."""
        self.folder = folder
        self.requests = folder / "backup-requests"
        self.root = folder / "backups"
        self.seeds = folder / "seeds"
        self.log = folder / "agent.log"
        self.config = folder / "config.yaml"
        self.environment_file = folder / "env"
        self.listen = self.probes = self.page = ""
        self._cluster = folder / "cluster"
        self._bin = folder / "bin"
        for made in (self.requests, self.root, self.seeds, self._cluster, self._bin):
            made.mkdir(parents=True, exist_ok=True)
        world = simulated.three_servers(databases=DATABASES)
        for name in DATABASES:
            world = world.with_database(name, store_bytes=STORE_BYTES)
        for server in world.servers:
            settings = {PROVIDERS: "ServerSeedProvider", SEEDS: str(self.seeds)}
            world = world.with_settings(server.name, settings)
        simulated.save(world, self._cluster)
        self._bolt = BoltServer(self._cluster)
        self._admin = install(self._bin, self._cluster)
        self._bolt_up = False
        self._agent: Program | None = None
        self._zone = _zone(datetime.now(UTC))
        weed = s3.program()
        self.s3 = s3.S3Server(weed, folder / "s3") if weed else None

    def start_cluster(self) -> None:
        """Start the Bolt servers and, if SeaweedFS is installed, the S3 server."""
        if self.s3 is not None:
            self.s3.start()
        self._bolt.start()
        self._bolt_up = True
        if self.s3 is not None:
            self.s3.await_ready()

    @property
    def servers(self) -> tuple[simulated.Server, ...]:
        """The simulated servers."""
        return simulated.load(self._cluster).servers

    def change(self, change: Callable[[simulated.Cluster], simulated.Cluster]) -> None:
        """Save a changed simulated cluster."""
        simulated.save(change(simulated.load(self._cluster)), self._cluster)

    def write_settings(self, listen: str, probes: str, page: str) -> None:
        """Write the settings file, the files that it names, and the programs for commands by hand."""
        self.listen, self.probes, self.page = listen, probes, page
        password = self.folder / "password"
        password.write_text("demo-password\n")
        settings: dict[str, Any] = {
            "cluster": "demo",
            "neo4j": {
                "uri": self._bolt.uri("server-0", scheme="neo4j"),
                "password_file": str(password),
                "admin": str(self._admin),
                # The simulated servers share one host, so each backup port needs to be named.
                "backup_addresses": {server.id: server.backup for server in self.servers},
            },
            "requests": {"folder": str(self.requests)},
            "storage": {
                "root": str(self.root),
                "require_volume": "never",  # the folder need not be a mounted volume
                "destinations": {"offsite": _offsite(self.s3.endpoint_url)} if self.s3 else {},
            },
            "retention": {"last": 1, "max_delete_share": 0.3},
            "schedules": {
                "nightly": {"cron": NIGHT, "timezone": self._zone, "type": "FULL"},
                # Half an hour from now, after the demo's end.
                "hourly": {"cron": f"{(datetime.now(UTC).minute + 30) % 60} * * * *", "type": "DIFF"},
            },
            "http": {"listen": listen, "probes": probes, "page": page},
            "log": {"format": "console"},
            "doctor": {
                "accept": {
                    "backup_ports": {
                        "reason": "the servers are simulated",
                        "until": f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}",
                    }
                }
            },
        }
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        self._write_programs(password)

    def _write_programs(self, password: Path) -> None:
        """Write the programs for a user's `$PATH`, and the file that sets the environment for them."""
        python = shlex.quote(sys.executable)
        shell = shlex.join((cypher_shell.__name__, self._bolt.uri("server-0"), str(password)))
        changes = shlex.join((simulate.__name__, str(self._cluster)))
        programs = {
            "backup-agent": f'#!/bin/sh\nexec {python} -m backup_agent "$@"\n',
            "cypher-shell": f'#!/bin/sh\nexec {python} -m {shell} "$@"\n',
            "simulate": f'#!/bin/sh\nexec {python} -m {changes} "$@"\n',
            "ssh": SSH,
        }
        for name, text in programs.items():
            (self._bin / name).write_text(text)
            (self._bin / name).chmod(0o755)
        if self.s3 is not None:
            self.s3.write_credentials(self._credentials)
        exports = {"BACKUP_AGENT_CONFIG": self.config, "AWS_SHARED_CREDENTIALS_FILE": self._credentials}
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in exports.items()]
        path = f"export PATH={shlex.quote(str(self._bin))}:$PATH"
        self.environment_file.write_text("\n".join((*lines, path, f"cd {shlex.quote(str(self.folder))}", "")))

    @property
    def _credentials(self) -> Path:
        return self.folder / "credentials"

    def pretend_it_was_down_at_night(self) -> None:
        """Write a state file by which the nightly schedule was last handled a day ago."""
        state = self.root / ".agent" / "schedules.json"
        state.parent.mkdir(exist_ok=True)
        through = datetime.now(UTC) - timedelta(days=1)
        handled = {"nightly": {"through": through.isoformat(), "cron": f"{NIGHT} {self._zone}"}}
        state.write_text(json.dumps({"schema": 1, "schedules": handled}))

    def start_agent(self) -> None:
        """Start `backup-agent run` and wait until it is ready."""
        self._agent = Program(
            [sys.executable, "-m", "backup_agent", "run", "--config", str(self.config)],
            self.log,
            {"AWS_SHARED_CREDENTIALS_FILE": str(self._credentials)},
        )
        self.until(self._ready, "the agent is ready")

    def shell(self, line: str) -> str:
        """Run a line as a user does in the demo's folder. Return its output; raise DemoError if it fails."""
        completed = subprocess.run(
            ["sh", "-c", f". {shlex.quote(str(self.environment_file))}\n{line}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # so that progress comes before results
            text=True,
            check=False,
        )
        if completed.returncode != 0:
            raise DemoError(f"`{line}` ended with exit code {completed.returncode}: {completed.stdout}")
        return completed.stdout

    def answer(self, name: str) -> dict[str, Any]:
        """Wait for the final answer to a request and return it."""

        def look() -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = json.loads((self.requests / answer_name(name)).read_bytes())
            except (OSError, ValueError):
                return None
            return answer if answer["state"] in FINAL else None

        return self.until(look, f"{name} is answered")

    def scheduled(self, schedule: str) -> dict[str, Any]:
        """Wait for the final answer to the newest request of a schedule and return it."""

        def look() -> dict[str, Any] | None:
            found = sorted((self.requests / "answers").glob(f"{schedule}@*.json"))
            answer: dict[str, Any] | None = json.loads(found[-1].read_bytes()) if found else None
            return answer if answer and answer["state"] in FINAL else None

        return self.until(look, f"schedule {schedule} is answered")

    def flip_a_bit(self, artifact: str) -> None:
        """Flip a bit in the middle of an artifact, as a bad disk does: size and modification time stay."""
        file = self.root / artifact
        before = file.stat()
        with file.open("r+b") as content:
            content.seek(before.st_size // 2)
            bit = content.read(1)[0] ^ 1
            content.seek(before.st_size // 2)
            content.write(bytes([bit]))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def source(self, artifact: str) -> str:
        """Return the name of the server from which an artifact was taken, according to its record."""
        record = json.loads((self.root / f"{artifact}.json").read_bytes())
        return str(record["source"]).partition(":")[0]

    def status(self) -> dict[str, Any]:
        """Return /status.json."""
        with DIRECT.open(f"http://{self.page}/status.json", timeout=10) as reply:
            status: dict[str, Any] = json.load(reply)
        return status

    def until(self, look: Callable[[], Found | None], what: str) -> Found:
        """Call `look` until it returns a true value, and return that. Raise DemoError after a timeout."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            if self._agent is not None and not self._agent.running:
                raise DemoError(f"the agent ended while waiting until {what}; its log is {self.log}")
            time.sleep(POLL_SECONDS)
        raise DemoError(f"timeout while waiting until {what}; the agent's log is {self.log}")

    def _ready(self) -> bool:
        try:
            with DIRECT.open(f"http://{self.probes}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)  # noqa: PLR2004  OK
        except (urllib.error.URLError, OSError):
            return False

    def close(self) -> None:
        """End all programs that were started."""
        if self._agent is not None:
            self._agent.end(grace=END_SECONDS)
        if self.s3 is not None:
            self.s3.stop()
        if self._bolt_up:
            self._bolt.stop()


def _zone(now: datetime) -> str:
    """Return a time zone in which 02:00 is not near, so that the nightly run starts once, with the agent."""
    return next(zone for zone in ZONES if now.astimezone(ZoneInfo(zone)).hour not in (1, 2))


def _offsite(endpoint_url: str) -> dict[str, Any]:
    return {
        "type": "s3",
        "bucket": s3.BUCKET,
        "prefix": "neo4j",
        "endpoint_url": endpoint_url,
        "path_style": True,
    }


def answer_name(name: str) -> str:
    """Return the name of the answer beside a request."""
    return name.removesuffix(".request") + ".status.json"
