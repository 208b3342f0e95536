"""`request`: the file that it writes, and waiting for the answer. The tests answer with the agent's own spool."""

import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from backup_agent.cli import dropping, request
from backup_agent.cli.dropping import OPTIONS
from backup_agent.core.artifacts.names import COMMAND_ID
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, CopyState, DatabaseResult, Outcome, State
from backup_agent.core.requests.request import TAKES, Action, Request
from backup_agent.supervisor.requests.presence import Presence
from tests.builders import OFFSITE, TAKEN, TRACE, a_spool, an_answer
from tests.cli.conftest import Place, exit_code, on_a_terminal, read
from tests.polling import PATIENCE, until

WAIT = ("--wait", "--timeout", f"{PATIENCE:g}")


@pytest.fixture(name="present")
def _present(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool of these tests is in the same process, which cannot see its own lock."""
    monkeypatch.setattr("backup_agent.cli.dropping.presence", lambda _: Presence.PRESENT)


def dropped(place: Place) -> dict[str, Any]:
    """Return the content of the one file in the requests folder."""
    (only,) = place.requests.iterdir()
    content: dict[str, Any] = json.loads(only.read_bytes())
    return content


def test_a_request_is_written_with_an_id_for_show(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USER", raising=False)
    result = place.run("request")
    content = dropped(place)

    assert result.code == 0
    assert content == {"action": "backup", "requested_by": f"{pwd.getpwuid(os.getuid()).pw_name}@{os.uname().nodename}"}
    (request,) = place.requests.iterdir()
    assert COMMAND_ID.fullmatch(request.stem)
    assert result.out == f"dropped {request}\nits answer: backup-agent show '{request.stem}'\n"


def test_a_requester_without_a_user_name_is_named_by_uid_and_host(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user id in a pod has neither $USER nor a line in /etc/passwd."""
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 7474_7474)
    place.run("request")

    assert dropped(place)["requested_by"] == f"uid 74747474@{os.uname().nodename}"


def test_every_option_sets_a_field_of_the_request(place: Place) -> None:
    place.run(
        "request", "--type", "full", "--database", "orders", "--database", "!x*", "--set", "test", "--id", "a",
        "--reason", "why", "--requested-by", "me", "--label", "ticket=CHG=42", "--label", "tier=",
    )  # fmt: skip

    assert dropped(place) == {
        "action": "backup",
        "type": "FULL",
        "databases": ["orders", "!x*"],
        "path": "test",
        "id": "a",
        "reason": "why",
        "labels": {"ticket": "CHG=42", "tier": ""},
        "requested_by": "me",
    }


ASKS = {
    one.opts[0]: one
    for one in request.command.params
    if isinstance(one, click.Option) and one.opts[0] not in ("--action", "--wait", "--timeout", "--config", "--json")
}
"""The options of `request` that set fields of the request."""

GIVEN: dict[str, tuple[str, object]] = {
    "--type": ("full", "FULL"),
    "--database": ("x", ["x"]),
    "--not-after": ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
    "--label": ("tier=gold", {"tier": "gold"}),
}
"""Option -> the given text, and the value that is sent. For other options both are `x`."""


def fields_of(option: str) -> set[str]:
    return {field for field, name in OPTIONS.items() if name == option} | {option.removeprefix("--").replace("-", "_")}


@pytest.mark.parametrize("option", ASKS)
def test_each_option_sends_its_field(place: Place, option: str) -> None:
    given, sent = GIVEN.get(option, ("x", "x"))
    place.run("request", option, given)

    assert sent in [value for field, value in dropped(place).items() if field in fields_of(option)]


def test_every_field_of_a_backup_has_an_option() -> None:
    fields = {field for field in Request.model_fields if Action.BACKUP in TAKES.get(field, Action)} - {
        "action",
        "traceparent",
    }

    assert fields - set().union(*map(fields_of, ASKS)) == set()


def test_a_written_request_is_json_for_programs(place: Place) -> None:
    dropped = place.run("request", "--json", "--id", "a").json

    assert dropped["id"] == "a"
    assert Path(dropped["request"]).exists()
    assert Path(dropped["answer"]).name == Path(dropped["request"]).name.replace(".request", ".status.json")


