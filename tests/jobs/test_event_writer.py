"""Events of children: estimates of an upload, and the end of a child without a supervisor."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backup_agent.core.requests.events import Progress, parse
from backup_agent.jobs.event_writer import EventWriter

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
def test_a_child_whose_supervisor_has_ended_does_not_clean_up(tmp_path: Path) -> None:
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


def test_the_remaining_time_of_a_resumed_upload_is_estimated_from_the_bytes_sent_since_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, events = [0.0], []
    monkeypatch.setattr("backup_agent.jobs.event_writer.time.monotonic", lambda: clock[0])
    writer = EventWriter(lambda line: events.append(parse(line.encode())))

    for clock[0], done in ((100.0, 900), (110.0, 910), (120.0, 950), (130.0, 10), (135.0, 60)):
        writer.progress(done, 1000)

    estimates = [event.estimated_seconds for event in events if isinstance(event, Progress)]
    assert estimates == [None, 90.0, 20.0, None, 94.0]
