"""Answers are kept for a time and then removed with all files of their requests. Open requests are never removed."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.requests.answers import State
from backup_agent.supervisor.requests import expiry
from tests.supervisor.requests_folder import RequestsFolder

KEEP = timedelta(days=30)
THEN = datetime(2100, 1, 1, 2, 0, tzinfo=UTC)
"""Later than the modification time of any file. Files that are younger than `KEEP` are not read."""

LATER = THEN + KEEP + timedelta(minutes=1)


@pytest.fixture(name="requests")
def _requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RequestsFolder:
    """A requests folder that one call of `expire` sweeps completely, however slow the machine is."""
    monkeypatch.setattr(expiry, "EXPIRY_SECONDS", 60.0)
    return RequestsFolder(tmp_path / "requests")


def answered(requests: RequestsFolder, name: str = "x.request", now: datetime = THEN, **request: Any) -> None:
    """Let the agent take a request and finish it."""
    requests.finish(requests.ask(name, now=THEN, **request), now=now)


def expire(requests: RequestsFolder, now: datetime = LATER) -> int:
    """Remove the expired files; return how many were removed."""
    return requests.spool.expiry.expire(now, KEEP)


# Files that are removed


def test_all_files_of_an_old_answered_request_are_removed(requests: RequestsFolder) -> None:
    answered(requests, "x.request")
    answered(requests, "y.json")

    assert expire(requests) == 6
    assert requests.files() == []


def test_backup_status_is_removed_with_its_answer(requests: RequestsFolder) -> None:
    answered(requests, "backup.request")
    assert requests.word == "COMPLETED"
    expire(requests)

    assert requests.files() == []


def test_a_rejected_file_is_removed_with_its_answer(requests: RequestsFolder) -> None:
    requests.ask("x.request", b"not JSON", now=THEN)
    requests.ask("y.request", b"not JSON", now=THEN + timedelta(days=1))

    assert expire(requests) == 3
    assert [name for name in requests.files() if name.endswith("status.json")] == ["y.status.json"]
    assert len(requests.files()) == 3


@pytest.mark.parametrize("gone", ["x.status.json", "answers/one.json", ".spool/done/one.json"])
def test_files_that_a_crash_left_of_a_removed_request_are_removed(requests: RequestsFolder, gone: str) -> None:
    answered(requests, id="one")
    (requests.path / gone).unlink()
    requests.restart()
    expire(requests)

    assert requests.files() == []


def test_the_id_of_a_removed_request_can_be_used_again(requests: RequestsFolder) -> None:
    answered(requests, id="one")
    expire(requests)
    requests.drop(id="one")
    taken = requests.spool.take("x.request", LATER)

    assert taken is not None
    assert taken.new


# Files that are kept


def test_a_recently_answered_request_is_kept(requests: RequestsFolder) -> None:
    answered(requests, now=THEN + timedelta(hours=1))
    before = requests.files()

    assert (expire(requests), requests.files()) == (0, before)


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_an_open_request_is_kept_however_old_it_is(requests: RequestsFolder, state: State) -> None:
    answer = requests.ask(now=THEN)
    if state is State.RUNNING:
        requests.spool.save(answer.becomes(State.RUNNING, THEN))
    before = requests.files()

    assert (expire(requests, LATER + timedelta(days=1000)), requests.files()) == (0, before)


def test_the_answer_of_a_newer_request_with_the_same_file_name_is_kept(requests: RequestsFolder) -> None:
    answered(requests)
    newer = requests.ask(now=THEN + timedelta(days=2))
    expire(requests)

    assert requests.files() == [f".spool/open/{newer.id}.json", f"answers/{newer.id}.json", "x.status.json"]


def test_a_rejected_directory_is_kept(requests: RequestsFolder) -> None:
    (requests.path / "x.request").mkdir()
    (requests.path / "x.request" / "data").write_text("mine")
    requests.take(now=THEN)
    expire(requests)

    rejected = requests.path / ".spool" / "rejected"
    assert [path.read_text() for path in rejected.glob("*/data")] == ["mine"]


def test_a_file_that_is_not_an_answer_is_kept(requests: RequestsFolder) -> None:
    for folder in (".", "answers", ".spool/done", ".spool/rejected"):
        (requests.path / folder / "mine.status.json").write_text("{}")
    os.mkfifo(requests.path / "pipe.status.json")
    (requests.path / "link.status.json").symlink_to("mine.status.json")
    before = requests.files()

    assert (expire(requests), requests.files()) == (0, before)


# Duration of a call and of a sweep


def test_a_call_takes_a_short_time_and_the_next_one_continues(
    requests: RequestsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        answered(requests, f"{number}.request")
    monkeypatch.setattr(expiry, "EXPIRY_SECONDS", 0.0)
    removed = [expire(requests) for _ in range(40)]

    assert max(removed) == 1
    assert requests.files() == []


def test_the_next_sweep_begins_after_a_tenth_of_keep_answers(requests: RequestsFolder) -> None:
    keep = timedelta(seconds=30)
    assert requests.spool.expiry.expire(THEN, keep) == 0
    answered(requests, now=THEN - keep - timedelta(seconds=1))

    assert [requests.spool.expiry.expire(THEN + timedelta(seconds=second), keep) for second in (2, 3)] == [0, 3]


def test_a_missing_folder_does_not_stop_later_sweeps(requests: RequestsFolder) -> None:
    answered(requests)
    (requests.path / "answers").rename(requests.path / "elsewhere")

    assert expire(requests) == 1