def test_two_requests_with_one_id_are_two_files(place: Place) -> None:
    for _ in range(2):
        place.run("request", "--id", "a")

    assert len(list(place.requests.iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(["--database", "a b"], "--database: a database name or glob expected", id="database"),
        pytest.param(["--set", "/etc/passwd"], "--set: one name below the storage root expected", id="set"),
        pytest.param(["--id", "../x"], "--id: ", id="id"),
        pytest.param(["--action", "cancel"], "--action cancel needs --id", id="cancel without id"),
        pytest.param(["--action", "restore"], "'restore' is not one of", id="not built"),
        pytest.param(["--type", "HALF"], "'HALF' is not one of", id="type"),
        pytest.param(["--label", "ticket"], "--label ticket: KEY=VALUE expected", id="label without a text"),
        pytest.param(["--label", "a=1", "--label", "a=2"], "--label a: given twice", id="label twice"),
        pytest.param(["--label", "A=1"], "--label: in label 1 a key of at most 63", id="odd label"),
        pytest.param(["--timeout", "5"], "--timeout needs --wait", id="timeout without wait"),
    ],
)
def test_a_fault_of_a_request_is_reported_under_the_name_of_its_option(
    place: Place, options: list[str], text: str
) -> None:
    result = place.run("request", *options)

    assert result.code == 2
    assert text in result.err
    assert list(place.requests.iterdir()) == []


@pytest.mark.parametrize(("trace", "sent"), [(TRACE, TRACE), ("00-x", None), ("", None)])
def test_a_request_has_the_trace_of_its_caller(
    trace: str, sent: str | None, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", trace)
    place.run("request")
    (file,) = place.requests.glob("*.request")

    assert json.loads(file.read_bytes()).get("traceparent") == sent


def test_a_requests_folder_that_cannot_be_written_is_named(place: Place) -> None:
    place.requests.rmdir()
    result = place.run("request")

    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"backup-agent: {place.requests}: No such file or directory: nothing was requested\n"
        "HINT: run this where the agent runs, as a user who may write there, or set `requests.folder`\n"
    )


def test_a_timeout_without_an_agent_says_so(place: Place) -> None:
    result = place.run("request", "--wait", "--timeout", "0")

    assert result.code == 1
    assert f"no agent takes requests from {place.requests} yet: the request waits there" in result.err
    assert "no answer after 0 s (the agent has not taken it), but the request goes on; " in result.err
    assert place.run("request", "--wait", "--timeout", "0", "--json").out == "null\n"


