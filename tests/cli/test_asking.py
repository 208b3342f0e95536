"""The commands that send one request: confirmation before deletions, and the end of an interrupted command."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_agent.supervisor.requests.spool import Spool
from tests.cli.conftest import Place, an_agent, exit_code, on_a_terminal, read
from tests.polling import PATIENCE

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
DESTRUCTIVE = [
    pytest.param(["prune"], id="prune"),
    pytest.param(["prune", "--place", "local", "--force", "--plan", "0123"], id="prune --force"),
    pytest.param(["forget", "orders", "--reason", "dropped"], id="forget"),
    pytest.param(["release", KEY, "--reason", "over"], id="release"),
    pytest.param(["verify", "--heal"], id="verify --heal"),
]
SIGNALS = [
    pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
    pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    pytest.param(signal.SIGHUP, 129, id="hang-up"),
]


def dropped_requests(place: Place) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(place.requests.glob("*.request"))]


@pytest.mark.parametrize("words", DESTRUCTIVE)
def test_a_destructive_request_fails_at_once_if_no_agent_takes_requests(place: Place, words: list[str]) -> None:
    result = place.run(*words, "--yes", "--timeout", "5")

    assert result.code == 1
    assert f"{place.requests}: no agent takes requests from this folder; `{words[0]}` was not requested" in result.err
    assert "HINT: start the agent" in result.err
    assert dropped_requests(place) == []


@pytest.mark.parametrize("words", DESTRUCTIVE)
def test_a_destructive_request_needs_yes_if_there_is_no_terminal(place: Place, words: list[str]) -> None:
    with an_agent(place):
        result = place.run(*words, "--timeout", "5")

    assert result.code == 2
    assert "no terminal to confirm at: add --yes" in result.err
    assert dropped_requests(place) == []


def test_a_name_that_no_database_has_is_refused_before_a_plan_is_shown(place: Place) -> None:
    with an_agent(place):
        result = place.run("forget", "a/b", "--reason", "dropped", "--yes", "--timeout", "5")

    assert (result.code, result.out) == (2, "")
    assert "'a/b' is not the name of a database" in result.err
    assert dropped_requests(place) == []


@pytest.mark.parametrize(
    "words", [["request", "--wait"], ["pause"], ["prune", "--yes"]], ids=["request", "pause", "prune"]
)
def test_no_request_is_sent_to_an_agent_that_owns_another_volume(place: Place, words: list[str]) -> None:
    (place.root / "owner.json").write_text('{"schema": 1, "id": "4567", "cluster": "demo"}')
    with an_agent(place):
        place.requests.joinpath(".spool", ".lock").write_text("0123\n")
        result = place.run(*words, "--timeout", "5")

    assert result.code == 1
    assert (
        f"{place.requests}: the agent that takes requests from this folder is 0123, and {place.root} belongs"
        in result.err
    )
    assert dropped_requests(place) == []


@pytest.mark.process
@pytest.mark.parametrize("words", DESTRUCTIVE)
@pytest.mark.parametrize("answer", ["n", "y"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_destructive_request_is_confirmed_at_a_terminal(place: Place, words: list[str], answer: str) -> None:
    with (
        an_agent(place),
        on_a_terminal("--config", str(place.config), *words, "--timeout", "0") as (process, terminal),
    ):
        read(terminal, "[y/N]: ")
        os.write(terminal, f"{answer}\n".encode())
        printed = read(terminal)
        code = exit_code(process)

    assert code == 1
    assert ("nothing was requested" in printed) == (answer == "n")
    assert len(dropped_requests(place)) == (answer == "y")


@pytest.mark.parametrize("words", [*DESTRUCTIVE, pytest.param(["pause"], id="pause"), pytest.param(["resume"])])
def test_requests_that_should_not_be_carried_out_late_expire_after_a_quarter_of_an_hour(
    place: Place, words: list[str]
) -> None:
    yes = [] if words[0] in ("pause", "resume") else ["--yes"]
    with an_agent(place):
        place.run(*words, *yes, "--timeout", "0")
        place.run(*words, *yes, "--timeout", "0", "--not-after", "2h")
        place.run(*words, *yes, "--timeout", "0", "--not-after", "2026-11-23T02:00:00Z")
    moments = [datetime.fromisoformat(one["not_after"]) for one in dropped_requests(place)]

    ahead = [moment - datetime.now(UTC) for moment in moments]
    assert timedelta(minutes=13) < ahead[0] <= timedelta(minutes=15)
    assert timedelta(minutes=115) < ahead[1] <= timedelta(hours=2)
    assert moments[2] == datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def test_a_pause_may_end_by_itself(place: Place) -> None:
    with an_agent(place):
        place.run("pause", "--for", "2h", "--timeout", "0")
    [request] = dropped_requests(place)

    ahead = datetime.fromisoformat(request["until"]) - datetime.now(UTC)
    assert timedelta(minutes=115) < ahead <= timedelta(hours=2)


def test_hold_and_release_select_by_the_same_options(place: Place) -> None:
    selection = ["--database", "ord*", "--from", "2026-11-01", "--to", "2026-11-30", "--label", "case=4711"]
    fields = {"database": "ord*", "taken_from": "2026-11-01", "taken_to": "2026-11-30", "labels": {"case": "4711"}}
    with an_agent(place):
        place.run("hold", *selection, "--until", "2036-12-31", "--reason", "audit", "--timeout", "0")
        place.run("release", *selection, "--reason", "over", "--yes", "--timeout", "0")
    held, released = dropped_requests(place)

    assert {**held, **fields, "action": "hold", "until": "2036-12-31", "reason": "audit"} == held
    assert {**released, **fields, "action": "release", "reason": "over"} == released


def test_a_hold_that_selects_no_artifact_is_refused(place: Place) -> None:
    result = place.run("hold", "--reason", "audit")

    assert result.code == 2
    assert "ARTIFACT is missing: add the key of an artifact" in result.err


def test_a_fault_names_options_and_not_fields_of_the_request(place: Place) -> None:
    wrong = place.run("prune", "--dry-run", "--drop-owed", "offsite")
    both = place.run("hold", KEY, "--from", "2026-10-01", "--reason", "audit")

    assert (wrong.code, both.code) == (2, 2)
    assert "Error: --drop-owed needs --force, because it gives up copies for good\n" in wrong.err
    assert "Error: ARTIFACT and --from are both given: give one of them\n" in both.err


def test_an_invalid_duration_of_a_pause_is_refused(place: Place) -> None:
    result = place.run("pause", "--for", "long")

    assert result.code == 2
    assert "until: a day" in result.err


@pytest.mark.parametrize(
    "words", [["hold", KEY, "--reason", "audit"], ["verify"], ["prune", "--dry-run"], ["request", "--wait"]]
)
def test_other_requests_wait_for_an_agent_and_the_command_says_so(place: Place, words: list[str]) -> None:
    result = place.run(*words, "--timeout", "0")

    assert f"no agent takes requests from {place.requests} yet: the request waits there for an agent" in result.err
    (content,) = dropped_requests(place)
    assert "not_after" not in content


def test_a_forced_prune_needs_the_id_of_a_plan(place: Place) -> None:
    with an_agent(place):
        result = place.run("prune", "--force", "--place", "offsite", "--yes")
        rehearsed = place.run("prune", "--force", "--dry-run", "--timeout", "0")

    assert result.code == 2
    assert (
        "--force needs --plan: show the plans by `backup-agent prune --dry-run --force --place offsite`" in result.err
    )
    assert rehearsed.code == 1
    assert [one["dry_run"] for one in dropped_requests(place)] == [True]


def test_an_invalid_time_is_reported_under_the_name_of_its_option(place: Place) -> None:
    result = place.run("pause", "--not-after", "tomorrow")

    assert (result.code, "--not-after: an ISO 8601 time with its offset expected" in result.err) == (2, True)


def test_a_folder_without_support_for_locks_does_not_refuse_requests(place: Place) -> None:
    """On a volume without locks only `not_after` protects against a late start."""
    (place.requests / ".spool").mkdir()
    (place.requests / ".spool" / ".lock").symlink_to("elsewhere")
    place.run("prune", "--yes", "--timeout", "0")

    assert len(dropped_requests(place)) == 1


@contextmanager
def asking(place: Place, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a command in another process, and wait until it has written its request."""
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_SIGNALS, "-m", "backup_agent", "--config", str(place.config), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "dropped\n"
        yield process


