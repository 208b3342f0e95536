"""The doctor of a live agent: it runs again and again by itself, and the command finds the same beside it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.live import Live
from tests.polling import until

SHORT_DAYS = Path(__file__).parent / "short_days"


@pytest.mark.nightly
def test_a_live_agent_runs_its_doctor_daily_and_the_command_finds_the_same(live: Live) -> None:
    """A failing check would be looked at again sooner than after a day, so those that fail here are accepted."""
    checks = (
        "plain_bolt",
        "bolt",
        "backup_ports",
        "neo4j_admin",
        "volume",
        "room",
        "password",
        "host",
        "requests_folder",
    )
    live.settings["doctor"] = {"accept": {name: {"reason": "a test", "until": "2099-12-31"} for name in checks}}
    path = os.pathsep.join(filter(None, (str(SHORT_DAYS), os.environ.get("PYTHONPATH"))))
    live.start(PYTHONPATH=path)
    until(lambda: len(live.events("checks made")) >= 2, "second run of the doctor", patience=120)
    command = (sys.executable, "-m", "backup_agent", "doctor", "--json", "--config", str(live.config))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    by_command = {one["check"]: one["outcome"] for one in json.loads(done.stdout)["checks"]}
    by_agent = {one["finding"]["check"]: one["finding"]["outcome"] for one in live.status()["doctor"]["checks"]}

    assert done.returncode == 0, done.stdout
    assert by_agent == by_command
