"""Ledger entries of requests for many databases: changes are appended, and no crash loses a written change."""

import errno
import shutil
from pathlib import Path

import pytest

from backup_agent import durable
from backup_agent.core.requests.answers import Answer, DatabaseResult, Outcome, State
from tests.builders import TAKEN
from tests.supervisor.requests_folder import RequestsFolder

DATABASES = tuple(f"db{number}" for number in range(1000))
DONE = DatabaseResult(outcome=Outcome.SUCCEEDED, attempts=1, artifact="default/orders/orders.backup")


@pytest.fixture(name="requests")
def _requests(tmp_path: Path) -> RequestsFolder:
    return RequestsFolder(tmp_path / "requests")


@pytest.fixture(name="answer")
def _answer(requests: RequestsFolder) -> Answer:
    """Return the entry of a request whose databases were chosen."""
    accepted = requests.ask(id="nightly", type="FULL").becomes(State.RUNNING, TAKEN)
    chosen = accepted.with_results(dict.fromkeys(DATABASES, DatabaseResult()), ())
    requests.spool.save(chosen)
    return chosen


def entry(requests: RequestsFolder) -> Path:
    return requests.path / ".spool" / "open" / "nightly.json"


def changes(requests: RequestsFolder) -> list[Path]:
    return sorted(entry(requests).parent.glob("nightly.changes-*"))


def reopened(requests: RequestsFolder) -> Answer:
    """Return the entry as the next process of the agent reads it."""
    requests.restart()
    (found,) = requests.spool.ledger.open()
    return found


def test_a_change_is_appended_and_the_entry_itself_is_not_written(requests: RequestsFolder, answer: Answer) -> None:
    before = entry(requests).stat()
    for name in DATABASES[:20]:
        answer = answer.with_result(name, DONE)
        requests.spool.save(answer)
    (appended,) = changes(requests)

    assert entry(requests).stat().st_ino == before.st_ino
    assert appended.stat().st_size < 20 * 300
    assert requests.spool.ledger.load("nightly") == answer
    assert reopened(requests) == answer


def test_an_entry_is_written_anew_before_its_changes_are_longer_than_the_entry(
    requests: RequestsFolder, answer: Answer
) -> None:
    written = {entry(requests).stat().st_ino}
    for name in DATABASES:
        answer = answer.with_result(name, DONE)
        requests.spool.save(answer)
        written.add(entry(requests).stat().st_ino)
        assert sum(path.stat().st_size for path in changes(requests)) <= entry(requests).stat().st_size

    assert 1 < len(written) < 10
    assert len(changes(requests)) <= 1
    assert reopened(requests) == answer


def test_changes_from_before_the_entry_was_written_anew_do_not_count(requests: RequestsFolder, answer: Answer) -> None:
    """As after a crash between the two: the entry is written, and its earlier changes still exist."""
    requests.spool.save(answer.with_result("db0", DatabaseResult(outcome=Outcome.RUNNING, attempts=1)))
    (earlier,) = changes(requests)
    content = earlier.read_bytes()
    requests.restart()
    later = answer.with_result("db0", DONE)
    requests.spool.save(later)
    earlier.write_bytes(content)

    assert reopened(requests) == later
    assert changes(requests) == []


def test_a_change_that_was_not_written_completely_does_not_count(requests: RequestsFolder, answer: Answer) -> None:
    first = answer.with_result("db0", DONE)
    requests.spool.save(first)
    requests.spool.save(first.with_result("db1", DONE))
    (appended,) = changes(requests)
    appended.write_bytes(appended.read_bytes()[:-9])

    assert reopened(requests) == first


def test_after_a_change_that_could_not_be_appended_the_entry_is_written_anew(
    requests: RequestsFolder, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "append_line", fail)
        with pytest.raises(OSError, match="broken"):
            requests.spool.save(answer.with_result("db0", DONE))
    later = answer.with_result("db0", DONE).with_result("db1", DONE)
    requests.spool.save(later)

    assert Answer.from_json(entry(requests).read_bytes()) == later
    assert reopened(requests) == later


def test_a_final_answer_is_written_as_a_whole_and_leaves_no_changes(requests: RequestsFolder, answer: Answer) -> None:
    requests.spool.save(answer.with_result("db0", DONE))
    final = answer.with_results(dict.fromkeys(DATABASES, DONE), ()).concluded(TAKEN)
    requests.spool.save(final)

    assert requests.inside("open") == []
    assert Answer.from_json((requests.path / ".spool" / "done" / "nightly.json").read_bytes()) == final


def test_in_a_new_requests_folder_the_entry_is_written_as_a_whole(requests: RequestsFolder, answer: Answer) -> None:
    shutil.rmtree(requests.path)
    requests.path.mkdir()
    requests.spool.prepare()
    later = answer.with_result("db1", DONE)
    requests.spool.save(later)

    assert Answer.from_json(entry(requests).read_bytes()) == later


def test_a_change_in_a_lost_requests_folder_is_an_error(requests: RequestsFolder, answer: Answer) -> None:
    shutil.rmtree(requests.path)

    with pytest.raises(FileNotFoundError):
        requests.spool.save(answer.with_result("db0", DONE))
    assert not requests.path.exists()