HEARS_SIGNALS = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job ignores some
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("words", [["prune", "--yes"], ["pause"]], ids=" ".join)
def test_an_interruption_withdraws_a_request_that_no_agent_has_taken(
    place: Place, words: list[str], number: signal.Signals, code: int
) -> None:
    with an_agent(place), asking(place, *words) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out) == (code, "")
    assert err.strip() == "withdrawn: no agent had taken the request, and nothing was done"
    assert [path.name for path in place.requests.iterdir()] == [".spool"]


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_an_interruption_says_how_to_cancel_a_request_that_was_taken(
    place: Place, number: signal.Signals, code: int
) -> None:
    with an_agent(place), asking(place, "prune", "--yes") as process:
        spool = Spool(place.requests, str(place.root), lambda _: ())
        (place.requests / ".spool" / "incoming").mkdir(parents=True)
        for name in ("open", "done", "rejected"):
            (place.requests / ".spool" / name).mkdir()
        (place.requests / "answers").mkdir()
        (name,) = spool.dropped.takeable(time.monotonic())
        assert spool.take(name, datetime.now(UTC)) is not None
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)

    identity = name.removesuffix(".request")
    assert process.returncode == code
    assert f"no longer waiting, but the request goes on; backup-agent cancel '{identity}' ends it\n" in err
    assert f"its answer: backup-agent show '{identity}'\n" in err


