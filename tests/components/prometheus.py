"""Debian's Prometheus: scrapes a real page, answers queries, and checks names and rules with promtool."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.components.cache import MissingComponentError
from tests.components.ports import Port
from tests.components.process import Server


class Prometheus(Server):
    """Scrapes the given `host:port` targets' /metrics every second."""

    name = "Prometheus"

    def __init__(self, folder: Path, targets: Sequence[str], *, rules: Sequence[Path] = ()) -> None:
        super().__init__(folder / "prometheus.log")
        self._folder = folder
        self._port = Port.reserve()
        # JSON is YAML, and needs no library.
        (folder / "prometheus.yml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(path) for path in rules],
                    "scrape_configs": [{"job_name": "agent", "static_configs": [{"targets": list(targets)}]}],
                }
            )
        )

    @property
    def url(self) -> str:
        """The address of its HTTP API."""
        return f"http://127.0.0.1:{self._port.number}"

    def start(self) -> Self:
        """Start the server, and wait until it is ready. The first scrape is some seconds later: call `query` in a loop."""
        self._launch(
            (
                _program("prometheus"),
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port.number}",
            ),
            self._ready,
            environment={},
        )
        return self

    def stop(self) -> None:
        """End the server, and release its port."""
        self.kill()
        self._port.release()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the instant vector of an expression. It is empty if nothing matches yet."""
        answer = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        return list(json.loads(answer)["data"]["result"])

    def _ready(self) -> bool:
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=5) as response:
            return bytes(response.read())


def promtool(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run promtool. Return its exit code (0: no fault, 1 or 3: faults) and its output."""
    completed = subprocess.run(
        (_program("promtool"), *arguments), input=stdin, capture_output=True, check=False, timeout=300
    )
    return subprocess.CompletedProcess(
        completed.args, completed.returncode, completed.stdout.decode(), completed.stderr.decode()
    )


def check_metrics(page: bytes) -> str:
    """Return promtool's complaints about a /metrics page, or an empty text."""
    completed = promtool("check", "metrics", stdin=page)
    return "" if completed.returncode == 0 else completed.stdout + completed.stderr


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise MissingComponentError.package(name, "prometheus")
    return path
