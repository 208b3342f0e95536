"""No credential, however it is written, gets into an answer, the log, a page or a file of the agent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import receivers
from tests.agent.live import PASSWORD, Live
from tests.polling import until
from tests.stores.odd_server import OddServer, whole

SECRET = "hunter2SECRET"
SHAPES = {"a newline at its end": SECRET + "\n", "two lines": SECRET + "\n" + SECRET, "no ASCII": SECRET + "…"}
SOURCES = ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(name="store")
def _store() -> Iterator[OddServer]:
    """A store that refuses every request, and repeats the request's credentials in its answer."""
    body = f"<Error><Code>AccessDenied</Code><Message>{SECRET}, I heard</Message></Error>".encode()
    with OddServer(lambda _: whole(body, 403)) as server:
        yield server


def texts(live: Live) -> Iterator[tuple[str, str]]:
    """Yield all output of the agent: its log, its pages, and every file that it has written."""
    yield "log", "".join(live.text)
    for page in ("/status.json", "/metrics", "/readyz"):
        yield page, live.get(page)[1]
    for folder in (live.root, live.requests):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 2**22:
                yield str(path.relative_to(live.folder)), path.read_bytes().decode(errors="replace")


def quoting(live: Live, *secrets: str) -> list[str]:
    return [where for where, text in texts(live) if any(secret in text for secret in secrets)]


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        pytest.param(source, shape, marks=[] if source == SOURCES[-1] else [pytest.mark.nightly])
        for source, shape in zip(SOURCES, SHAPES, strict=True)
    ],
)
def test_a_credential_of_the_store_is_quoted_nowhere(live: Live, store: OddServer, source: str, shape: str) -> None:
    live.settings["storage"]["destinations"] = {
        "offsite": {"bucket": "backups", "endpoint_url": store.endpoint_url, "region": "x", "path_style": True}
    }
    environ = {**dict.fromkeys(SOURCES, "plain"), "AWS_EC2_METADATA_DISABLED": "true", source: SHAPES[shape]}
    live.environ = environ
    live.by_command = True
    live.start()

    answer = live.ask(database="orders")

    assert (answer["state"], answer["reason"]) == ("succeeded_with_warnings", "copies_owed")
    assert f"the credential in {source} contains a" in str(answer) + str(live.status())
    assert quoting(live, SECRET) == []


@pytest.mark.parametrize(("source", "shape"), [("file", SECRET + "\n\n"), ("environment", SECRET + "\n")])
def test_a_password_of_the_cluster_is_quoted_nowhere(live: Live, source: str, shape: str) -> None:
    environ: dict[str, str] = {}
    if source == "file":
        Path(live.settings["neo4j"]["password_file"]).write_text(shape)
    else:
        del live.settings["neo4j"]["password_file"]
        environ = {"NEO4J_PASSWORD": shape}
    live.environ = environ
    live.by_command = True
    live.start(ready=False)

    until(lambda: live.port and live.requests.is_dir(), "listening agent")
    live.drop(database="orders*")
    answer = live.answer()

    assert (answer["state"], answer["reason"]) == ("failed", "source_unreachable")
    assert "contains a line break" in str(answer)
    assert quoting(live, SECRET, PASSWORD) == []


def test_the_url_of_a_receiver_that_refuses_a_notification_is_quoted_nowhere(live: Live) -> None:
    with receivers.served(status=500) as receiver:
        file = live.folder / "url"
        file.write_text(receiver.url)
        live.write_settings(notify={"nightly": {"kind": "ping", "url_file": str(file)}})
        live.start()
        assert live.ask(database="nosuch")["state"] == "failed"
        [failure] = until(lambda: live.events("notification not sent"), "failure in the log")

        assert [path for path, _, _ in receiver.got] == [f"/{receivers.SECRET}/fail"]
        assert (failure["receiver"], failure["error"]) == ("nightly", "the receiver answered HTTP 500")
        assert live.metric("neo4j_backup_notifications_total", receiver="nightly", outcome="failed") == 1
        assert quoting(live, receivers.SECRET) == []
