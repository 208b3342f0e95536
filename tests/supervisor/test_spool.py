"""The spool: dropped files become entries, and entries become answers, exactly once."""

import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent import durable
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.answers import Answer, State
from backup_agent.core.requests.request import Request
from backup_agent.supervisor.requests.answers_folder import answer_name
from backup_agent.supervisor.requests.drop_folder import QUIET_SECONDS
from backup_agent.supervisor.requests.presence import Presence, owner_of_agent, presence
from backup_agent.supervisor.requests.spool import TakenFile
from tests.builders import TAKEN, a_spool
from tests.supervisor.requests_folder import RequestsFolder


@pytest.fixture(name="requests")
def _requests(tmp_path: Path) -> RequestsFolder:
    return RequestsFolder(tmp_path / "requests")


# Which files are taken, and when


def test_only_files_with_the_name_of_a_request_are_taken(requests: RequestsFolder) -> None:
    for name in ("x.status.json", ".x.request", "readme.txt", "x.request.tmp", "backup.status"):
        requests.drop(name)

    assert requests.spool.dropped.takeable(0.0) == []


def test_the_oldest_file_is_taken_first(requests: RequestsFolder) -> None:
    for number, name in enumerate(["b.json", "a.json", "c.json"]):
        os.utime(requests.drop(name), (number, number))

    assert requests.spool.dropped.takeable(0.0) == ["b.json", "a.json", "c.json"]


def test_an_incomplete_request_waits_until_it_is_complete(requests: RequestsFolder) -> None:
    requests.drop("x.json", b'{"type":')
    assert requests.spool.dropped.takeable(0.0) == []
    assert requests.spool.dropped.waits_for_quiet
    requests.drop("x.json", b'{"type":"FULL"}')

    assert requests.spool.dropped.takeable(0.1) == ["x.json"]


def test_an_incomplete_request_that_no_longer_changes_is_rejected(requests: RequestsFolder) -> None:
    requests.drop("x.json", b'{"type":')
    assert [requests.spool.dropped.takeable(now) for now in (0.0, QUIET_SECONDS - 0.1, QUIET_SECONDS)] == [
        [],
        [],
        ["x.json"],
    ]
    answer = requests.take("x.json")

    assert answer.state is State.REJECTED
    assert "not JSON" in (answer.error or "")


def test_an_incomplete_request_that_still_grows_waits(requests: RequestsFolder) -> None:
    requests.drop("x.json", b"{")
    requests.spool.dropped.takeable(0.0)
    requests.drop("x.json", b'{"type"')
    requests.spool.dropped.takeable(QUIET_SECONDS)

    assert requests.spool.dropped.takeable(QUIET_SECONDS + 1) == []


def test_the_content_of_a_file_when_it_is_taken_decides(requests: RequestsFolder) -> None:
    requests.drop("x.json", type="DIFF")
    assert requests.spool.dropped.takeable(0.0) == ["x.json"]

    assert requests.ask("x.json", type="FULL").asked.type is BackupType.FULL


# Answers


def test_an_accepted_request_is_answered_beside_its_file_which_is_removed(requests: RequestsFolder) -> None:
    answer = requests.ask("x.request", type="FULL")

    assert answer.state is State.QUEUED
    assert requests.read("x.status.json") == requests.read(f"answers/{answer.id}.json")
    assert not (requests.path / "x.request").exists()


@pytest.mark.parametrize(
    ("name", "status"),
    [("x.request", "x.status.json"), ("x.json", "x.json.status.json"), ("a.b.request", "a.b.status.json")],
)
def test_the_name_of_the_answer_is_derived_from_the_name_of_the_file(
    requests: RequestsFolder, name: str, status: str
) -> None:
    answer = requests.ask(name)

    assert requests.read(status)["id"] == answer.id