@pytest.mark.process
def test_a_broken_pipe_withdraws_the_request(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("backup_agent.cli.dropping._follow", gone)
    with an_agent(place):
        assert place.run("prune", "--yes").code == 141

    assert dropped_requests(place) == []


@pytest.mark.parametrize("named", ["its file's name", "its id", "the command's id"])
def test_a_request_that_no_agent_has_taken_is_cancelled_without_an_agent(place: Place, named: str) -> None:
    place.run("request", "--id", "other")
    match named:
        case "its file's name":
            (place.requests / "x.request").write_text("{}")
            request = "x.request"
        case "its id":
            (place.requests / "y.json").write_text('{"id": "x"}')
            request = "x"
        case _:
            request = place.run("request", "--json").json["id"]
    (place.requests / "broken.request").write_text("{")
    (place.requests / "folder.request").mkdir()
    result = place.run("cancel", request)

    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("withdrawn: ")
    assert sorted(path.name for path in place.requests.iterdir() if not path.name.startswith("cli@")) == [
        "broken.request",
        "folder.request",
    ]
    assert len(list(place.requests.glob("cli@*"))) == 1


def test_a_request_that_was_taken_is_cancelled_by_another_request(place: Place) -> None:
    (place.requests / "answers").mkdir()
    (place.requests / "answers" / "x.json").write_text("{}")
    (place.requests / "again.request").write_text('{"id": "x"}')
    result = place.run("cancel", "x", "--timeout", "0", "--requested-by", "me")
    nightly = place.run("cancel", "nightly@20261123T010000Z", "--timeout", "0", "--requested-by", "me")

    assert (result.code, nightly.code) == (1, 1)
    assert dropped_requests(place) == [
        {"action": "cancel", "id": "x", "requested_by": "me"},
        {"action": "cancel", "id": "nightly@20261123T010000Z", "requested_by": "me"},
    ]


def test_withdrawn_requests_are_json_for_programs(place: Place) -> None:
    (place.requests / "x.request").write_text("{}")

    assert place.run("cancel", "x.request", "--json").json == {"withdrawn": ["x.request"]}
