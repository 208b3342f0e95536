"""Stores that lack features or sit behind proxies: the real server behind a proxy that imitates them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.parts import ranges
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.durable import LIMIT
from backup_agent.stores.features import Feature, StoreFeatures
from backup_agent.stores.s3 import S3Store
from backup_agent.stores.s3.errors import failure_of
from backup_agent.stores.store import ConflictError
from tests.stores.fault_proxy import Fault, FaultProxy
from tests.stores.files import KEY, PART, ignore, make

pytestmark = pytest.mark.components

SIZES = [pytest.param(100, id="in one"), pytest.param(3 * PART + 7, id="in parts")]
OWN = ".agent/lease.json"
PAGE = "<html><head><title>404</title></head><body><h1>Not Found</h1><hr>nginx</body></html>"


def always(pattern: str, status: int, code: str = "", **more: Any) -> Fault:
    return Fault(pattern, "refuse", status=status, code=code, times=None, **more)


@pytest.fixture
def features(tmp_path: Path) -> Callable[[], StoreFeatures]:
    """Return the card of the store, as a process of the agent reads it from the volume."""
    return lambda: StoreFeatures(tmp_path / "notes" / "card.json", "somewhere")


@pytest.fixture
def behind(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, features: Callable[[], StoreFeatures]
) -> Callable[..., S3Store]:
    """Return the store behind the proxy, opened as by a new process, after faults were injected."""

    def make_store(*faults: Fault, **changes: Any) -> S3Store:
        proxy.inject(*faults)
        return s3_store(endpoint_url=proxy.endpoint_url, features=features(), **changes)

    return make_store


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat no request, since refusals do not change."""
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 1)


def exercise(store: S3Store, tmp_path: Path, size: int) -> None:
    """Use a store in every way, and check its content."""
    file = make(tmp_path / "source", size)
    stored = store.put_artifact(KEY, tmp_path / "source", file, ignore)
    assert stored.size == size
    assert store.put_artifact(KEY, tmp_path / "source", file, ignore) == stored
    with store.open(KEY) as content:
        assert content.read() == (tmp_path / "source").read_bytes()
    store.create(f"{KEY}.json", b"{}")
    store.create(f"{KEY}.json", b"{}")
    with pytest.raises(PermanentError):
        store.create(f"{KEY}.json", b"[]")
    first = store.swap(OWN, b"1", None)
    assert store.look(OWN, LIMIT) == store.look(OWN, LIMIT)
    store.swap(OWN, b"2", first)
    with pytest.raises(ConflictError):
        store.swap(OWN, b"3", first)
    assert store.read(OWN, LIMIT) == b"2"
    assert [one.key for one in store.list()] == [KEY, f"{KEY}.json"]
    store.delete(KEY)
    assert store.stat(KEY) is None


# Checksums


