"""Answers are kept for a time and then forgotten, with all that belongs to them; what is open never is."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_agent.core.requests.answers import Answer, State
from backup_agent.supervisor.requests import spool as spool_module
from backup_agent.supervisor.requests.spool import Spool

KEEP = timedelta(days=30)
THEN = datetime(2100, 1, 1, 2, 0, tzinfo=UTC)
"""Not before any file's own time, which would only say that it is too young to be read."""

LATER = THEN + KEEP + timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one call see all there is, however slow the machine is."""
    monkeypatch.setattr(spool_module, "EXPIRY_SECONDS", 60.0)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "requests"


@pytest.fixture(name="spool")
def _spool(folder: Path) -> Spool:
    return new_life(folder)


def new_life(folder: Path) -> Spool:
    spool = Spool(folder, "/backups", lambda _: None)
    spool.prepare()
    return spool


def take(spool: Spool, name: str, content: bytes = b"{}", *, now: datetime = THEN) -> Answer:
    (spool.folder / name).write_bytes(content)
    taken = spool.take(name, now)
    assert taken is not None
    return taken.answer


def finish(spool: Spool, answer: Answer, *, now: datetime = THEN) -> None:
    spool.save(answer.becomes(State.SUCCEEDED, now))


def files(folder: Path) -> Iterator[Path]:
    spool = folder / ".spool"
    for place in (folder, folder / "answers", *(spool / name for name in ("pending", "running", "done", "rejected"))):
        yield from (path for path in place.iterdir() if not path.is_dir())


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in files(folder))


def expire(spool: Spool, now: datetime = LATER) -> int:
    return spool.expire(now, KEEP)


def test_what_was_answered_long_ago_goes_with_all_its_files(spool: Spool, folder: Path) -> None:
    finish(spool, take(spool, "x.request"))
    finish(spool, take(spool, "y.json"))

    assert expire(spool) == 6
    assert names(folder) == []


def test_what_was_answered_lately_stays(spool: Spool, folder: Path) -> None:
    finish(spool, take(spool, "x.request"), now=THEN + timedelta(hours=1))
    before = names(folder)

    assert expire(spool) == 0
    assert before == names(folder)


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_an_open_request_is_never_forgotten(spool: Spool, folder: Path, state: State) -> None:
    answer = take(spool, "x.request")
    if state is State.RUNNING:
        spool.save(answer.becomes(State.RUNNING, THEN))
    before = names(folder)

    assert expire(spool, LATER + timedelta(days=1000)) == 0
    assert before == names(folder)


def test_the_answer_of_a_newer_request_of_the_name_stays(spool: Spool, folder: Path) -> None:
    finish(spool, take(spool, "x.request"))
    newer = take(spool, "x.request", now=THEN + timedelta(days=2))
    expire(spool)

    assert names(folder) == [f".spool/pending/{newer.id}.json", f"answers/{newer.id}.json", "x.status.json"]


def test_a_rejected_file_goes_with_its_answer(spool: Spool, folder: Path) -> None:
    take(spool, "x.request", b"not JSON")
    take(spool, "y.request", b"not JSON", now=THEN + timedelta(days=1))

    assert expire(spool) == 3
    assert len(names(folder)) == 3
    assert "y.status.json" in names(folder)


def test_a_rejected_folder_stays(spool: Spool, folder: Path) -> None:
    (folder / "x.request").mkdir()
    (folder / "x.request" / "data").write_text("mine")
    spool.take("x.request", THEN)
    expire(spool)

    assert [path.read_text() for path in (folder / ".spool" / "rejected").glob("*/data")] == ["mine"]


def test_the_predecessors_word_goes_with_its_answer(spool: Spool, folder: Path) -> None:
    finish(spool, take(spool, "backup.request"))
    assert (folder / "backup.status").exists()
    expire(spool)

    assert names(folder) == []


def test_an_id_that_was_forgotten_is_new_again(spool: Spool) -> None:
    finish(spool, take(spool, "x.request", b'{"id": "one"}'))
    expire(spool)
    (spool.folder / "x.request").write_bytes(b'{"id": "one"}')
    taken = spool.take("x.request", LATER)

    assert taken is not None
    assert taken.new


def test_what_is_no_answer_stays(spool: Spool, folder: Path) -> None:
    for place in (folder, folder / "answers", folder / ".spool" / "done", folder / ".spool" / "rejected"):
        (place / "mine.status.json").write_text("{}")
    os.mkfifo(folder / "pipe.status.json")
    (folder / "link.status.json").symlink_to("mine.status.json")
    before = names(folder)

    assert expire(spool) == 0
    assert before == names(folder)


@pytest.mark.parametrize("gone", ["x.status.json", "answers/one.json", ".spool/done/one.json"])
def test_a_crash_in_the_middle_leaves_what_the_next_life_forgets(folder: Path, gone: str) -> None:
    spool = new_life(folder)
    finish(spool, take(spool, "x.request", b'{"id": "one"}'))
    (folder / gone).unlink()
    expire(new_life(folder))

    assert names(folder) == []


def test_a_call_takes_a_moment_and_the_next_goes_on(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        finish(spool, take(spool, f"{number}.request"))
    monkeypatch.setattr(spool_module, "EXPIRY_SECONDS", 0.0)
    removed = [expire(spool) for _ in range(40)]

    assert max(removed) == 1
    assert names(folder) == []


def test_the_next_sweep_comes_within_a_tenth_of_the_time_kept(spool: Spool) -> None:
    keep = timedelta(seconds=30)
    assert spool.expire(THEN, keep) == 0
    finish(spool, take(spool, "x.request", now=THEN - keep), now=THEN - keep - timedelta(seconds=1))

    assert [spool.expire(THEN + timedelta(seconds=second), keep) for second in (2, 3)] == [0, 3]


def test_a_folder_that_has_gone_is_no_trouble(spool: Spool, folder: Path) -> None:
    finish(spool, take(spool, "x.request"))
    (folder / "answers").rename(folder / "elsewhere")

    assert expire(spool) == 1
