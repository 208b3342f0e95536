"""A live agent for tests: the real process, a simulated cluster over Bolt, the neo4j-admin stand-in.

Everything is seen from outside, as a user would: files, HTTP, the log, signals.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from backup_agent import processes
from backup_agent.standins import cluster as simulated
from backup_agent.standins.bolt import BoltServer, Restoring
from backup_agent.standins.neo4j_admin import install
from tests.polling import PATIENCE, until

PASSWORD = "secret-password"
PROBES = ("/livez", "/readyz")
FINAL = {"succeeded", "succeeded_with_warnings", "failed", "cancelled", "rejected"}


class Live:
    """One agent and its world below one folder. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        cluster: simulated.Cluster | None = None,
        *,
        bolt: bool = True,
        restoring: Restoring | None = None,
    ) -> None:
        self.folder = folder
        self.requests = folder / "backup-requests"
        self.root = folder / "backups"
        self.config = folder / "config.yaml"
        self.cluster_folder = folder / "cluster"
        self.home = folder / "bin"
        for made in (self.cluster_folder, self.home):
            made.mkdir(parents=True)
        world = cluster or simulated.three_servers(databases=("neo4j", "orders"))
        simulated.save(world, self.cluster_folder)
        self.admin = install(self.home, self.cluster_folder)
        self.bolt = BoltServer(self.cluster_folder, restoring=restoring) if bolt else None
        self.process: subprocess.Popen[bytes] | None = None
        self.reader = threading.Thread()
        self.environ: dict[str, str] = {}
        self.prefix: tuple[str, ...] = ()
        """Words before the agent's command line, such as a program that changes limits."""
        self.by_command = False
        """Whether to start `backup-agent run`, which reads the settings and then executes the supervisor."""
        self.lines: list[dict[str, Any]] = []
        self.text: list[str] = []
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        self.settings: dict[str, Any] = {
            "cluster": "demo",
            "neo4j": {
                "uri": "neo4j://127.0.0.1:1",
                "password_file": str(password),
                "admin": str(self.admin),
                "backup_addresses": self._backup_addresses(world),
            },
            "requests": {"folder": str(self.requests)},
            "storage": {"root": str(self.root)},
            "schedules": {},
            "http": {"listen": "127.0.0.1:0", "probes": "127.0.0.1:0", "page": "127.0.0.1:0"},
            "log": {"format": "json", "level": "debug"},
        }

    def _backup_addresses(self, world: simulated.Cluster) -> dict[str, str]:
        return {server.id: server.backup for server in world.servers}

    def __enter__(self) -> Self:
        if self.bolt is not None:
            self.bolt.start()
            self.settings["neo4j"]["uri"] = self.bolt.uri("server-0", scheme="neo4j")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        processes.end_left_behind(str(self.root))
        if self.process is not None:
            self.reader.join(timeout=5)
        if self.bolt is not None:
            self.bolt.stop()

    @property
    def cluster(self) -> simulated.Cluster:
        return simulated.load(self.cluster_folder)

    def change(self, change: Callable[[simulated.Cluster], simulated.Cluster]) -> None:
        """Change the cluster."""
        simulated.save(change(self.cluster), self.cluster_folder)

    def write_settings(self, **changes: Any) -> None:
        self.settings = {**self.settings, **changes}
        self.settings["storage"].setdefault("require_volume", "never")  # the tests may run in a container
        self.config.write_text(yaml.safe_dump(self.settings))

    def start(self, *, ready: bool = True, **environ: str) -> "Live":
        """Start the agent, and wait until it is ready."""
        self.write_settings()
        if self.process is not None:
            self.reader.join(
                timeout=5
            )  # otherwise a line of the previous process, with its port, may arrive after the list was cleared
        self.lines.clear()
        supervisor = ["-OO", "-m", "backup_agent.supervisor", str(self.config)]
        self.process = subprocess.Popen(
            [
                *self.prefix,
                sys.executable,
                *(("-m", "backup_agent", "run", "--config", str(self.config)) if self.by_command else supervisor),
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **self.environ, **environ},
            cwd=self.folder,
        )
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        if ready:
            until(self.is_ready, "ready agent")
        return self

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            self._read_lines(stream)

    def _read_lines(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode()
            self.text.append(text)
            try:
                self.lines.append(json.loads(text))
            except ValueError:
                continue

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        return [line for line in list(self.lines) if line.get("event") == name]

    @property
    def port(self) -> int | None:
        """The port of /metrics; None before the agent listens."""
        return self._port("http")

    @property
    def probes_port(self) -> int | None:
        """The port of /livez and /readyz; None before the agent listens."""
        return self._port("probes")

    @property
    def page_port(self) -> int | None:
        """The port of /status.json; None before the agent listens."""
        return self._port("page")

    def _port(self, server: str) -> int | None:
        started = self.events("agent started")
        return int(started[0][server]) if started else None

    def get(self, path: str) -> tuple[int, str]:
        port = self.probes_port if path in PROBES else self.page_port if path in ("/", "/status.json") else self.port
        url = f"http://127.0.0.1:{port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def status(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.get("/status.json")[1])
        return content

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples of a metric with these labels, or None without samples."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the agent ended with {self.process.returncode}:\n{''.join(self.text)}")
        try:
            return self.port is not None and self.get("/readyz")[0] == 200
        except OSError:
            return False

    def drop(self, name: str = "x.request", **content: Any) -> None:
        """Drop a request as the predecessor's debug command does: not atomically."""
        text = json.dumps(content)
        subprocess.run(["sh", "-c", 'printf "%s\\n" "$1" > "$2"', "sh", text, str(self.requests / name)], check=True)

    def answer(self, name: str = "x", *, final: bool = True, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait for the final answer beside a request, and return it."""

        def look() -> dict[str, Any] | None:
            try:
                content: dict[str, Any] = json.loads((self.requests / f"{name}.status.json").read_text())
            except (OSError, ValueError):
                return None
            return content if content["state"] in FINAL or not final else None

        return until(look, f"answer to {name}", patience)

    def ask(self, name: str = "x", *, patience: float = PATIENCE, **content: Any) -> dict[str, Any]:
        """Drop a request, wait for its final answer, and return it."""
        (self.requests / f"{name}.status.json").unlink(missing_ok=True)
        self.drop(f"{name}.request", **content)
        return self.answer(name, patience=patience)

    def fault(self, *faults: dict[str, Any]) -> None:
        """Set the faults of the neo4j-admin stand-in."""
        self.change(lambda cluster: cluster.with_faults(*faults))

    def commit(self, database: str = "orders", count: int = 3) -> None:
        """Commit transactions, and wait for the next second, since artifacts are named by the second."""
        self.change(lambda cluster: cluster.with_transactions(database, count))
        taken = max((record["header"]["taken"] for record in self.records(database=database)), default="")
        until(lambda: time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) > taken[:19], "another second")

    def handled(self, schedule: str, cron: str, ago: timedelta) -> None:
        """Write the state of a schedule that an earlier process of the agent handled some time ago."""
        through = (datetime.now(UTC) - ago).isoformat()
        kept = {"schema": 1, "schedules": {schedule: {"through": through, "cron": cron}}}
        (self.root / ".agent").mkdir(parents=True, exist_ok=True)
        (self.root / ".agent" / "schedules.json").write_text(json.dumps(kept))

    def command(self, *words: str, code: int = 0) -> Any:
        """Run a command as `kubectl exec … backup-agent` does. Return its JSON output."""
        return json.loads(self.printed(*words, code=code))

    def printed(self, *words: str, code: int = 0) -> str:
        """Run a command with --json. Return its output."""
        completed = subprocess.run(
            [sys.executable, "-m", "backup_agent", *words, "--json", "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **self.environ},
        )
        assert completed.returncode == code, completed.stderr or completed.stdout
        return completed.stdout

    def answer_of(self, identity: str) -> dict[str, Any]:
        """Return the present answer to an id, or an empty mapping if there is no answer yet."""
        try:
            content: dict[str, Any] = json.loads((self.requests / "answers" / f"{identity}.json").read_text())
        except (OSError, ValueError):
            return {}
        return content

    def final(self, identity: str, *, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait for the final answer to an id, and return it."""

        def look() -> dict[str, Any] | None:
            answer = self.answer_of(identity)
            return answer if answer.get("state") in FINAL else None

        return until(look, f"last answer to {identity}", patience)

    def until_stage(self, identity: str, stage: str = "checkpoint") -> None:
        """Wait until a request's backup is in a stage: `checkpoint` is where the stand-in hangs or is slow."""
        until(lambda: self.answer_of(identity).get("stage") == stage, f"stage {stage} of {identity}")

    def until_idle(self) -> None:
        """Wait until no run is under way and no run has left a process. Retention follows each success.

        Children that wait for their next run may exist.
        """
        until(lambda: not self.status()["running"] and not list(self.leftovers()), "end of every run")

    def end_waiting(self) -> None:
        """End the children that wait for their next run, so that the next run gets a new process."""
        self.until_idle()
        waiting = list(self.processes())
        for pid in waiting:
            processes.send(pid, signal.SIGTERM)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in waiting), "end of the children that waited")

    def leftovers(self) -> Iterator[int]:
        """Yield the processes of runs that the agent did not start itself, such as neo4j-admin."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                if os.getsid(pid) != pid:
                    yield pid

    def open_entries(self) -> list[str]:
        """Return the entries in the spool without a final answer."""
        spool = self.requests / ".spool"
        return sorted(path.name for place in ("incoming", "open") for path in (spool / place).iterdir())

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill only the supervisor."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """Kill the agent and all its processes at once, as the kernel does if a container runs out of memory."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self._kill_runs()
        self.kill()
        until(self._kill_runs, "end of all processes")

    def _kill_runs(self) -> bool:
        """Kill the processes of runs. Return whether there were none, since one may have forked during the listing."""
        found = list(self.processes())
        for pid in found:
            processes.send(pid, signal.SIGKILL)
        return not found

    def end(self) -> int:
        """Ask the agent to end. Return its exit code."""
        assert self.process is not None
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)

    def processes(self) -> Iterator[int]:
        """Yield the processes of runs."""
        yield from (pid for pid, state in self._states() if state != "Z")

    def stopped(self) -> Iterator[int]:
        """Yield the processes of runs that a signal has stopped."""
        yield from (pid for pid, state in self._states() if state == "T")

    def _states(self) -> Iterator[tuple[int, str]]:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            marked = any(
                item.startswith(processes.TAG.encode()) and item.endswith(b":" + str(self.root).encode())
                for item in environment.split(b"\0")
            )
            if marked:
                yield int(entry.name), state

    def artifacts(self, set_name: str = "default", database: str = "orders") -> list[str]:
        folder = self.root / set_name / database
        return sorted(path.name for path in folder.glob("*.backup")) if folder.exists() else []

    def records(self, set_name: str = "default", database: str = "orders") -> list[dict[str, Any]]:
        folder = self.root / set_name / database
        found = []
        for path in sorted(folder.glob("*.backup.json")):
            with suppress(FileNotFoundError):  # retention is at work
                found.append(json.loads(path.read_text()))
        return found
