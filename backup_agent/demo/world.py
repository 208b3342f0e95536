"""What the demo runs in: a folder, a simulated cluster, a neo4j-admin, the agent itself."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import yaml

from backup_agent.demo import s3
from backup_agent.standins import cluster as simulated
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.neo4j_admin import install

Found = TypeVar("Found")

DATABASES = ("orders", "customers")
STORE_BYTES = 8 * 1024 * 1024
PATIENCE_SECONDS = 90.0
FINAL = ("succeeded", "succeeded_with_warnings", "failed", "cancelled", "rejected")
END_SECONDS = 30.0


class DemoError(Exception):
    """Something did not come in time."""


class World:
    """The folder and all that runs in it. `close` ends everything."""

    def __init__(self, folder: Path, listen: str) -> None:
        """Make the folder; nothing runs yet."""
        self.folder = folder
        self.requests = folder / "backup-requests"
        self.root = folder / "backups"
        self.log = folder / "agent.log"
        self._config = folder / "config.yaml"
        self.listen = listen
        self._cluster = folder / "cluster"
        for made in (self.requests, self.root, self._cluster, folder / "bin"):
            made.mkdir(parents=True, exist_ok=True)
        world = simulated.three_servers(databases=DATABASES)
        for name in DATABASES:
            world = world.with_database(name, store_bytes=STORE_BYTES)
        simulated.save(world, self._cluster)
        self._bolt = BoltServer(self._cluster)
        self._admin = install(folder / "bin", self._cluster)
        self._agent: subprocess.Popen[bytes] | None = None
        weed = s3.program()
        self.s3 = s3.Server(weed, folder / "s3") if weed else None

    def start_cluster(self) -> None:
        """Start Bolt and, where there is one, S3."""
        self._bolt.start()
        if self.s3 is not None:
            self.s3.start()

    def change(self, change: Callable[[simulated.Cluster], simulated.Cluster]) -> None:
        """Change the simulated cluster."""
        simulated.save(change(simulated.load(self._cluster)), self._cluster)

    def write_settings(self) -> Path:
        """Write the settings file, as a user would."""
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
            "storage": {"root": str(self.root), "destinations": destinations},
            "schedules": {
                "nightly": {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "type": "FULL"},
                "hourly": {"cron": "15 * * * *", "type": "DIFF"},
            },
            "http": {"listen": self.listen},
            "log": {"format": "console"},
        }
        self._config.write_text(yaml.safe_dump(settings, sort_keys=False))
        return self._config

    def pretend_it_was_down_at_night(self) -> None:
        """Let the agent find that it has handled nothing of the nightly schedule since yesterday."""
        state = self.root / ".agent" / "schedules.json"
        state.parent.mkdir(exist_ok=True)
        through = datetime.now(UTC) - timedelta(days=1)
        handled = {"nightly": {"through": through.isoformat(), "cron": "0 2 * * * Europe/Berlin"}}
        state.write_text(json.dumps({"schema": 1, "schedules": handled}))

    def start_agent(self) -> None:
        """Start `backup-agent run`; return when it is ready."""
        environment = {**os.environ, **(self.s3.credentials if self.s3 else {})}
        with self.log.open("ab") as log:
            self._agent = subprocess.Popen(
                [sys.executable, "-m", "backup_agent", "run", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self.until(self._ready, "the agent is ready")

    def kill_agent(self) -> None:
        """Kill the agent, as a lost node would."""
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait()

    def command(self, *arguments: str) -> str:
        """Return what a command of the agent prints."""
        done = subprocess.run(
            [sys.executable, "-m", "backup_agent", "--config", str(self._config), *arguments],
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
            found = sorted((self.requests / "answers").glob(f"{schedule}-*.json"))
            answer: dict[str, Any] | None = json.loads(found[-1].read_bytes()) if found else None
            return answer if answer and answer["state"] in FINAL else None

        return self.until(look, f"the answer to schedule {schedule}")

    def status(self) -> dict[str, Any]:
        """Return /status.json."""
        with urllib.request.urlopen(f"http://{self.listen}/status.json", timeout=10) as reply:
            status: dict[str, Any] = json.load(reply)
        return status

    def until(self, look: Callable[[], Found | None], what: str) -> Found:
        """Return what `look` finds; raise DemoError where it takes too long."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            if self._agent is not None and self._agent.poll() is not None:
                break
            time.sleep(0.05)
        raise DemoError(f"waited in vain until {what}; the agent's log is {self.log}")

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.listen}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)  # noqa: PLR2004  OK
        except (urllib.error.URLError, OSError):
            return False

    def close(self) -> None:
        """End everything."""
        if self._agent is not None and self._agent.poll() is None:
            self._agent.send_signal(signal.SIGTERM)
            try:
                self._agent.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._agent.kill()
        if self.s3 is not None:
            self.s3.stop()
        self._bolt.stop()


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