def test_without_a_terminal_progress_is_one_line_while_queued_and_one_while_running(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = dropping._Shown(live=False, quiet=False)
    queued = an_answer(position=2)
    running = started(queued)
    answers = [None, queued, queued.model_copy(update={"position": 1})]
    answers += [running.model_copy(update={"stage": stage}) for stage in ("start", "copy", "verify")]
    for number, answer in enumerate(answers):
        shown.show(answer, number / 10)

    assert capsys.readouterr().err.splitlines() == ["one: queued position 2", "one: running start"]


def test_waiting_long_without_an_agent_asks_whether_it_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_agent.cli.dropping.TAKEN_SECONDS", 0.0)

    assert "is `backup-agent run` running here?" in place.run("request", "--wait", "--timeout", "0").err


Change = Callable[[Answer], Answer]


@contextmanager
def answering(place: Place, *changes: Change) -> Iterator[None]:
    """Take the next request as the agent does, and save each change of its answer."""
    spool = a_spool(place.requests, place.root)

    def serve() -> None:
        name, *_ = until(lambda: spool.dropped.takeable(time.monotonic()), "dropped request")
        taken = spool.take(name, datetime.now(UTC))
        assert taken is not None
        answer = taken.answer
        for change in changes:
            answer = change(answer)
            spool.save(answer)
            spool.publish(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)


def started(answer: Answer) -> Answer:
    return answer.becomes(State.RUNNING, TAKEN).with_results({"orders": DatabaseResult()}, ())


def copying(answer: Answer) -> Answer:
    progress = {"database": "orders", "bytes": 1024, "total": 2048}
    return answer.model_copy(update={"stage": "copy", "progress": progress})


def ended_with(outcome: Outcome, warnings: tuple[str, ...] = ()) -> Change:
    facts: dict[str, Any] = {"type": "FULL", "type_reason": "asked", "artifact": "default/orders/x.backup", "size": 12}
    result = DatabaseResult(outcome=outcome, warnings=warnings, **facts)
    return lambda answer: answer.with_result("orders", result).concluded(TAKEN)


def failed_with(reason: Reason) -> Change:
    failure = Failure(reason, "it broke\nmore of that", "mend it")
    return lambda answer: answer.with_result("orders", DatabaseResult().failed(failure, TAKEN)).concluded(TAKEN)


@pytest.mark.process
@pytest.mark.usefixtures("present")
@pytest.mark.parametrize(
    ("last", "code", "expected"),
    [
        pytest.param(
            ended_with(Outcome.SUCCEEDED),
            0,
            ["x: succeeded", "  orders: FULL (asked), 12 B, default/orders/x.backup"],
            id="succeeded",
        ),
        pytest.param(
            ended_with(Outcome.SUCCEEDED_WITH_WARNINGS, ("odd",)),
            3,
            [
                "x: succeeded_with_warnings",
                "  orders: succeeded_with_warnings FULL (asked), 12 B, default/orders/x.backup",
                "    WARNING: odd",
            ],
            id="with warnings",
        ),
        pytest.param(
            failed_with(Reason.DISK_FULL),
            1,
            [
                "x: failed (disk_full)",
                "  orders: failed (disk_full)",
                "    it broke",
                "  HINT: mend it",
                "  The whole error: backup-agent show 'x'",
            ],
            id="failed",
        ),
        pytest.param(
            failed_with(Reason.CANCELLED),
            1,
            [
                "x: cancelled",
                "  orders: cancelled",
                "    it broke",
                "  HINT: mend it",
                "  The whole error: backup-agent show 'x'",
            ],
            id="cancelled",
        ),
    ],
)
def test_waiting_ends_with_the_final_answer_and_its_exit_code(
    place: Place, last: Change, code: int, expected: list[str]
) -> None:
    with answering(place, started, last):
        result = place.run("request", *WAIT, "--id", "x")

    assert result.out.splitlines() == expected
    assert set(result.err.splitlines()) <= {"dropped", "x: queued", "x: running"}
    assert result.code == code


@pytest.mark.usefixtures("present")
@pytest.mark.parametrize(("warnings", "code"), [((), 0), (("odd",), 3)], ids=["succeeded", "with warnings"])
def test_waiting_for_the_volume_ends_when_the_artifact_is_recorded(
    place: Place, warnings: tuple[str, ...], code: int
) -> None:
    copies = {OFFSITE: CopyState.WAITING}
    facts: dict[str, Any] = {"type": "FULL", "type_reason": "asked", "artifact": "default/orders/x.backup", "size": 12}
    recorded = DatabaseResult(outcome=Outcome.RECORDED, copies=copies, warnings=warnings, **facts)
    with answering(place, started, lambda answer: answer.with_result("orders", recorded).waiting_for_copies()):
        result = place.run("request", "--wait=local", "--timeout", f"{PATIENCE:g}", "--id", "x")

    assert result.code == code
    assert result.out.splitlines()[:2] == [
        "x: running",
        "  orders: recorded FULL (asked), 12 B, default/orders/x.backup, offsite: waiting",
    ]
    assert "every artifact is recorded on the volume; the agent goes on with the copies" in result.err


def test_a_rejected_request_exits_4(place: Place) -> None:
    with answering(place, started, ended_with(Outcome.SUCCEEDED)):
        place.run("request", *WAIT, "--id", "x")
    with answering(place):
        result = place.run("request", *WAIT, "--id", "x", "--type", "FULL")

    assert result.code == 4
    assert "'x' has been used for another request" in result.out


@pytest.mark.usefixtures("present")
def test_an_answer_waited_for_is_json_for_programs(place: Place) -> None:
    with answering(place, started, ended_with(Outcome.SUCCEEDED)):
        result = place.run("request", *WAIT, "--json", "--id", "x")

    assert result.err == ""
    assert Answer.model_validate(result.json).state is State.SUCCEEDED


@pytest.mark.process
def test_a_timeout_shows_the_stage_of_the_request(place: Place) -> None:
    with answering(place, started, copying):
        result = place.run("request", "--wait", "--timeout", "1", "--id", "x")

    assert result.code == 1
    assert "no answer after 1 s (running orders copy), but the request goes on; " in result.err
    assert "; backup-agent cancel 'x' ends it\n" in result.err


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_on_a_terminal_progress_is_one_changing_line(place: Place) -> None:
    shown = threading.Event()

    def ends_once_shown(answer: Answer) -> Answer:
        shown.wait(PATIENCE)
        return ended_with(Outcome.SUCCEEDED)(answer)

    arguments = ("--config", str(place.config), "request", *WAIT, "--id", "x")
    with on_a_terminal(*arguments) as (process, terminal), answering(place, started, copying, ends_once_shown):
        progress = read(terminal, "1.0 KiB of 2.0 KiB")
        shown.set()
        rest = read(terminal)
        code = exit_code(process)

    assert "\r\x1b[Kx: running orders copy  1.0 KiB of 2.0 KiB" in progress
    assert "\n" not in progress
    assert rest.endswith(
        "\r\x1b[Kx: \x1b[32msucceeded\x1b[0m\r\n  orders: FULL (asked), 12 B, default/orders/x.backup\r\n"
    )
    assert code == 0


HEARS_CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from backup_agent.cli import main
main.main()
"""


@pytest.mark.process
def test_ctrl_c_ends_the_waiting_and_not_the_request(place: Place) -> None:
    with (
        answering(place, started, copying),
        subprocess.Popen(
            [sys.executable, "-c", HEARS_CTRL_C, "--config", place.config, "request", "--wait", "--id", "x"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        while "running orders copy" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert out == ""
    assert err.strip() == (
        "no longer waiting, but the request goes on; backup-agent cancel 'x' ends it\nits answer: backup-agent show 'x'"
    )