@pytest.mark.parametrize(
    "name", ["x" * 250 + ".json", "x" * 247 + ".request", "é" * 125 + ".json", "x" + "é" * 123 + ".request"]
)
def test_the_name_of_an_answer_that_would_be_too_long_is_cut_and_has_a_hash(
    requests: RequestsFolder, name: str
) -> None:
    names = [name, "y" + name[1:] if name[0] == "x" else "à" + name[1:]]
    answers = {one: requests.ask(one) for one in names}

    assert sorted(path.name for path in requests.path.glob("*.status.json")) == sorted(map(answer_name, names))
    for one, answer in answers.items():
        found = answer_name(one)
        assert found.startswith(one[:100])
        assert found.endswith(f"~{hashlib.sha256(one.encode()).hexdigest()[:16]}.status.json")
        found.encode()
        assert requests.read(found)["id"] == answer.id


def test_the_longest_possible_name_of_an_answer_is_not_cut(requests: RequestsFolder) -> None:
    requests.ask("x" * 243 + ".request")

    assert (requests.path / ("x" * 243 + ".status.json")).exists()


@pytest.mark.parametrize("restarted", [False, True], ids=["in one life", "after a restart"])
def test_the_answer_beside_a_file_is_that_of_the_newest_request(requests: RequestsFolder, restarted: bool) -> None:
    older, newer = requests.ask(), requests.ask()
    if restarted:
        requests.restart()
    requests.finish(older)

    assert requests.read("x.status.json")["id"] == newer.id


def test_the_newest_request_is_the_one_taken_last_even_if_the_clock_was_set_back(requests: RequestsFolder) -> None:
    older = requests.finish(requests.ask("backup.request"))
    newer = requests.ask("backup.request", now=TAKEN - timedelta(hours=3), type="FULL")
    requests.finish(newer, State.FAILED)
    requests.spool.answers.publish(older)

    assert requests.read("backup.status.json")["id"] == newer.id
    assert requests.word == "FAILED"


@pytest.mark.parametrize("name", ["x.status.json", "answers/one.json"])
def test_a_directory_with_the_name_of_an_answer_stops_neither_the_request_nor_other_answers(
    requests: RequestsFolder, name: str
) -> None:
    (requests.path / name).mkdir()
    requests.finish(requests.ask(id="one"))

    assert requests.inside("incoming") == []
    answers = [json.loads(path.read_text()) for path in requests.path.rglob("*.json") if path.is_file()]
    assert [answer["state"] for answer in answers] == ["succeeded", "succeeded"]


@pytest.mark.parametrize("name", ["backup.status", ".tmp-1-1"])
def test_the_agent_starts_although_a_directory_has_the_name_of_one_of_its_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "requests" / name).mkdir(parents=True)
    requests = RequestsFolder(tmp_path / "requests")
    requests.finish(requests.ask("backup.request"))

    assert requests.read("backup.status.json")["state"] == "succeeded"


# Rejections


def _symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(_symlink, "a symbolic link", id="symlink"),
        pytest.param(os.mkfifo, "a FIFO", id="fifo"),
        pytest.param(Path.mkdir, "a directory", id="directory"),
        pytest.param(_socket, "a socket", id="socket"),
        pytest.param(lambda path: path.write_bytes(b" " * 70000), "at most", id="too large"),
        pytest.param(lambda path: path.write_bytes(b"\xff\x00"), "not UTF-8", id="binary"),
    ],
)
def test_a_file_that_is_no_request_is_rejected_and_kept(
    requests: RequestsFolder, make: Callable[[Path], None], error: str
) -> None:
    make(requests.path / "x.json")
    requests.spool.dropped.takeable(0.0)
    assert requests.spool.dropped.takeable(QUIET_SECONDS) == ["x.json"]
    answer = requests.take("x.json")

    assert error in (answer.error or "")
    assert requests.inside("rejected") == [f"{answer.intake}.json"]
    assert requests.read("x.json.status.json")["state"] == "rejected"


def test_a_file_whose_name_is_not_utf8_is_rejected_with_an_answer(requests: RequestsFolder) -> None:
    name = os.fsdecode(b"\xff.json")

    assert "not UTF-8" in (requests.ask(name).error or "")
    assert (requests.path / f"{name}.status.json").exists()


