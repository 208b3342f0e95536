"""The process that sends a notification, against real HTTP servers on the loopback."""

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from backup_agent.core.requests.notices import HealthNotice, RunNotice, RunPhase
from backup_agent.core.requests.tasks import NotifyTask
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.jobs.notify import notify
from backup_agent.settings.model import Settings
from tests.builders import settings_tree
from tests.receivers import SECRET, Receiver, served

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
DEGRADED = HealthNotice(
    cluster="demo", health="DEGRADED", before="OK", text="DEGRADED: 2 of 20 databases late <!channel>", at=NOW
)


def run(phase: str, reason: str | None = None) -> RunNotice:
    return RunNotice(phase=RunPhase(phase), request="r1", state="failed" if reason else "succeeded", reason=reason)


Send = Callable[..., dict[str, Any]]


@pytest.fixture(name="send")
def _send(tmp_path: Path) -> Send:
    """Send a notice to a URL and return the event that tells how it ended."""

    def send(
        url: str, kind: str, notice: RunNotice | HealthNotice, seconds: float = 10.0, **keys: str
    ) -> dict[str, Any]:
        task = written(tmp_path, url, kind, notice, **keys)
        lines: list[str] = []
        notify(task, Settings.model_validate(task.settings), EventWriter(lines.append), seconds)
        [line] = lines
        assert SECRET not in line
        event: dict[str, Any] = json.loads(line)
        return event

    return send


def written(folder: Path, url: str, kind: str, notice: RunNotice | HealthNotice, **keys: str) -> NotifyTask:
    """Write the file of the URL, and return the task that sends the notice there."""
    file = folder / "url"
    file.write_text(f"{url}\n")
    tree = settings_tree(notify={"team": {"kind": kind, "url_file": str(file), **keys}})
    return NotifyTask(settings=tree, receiver="team", notice=notice)


@pytest.mark.parametrize(
    ("phase", "path"),
    [
        ("start", f"/{SECRET}/start"),
        ("success", f"/{SECRET}"),
        ("failure", f"/{SECRET}/fail"),
        ("cancellation", f"/{SECRET}/log"),
    ],
)
def test_a_ping_says_by_its_path_what_happened(send: Send, phase: str, path: str) -> None:
    with served() as receiver:
        assert send(receiver.url, "ping", run(phase))["error"] is None

    assert [got[0] for got in receiver.got] == [path]


def test_a_ping_keeps_the_query_of_its_url_and_says_which_request_failed_and_why(send: Send) -> None:
    with served() as receiver:
        assert send(f"{receiver.url}/?create=1", "ping", run("failure", "source_unreachable"))["error"] is None

    assert receiver.got == [
        (f"/{SECRET}/fail?create=1", "text/plain; charset=utf-8", b"r1: failed (source_unreachable)\n")
    ]


def test_a_webhook_gets_the_change_of_the_health_as_json(send: Send) -> None:
    with served(status=204, body=b"") as receiver:
        assert send(receiver.url, "webhook", DEGRADED)["error"] is None

    [(path, content_type, body)] = receiver.got
    assert (path, content_type) == (f"/{SECRET}", "application/json")
    assert json.loads(body) == {
        "event": "health",
        "cluster": "demo",
        "health": "DEGRADED",
        "before": "OK",
        "text": DEGRADED.text,
        "at": "2026-11-23T02:00:00Z",
    }


def test_slack_and_teams_get_a_message_in_their_own_form(send: Send) -> None:
    with served() as receiver:
        send(receiver.url, "slack", DEGRADED)
        send(receiver.url, "teams", DEGRADED)

    slack, teams = (json.loads(body) for _, _, body in receiver.got)
    assert slack == {"text": "demo: DEGRADED: 2 of 20 databases late &lt;!channel&gt; (before: OK)"}
    [card] = teams["attachments"]
    assert card["content"]["body"][0]["text"] == f"demo: {DEGRADED.text} (before: OK)"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_a_refusal_is_reported_with_its_status_code(send: Send, status: int) -> None:
    with served(status=status, body=SECRET.encode()) as receiver:
        assert send(receiver.url, "webhook", DEGRADED)["error"] == f"the receiver answered HTTP {status}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(send: Send, status: int) -> None:
    with served() as elsewhere, served(status=status, location=elsewhere.url) as receiver:
        found = send(receiver.url, "webhook", DEGRADED)

    assert elsewhere.got == []
    assert found["error"] == f"the receiver redirects (HTTP {status}), which is not followed"


