"""What the demo runs in: a folder, a simulated cluster, a neo4j-admin, the agent itself."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import yaml

from backup_agent.demo import s3
from backup_agent.demo.program import Program
from backup_agent.standins import cluster as simulated
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.neo4j_admin import install

Found = TypeVar("Found")

DATABASES = ("orders", "customers")
STORE_BYTES = 8 * 1024 * 1024
PATIENCE_SECONDS = 90.0
FINAL = ("succeeded", "succeeded_with_warnings", "failed", "cancelled", "rejected")
END_SECONDS = 30.0
NIGHT = "0 2 * * *"
ZONES = ("Europe/Berlin", "America/New_York")

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine itself, whatever $http_proxy says."""


class DemoError(Exception):
    """Something did not come in time, or was not what the day is about."""


class World:
    """The folder and all that runs in it. `close` ends everything."""

    def __init__(self, folder: Path) -> None:
        """Make the folder; nothing runs yet."""
        self.folder = folder
        self.requests = folder / "backup-requests"
        self.root = folder / "backups"
        self.log = folder / "agent.log"
        self.config = folder / "config.yaml"
        self.listen = self.probes = ""
        self._cluster = folder / "cluster"
        for made in (self.requests, self.root, self._cluster, folder / "bin"):
            made.mkdir(parents=True, exist_ok=True)
        world = simulated.three_servers(databases=DATABASES)
        for name in DATABASES:
            world = world.with_database(name, store_bytes=STORE_BYTES)
        simulated.save(world, self._cluster)
        self._bolt = BoltServer(self._cluster)
        self._admin = install(folder / "bin", self._cluster)
        self._bolt_up = False
        self._agent: Program | None = None
        self._zone = _zone(datetime.now(UTC))
        weed = s3.program()
        self.s3 = s3.S3Server(weed, folder / "s3") if weed else None

    def start_cluster(self) -> None:
        """Start Bolt and, where there is one, S3."""
        self._bolt.start()
        self._bolt_up = True
        if self.s3 is not None:
            self.s3.start()

    def change(self, change: Callable[[simulated.Cluster], simulated.Cluster]) -> None:
        """Change the simulated cluster."""
        simulated.save(change(simulated.load(self._cluster)), self._cluster)

    def write_settings(self, listen: str, probes: str, retention: dict[str, Any] | None = None) -> str:
        """Write the settings file, as a user would, and return its text."""
        self.listen, self.probes = listen, probes
        password = self.folder / "password"
        password.write_text("demo-password\n")
        servers = simulated.load(self._cluster).servers
        destinations = {"offsite": _offsite(self.s3.endpoint_url)} if self.s3 else {}
        settings: dict[str, Any] = {
            "cluster": "demo",
            "neo4j": {
                "uri": self._bolt.uri("server-0", scheme="neo4j"),
                "password_file": str(password),
                "admin": str(self._admin),
                # The simulated servers share one host, so their backup addresses are told by hand.
                "backup_addresses": {server.id: server.backup for server in servers},
            },
            "requests": str(self.requests),
            # The folder is a laptop's, or that of a container without a volume.
            "storage": {"root": str(self.root), "require_volume": "never", "destinations": destinations},
            "schedules": {
                "nightly": {"cron": NIGHT, "timezone": self._zone, "type": "FULL"},
                # Half an hour from now: the day is told before.
                "hourly": {"cron": f"{(datetime.now(UTC).minute + 30) % 60} * * * *", "type": "DIFF"},
            },
            "http": {"listen": listen, "probes": probes},
            "log": {"format": "console"},
            **({"retention": retention} if retention else {}),
        }
        text: str = yaml.safe_dump(settings, sort_keys=False)
        self.config.write_text(text)
        return text

    def pretend_it_was_down_at_night(self) -> None:
        """Let the agent find that it has handled nothing of the nightly schedule since yesterday."""
        state = self.root / ".agent" / "schedules.json"
        state.parent.mkdir(exist_ok=True)
        through = datetime.now(UTC) - timedelta(days=1)
        handled = {"nightly": {"through": through.isoformat(), "cron": f"{NIGHT} {self._zone}"}}
        state.write_text(json.dumps({"schema": 1, "schedules": handled}))

    def start_agent(self) -> None:
        """Start `backup-agent run`; return when it is ready."""
        self._agent = Program(
            [sys.executable, "-m", "backup_agent", "run", "--config", str(self.config)],
            self.log,
            self.s3.credentials if self.s3 else None,
        )
        self.until(self._ready, "the agent is ready")

    def command(self, *arguments: str) -> str:
        """Return what a command of the agent prints."""
        done = subprocess.run(
            [sys.executable, "-m", "backup_agent", "--config", str(self.config), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def echo(self, name: str, content: str) -> None:
        """Drop a request exactly as `kubectl exec … sh -c 'echo … >'` does."""
        (self.requests / _answer_name(name)).unlink(missing_ok=True)
        subprocess.run(["sh", "-c", 'echo "$1" > "$2"', "sh", content, str(self.requests / name)], check=True)

    def answer(self, name: str, *, final: bool = True) -> dict[str, Any]:
        """Return the answer beside a request, by default the last one."""

        def look() -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = json.loads((self.requests / _answer_name(name)).read_bytes())
            except (OSError, ValueError):
                return None
            return answer if not final or answer["state"] in FINAL else None

        return self.until(look, f"the answer to {name}")

    def scheduled(self, schedule: str) -> dict[str, Any]:
        """Return the last answer to a schedule's newest request."""

        def look() -> dict[str, Any] | None:
            found = sorted((self.requests / "answers").glob(f"{schedule}@*.json"))
            answer: dict[str, Any] | None = json.loads(found[-1].read_bytes()) if found else None
            return answer if answer and answer["state"] in FINAL else None

        return self.until(look, f"the answer to schedule {schedule}")

    def turn_a_bit(self, artifact: str) -> None:
        """Change an artifact in the middle, as a bad disk does: neither size nor time tell of it."""
        file = self.root / artifact
        before = file.stat()
        with file.open("r+b") as content:
            content.seek(before.st_size // 2)
            bit = content.read(1)[0] ^ 1
            content.seek(before.st_size // 2)
            content.write(bytes([bit]))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def source(self, artifact: str) -> str:
        """Return the name of the server that an artifact came from, as its record says."""
        record = json.loads((self.root / f"{artifact}.json").read_bytes())
        return str(record["source"]).partition(":")[0]

    def status(self) -> dict[str, Any]:
        """Return /status.json."""
        with DIRECT.open(f"http://{self.listen}/status.json", timeout=10) as reply:
            status: dict[str, Any] = json.load(reply)
        return status

    def until(self, look: Callable[[], Found | None], what: str) -> Found:
        """Return what `look` finds; raise DemoError where it takes too long."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            if self._agent is not None and not self._agent.running:
                raise DemoError(f"the agent has ended before {what}: see {self.log}")
            time.sleep(0.05)
        raise DemoError(f"waited in vain until {what}; the agent's log is {self.log}")

    def _ready(self) -> bool:
        try:
            with DIRECT.open(f"http://{self.probes}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)  # noqa: PLR2004  OK
        except (urllib.error.URLError, OSError):
            return False

    def close(self) -> None:
        """End everything that was started."""
        if self._agent is not None:
            self._agent.end(grace=END_SECONDS)
        if self.s3 is not None:
            self.s3.stop()
        if self._bolt_up:
            self._bolt.stop()


def _zone(now: datetime) -> str:
    """Return a time zone whose night is not now: the nightly run is to come once, when the agent starts."""
    return next(zone for zone in ZONES if now.astimezone(ZoneInfo(zone)).hour not in (1, 2))


def _offsite(endpoint_url: str) -> dict[str, Any]:
    return {
        "type": "s3",
        "bucket": s3.BUCKET,
        "prefix": "neo4j",
        "endpoint_url": endpoint_url,
        "path_style": True,
    }


def _answer_name(name: str) -> str:
    return name.removesuffix(".request") + ".status.json"
