"""The spool: dropped files become entries, and entries become answers, exactly once."""

import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent import durable
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.reasons import Failure, PermanentError, Reason
from backup_agent.core.requests.answers import Answer, State
from backup_agent.core.requests.request import Request
from backup_agent.supervisor.requests.presence import Presence, presence
from backup_agent.supervisor.requests.spool import QUIET_SECONDS, Spool, answer_name

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


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


def drop(folder: Path, name: str, content: Any) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / name).write_bytes(data)


def take(spool: Spool, name: str) -> Answer:
    taken = spool.take(name, NOW)
    assert taken is not None
    return taken.answer


def beside(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text())
    return content


def legacy(folder: Path) -> str | None:
    path = folder / "backup.status"
    return path.read_text().strip() if path.exists() else None


def finish(spool: Spool, answer: Answer, state: State = State.SUCCEEDED) -> Answer:
    failure = Failure(Reason.STALLED, "x") if state is State.FAILED else None
    running = answer.becomes(State.RUNNING, NOW)
    spool.save(running)
    final = running.becomes(state, NOW, failure)
    spool.save(final)
    return final


def test_a_file_that_may_not_be_moved_is_answered_where_it_stands_once(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another's file in a sticky folder, or another's directory; root, who may be running this, may move both."""
    drop(folder, "x.request", {"type": "FULL"})

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path), None, str(target))

    with monkeypatch.context() as patch:
        patch.setattr(spool, "_rename", refuse)
        answer = take(spool, "x.request")
        again = spool.take("x.request", NOW) if spool.ripe(1.0) else "not seen"

    assert (answer.state, answer.reason, again) == (State.REJECTED, Reason.INVALID_REQUEST, None)
    assert f"uid {os.getuid()}" in (answer.error or "")
    assert beside(folder, "x.status.json") == beside(folder, f"answers/{answer.id}.json")
    assert spool.unsettled() == []
    assert take(spool, "x.request").state is State.QUEUED


def test_another_agents_requests_are_left_to_it_until_it_is_gone(folder: Path) -> None:
    other = "import sys; from pathlib import Path; from tests.builders import a_spool; spool = a_spool(Path(sys.argv[1])); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", other, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout
        agent.stdout.readline()
        with pytest.raises(PermanentError, match="another agent takes its requests from this folder") as refused:
            new_life(folder)
        assert presence(folder) is Presence.PRESENT
        agent.kill()

    assert presence(folder) is Presence.ABSENT
    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    new_life(folder).prepare()


def test_a_folder_that_takes_the_place_of_the_last_is_owned_anew(spool: Spool, folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    spool.prepare()
    asked = "import sys, fcntl; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    locks = [root / ".spool" / ".lock" for root in (folder, folder.with_name("moved"))]
    codes = [subprocess.run([sys.executable, "-c", asked, lock], capture_output=True, check=False) for lock in locks]

    assert [done.returncode for done in codes] == [1, 0]


def test_a_dropped_request_is_accepted_and_answered_beside_it(spool: Spool, folder: Path) -> None:
    drop(folder, "x.request", {"type": "FULL"})
    answer = take(spool, "x.request")

    assert answer.state is State.QUEUED
    assert beside(folder, "x.status.json") == beside(folder, f"answers/{answer.id}.json")
    assert not (folder / "x.request").exists()


@pytest.mark.parametrize(
    ("name", "status"),
    [("x.request", "x.status.json"), ("x.json", "x.json.status.json"), ("a.b.request", "a.b.status.json")],
)
def test_the_answer_has_its_place_by_the_files_name(spool: Spool, folder: Path, name: str, status: str) -> None:
    drop(folder, name, {})
    take(spool, name)

    assert (folder / status).exists()


def test_only_requests_are_taken(spool: Spool, folder: Path) -> None:
    for name in ("x.status.json", ".x.request", "readme.txt", "x.request.tmp", "backup.status"):
        drop(folder, name, {})

    assert spool.ripe(0.0) == []


def test_the_oldest_is_taken_first(spool: Spool, folder: Path) -> None:
    for number, name in enumerate(["b.json", "a.json", "c.json"]):
        drop(folder, name, {})
        os.utime(folder / name, (number, number))

    assert ["b.json", "a.json", "c.json"] == spool.ripe(0.0)


def test_half_a_request_waits_until_it_is_whole(spool: Spool, folder: Path) -> None:
    drop(folder, "x.json", b'{"type":')
    assert spool.ripe(0.0) == []
    assert spool.waits_for_quiet
    drop(folder, "x.json", b'{"type":"FULL"}')

    assert ["x.json"] == spool.ripe(0.1)


def test_half_a_request_that_stays_quiet_is_rejected(spool: Spool, folder: Path) -> None:
    drop(folder, "x.json", b'{"type":')
    spool.ripe(0.0)
    assert spool.ripe(QUIET_SECONDS - 0.1) == []
    assert ["x.json"] == spool.ripe(QUIET_SECONDS)
    answer = take(spool, "x.json")

    assert answer.state is State.REJECTED
    assert "not JSON" in (answer.error or "")


def test_a_request_that_still_grows_is_not_quiet(spool: Spool, folder: Path) -> None:
    drop(folder, "x.json", b"{")
    spool.ripe(0.0)
    drop(folder, "x.json", b'{"type"')
    spool.ripe(QUIET_SECONDS)

    assert spool.ripe(QUIET_SECONDS + 1) == []


def test_the_second_reading_counts(spool: Spool, folder: Path) -> None:
    drop(folder, "x.json", {"type": "DIFF"})
    assert ["x.json"] == spool.ripe(0.0)
    drop(folder, "x.json", {"type": "FULL"})

    assert take(spool, "x.json").asked.type is BackupType.FULL


def _symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(_symlink, "a symbolic link", id="symlink"),
        pytest.param(os.mkfifo, "a FIFO", id="fifo"),
        pytest.param(lambda path: path.mkdir(), "a directory", id="directory"),
        pytest.param(_socket, "a socket", id="socket"),
        pytest.param(lambda path: path.write_bytes(b" " * 70000), "at most", id="too large"),
        pytest.param(lambda path: path.write_bytes(b"\xff\x00"), "not UTF-8", id="binary"),
    ],
)
def test_what_is_no_request_is_rejected_and_kept(
    spool: Spool, folder: Path, make: Callable[[Path], None], said: str
) -> None:
    make(folder / "x.json")
    spool.ripe(0.0)
    assert ["x.json"] == spool.ripe(QUIET_SECONDS)
    answer = take(spool, "x.json")

    assert said in (answer.error or "")
    assert [f"{answer.ticket}.json"] == os.listdir(folder / ".spool" / "rejected")
    assert beside(folder, "x.json.status.json")["state"] == "rejected"


def test_a_name_that_is_not_utf8_is_rejected_with_an_answer(spool: Spool, folder: Path) -> None:
    name = os.fsdecode(b"\xff.json")
    drop(folder, name, {})

    assert "not UTF-8" in (take(spool, name).error or "")
    assert (folder / f"{name}.status.json").exists()


@pytest.mark.parametrize(
    "name", ["x" * 250 + ".json", "x" * 247 + ".request", "é" * 125 + ".json", "x" + "é" * 123 + ".request"]
)
def test_a_name_too_long_for_the_ending_of_its_answer_is_cut_and_told_from_others(
    spool: Spool, folder: Path, name: str
) -> None:
    names = [name, "y" + name[1:] if name[0] == "x" else "à" + name[1:]]
    for one in names:
        drop(folder, one, {})
    answers = {one: take(spool, one) for one in names}
    beside_them = sorted(path.name for path in folder.glob("*.status.json"))

    assert beside_them == sorted(answer_name(one) for one in names)
    for one, answer in answers.items():
        hashed = hashlib.sha256(one.encode()).hexdigest()[:16]
        assert answer_name(one).endswith(f"~{hashed}.status.json")
        assert answer_name(one).startswith(one[:100])
        answer_name(one).encode()
        assert beside(folder, answer_name(one))["id"] == answer.id


def test_the_longest_name_that_leaves_room_for_the_ending_is_not_cut(spool: Spool, folder: Path) -> None:
    name = "x" * 243 + ".request"
    drop(folder, name, {})
    take(spool, name)

    assert (folder / ("x" * 243 + ".status.json")).exists()


def test_a_rejected_files_content_is_in_no_answer_and_its_mode_stays(spool: Spool, folder: Path) -> None:
    """A link to a file with secrets may have been put there: whoever reads the folder must not read it."""
    drop(folder, "x.request", b"root:$6$secret:19000:0:99999:7:::\n")
    (folder / "x.request").chmod(0o600)
    spool.ripe(0.0)
    answer = take(spool, "x.request")
    (kept,) = (folder / ".spool" / "rejected").iterdir()

    assert answer.state is State.REJECTED
    for path in (folder / "x.status.json", folder / "answers" / f"{answer.id}.json"):
        assert "secret" not in path.read_text()
        assert "not JSON at line 1, column 1" in path.read_text()
    assert (kept.read_bytes()[:4], kept.stat().st_mode & 0o777) == (b"root", 0o600)


def test_a_commands_request_is_known_by_its_files_name_alone(spool: Spool, folder: Path) -> None:
    name = "cli@20261123T020000000000Z-17"
    drop(folder, f"{name}.request", {})
    drop(folder, f"{name}0.request", {"action": "cancel", "id": name})
    drop(folder, "cli@20261123T020000Z.request", {})

    assert take(spool, f"{name}.request").id == name
    assert take(spool, f"{name}0.request").id == f"{name}0"
    schedules = take(spool, "cli@20261123T020000Z.request")
    assert schedules.id == schedules.ticket


def test_a_dropped_file_cannot_take_the_id_of_a_schedules_run(spool: Spool, folder: Path) -> None:
    identity = "nightly@20261123T020000Z"
    drop(folder, "x.request", {"id": identity})

    assert take(spool, "x.request").state is State.REJECTED
    assert spool.submit(Request(id=identity), "nightly", NOW).new


def test_the_same_id_and_content_is_the_same_run(spool: Spool, folder: Path) -> None:
    drop(folder, "a.json", {"id": "one", "type": "FULL"})
    drop(folder, "b.json", {"id": "one", "type": "FULL"})
    first = take(spool, "a.json")
    second = spool.take("b.json", NOW)

    assert second is not None
    assert (False, first.ticket) == (second.new, second.answer.ticket)
    finish(spool, second.answer)
    assert beside(folder, "a.json.status.json")["state"] == beside(folder, "b.json.status.json")["state"] == "succeeded"


def test_the_same_id_with_other_content_is_rejected_and_spoils_nothing(spool: Spool, folder: Path) -> None:
    drop(folder, "a.json", {"id": "one", "type": "FULL"})
    drop(folder, "b.json", {"id": "one", "type": "DIFF"})
    take(spool, "a.json")
    answer = take(spool, "b.json")

    assert "'one' has been used for another request" in (answer.error or "")
    assert beside(folder, "answers/one.json")["state"] == "queued"


def test_the_answer_beside_a_name_is_that_of_its_newest_request(spool: Spool, folder: Path) -> None:
    drop(folder, "x.request", {})
    older = take(spool, "x.request")
    drop(folder, "x.request", {})
    newer = take(spool, "x.request")
    finish(spool, older)

    assert newer.id == beside(folder, "x.status.json")["id"]


def test_so_it_is_after_a_restart(spool: Spool, folder: Path) -> None:
    drop(folder, "x.request", {})
    older = take(spool, "x.request")
    drop(folder, "x.request", {})
    newer = take(spool, "x.request")
    finish(new_life(folder), older)

    assert newer.id == beside(folder, "x.status.json")["id"]


def test_so_it_is_where_the_clock_has_been_set_back(spool: Spool, folder: Path) -> None:
    drop(folder, "backup.request", {})
    older = finish(spool, take(spool, "backup.request"))
    drop(folder, "backup.request", {"type": "FULL"})
    taken = spool.take("backup.request", NOW - timedelta(hours=3))
    assert taken is not None
    finish(spool, taken.answer, State.FAILED)
    spool.publish(older)

    assert taken.answer.id == beside(folder, "backup.status.json")["id"]
    assert legacy(folder) == "FAILED"


@pytest.mark.parametrize("taken", ["x.status.json", "answers/one.json"])
def test_an_answer_whose_name_is_taken_stands_elsewhere_and_nothing_waits_for_it(
    spool: Spool, folder: Path, taken: str
) -> None:
    (folder / taken).mkdir()
    drop(folder, "x.request", {"id": "one"})
    answer = take(spool, "x.request")
    finish(spool, answer)

    assert [] == list((folder / ".spool" / "incoming").iterdir())
    states = [json.loads(path.read_text())["state"] for path in folder.rglob("*.json") if path.is_file()]
    assert states == ["succeeded", "succeeded"]


@pytest.mark.parametrize("taken", ["backup.status", ".tmp-1-1"])
def test_a_directory_under_a_name_of_the_agents_does_not_keep_it_from_starting(folder: Path, taken: str) -> None:
    (folder / taken).mkdir(parents=True)
    spool = new_life(folder)
    drop(folder, "backup.request", {})
    finish(spool, take(spool, "backup.request"))

    assert beside(folder, "backup.status.json")["state"] == "succeeded"


class TestThePredecessorsOneWord:
    @pytest.mark.parametrize(
        ("state", "word"),
        [
            (State.SUCCEEDED, "COMPLETED"),
            (State.SUCCEEDED_WITH_WARNINGS, "COMPLETED"),
            (State.FAILED, "FAILED"),
            (State.CANCELLED, "FAILED"),
        ],
    )
    def test_follows_the_last_state(self, spool: Spool, folder: Path, state: State, word: str) -> None:
        drop(folder, "backup.request", {})
        finish(spool, take(spool, "backup.request"), state)

        assert word == legacy(folder)

    def test_is_not_there_while_the_request_is_under_way(self, spool: Spool, folder: Path) -> None:
        drop(folder, "backup.request", {})
        finish(spool, take(spool, "backup.request"))
        drop(folder, "backup.request", {})
        take(spool, "backup.request")

        assert legacy(folder) is None

    def test_is_that_of_the_newest_request(self, spool: Spool, folder: Path) -> None:
        drop(folder, "backup.request", {})
        older = take(spool, "backup.request")
        drop(folder, "backup.request", {})
        newer = take(spool, "backup.request")
        finish(spool, older)
        assert legacy(folder) is None
        finish(spool, newer, State.FAILED)

        assert legacy(folder) == "FAILED"

    def test_is_removed_at_start(self, spool: Spool, folder: Path) -> None:
        drop(folder, "backup.request", {})
        finish(spool, take(spool, "backup.request"))
        new_life(folder)

        assert legacy(folder) is None

    def test_belongs_to_that_name_alone(self, spool: Spool, folder: Path) -> None:
        drop(folder, "other.request", {})
        finish(spool, take(spool, "other.request"))

        assert legacy(folder) is None

    def test_tells_a_rejection_unless_an_accepted_one_is_under_way(self, spool: Spool, folder: Path) -> None:
        drop(folder, "backup.request", {})
        take(spool, "backup.request")
        drop(folder, "backup.request", {"typ": 1})
        take(spool, "backup.request")
        assert legacy(folder) is None
        drop(folder, "backup.request", {"typ": 1})
        take(spool, "backup.request")

        assert legacy(folder) == "FAILED"


class _CrashError(BaseException):
    """The process is gone: nothing in the spool may catch it."""


class TestACrash:
    """At every write and rename of an acceptance, a rejection and a conclusion: the next life answers once."""

    def script(self, spool: Spool, folder: Path) -> None:
        names = [name for name in ("good.json", "bad.json") if (folder / name).exists()]
        for ticket in spool.unsettled():
            spool.settle(ticket, NOW)
        for name in names:
            spool.take(name, NOW)
        for answer in spool.open():
            if answer.state.final:
                spool.save(answer)
            else:
                finish(
                    spool, answer if answer.state is State.QUEUED else answer.model_copy(update={"state": State.QUEUED})
                )

    def test_anywhere_loses_nothing_and_answers_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        crashed = 0
        for point in range(200):
            folder = tmp_path / str(point)
            spool = new_life(folder)
            drop(folder, "good.json", {"id": "good"})
            drop(folder, "bad.json", {"typ": 1})
            with monkeypatch.context() as patch:
                _crash_at(point, patch)
                try:
                    self.script(spool, folder)
                except _CrashError:
                    crashed += 1
                else:
                    break
            self.script(new_life(folder), folder)
            self.check(folder)

        assert crashed > 15

    def check(self, folder: Path) -> None:
        assert beside(folder, "good.json.status.json")["state"] == "succeeded"
        assert beside(folder, "bad.json.status.json")["state"] == "rejected"
        assert sorted(os.listdir(folder / ".spool" / "done")) == ["good.json"]
        for place in ("pending", "running", "incoming"):
            assert os.listdir(folder / ".spool" / place) == []
        assert len(os.listdir(folder / ".spool" / "rejected")) == 1
        assert len(os.listdir(folder / "answers")) == 2


def _crash_at(point: int, patch: pytest.MonkeyPatch) -> None:
    """Let the process "die" before its `point`-th change of the file system."""
    left = point

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                raise _CrashError
            left -= 1
            return call(*args, **kwargs)

        return change

    for owner, name in ((durable, "write"), (durable, "create"), (Path, "rename"), (Path, "unlink"), (Path, "rmdir")):
        patch.setattr(owner, name, counted(getattr(owner, name)))


def test_a_schedules_request_submitted_twice_is_one_run(spool: Spool) -> None:
    request = Request(id="nightly@20261123T020000Z", type=BackupType.FULL)
    first = spool.submit(request, "nightly", NOW)
    again = spool.submit(request, "nightly", NOW)

    assert (True, False, first.answer.ticket) == (first.new, again.new, again.answer.ticket)


def test_a_refused_set_is_a_rejection_with_its_words(folder: Path) -> None:
    spool = Spool(folder, "/backups", lambda name: f"no {name} here")
    spool.prepare()
    drop(folder, "x.json", {"path": "y"})

    assert take(spool, "x.json").error == "no y here"


def test_open_entries_come_in_the_order_of_their_arrival(spool: Spool, folder: Path) -> None:
    for identity in ("b", "a", "c"):
        drop(folder, "x.json", {"id": identity})
        take(spool, "x.json")

    assert ["b", "a", "c"] == [answer.id for answer in spool.open()]


def test_an_entry_that_cannot_be_read_stays_and_hinders_nothing(spool: Spool, folder: Path) -> None:
    drop(folder, "x.json", {"id": "a"})
    take(spool, "x.json")
    (folder / ".spool" / "pending" / "junk.json").write_text("{")

    assert ["a"] == [answer.id for answer in spool.open()]
    assert (folder / ".spool" / "pending" / "junk.json").exists()


def test_an_id_whose_entry_cannot_be_read_is_rejected(spool: Spool, folder: Path) -> None:
    """As a newer agent's is, which an older one finds when it is put back."""
    (folder / ".spool" / "done" / "a.json").write_text('{"schema": 2}')
    drop(folder, "x.json", {"id": "a"})
    answer = take(spool, "x.json")

    assert (State.REJECTED, Reason.INVALID_REQUEST) == (answer.state, answer.reason)
    assert "there was a request 'a', but its entry cannot be read" in (answer.error or "")


def test_a_cancel_has_an_id_of_its_own(spool: Spool, folder: Path) -> None:
    drop(folder, "x.json", {"id": "a"})
    drop(folder, "c.json", {"action": "cancel", "id": "a"})
    take(spool, "x.json")
    answer = take(spool, "c.json")

    assert ("cancel", "a") == (answer.action, answer.asked.id)
    assert answer.id == answer.ticket