def test_a_check_that_the_service_does_not_know_is_an_error_although_it_answers_200(send: Send) -> None:
    with served(body=b"OK (not found)") as receiver:
        assert "did not take the ping" in send(receiver.url, "ping", run("success"))["error"]


def test_a_long_answer_is_not_read(send: Send) -> None:
    with served(body=b"x" * 5_000_000) as receiver:
        assert send(receiver.url, "ping", run("success"))["error"] is None


def test_a_receiver_that_answers_byte_by_byte_is_given_up_at_the_deadline(send: Send) -> None:
    with served(trickles=True) as receiver:
        assert send(receiver.url, "webhook", DEGRADED, seconds=0.2)["error"] == "no answer within 0 s"


def test_a_closed_port_and_an_answer_that_is_not_http_are_errors_without_the_url(send: Send) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "Connection refused" in send(f"http://127.0.0.1:{port}/{SECRET}", "webhook", DEGRADED)["error"]

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(f"{SECRET}\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        found = send(f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}", "webhook", DEGRADED)
        thread.join()
    assert "without an answer of HTTP" in found["error"]


@pytest.fixture(name="tls_receiver")
def _tls_receiver(tmp_path: Path) -> Iterator[tuple[Receiver, Path]]:
    """A receiver with a certificate for `localhost`, and the file with its CA."""
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with served(context=context) as receiver:
        yield receiver, ca_file


def test_a_certificate_that_is_not_trusted_is_refused_and_one_of_ca_file_is_not(
    send: Send, tls_receiver: tuple[Receiver, Path]
) -> None:
    receiver, ca_file = tls_receiver
    url = receiver.url.replace("http://127.0.0.1", "https://localhost")

    assert "certificate is not trusted" in send(url, "webhook", DEGRADED)["error"]
    assert receiver.got == []
    assert send(url, "webhook", DEGRADED, ca_file=str(ca_file))["error"] is None
    assert len(receiver.got) == 1


def test_a_ca_file_that_cannot_be_read_is_named(send: Send, tmp_path: Path) -> None:
    missing = tmp_path / "ca.crt"
    found = send("https://localhost/x", "webhook", DEGRADED, ca_file=str(missing))

    assert found["error"] == f"notify.team.ca_file: {missing}: no such file or directory"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"ftp://files.example.com/{SECRET}", id="another-scheme"),
        pytest.param(f"file:///etc/{SECRET}", id="a-file"),
        pytest.param(f"https:///{SECRET}", id="no-host"),
        pytest.param(f"https://me:{SECRET}@example.com/", id="a-password"),
        pytest.param(f"https://example.com/{SECRET} x", id="a-space"),
        pytest.param(f"https://example.com:port/{SECRET}", id="port-is-not-a-number"),
        pytest.param(f"https://[{SECRET}/", id="half-an-address"),
        pytest.param(f"https://example.com/{SECRET}\x07", id="a-control-character"),
        pytest.param(SECRET, id="no-url"),
    ],
)
def test_a_file_without_a_url_to_send_to_is_named_and_its_content_is_not(
    send: Send, content: str, tmp_path: Path
) -> None:
    found = send(content, "webhook", DEGRADED)

    assert found["error"] == f"notify.team.url_file: {tmp_path / 'url'}: not a URL to send to"
    assert "https://" in found["hint"]


def test_a_missing_file_is_named(send: Send, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    found = send("https://example.com/", "webhook", DEGRADED, url_file=str(missing))

    assert found["error"] == f"notify.team.url_file: {missing}: no such file or directory"


@pytest.mark.process
def test_the_process_sends_and_shows_the_url_nowhere(tmp_path: Path) -> None:
    with served(status=500) as receiver:
        task = written(tmp_path, receiver.url, "ping", run("start"))
        with subprocess.Popen(
            [sys.executable, "-m", "backup_agent.jobs.notify"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # when its stdin ends, a child ends its whole session
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(task.model_dump_json().encode() + b"\n")
            child.stdin.flush()
            shown = child.stdout.read()

    assert json.loads(shown)["error"] == "the receiver answered HTTP 500"
    assert SECRET.encode() not in shown
    assert len(receiver.got) == 1