def test_a_rejected_file_keeps_its_mode_and_is_not_quoted(requests: RequestsFolder) -> None:
    """The file may be a link to a file with secrets, which readers of the folder must not see."""
    requests.drop("x.request", b"root:$6$secret:19000:0:99999:7:::\n").chmod(0o600)
    requests.spool.dropped.takeable(0.0)
    answer = requests.take()
    (kept,) = (requests.path / ".spool" / "rejected").iterdir()

    assert answer.state is State.REJECTED
    for name in ("x.status.json", f"answers/{answer.id}.json"):
        text = (requests.path / name).read_text()
        assert "not JSON at line 1, column 1" in text
        assert "secret" not in text
    assert (kept.read_bytes()[:4], kept.stat().st_mode & 0o777) == (b"root", 0o600)


def test_a_file_that_cannot_be_moved_is_rejected_once_and_taken_when_it_can_be_moved(
    requests: RequestsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as another user's file in a sticky folder. Here renaming fails instead, since root may move every file."""
    requests.drop(type="FULL")

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path), None, str(target))

    with monkeypatch.context() as patch:
        patch.setattr(requests.spool, "_rename", refuse)
        answer = requests.take()
        assert requests.spool.dropped.takeable(1.0) == ["x.request"]
        assert requests.spool.take("x.request", TAKEN) is None

    assert (answer.state, answer.reason) == (State.REJECTED, Reason.INVALID_REQUEST)
    assert f"uid {os.getuid()}" in (answer.error or "")
    assert requests.read("x.status.json") == requests.read(f"answers/{answer.id}.json")
    assert requests.spool.unsettled() == []
    assert requests.take().state is State.QUEUED


def test_a_refused_request_is_rejected_with_every_reason(tmp_path: Path) -> None:
    requests = RequestsFolder(tmp_path / "requests")
    requests.spool = a_spool(requests.path, refuse=lambda request: (f"no {request.path}", "not today"))

    assert requests.ask(path="y").error == "no y\nnot today"


# Ids


def test_the_same_id_with_the_same_content_is_one_run_with_an_answer_for_each_file(requests: RequestsFolder) -> None:
    first = requests.ask("a.json", id="one", type="FULL")
    requests.drop("b.json", id="one", type="FULL")
    second = requests.spool.take("b.json", TAKEN)
    assert second is not None
    requests.finish(second.answer)

    assert (second.new, second.answer.intake) == (False, first.intake)
    assert [requests.read(f"{name}.json.status.json")["state"] for name in "ab"] == ["succeeded", "succeeded"]


def test_the_same_id_with_another_content_is_rejected_and_the_first_request_continues(requests: RequestsFolder) -> None:
    requests.ask("a.json", id="one", type="FULL")
    answer = requests.ask("b.json", id="one", type="DIFF")

    assert "'one' has been used for another request" in (answer.error or "")
    assert requests.read("answers/one.json")["state"] == "queued"


def test_a_request_to_cancel_has_an_id_of_its_own(requests: RequestsFolder) -> None:
    requests.ask("x.json", id="a")
    answer = requests.ask("c.json", action="cancel", id="a")

    assert (answer.action, answer.asked.id) == ("cancel", "a")
    assert answer.id == answer.intake


def test_a_request_of_a_command_has_the_name_of_its_file_as_id(requests: RequestsFolder) -> None:
    name = "cli@20261123T020000000000Z-17"

    assert requests.ask(f"{name}.request").id == name
    assert requests.ask(f"{name}0.request", action="cancel", id=name).id == f"{name}0"


def test_a_file_named_like_a_run_of_a_schedule_gets_its_intake_as_id(requests: RequestsFolder) -> None:
    answer = requests.ask("cli@20261123T020000Z.request")

    assert answer.id == answer.intake


def test_a_dropped_file_cannot_take_the_id_of_a_run_of_a_schedule(requests: RequestsFolder) -> None:
    identity = "nightly@20261123T020000Z"

    assert requests.ask(id=identity).state is State.REJECTED
    assert requests.spool.submit(Request(id=identity), "nightly", TAKEN).new


