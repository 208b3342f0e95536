"""Answers are kept for a time and then removed with all that belongs to them. Open requests never are."""

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
"""Later than the modification time of any file: a file that is younger than `KEEP` is not even read."""

LATER = THEN + KEEP + timedelta(minutes=1)


@pytest.fixture(name="requests")
def _requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RequestsFolder:
    """A requests folder of which one call of `expire` sees everything, however slow the machine is."""
    monkeypatch.setattr(expiry, "EXPIRY_SECONDS", 60.0)
    return RequestsFolder(tmp_path / "requests")


def answered(requests: RequestsFolder, name: str = "x.request", now: datetime = THEN, **request: Any) -> None:
    """Let a request be taken and succeed."""
    requests.finish(requests.ask(name, now=THEN, **request), now=now)


def expire(requests: RequestsFolder, now: datetime = LATER) -> int:
    """Remove what has had its time; return how many files that were."""
    return requests.spool.expiry.expire(now, KEEP)


# What goes


def test_a_request_that_was_answered_long_ago_goes_with_all_its_files(requests: RequestsFolder) -> None:
    answered(requests, "x.request")
    answered(requests, "y.json")

    assert expire(requests) == 6
    assert requests.files() == []


def test_the_word_of_the_predecessor_goes_with_its_answer(requests: RequestsFolder) -> None:
    answered(requests, "backup.request")
    assert requests.word == "COMPLETED"
    expire(requests)

    assert requests.files() == []


def test_a_rejected_file_goes_with_its_answer(requests: RequestsFolder) -> None:
    requests.ask("x.request", b"not JSON", now=THEN)
    requests.ask("y.request", b"not JSON", now=THEN + timedelta(days=1))

    assert expire(requests) == 3
    assert [name for name in requests.files() if name.endswith("status.json")] == ["y.status.json"]
    assert len(requests.files()) == 3


@pytest.mark.parametrize("gone", ["x.status.json", "answers/one.json", ".spool/done/one.json"])
def test_what_a_crash_left_of_a_removed_request_goes_too(requests: RequestsFolder, gone: str) -> None:
    answered(requests, id="one")
    (requests.path / gone).unlink()
    requests.restart()
    expire(requests)

    assert requests.files() == []


def test_an_id_whose_request_was_removed_is_new_again(requests: RequestsFolder) -> None:
    answered(requests, id="one")
    expire(requests)
    requests.drop(id="one")
    taken = requests.spool.take("x.request", LATER)

    assert taken is not None
    assert taken.new


# What stays


def test_a_request_that_was_answered_lately_stays(requests: RequestsFolder) -> None:
    answered(requests, now=THEN + timedelta(hours=1))
    before = requests.files()

    assert (expire(requests), requests.files()) == (0, before)


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_an_open_request_stays_however_old_it_is(requests: RequestsFolder, state: State) -> None:
    answer = requests.ask(now=THEN)
    if state is State.RUNNING:
        requests.spool.save(answer.becomes(State.RUNNING, THEN))
    before = requests.files()

    assert (expire(requests, LATER + timedelta(days=1000)), requests.files()) == (0, before)


def test_the_answer_of_a_newer_request_by_the_same_name_stays(requests: RequestsFolder) -> None:
    answered(requests)
    newer = requests.ask(now=THEN + timedelta(days=2))
    expire(requests)

    assert requests.files() == [f".spool/open/{newer.id}.json", f"answers/{newer.id}.json", "x.status.json"]


def test_a_rejected_directory_stays(requests: RequestsFolder) -> None:
    (requests.path / "x.request").mkdir()
    (requests.path / "x.request" / "data").write_text("mine")
    requests.take(now=THEN)
    expire(requests)

    rejected = requests.path / ".spool" / "rejected"
    assert [path.read_text() for path in rejected.glob("*/data")] == ["mine"]


def test_a_file_that_is_no_answer_stays(requests: RequestsFolder) -> None:
    for folder in (".", "answers", ".spool/done", ".spool/rejected"):
        (requests.path / folder / "mine.status.json").write_text("{}")
    os.mkfifo(requests.path / "pipe.status.json")
    (requests.path / "link.status.json").symlink_to("mine.status.json")
    before = requests.files()

    assert (expire(requests), requests.files()) == (0, before)


# How much at a time


def test_a_call_ends_after_a_moment_and_the_next_goes_on(
    requests: RequestsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        answered(requests, f"{number}.request")
    monkeypatch.setattr(expiry, "EXPIRY_SECONDS", 0.0)
    removed = [expire(requests) for _ in range(40)]

    assert max(removed) == 1
    assert requests.files() == []


def test_the_next_sweep_begins_within_a_tenth_of_the_time_kept(requests: RequestsFolder) -> None:
    keep = timedelta(seconds=30)
    assert requests.spool.expiry.expire(THEN, keep) == 0
    answered(requests, now=THEN - keep - timedelta(seconds=1))

    assert [requests.spool.expiry.expire(THEN + timedelta(seconds=second), keep) for second in (2, 3)] == [0, 3]


def test_a_missing_folder_hinders_no_other(requests: RequestsFolder) -> None:
    answered(requests)
    (requests.path / "answers").rename(requests.path / "elsewhere")

    assert expire(requests) == 1
