"""The calendar: which requests a check submits, and what is kept on the volume."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.requests.request import Request
from backup_agent.core.requests.schedules import request_id
from backup_agent.supervisor.schedules.calendar import Calendar
from tests.builders import ATTRIBUTION, a_spool, settings_with

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Queue:
    """Accepts the requests. Raises OSError while `broken`, and says that a request waits while `busy`."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Request]] = []
        self.broken = False
        self.busy = False

    def submit(self, request: Request, schedule: str) -> None:
        if self.broken:
            raise OSError("no folder")
        self.taken.append((schedule, request))

    def waits(self, _schedule: str) -> bool:
        return self.busy

    @property
    def ids(self) -> list[str | None]:
        return [request.id for _, request in self.taken]


@pytest.fixture(name="queue")
def _queue() -> Queue:
    return Queue()


def calendar(folder: Path, queue: Queue, **schedules: dict[str, Any]) -> Calendar:
    """Return the calendar of a new agent."""
    settings = settings_with(schedules=schedules)
    made = Calendar(folder / "schedules.json", queue.submit, queue.waits)
    made.schedules = settings.schedules
    made.timetables = settings.timetables()
    made.load()
    return made


def test_a_due_time_is_submitted_once_however_often_it_is_checked(tmp_path: Path, queue: Queue) -> None:
    made = calendar(
        tmp_path,
        queue,
        often={"cron": "* * * * *", "type": "DIFF", "databases": ["ord*"], "path": "fast"},
    )
    made.check(NOON)
    assert queue.taken == []
    for _ in range(3):
        made.check(NOON + MINUTE)

    assert queue.ids == ["often@20261123T120100Z"]
    schedule, request = queue.taken[0]
    assert (schedule, request.type, request.asked, request.path) == ("often", "DIFF", ("ord*",), "fast")
    assert request.fields_given() == {"requested_by": "schedule often"}


def test_a_request_has_the_attribution_of_its_schedule(tmp_path: Path, queue: Queue) -> None:
    made = calendar(tmp_path, queue, often={"cron": "* * * * *", **ATTRIBUTION})
    made.check(NOON)
    made.check(NOON + MINUTE)

    assert queue.taken[0][1].fields_given() == ATTRIBUTION


def test_a_dropped_file_cannot_replace_the_request_of_a_due_time(tmp_path: Path, queue: Queue) -> None:
    """If a file could have the id of a due time, the schedule's request would count as a repetition and not run."""
    made = calendar(tmp_path, queue, often={"cron": "* * * * *"})
    made.check(NOON)
    spool = a_spool(tmp_path / "requests")
    (tmp_path / "requests" / "x.request").write_text(json.dumps({"id": request_id("often", NOON + MINUTE)}))
    spool.take("x.request", NOON)
    made.check(NOON + MINUTE)
    ((schedule, request),) = queue.taken

    assert spool.submit(request, schedule, NOON + MINUTE).new


def test_a_schedule_of_every_minute_runs_every_minute(tmp_path: Path, queue: Queue) -> None:
    made = calendar(tmp_path, queue, often={"cron": "* * * * *"})
    for minute in range(4):
        made.check(NOON + minute * MINUTE)

    assert queue.ids == [f"often@20261123T120{minute}00Z" for minute in (1, 2, 3)]


def test_a_restarted_agent_continues_after_the_last_handled_due_time(tmp_path: Path, queue: Queue) -> None:
    calendar(tmp_path, queue, hourly={"cron": "0 * * * *"}).check(NOON)
    later = NOON + timedelta(hours=3, minutes=30)
    made = calendar(tmp_path, queue, hourly={"cron": "0 * * * *"})
    made.check(later)
    calendar(tmp_path, queue, hourly={"cron": "0 * * * *"}).check(later)

    assert queue.ids == ["hourly@20261123T150000Z"]
    assert made.counts["hourly"].missed == 2


def test_a_waiting_request_also_serves_the_due_times_that_follow(tmp_path: Path, queue: Queue) -> None:
    made = calendar(tmp_path, queue, often={"cron": "* * * * *"})
    made.check(NOON)
    queue.busy = True
    made.check(NOON + MINUTE)
    made.check(NOON + 2 * MINUTE)
    queue.busy = False
    made.check(NOON + 3 * MINUTE)

    assert queue.ids == ["often@20261123T120300Z"]
    assert made.counts["often"].coalesced == 2


def test_a_resumed_schedule_does_not_run_for_due_times_while_it_was_suspended(tmp_path: Path, queue: Queue) -> None:
    made = calendar(tmp_path, queue, often={"cron": "* * * * *", "suspend": True})
    made.check(NOON)
    made.check(NOON + 5 * MINUTE)
    made = calendar(tmp_path, queue, often={"cron": "* * * * *"})
    made.check(NOON + 5 * MINUTE)

    assert queue.taken == []


def test_a_changed_schedule_has_missed_no_runs(tmp_path: Path, queue: Queue) -> None:
    calendar(tmp_path, queue, nightly={"cron": "0 2 * * *"}).check(NOON - timedelta(days=3))
    calendar(tmp_path, queue, nightly={"cron": "0 3 * * *"}).check(NOON)

    assert queue.taken == []


def test_the_state_is_written_after_the_request_is_in_the_spool(tmp_path: Path, queue: Queue) -> None:
    made = calendar(tmp_path, queue, often={"cron": "* * * * *"})
    made.check(NOON)
    queue.broken = True
    with pytest.raises(OSError, match="no folder"):
        made.check(NOON + MINUTE)
    kept = json.loads((tmp_path / "schedules.json").read_text())

    assert kept["schedules"]["often"]["through"] == "2026-11-23T12:00:00Z"
    queue.broken = False
    made.check(NOON + MINUTE)
    assert queue.ids == ["often@20261123T120100Z"]


def test_if_the_state_cannot_be_written_schedules_run_and_it_is_written_later(tmp_path: Path, queue: Queue) -> None:
    folder = tmp_path / "gone"
    made = calendar(folder, queue, often={"cron": "* * * * *"})
    made.check(NOON)
    made.check(NOON + MINUTE)
    assert len(queue.taken) == 1
    folder.mkdir()
    made.check(NOON + MINUTE)

    assert (folder / "schedules.json").exists()
    assert len(queue.taken) == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema":2,"schedules":{}}'], ids=["empty", "cut", "newer"])
def test_an_unreadable_state_counts_as_none(tmp_path: Path, queue: Queue, content: bytes) -> None:
    (tmp_path / "schedules.json").write_bytes(content)
    made = calendar(tmp_path, queue, hourly={"cron": "0 * * * *"})
    made.check(NOON + MINUTE)

    assert queue.taken == []
    assert b"hourly" in (tmp_path / "schedules.json").read_bytes()