def test_a_request_of_a_schedule_that_is_submitted_twice_is_one_run(requests: RequestsFolder) -> None:
    request = Request(id="nightly@20261123T020000Z", type=BackupType.FULL)
    first, again = (requests.spool.submit(request, "nightly", TAKEN) for _ in range(2))

    assert (first.new, again.new, again.answer.intake) == (True, False, first.answer.intake)


# The ledger


def test_open_entries_come_in_the_order_in_which_they_were_taken(requests: RequestsFolder) -> None:
    for identity in ("b", "a", "c"):
        requests.ask(id=identity)

    assert [answer.id for answer in requests.spool.ledger.open()] == ["b", "a", "c"]


def test_an_unreadable_entry_is_kept_and_stops_no_other(requests: RequestsFolder) -> None:
    requests.ask(id="a")
    (requests.path / ".spool" / "open" / "junk.json").write_text("{")

    assert [answer.id for answer in requests.spool.ledger.open()] == ["a"]
    assert "junk.json" in requests.inside("open")


def test_an_entry_of_a_newer_agent_is_used_and_its_unknown_fields_are_kept(
    requests: RequestsFolder,
) -> None:
    requests.ask(id="a", type="FULL")
    entry = requests.path / ".spool" / "open" / "a.json"
    newer = json.loads(entry.read_text()) | {"approved_by": "the DBA"}
    newer["request"]["priority"] = 5
    entry.write_text(json.dumps(newer))

    (answer,) = requests.spool.ledger.open()
    requests.spool.save(answer)

    assert answer.asked == Request(id="a", type=BackupType.FULL)
    assert json.loads(entry.read_text()) == newer


def test_an_entry_with_an_unknown_action_is_kept_and_stops_no_other(
    requests: RequestsFolder,
) -> None:
    for identity in ("a", "b"):
        requests.ask(id=identity)
    entry = requests.path / ".spool" / "open" / "a.json"
    newer = json.loads(entry.read_text())
    newer["request"]["action"] = "replicate"
    entry.write_text(json.dumps(newer))

    assert [answer.id for answer in requests.spool.ledger.open()] == ["b"]
    assert "a.json" in requests.inside("open")


def test_an_id_whose_entry_cannot_be_read_is_rejected(requests: RequestsFolder) -> None:
    """Such as the entry of a newer agent after a downgrade."""
    (requests.path / ".spool" / "done" / "a.json").write_text('{"schema": 2}')
    answer = requests.ask(id="a")

    assert (answer.state, answer.reason) == (State.REJECTED, Reason.INVALID_REQUEST)
    assert "there was a request 'a', but its entry cannot be read" in (answer.error or "")


# Two agents


@pytest.mark.process
def test_a_requests_folder_of_another_agent_is_refused_until_that_agent_has_ended(tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from tests.builders import a_spool; "
        "spool = a_spool(Path(sys.argv[1])); spool.name_agent('0123'); print(); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", other, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout
        agent.stdout.readline()
        with pytest.raises(PermanentError, match="another agent takes its requests from this folder") as refused:
            a_spool(tmp_path)
        assert (presence(tmp_path), owner_of_agent(tmp_path)) == (Presence.PRESENT, "0123")
        agent.kill()

    assert presence(tmp_path) is Presence.ABSENT
    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    a_spool(tmp_path).prepare()


def test_a_folder_that_replaces_the_last_one_is_locked_instead(requests: RequestsFolder) -> None:
    moved = requests.path.rename(requests.path.with_name("moved"))
    requests.spool.prepare()
    lock = "import sys, fcntl; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    codes = [
        subprocess.run(
            [sys.executable, "-c", lock, folder / ".spool" / ".lock"], capture_output=True, check=False
        ).returncode
        for folder in (requests.path, moved)
    ]

    assert codes == [1, 0]


