"""The worked session of docs/restore.md. `python -m tests.cli.session` writes the outputs of its commands anew."""

import re
import shlex
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from backup_agent.cluster.saved_topology import save_topology
from backup_agent.core.artifacts.names import database_name
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.neo4j.topology import Copy, Topology
from tests.builders import a_header, a_record, settings_tree
from tests.catalog.places import filled

PAGE = Path(__file__).parents[2] / "docs/restore.md"
AGENT = ["kubectl", "exec", "demo-backup-0", "--", "backup-agent"]

MORNING = datetime(2026, 11, 23, 5, 15, tzinfo=UTC)
"""The time of the session: 06:15 in Berlin."""

OUTPUT = re.compile(r"^    \$ (?P<command>.*)\n(?P<output>(?:    (?!\$ ).*\n|\n(?=    (?!\$ )))*)", re.MULTILINE)
"""A command that is shown with `$`, and the output below it."""


def sessions(page: str) -> list[tuple[str, str]]:
    """Return each command of a page that is shown with `$`, and the output below it."""
    return [(one["command"], re.sub(r"^    ", "", one["output"], flags=re.MULTILINE)) for one in OUTPUT.finditer(page)]


def fill_volume(root: Path) -> None:
    """Put a night of backups on a volume: a full at midnight UTC, and a differential each hour."""
    definition = Definition(primaries=3, secondaries=0, default_language="CYPHER 25", aliases=("sales",))
    volume = filled(root)
    for hour in (-2, -1, 0, 1):
        full = hour == -2
        header = a_header(hour, full=full, lowest=1 if full else 100 * (hour + 3), highest=100 * (hour + 4) - 1)
        facts: dict[str, Any] = {"definition": definition, "clock_offset": 0.0, "last_committed_tx": 4000 + 100 * hour}
        volume.add(a_record(header=header, admin_version="2026.09.0", **facts))
    copies = [
        Copy(
            database=database,
            address=f"demo-server-{number}.demo-headless.prod.svc.cluster.local:7687",
            server_id=f"id-{number}",
        )
        for database in map(database_name, ("neo4j", "orders", "system"))
        for number in range(3)
    ]
    topology = Topology(seen=MORNING, copies=tuple(copies), aliases={"sales": "orders"}, versions=("2026.09.0",))
    save_topology(root, topology)


def aged(text: str) -> str:
    """Return the output of `list` with the ages at the time of the session instead of the present ones."""

    def age(found: re.Match[str]) -> str:
        hours = int((MORNING - datetime.fromisoformat(found[1])).total_seconds()) // 3600
        return f"{found[1]}  {f'{hours}h':<3}  "

    return re.sub(r"(\d{4}-\d\d-\d\d \d\d:\d\dZ) +\d+[smhd] +", age, re.sub(r"(?<=  )AGE +", "AGE  ", text))


def _run(folder: Path, command: str) -> str:
    words = [sys.executable, "-m", "backup_agent", "--config", str(folder / "config.yaml")]
    return subprocess.run([*words, *shlex.split(command)[5:]], capture_output=True, text=True, check=True).stdout


def _shown(folder: Path, found: re.Match[str]) -> str:
    lines = [f"$ {found['command']}", *aged(_run(folder, found["command"])).rstrip("\n").split("\n")]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        (made / "backups").mkdir()
        fill_volume(made / "backups")
        storage = {"root": str(made / "backups"), "require_volume": "never"}
        settings = settings_tree(storage=storage, requests={"folder": str(made / "requests")})
        (made / "config.yaml").write_text(yaml.safe_dump(settings))
        PAGE.write_text(OUTPUT.sub(lambda found: _shown(made, found), PAGE.read_text()))
