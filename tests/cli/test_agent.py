"""The commands with a live agent, and two agents at one volume."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog import root_lock
from backup_agent.cli import main
from tests.agent.live import Live
from tests.cli.conftest import Place
from tests.polling import until


@pytest.fixture(name="live")
def _live(tmp_path: Path) -> Iterator[Live]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        page = f"127.0.0.1:{probe.getsockname()[1]}"
    with Live(tmp_path) as live:
        live.write_settings(http={"listen": "127.0.0.1:0", "probes": "127.0.0.1:0", "page": page})
        yield live.start()


def test_a_user_asks_for_a_backup_finds_it_and_cancels_another(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main.code(["--config", str(live.config), *arguments])
        return code, capsys.readouterr().out

    def json_of(*arguments: str) -> Any:
        return json.loads(run(*arguments, "--json")[1])

    code, out = run("request", "--wait", "--type", "FULL", "--database", "orders", "--id", "first")
    assert code == 0, out
    key = f"default/orders/{live.artifacts()[0]}"
    assert out.startswith("first: succeeded\n  orders: FULL (asked), ")
    assert out.endswith(f" {key}\n")

    assert [one["key"] for one in json_of("list")["artifacts"]] == [key]
    assert json_of("show", key)["request"] == "first"
    assert json_of("show", "first")["databases"]["orders"]["artifact"] == key
    assert [one["newest"] for one in json_of("status")["databases"]] == [key]
    assert "\ndefault/orders " in run("status")[1]

    whole, printed = run("verify", "--all")
    assert whole == 0, printed
    assert "  local: 1 read again and undamaged, 1 of 1 artifact and " in printed
    assert run("verify", "--chain", key)[0] == run("verify", "--database", "orders")[0] == 0
    assert run("verify", "--database", "customers")[0] == 1
    assert run("verify", "--all", key)[0] == run("verify", "--chain")[0] == 2

    live.change(lambda cluster: cluster.with_faults({"command": "backup", "do": "hang"}))
    assert run("request", "--id", "slow", "--database", "orders")[0] == 0
    until(lambda: [one for one in json_of("status")["running"] if one["kind"] == "backup"], "run under way")
    assert run("request", "--action", "cancel", "--id", "slow", "--wait")[0] == 0
    until(lambda: json_of("show", "slow")["state"] == "cancelled", "end of the cancelled request")


def test_a_second_agent_is_refused_the_volume(place: Place) -> None:
    held = root_lock.own(place.root)
    try:
        second = subprocess.run(
            [sys.executable, "-m", "backup_agent", "run", "--config", place.config],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(held)

    assert second.returncode == 4
    assert "another agent has locked this storage root" in second.stderr
    assert "HINT: " in second.stderr


def test_every_fault_of_the_settings_is_reported_by_the_agent_itself(place: Place) -> None:
    place.settings |= {"cluster": [], "colour": "red"}
    completed = subprocess.run(
        [sys.executable, "-m", "backup_agent", "run", "--config", place.config],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (completed.returncode, completed.stdout) == (2, "")
    assert completed.stderr.startswith(f"backup-agent: 2 faults in the settings ({place.config}):\n")
    assert "\n  colour: unknown key" in completed.stderr


def test_the_log_is_json_with_the_option_json(place: Place) -> None:
    place.settings |= {
        "log": {"format": "console"},
        "http": {"listen": "127.0.0.1:0", "probes": "127.0.0.1:0", "page": "127.0.0.1:0"},
        "schedules": {},
    }
    with subprocess.Popen(
        [sys.executable, "-m", "backup_agent", "run", "--json", "--config", place.config],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        process.kill()

    assert first["event"] == "agent started"