def test_a_request_is_accepted_although_the_folder_is_deleted_right_after_its_answer(
    requests: RequestsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = requests.spool.answers.publish

    def publish_and_delete(answer: Answer, names: Iterable[str] | None = None) -> None:
        publish(answer, names)
        shutil.rmtree(requests.path)

    monkeypatch.setattr(requests.spool.answers, "publish", publish_and_delete)

    assert requests.ask(database="orders").state is State.QUEUED


# backup.status


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.SUCCEEDED, "COMPLETED"),
        (State.SUCCEEDED_WITH_WARNINGS, "COMPLETED"),
        (State.FAILED, "FAILED"),
        (State.CANCELLED, "FAILED"),
    ],
)
def test_backup_status_has_the_word_for_the_final_state(requests: RequestsFolder, state: State, word: str) -> None:
    requests.finish(requests.ask("backup.request"), state)

    assert requests.word == word


def test_there_is_no_backup_status_while_a_request_is_open(requests: RequestsFolder) -> None:
    requests.finish(requests.ask("backup.request"))
    requests.ask("backup.request")

    assert requests.word is None


def test_backup_status_is_that_of_the_newest_request(requests: RequestsFolder) -> None:
    older, newer = requests.ask("backup.request"), requests.ask("backup.request")
    requests.finish(older)
    assert requests.word is None
    requests.finish(newer, State.FAILED)

    assert requests.word == "FAILED"


def test_backup_status_is_removed_at_start(requests: RequestsFolder) -> None:
    requests.finish(requests.ask("backup.request"))
    requests.restart()

    assert requests.word is None


def test_a_request_with_another_file_name_has_no_backup_status(requests: RequestsFolder) -> None:
    requests.finish(requests.ask("other.request"))

    assert requests.word is None


def test_backup_status_has_a_rejection_unless_an_accepted_request_is_open(requests: RequestsFolder) -> None:
    requests.ask("backup.request")
    requests.ask("backup.request", typ=1)
    assert requests.word is None
    requests.ask("backup.request", typ=1)

    assert requests.word == "FAILED"


# Crashes


class CrashError(BaseException):
    """Ends the process in place of a kill. The spool must not catch it."""


def live(requests: RequestsFolder) -> None:
    """Do what an agent does with the requests in the folder: let files settle, take them, and carry them out."""
    dropped = [name for name in ("good.json", "bad.json") if (requests.path / name).exists()]
    for intake in requests.spool.unsettled():
        requests.spool.settle(intake, TAKEN)
    for name in dropped:
        requests.spool.take(name, TAKEN)
    for answer in requests.spool.ledger.open():
        if answer.state.final:
            requests.spool.save(answer)
        else:
            requests.finish(answer.model_copy(update={"state": State.QUEUED}))


def crash_before(change: int, patch: pytest.MonkeyPatch) -> None:
    """Raise CrashError before the write to the file system with this number."""
    left = change

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                raise CrashError
            left -= 1
            return call(*args, **kwargs)

        return counting

    for owner, name in ((durable, "write"), (durable, "create"), (Path, "rename"), (Path, "unlink"), (Path, "rmdir")):
        patch.setattr(owner, name, counted(getattr(owner, name)))


def test_after_a_crash_a_file_is_matched_with_its_entry_and_counts_as_a_new_request(
    requests: RequestsFolder,
) -> None:
    answer = requests.ask(id="one")
    left = requests.path / ".spool" / "incoming" / answer.intake
    left.mkdir()
    (left / "x.request").write_text('{"id": "one"}')

    assert requests.spool.settle(answer.intake, TAKEN) == TakenFile(answer, new=True)
    assert requests.inside("incoming") == []


def test_after_a_crash_at_any_write_no_request_is_lost_and_each_is_answered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for change in range(200):
        requests = RequestsFolder(tmp_path / str(change))
        requests.drop("good.json", id="good")
        requests.drop("bad.json", typ=1)
        with monkeypatch.context() as patch:
            crash_before(change, patch)
            try:
                live(requests)
            except CrashError:
                pass
            else:
                break
        requests.restart()
        live(requests)

        assert requests.read("good.json.status.json")["state"] == "succeeded"
        assert requests.read("bad.json.status.json")["state"] == "rejected"
        assert [len(requests.inside(place)) for place in ("incoming", "open")] == [0, 0]
        assert (requests.inside("done"), len(requests.inside("rejected"))) == (["good.json"], 1)
        assert len(list((requests.path / "answers").iterdir())) == 2

    assert change > 15