CHECKSUM = r"x-amz-checksum-(?!mode)"
NO_CHECKSUMS = [
    pytest.param(always("x-amz-checksum-", 400, "InvalidArgument"), id="all, 400"),
    pytest.param(always("x-amz-checksum-", 501, "NotImplemented"), id="all, 501"),
    pytest.param(always("x-amz-checksum-", 501, "A header is unknown"), id="all, 501 with another code"),
    pytest.param(always("x-amz-checksum-mode", 400, "InvalidRequest"), id="mode"),
    pytest.param(always(r"^POST .*uploads.*x-amz-checksum-", 400, "InvalidArgument"), id="algorithm, 400"),
    pytest.param(always(r"^POST .*uploads.*x-amz-checksum-", 501, "NotImplemented"), id="algorithm, 501"),
    pytest.param(always(r"^PUT .*(json|backup |writes).*x-amz-checksum-", 400, "InvalidRequest"), id="of whole bodies"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", NO_CHECKSUMS)
def test_a_store_that_refuses_checksums_is_used_without_them(
    behind: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path, fault: Fault, size: int
) -> None:
    store = behind(Fault(**vars(fault)))

    assert store.conditional_writes
    exercise(store, tmp_path, size)

    assert proxy.injected or "uploads" in fault.pattern


def test_an_upload_begun_with_checksums_is_begun_again_without_them(
    behind: Callable[..., S3Store], tmp_path: Path
) -> None:
    store = behind(always(r"^PUT .*partNumber.*x-amz-checksum-", 400, "InvalidRequest"))
    file = make(tmp_path / "source", 3 * PART)

    with pytest.raises(TransientError, match="CompleteMultipartUpload: InvalidRequest"):
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    exercise(store, tmp_path, 3 * PART)


def test_without_checksums_each_body_has_an_md5_and_is_read_back(
    behind: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path
) -> None:
    store = behind(always("x-amz-checksum-", 400, "InvalidArgument"))
    exercise(store, tmp_path, 3 * PART + 7)

    bodies = [seen.whole for seen in proxy.seen if seen.line.startswith("PUT")]
    assert len(bodies) > 6
    assert all("content-md5" in line for line in bodies)
    # Each part is read back, and the object is read twice in ranges.
    assert sum("range" in seen.whole.split() for seen in proxy.seen) == 16 + 2 * len(list(ranges(3 * PART + 7)))


def test_without_checksums_an_altered_body_is_found(
    behind: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path
) -> None:
    store = behind(always("x-amz-checksum-", 400, "InvalidArgument"))
    assert store.conditional_writes
    file = make(tmp_path / "source", 100)
    proxy.inject(Fault("^PUT .*backup.*content-md5", "corrupt", times=None))

    with pytest.raises(TransientError) as refused:
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert refused.value.failure.reason is Reason.CHECKSUM_MISMATCH
    assert store.stat(KEY) is None


def test_a_missing_feature_is_discovered_once_and_noted(
    behind: Callable[..., S3Store],
    proxy: FaultProxy,
    features: Callable[[], StoreFeatures],
    tmp_path: Path,
) -> None:
    fault = always("x-amz-checksum-", 501, "NotImplemented")
    exercise(behind(fault), tmp_path, 3 * PART + 7)
    assert proxy.injected == 3  # one for each of the features
    proxy.heal()

    exercise(behind(fault, prefix="other/demo"), tmp_path, 3 * PART + 7)

    assert proxy.injected == 0
    lacking = (Feature.CHECKSUMS, Feature.PART_CHECKSUMS, Feature.CHECKSUM_ANSWERS)
    assert [features().has(one) for one in lacking] == [False] * 3
    assert features().has(Feature.REPLACE_IF_SAME) is True
    assert "501" in features()._card.features[Feature.CHECKSUMS].how


def test_an_option_that_the_store_refuses_is_not_a_missing_feature(
    behind: Callable[..., S3Store], features: Callable[[], StoreFeatures], tmp_path: Path
) -> None:
    store = behind(always("x-amz-tagging", 501, "NotImplemented"), put_options={"Tagging": "team=graph"})
    file = make(tmp_path / "source", 100)

    with pytest.raises(PermanentError, match="the store lacks a feature that the request needs") as refused:
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert refused.value.failure.reason is Reason.INVALID_REQUEST
    assert "put_options" in refused.value.failure.advice
    assert "DNS" not in refused.value.failure.advice
    assert features().has(Feature.CHECKSUMS) is None
    assert features().has(Feature.CREATE_IF_ABSENT) is None


# Conditional writes


NO_CONDITIONS = [
    pytest.param((always("if-none-match", 400, "InvalidArgument"),), "If-None-Match is refused", id="400"),
    pytest.param((always("if-none-match", 501, "NotImplemented"),), "If-None-Match is refused", id="501"),
    pytest.param(
        (always("if-none-match", 400, "InvalidArgument"), always("x-amz-checksum-", 400, "InvalidArgument")),
        "If-None-Match is refused",
        id="400, and no checksums",
    ),
    pytest.param((always("if-(none-)?match", 412, "PreconditionFailed"),), "does not exist", id="412 to each"),
    pytest.param((always(" if-match", 412, "PreconditionFailed"),), "the version that exists", id="412 to If-Match"),
    pytest.param((always(" if-match", 400, "InvalidArgument"),), "If-Match", id="400 to If-Match"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("faults", "how"), NO_CONDITIONS)
def test_a_store_without_conditional_writes_is_used_without_them(
    behind: Callable[..., S3Store],
    features: Callable[[], StoreFeatures],
    tmp_path: Path,
    faults: tuple[Fault, ...],
    how: str,
    size: int,
) -> None:
    store = behind(*(Fault(**vars(fault)) for fault in faults))

    assert not store.conditional_writes
    exercise(store, tmp_path, size)
    assert how in features()._card.features[Feature.REPLACE_IF_SAME].how


def test_a_condition_that_is_refused_later_is_tried_again_by_the_next_process(
    behind: Callable[..., S3Store], proxy: FaultProxy
) -> None:
    store = behind()
    assert store.conditional_writes
    proxy.inject(always("if-(none-)?match", 501, "NotImplemented"))

    with pytest.raises(PermanentError):
        store.create(KEY, b"{}")

    assert not behind().conditional_writes


def test_every_body_is_signed(behind: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path) -> None:
    store = behind(always("x-amz-content-sha256:UNSIGNED", 400, "InvalidRequest"))

    exercise(store, tmp_path, 3 * PART + 7)

    assert proxy.injected == 0


# Answers that are not S3's


def _put(store: S3Store, tmp_path: Path, size: int = 100) -> object:
    return store.put_artifact(KEY, tmp_path / "source", make(tmp_path / "source", size), ignore)


METHODS: dict[str, Callable[[S3Store, Path], object]] = {
    "put_artifact": _put,
    "put_artifact in parts": lambda store, tmp_path: _put(store, tmp_path, 3 * PART),
    "create": lambda store, _: store.create(KEY, b"{}"),
    "swap": lambda store, _: store.swap(KEY, b"{}", None),
    "look": lambda store, _: store.look(KEY, LIMIT),
    "read": lambda store, _: store.read(KEY, LIMIT),
    "open": lambda store, _: store.open(KEY),
    "stat": lambda store, _: store.stat(KEY),
    "list": lambda store, _: list(store.list()),
    "delete": lambda store, _: store.delete(KEY),
    "conditional_writes": lambda store, _: store.conditional_writes,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("status", "kind", "reason", "advice"),
    [
        pytest.param(404, TransientError, Reason.STORAGE_UNREACHABLE, "ingress or proxy", id="404"),
        pytest.param(413, PermanentError, Reason.INVALID_REQUEST, "client_max_body_size", id="413"),
        pytest.param(503, TransientError, Reason.STORAGE_UNREACHABLE, "endpoint_url", id="503"),
        pytest.param(403, PermanentError, Reason.STORAGE_AUTH, "ingress or proxy", id="403"),
        pytest.param(400, TransientError, Reason.STORAGE_UNREACHABLE, "ingress or proxy", id="400"),
    ],
)
def test_the_page_of_a_proxy_is_not_taken_for_an_answer_of_the_store(
    behind: Callable[..., S3Store],
    tmp_path: Path,
    method: str,
    status: int,
    kind: type[BackupError],
    reason: Reason,
    advice: str,
) -> None:
    store = behind(always("", status, page=PAGE))

    with pytest.raises(kind) as refused:
        METHODS[method](store, tmp_path)

    assert refused.value.failure.reason is reason
    assert f"HTTP {status}, text/html, which is not an answer of S3" in refused.value.failure.error
    assert advice in refused.value.failure.advice


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("page", [PAGE, "<p>Welcome<br>to nginx", "Welcome"], ids=["XHTML", "HTML", "text"])
def test_a_page_instead_of_an_answer_is_an_error(
    behind: Callable[..., S3Store], tmp_path: Path, method: str, page: str
) -> None:
    store = behind(always("", 200, page=page))

    with pytest.raises(TransientError) as refused:
        METHODS[method](store, tmp_path)

    assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE
    assert "proxies" in refused.value.failure.advice or "proxy" in refused.value.failure.advice


def test_an_empty_answer_may_have_any_content_type(
    behind: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path
) -> None:
    store = behind(Fault("^(PUT|DELETE)", "set headers", headers=(("Content-Type", "text/html"),), times=None))

    exercise(store, tmp_path, 100)

    assert proxy.injected


def test_a_store_that_answers_a_listing_without_uploads_by_an_error_has_the_feature(
    behind: Callable[..., S3Store], features: Callable[[], StoreFeatures], tmp_path: Path
) -> None:
    exercise(behind(always("^GET .*uploads", 404, "NoSuchUpload")), tmp_path, 3 * PART)

    assert features().has(Feature.UPLOAD_LISTS) is None


@pytest.mark.parametrize(
    ("fault", "missing"),
    [
        pytest.param(Fault("^(PUT|HEAD|GET)", "strip", code="^etag$", times=None), "ETag", id="all"),
        pytest.param(Fault("^PUT .*partNumber", "strip", code="^etag$", times=None), "ETag", id="parts"),
        pytest.param(Fault("^POST .*uploads", "answer", status=200, times=None), "UploadId", id="upload"),
        pytest.param(Fault("^HEAD", "strip", code="^etag$", times=None), "ETag", id="head"),
    ],
)
def test_the_error_for_an_incomplete_answer_names_what_is_missing(
    behind: Callable[..., S3Store], tmp_path: Path, fault: Fault, missing: str
) -> None:
    store = behind(Fault(**vars(fault)))

    with pytest.raises(TransientError, match=f"the answer has no {missing}"):
        _put(store, tmp_path, 3 * PART)


@pytest.mark.parametrize("size", SIZES)
def test_etags_that_a_proxy_has_made_weak_equal_those_of_the_store(
    behind: Callable[..., S3Store], tmp_path: Path, size: int
) -> None:
    store = behind(Fault("", "weaken", times=None))

    assert store.conditional_writes
    exercise(store, tmp_path, size)


def test_an_upload_is_resumed_with_weak_etags(
    behind: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path
) -> None:
    store = behind(Fault("partNumber=4", "refuse", status=503), Fault("", "weaken", times=None))
    file = make(tmp_path / "source", 3 * PART + 7)
    with pytest.raises(TransientError):
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert 4 <= proxy.count("partNumber") < 7, "parts that are there are not sent again"


# Answers whose meaning must be asked for


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
    ("code", "message", "reason", "advice"),
    [
        pytest.param("ExpiredToken", "", Reason.STORAGE_AUTH, "access key", id="expired token"),
        pytest.param("AuthorizationHeaderMalformed", "", Reason.STORAGE_UNREACHABLE, "region", id="wrong region"),
        pytest.param("AccessDenied", "", Reason.STORAGE_AUTH, "policy", id="denied"),
        pytest.param(
            "AccessDenied", "you may not kms:Decrypt with it", Reason.STORAGE_AUTH, "KMS key", id="denied by KMS"
        ),
        pytest.param("KMS.DisabledException", "", Reason.STORAGE_AUTH, "KMS key", id="key disabled"),
        pytest.param("InvalidObjectState", "", Reason.ARCHIVED, "archive", id="archived"),
        pytest.param("RequestTimeTooSkewed", "", Reason.CLOCK, "clock", id="clock"),
    ],
)
def test_after_a_refused_head_another_request_asks_for_the_code(
    behind: Callable[..., S3Store], status: int, code: str, message: str, reason: Reason, advice: str
) -> None:
    store = behind(always("^(HEAD|GET)", status, code, message=message))

    with pytest.raises(PermanentError) as refused:
        store.stat(KEY)

    assert refused.value.failure.reason is reason
    assert code in refused.value.failure.error
    assert advice in refused.value.failure.advice


@pytest.mark.parametrize("fault", [always("^HEAD", 405), always("^HEAD", 403, page=PAGE)], ids=["405", "a proxy's 403"])
def test_if_head_is_not_allowed_get_is_used(
    behind: Callable[..., S3Store], s3_store: Callable[..., S3Store], tmp_path: Path, fault: Fault
) -> None:
    store = behind(Fault(**vars(fault)))
    exercise(store, tmp_path, 3 * PART + 7)
    stored = _put(store, tmp_path)

    assert store.stat(KEY) == stored == s3_store().stat(KEY)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("method", METHODS)
def test_a_redirect_to_the_same_address_is_reported(
    behind: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path, method: str, status: int
) -> None:
    store = behind(always("", status, page=PAGE, headers=(("Location", proxy.endpoint_url),)))

    with pytest.raises(BackupError) as refused:
        METHODS[method](store, tmp_path)

    assert f"HTTP {status}" in refused.value.failure.error
    assert "redirects" in refused.value.failure.error
    assert "endpoint_url" in refused.value.failure.advice
    assert proxy.injected == 1


def test_without_an_endpoint_in_the_settings_an_endless_redirect_is_an_error() -> None:
    failure = failure_of("doing", RecursionError("maximum recursion depth exceeded"))

    assert failure.failure.reason is Reason.STORAGE_UNREACHABLE
    assert "redirects" in failure.failure.error


@pytest.mark.parametrize("fault", [always("^GET .*uploads", 400, "InvalidRequest"), always("^GET .*uploads", 400)])
def test_a_store_that_cannot_list_uploads_is_used_without_listing_them(
    behind: Callable[..., S3Store], features: Callable[[], StoreFeatures], tmp_path: Path, fault: Fault
) -> None:
    exercise(behind(Fault(**vars(fault))), tmp_path, 3 * PART + 7)

    assert features().has(Feature.UPLOAD_LISTS) is False


# Storage classes


def test_small_objects_are_never_in_the_class_of_artifacts(
    behind: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path
) -> None:
    store = behind(put_options={"StorageClass": "GLACIER", "Tagging": "team=data"})
    for size in (100, 3 * PART):
        exercise(store, tmp_path, size)
        store.delete(f"{KEY}.json")
        store.delete(OWN)

    writes = [seen for seen in proxy.seen if seen.line.startswith(("PUT", "POST")) and "uploadId" not in seen.line]
    classed = {seen.line for seen in writes if "x-amz-storage-class:GLACIER" in seen.whole}
    assert all(line.split("?")[0].endswith(".backup") for line in classed)
    assert {line.split("?")[0].split("/")[-1] for line in classed} == {KEY.split("/")[-1]}
    assert len(classed) == 2
    assert all("x-amz-tagging" in seen.whole for seen in writes)


@pytest.mark.parametrize("fault", ["InvalidObjectState", "GLACIER", "DEEP_ARCHIVE"])
def test_a_bucket_that_archives_small_objects_is_refused_at_once(
    behind: Callable[..., S3Store], tmp_path: Path, fault: str
) -> None:
    store = behind(
        always("^GET .*conditional-writes", 403, fault)
        if fault == "InvalidObjectState"
        else Fault("^HEAD .*conditional-writes", "set headers", headers=(("x-amz-storage-class", fault),), times=None)
    )

    with pytest.raises(PermanentError) as refused:
        _put(store, tmp_path)

    assert refused.value.failure.reason is Reason.ARCHIVED
    assert "records" in refused.value.failure.advice
