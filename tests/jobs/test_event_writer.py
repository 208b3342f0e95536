"""A child whose supervisor has gone."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import sys
from pathlib import Path
from backup_agent.core.requests.events import Surveyed
from backup_agent.core.requests.tasks import SurveyTask
from backup_agent.jobs.event_writer import begin

_, _, events = begin(SurveyTask)
try:
    while True:
        events.tell(Surveyed())
except OSError:
    Path(sys.argv[1]).touch()
"""


TASK = b'{"open_runs": [], "settings": {"cluster": "demo", "neo4j": {"uri": "neo4j://demo:7687"}}}'


@pytest.mark.process
def test_a_child_without_a_supervisor_does_not_clean_up(tmp_path: Path) -> None:
    tidied = tmp_path / "tidied"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tidied)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin
    assert child.stdout
    child.stdin.write(TASK + b"\n")
    child.stdin.flush()
    child.stdout.readline()
    child.stdout.close()
    try:
        child.wait(0.5)
    except subprocess.TimeoutExpired:
        child.stdin.close()

    assert child.wait(4) == -signal.SIGKILL
    assert not tidied.exists()
