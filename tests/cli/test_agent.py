"""The commands beside a live agent: the whole way of a user, once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.live import Live, until


@pytest.fixture(name="live")
def _live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path) as live:
        live.write_settings(http={"listen": f"127.0.0.1:{free_port()}"})
        yield live.start()


def free_port() -> int:
    import socket  # noqa: PLC0415  for this alone

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(live: Live, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backup_agent", "--config", live.config, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def told(live: Live, *arguments: str) -> Any:
    return json.loads(run(live, *arguments, "--json").stdout)


def test_a_user_asks_for_a_backup_finds_it_and_cancels_another(live: Live) -> None:
    asked = run(live, "request", "--wait", "--type", "FULL", "--database", "orders", "--id", "first")
    assert asked.returncode == 0, asked.stderr
    assert asked.stderr.startswith("dropped\n")
    key = f"default/orders/{live.artifacts()[0]}"
    assert asked.stdout.startswith("first: succeeded\n  orders: FULL (asked), ")
    assert asked.stdout.endswith(f" {key}\n")

    assert [one["key"] for one in told(live, "list")["artifacts"]] == [key]
    assert told(live, "show", key)["request"] == "first"
    assert told(live, "show", "first")["databases"]["orders"]["artifact"] == key
    assert [one["newest"] for one in told(live, "status")["databases"]] == [key]
    assert "default/orders" in run(live, "status").stdout

    live.change(lambda cluster: cluster.with_faults({"command": "backup", "do": "hang"}))
    run(live, "request", "--id", "slow", "--database", "orders")
    until(lambda: [one for one in told(live, "status")["running"] if one["kind"] == "backup"], "run under way")
    ended = run(live, "request", "--action", "cancel", "--id", "slow", "--wait")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert live_answer(live, "slow")["state"] == "cancelled"


def live_answer(live: Live, identity: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        answer: dict[str, Any] = told(live, "show", identity)
        return answer if "finished" in answer else None

    return until(look, f"last answer to {identity}")


def test_a_second_agent_is_refused_the_volume(live: Live) -> None:
    second = run(live, "run")

    assert second.returncode == 4
    assert "another agent has locked this storage root" in second.stderr
    assert "HINT: " in second.stderr
