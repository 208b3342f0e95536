"""The doctor of a live agent: it runs by itself, and the command beside it has the same findings."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.agent.live import Live
from tests.polling import until

SOON = Path(__file__).parent / "examining"


def test_a_live_agent_runs_its_doctor_by_itself_and_the_command_finds_the_same(live: Live) -> None:
    path = os.pathsep.join(filter(None, (str(SOON), os.environ.get("PYTHONPATH"))))
    live.start(PYTHONPATH=path)
    until(lambda: live.events("checks made"), "run of the doctor", patience=120)
    command = (sys.executable, "-m", "backup_agent", "doctor", "--json", "--config", str(live.config))
    completed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    by_command = {one["check"]: one["outcome"] for one in json.loads(completed.stdout)["checks"]}
    by_agent = {one["finding"]["check"]: one["finding"]["outcome"] for one in live.status()["doctor"]["checks"]}

    assert by_agent == by_command
