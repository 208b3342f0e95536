"""The S3 store and answers that are incomplete, do not end, or come byte by byte; and what its errors quote of them."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from backup_agent.catalog.diff import diff
from backup_agent.catalog.index import HEAD
from backup_agent.catalog.place import place_of
from backup_agent.catalog.rebuild import rebuild
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.jobs.prune import prune
from backup_agent.stores.s3 import S3Store
from backup_agent.stores.store import ObjectTooLargeError, Store
from tests.builders import an_event_writer, settings_with
from tests.catalog.places import with_store
from tests.stores.files import KEY
from tests.stores.odd_server import OddServer, head, page, truncated, whole

pytestmark = pytest.mark.usefixtures("credentials")

Answering = Callable[[Callable[[str], Iterable[bytes]]], OddServer]


@pytest.fixture
def serve() -> Iterator[Answering]:
    """Return a function that starts a server whose answers another function makes."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(OddServer(answer))


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat no request, since the answers do not change."""
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 1)


def store_at(server: OddServer, prefix: str = "demo") -> S3Store:
    return S3Store(
        bucket="bucket", prefix=prefix, endpoint_url=server.endpoint_url, region="us-east-1", path_style=True
    )


def query_value(path: str, name: str) -> str | None:
    return parse_qs(urlsplit(path).query).get(name, [None])[0]


# Listings that are not whole


def second_page(path: str) -> bytes:
    token = query_value(path, "continuation-token")
    return page("demo/a/b/1", more=truncated("next")) if token is None else page("demo/a/b/2")


NOT_WHOLE: dict[str, tuple[Callable[[str], bytes], str]] = {
    "truncated without a token": (lambda _: page("demo/a/b/1", more=truncated(None)), "no token"),
    "truncated with an empty token": (lambda _: page("demo/a/b/1", more=truncated("")), "no token"),
    "truncated and empty": (lambda _: page(more=truncated(None)), "no token"),
    "the same token again": (lambda _: page("demo/a/b/1", more=truncated("t")), "repeats a token"),
    "two tokens in turn": (
        lambda path: page(more=truncated("a" if query_value(path, "continuation-token") == "b" else "b")),
        "repeats a token",
    ),
    "without a word on what follows": (lambda _: page("demo/a/b/1", more=""), "does not say whether more pages follow"),
    "an empty body": (lambda _: b"", "does not say whether more pages follow"),
    "another document": (lambda _: b"<html><body>Welcome</body></html>", "does not say whether more pages follow"),
    "a key of another prefix": (lambda _: page("other/a/b/1"), "does not begin with the requested prefix"),
}


@pytest.mark.parametrize("entry", ["<Key>demo/a/b/1</Key>", "<Size>1</Size>"], ids=["without a size", "without a key"])
def test_an_entry_of_a_listing_that_lacks_a_field_is_an_error(serve: Answering, entry: str) -> None:
    server = serve(lambda _: whole(page(more=f"<Contents>{entry}</Contents><IsTruncated>false</IsTruncated>")))

    with pytest.raises(TransientError, match="not one of S3") as refused:
        list(store_at(server).list())

    assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (500, "InternalError", "a fault of its own"),
        (503, "ServiceUnavailable", "a fault of its own"),
        (502, "", "a fault of its own"),
        (307, "TemporaryRedirect", "the address that it redirects to"),
    ],
)
def test_the_hint_for_an_invalid_answer_does_not_mention_dns(
    serve: Answering, status: int, code: str, words: str
) -> None:
    body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
    server = serve(lambda _: whole(body, status, Content_Type="application/xml"))

    with pytest.raises(TransientError) as refused:
        list(store_at(server).list())

    assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE
    assert words in refused.value.failure.advice
    assert "DNS" not in refused.value.failure.advice


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_a_listing_that_is_not_whole_is_an_error(serve: Answering, name: str) -> None:
    answer, words = NOT_WHOLE[name]
    server = serve(lambda path: whole(answer(path)))

    with pytest.raises(TransientError, match="the listing is incomplete") as refused:
        list(store_at(server).list())

    assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE
    assert words in refused.value.failure.error
    assert "proxies" in refused.value.failure.advice


def test_a_listing_of_several_pages_is_complete(serve: Answering) -> None:
    server = serve(lambda path: whole(second_page(path)))

    assert [one.key for one in store_at(server).list()] == ["a/b/1", "a/b/2"]


def test_a_listing_without_entries_is_empty(serve: Answering) -> None:
    assert list(store_at(serve(lambda _: whole(page()))).list()) == []


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_an_incomplete_listing_is_used_by_no_index_no_diff_and_no_retention(
    serve: Answering, tmp_path: Path, name: str
) -> None:
    answer, _ = NOT_WHOLE[name]
    server = serve(
        lambda path: (
            whole(answer(path)) if query_value(path, "list-type") else whole(b"", 404)
        )  # no other object exists
    )
    destination = {"bucket": "bucket", "retention": {"last": 1}}
    settings = settings_with(storage={"root": str(tmp_path), "destinations": {"s3": destination}})
    place = place_of("s3", settings)
    place.index.parent.mkdir(parents=True)
    place.index.write_bytes(HEAD)
    events: list[dict[str, Any]] = []
    store = store_at(server)

    for attempt in (
        lambda: rebuild(with_store(place, store)),
        lambda: list(diff(with_store(place, store))),
        lambda: prune(
            PruneTask(run="prune-1", place="s3", settings={}),
            with_store(place, cast("Store", _Unowned(store))),
            an_event_writer(events),
        ),
    ):
        with pytest.raises(BackupError, match="the listing is incomplete"):
            attempt()
    assert place.index.read_bytes() == HEAD
    assert "pruned" not in {one["event"] for one in events}


class _Unowned:
    """A store without an owner, in which every write succeeds. Only its listing has faults."""

    conditional_writes = False
    concurrent_reads = 8

    def __init__(self, inner: S3Store) -> None:
        self.name = "s3"
        self.list = inner.list
        self.now = inner.now

    def look(self, _key: str, _limit: int) -> None:
        return None

    def swap(self, _key: str, _content: bytes, _version: str | None) -> str:
        return "1"


# Answers that are too large, or do not end


def test_an_object_that_is_too_large_by_its_head_is_not_read(serve: Answering) -> None:
    size = 300 * 2**20

    def answer(_: str) -> Iterator[bytes]:
        yield head(Content_Length=str(size), ETag='"1"')
        yield from repeat(bytes(2**20), size // 2**20)

    server = serve(answer)

    with pytest.raises(ObjectTooLargeError, match="larger than 1000 bytes") as refused:
        store_at(server).read(KEY, 1000)
    with pytest.raises(ObjectTooLargeError):
        store_at(server).look(KEY, 1000)
    assert refused.value.version == '"1"'
    assert server.sent < 2 * size // 10  # bytes in the buffers of the sockets


def test_an_object_without_end_takes_no_more_memory_than_the_limit(serve: Answering) -> None:
    def answer(_: str) -> Iterator[bytes]:
        yield head(Transfer_Encoding="chunked", ETag='"1"')
        while not server.closing.is_set():
            yield b"10000\r\n" + bytes(0x10000) + b"\r\n"

    server = serve(answer)

    with pytest.raises(ObjectTooLargeError, match="larger than 1000 bytes"):
        store_at(server).read(KEY, 1000)


STARTS = {
    "from the first byte": b"",
    "in the headers": b"HTTP/1.1 200 OK\r\n",
    "in a body that is too large": head(Content_Length="1000000000", ETag='"1"'),
    "in the body": head(Content_Length="1000", ETag='"1"'),
    "in a body of unknown size": head(Transfer_Encoding="chunked", ETag='"1"'),
}


@pytest.mark.process
@pytest.mark.parametrize(
    ("operation", "start"),
    [
        *(("read", start) for start in STARTS),
        *((operation, "in the headers") for operation in ("look", "list", "stat", "swap", "create", "delete")),
    ],
)
def test_a_store_that_sends_byte_by_byte_does_not_block(
    serve: Answering, monkeypatch: pytest.MonkeyPatch, operation: str, start: str
) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.bucket.DEADLINE", 0.3)

    def answer(_: str) -> Iterator[bytes]:
        yield STARTS[start]
        yield from server.drip(b"000001\r\nx\r\n" if start == "in a body of unknown size" else b"X-a: b\r\n")

    server = serve(answer)
    store = store_at(server)
    began = time.monotonic()

    calls: dict[str, Callable[[], object]] = {
        "read": lambda: store.read(KEY, 1000),
        "look": lambda: store.look(KEY, 1000),
        "list": lambda: list(store.list()),
        "stat": lambda: store.stat(KEY),
        "swap": lambda: store.swap(KEY, b"x", None),
        "create": lambda: store.create(KEY, b"x"),
        "delete": lambda: store.delete(KEY),
    }
    with suppress(BackupError):  # the answers to HEAD and DELETE have no body
        calls[operation]()

    assert time.monotonic() - began < 10


def test_a_store_that_is_too_slow_is_an_error(serve: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.bucket.DEADLINE", 0.3)

    def answer(_: str) -> Iterator[bytes]:
        yield head(Content_Length="1000", ETag='"1"')
        yield from server.drip(b"x")

    server = serve(answer)

    with pytest.raises(TransientError, match=r"GetObject: no complete answer within 0\.3 s") as refused:
        store_at(server).read(KEY, 1000)
    assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE


# What is quoted

SECRET = "hunter2SECRET"
HOSTILE = [
    pytest.param(SECRET + "\n", id="a newline"),
    pytest.param(SECRET + "\r\n", id="a carriage return"),
    pytest.param("\n" + SECRET, id="a newline before it"),
    pytest.param(SECRET + "\n" + SECRET, id="two lines"),
    pytest.param(SECRET + "…", id="not ASCII"),
    pytest.param(SECRET + " ", id="a blank"),
]
BROKEN = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("variable", sorted(BROKEN))
def test_the_error_names_the_source_of_an_invalid_credential_and_does_not_quote_it(
    serve: Answering, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    store = store_at(serve(lambda _: whole(b"", 403)))

    for attempt in (lambda: store.read(KEY, 10), lambda: store.swap(KEY, b"x", None), lambda: list(store.list())):
        with pytest.raises(PermanentError) as refused:
            attempt()

        assert refused.value.failure.reason is Reason.STORAGE_AUTH
        assert f"the credential in {variable} contains a" in refused.value.failure.error
        assert ("a line break" in refused.value.failure.error) == ("\n" in value)
        assert SECRET not in repr(refused.value.failure)


def test_the_error_names_the_file_of_an_invalid_credential(
    serve: Answering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in BROKEN:
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "credentials").write_text(f"[default]\naws_access_key_id = a\n  {SECRET}\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    with pytest.raises(PermanentError, match="boto3's source 'shared-credentials-file' contains a line break") as no:
        store_at(serve(lambda _: whole(b"", 403))).read(KEY, 10)
    assert SECRET not in repr(no.value.failure)


@pytest.mark.parametrize(
    ("process", "message"),
    [
        pytest.param(None, "AWS_CONTAINER_AUTHORIZATION_TOKEN contains a line break", id="a container's token"),
        pytest.param(f"printf {SECRET}", "the source of the credentials failed: JSONDecodeError", id="not JSON"),
        pytest.param(f"'{SECRET}", "the source of the credentials failed: ValueError", id="an unclosed quote"),
        pytest.param(
            f"/nowhere/{SECRET}", "the source of the credentials failed: FileNotFoundError", id="a missing program"
        ),
    ],
)
def test_a_failing_source_of_credentials_is_named(
    serve: Answering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, process: str | None, message: str
) -> None:
    for variable in BROKEN:
        monkeypatch.delenv(variable, raising=False)
    if process is None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", f"{SECRET}\nX")
    else:
        (tmp_path / "config").write_text(f"[default]\ncredential_process = {process}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))

    with pytest.raises(PermanentError, match=message) as refused:
        store_at(serve(lambda _: whole(b"", 403))).read(KEY, 10)
    assert refused.value.failure.reason is Reason.STORAGE_AUTH
    assert "credential_process" in refused.value.failure.advice
    assert SECRET not in repr(refused.value.failure)


@pytest.mark.parametrize(
    "code", ["AccessDenied", "SignatureDoesNotMatch", "InvalidToken", "NoSuchBucket", "SlowDown", SECRET]
)
def test_only_the_code_of_an_error_of_the_store_is_quoted(serve: Answering, code: str) -> None:
    body = (
        f"<Error><Code>{code if code != SECRET else ' '.join(SECRET)}</Code><Message>you signed {SECRET}</Message>"
        f"<RequestId>{SECRET} and more</RequestId><Token-0>{SECRET}</Token-0></Error>"
    )
    store = store_at(serve(lambda _: whole(body.encode(), 403, X_Amz_Request_Id=f"<{SECRET}>")))

    with pytest.raises(BackupError) as refused:
        store.read(KEY, 10)

    assert SECRET not in repr(refused.value.failure)
    assert " ".join(SECRET) not in repr(refused.value.failure)
    assert code == SECRET or code in refused.value.failure.error
    assert "HTTP 403" in refused.value.failure.error


def test_the_error_of_a_refused_request_has_the_request_id_of_the_store(serve: Answering) -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    store = store_at(serve(lambda _: whole(body, 403, x_amz_request_id="4442587FB7D0A2F9")))

    with pytest.raises(PermanentError, match=r"AccessDenied \(HTTP 403, request 4442587FB7D0A2F9\)"):
        store.read(KEY, 10)


def test_no_word_of_a_broken_answer_is_quoted(serve: Answering) -> None:
    for raw in (f"{SECRET}\r\n\r\n", f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n", f"HTTP/1.1 {SECRET} x\r\n\r\n"):
        store = store_at(serve(partial(_raw, raw.encode())))

        with pytest.raises(BackupError) as refused:
            list(store.list())

        assert SECRET not in repr(refused.value.failure)


def _raw(content: bytes, _path: str) -> list[bytes]:
    return [content]
