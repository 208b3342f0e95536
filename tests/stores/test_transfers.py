"""Uploads in parts and reading in ranges, several at a time, with a real server: repeats, ends, resuming and memory."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.parts import FIRST_RANGE, RANGE
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from backup_agent.stores.part_body import PartBody
from backup_agent.stores.s3 import S3Store
from backup_agent.stores.s3.sending import Sending
from backup_agent.stores.s3.upload import Upload
from backup_agent.stores.source import open_source
from backup_agent.stores.store import ConflictError
from tests.components.seaweedfs import BUCKET, SeaweedFS
from tests.stores.fault_proxy import Fault, FaultProxy
from tests.stores.files import KEY, MIB, PART, describe, ignore, make
from tests.stores.odd_server import OddServer, whole

pytestmark = pytest.mark.components

PUT_PART = "^PUT .*partNumber="
GET_RANGE = r"^GET .* range( |$)"
LARGE = FIRST_RANGE + 3 * RANGE + 5
"""Five ranges."""


def part(number: int) -> str:
    """Return the pattern of the requests that send a part."""
    return f"partNumber={number}(&| |$)"


@pytest.fixture
def eight(tmp_path: Path) -> ArtifactFile:
    """Make a file of eight parts."""
    return make(tmp_path / "source", 7 * PART + 1)


@pytest.fixture
def far(s3_store: Callable[..., S3Store], proxy: FaultProxy) -> S3Store:
    """Return the store behind the proxy, with eight parts in flight."""
    return s3_store(endpoint_url=proxy.endpoint_url, parallel_parts=8)


@pytest.fixture
def large(s3_store: Callable[..., S3Store], tmp_path: Path) -> bytes:
    """Store an object of several ranges, and return its content."""
    s3_store().put_artifact(KEY, tmp_path / "large", make(tmp_path / "large", LARGE), ignore)
    return (tmp_path / "large").read_bytes()


def requests_like(proxy: FaultProxy, pattern: str) -> int:
    return sum(bool(re.search(pattern, line)) for line in proxy.asked)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("line-")]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(part(3), "refuse", status=500, code="InternalError"), id="500"),
        pytest.param(Fault(part(3), "reset", after=MIB // 2), id="reset"),
        pytest.param(Fault(part(3), "corrupt"), id="altered on the way"),
    ],
)
def test_only_the_part_that_failed_is_sent_again(
    far: S3Store, proxy: FaultProxy, tmp_path: Path, eight: ArtifactFile, fault: Fault
) -> None:
    proxy.inject(Fault(**vars(fault)))
    reported: list[int] = []

    far.put_artifact(KEY, tmp_path / "source", eight, reported.append)

    assert [requests_like(proxy, part(number)) for number in range(1, 9)] == [1, 1, 2, 1, 1, 1, 1, 1]
    assert sum(reported) == eight.size


def test_expect_100_continue_is_used_for_the_first_part_and_for_repeated_ones(
    far: S3Store, proxy: FaultProxy, tmp_path: Path, eight: ArtifactFile
) -> None:
    """Each request with `Expect: 100-continue` takes another round trip."""
    proxy.inject(Fault(part(3), "reset", after=MIB // 2))

    far.put_artifact(KEY, tmp_path / "source", eight, ignore)
    waits = [[" expect" in line for line in proxy.asked if re.search(part(number), line)] for number in range(1, 9)]

    assert waits == [[True], [False], [False, True], *([[False]] * 5)]


def test_a_part_that_is_refused_for_good_ends_those_that_hang(
    far: S3Store, proxy: FaultProxy, tmp_path: Path, eight: ArtifactFile
) -> None:
    refused = Fault(part(2), "refuse", status=403, code="AccessDenied", after_injected=8)
    proxy.inject(refused, Fault(PUT_PART, "stall", after=MIB // 2, times=None))

    with pytest.raises(PermanentError) as raised:
        far.put_artifact(KEY, tmp_path / "source", eight, ignore)

    assert raised.value.failure.reason is Reason.STORAGE_AUTH
    assert threads() == []


def test_a_connection_that_stalls_beside_others_is_found(
    s3_store: Callable[..., S3Store],
    proxy: FaultProxy,
    tmp_path: Path,
    eight: ArtifactFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 2)
    monkeypatch.setattr("backup_agent.stores.s3.sending.STALL", 3)
    monkeypatch.setattr("backup_agent.stores.s3.sending.ANSWER", 3)
    proxy.inject(Fault(part(3), "stall", after=MIB // 2, times=None))

    with pytest.raises(TransientError, match="too little moved on it"):
        s3_store(endpoint_url=proxy.endpoint_url, parallel_parts=8).put_artifact(
            KEY, tmp_path / "source", eight, ignore
        )

    assert requests_like(proxy, part(3)) == 2
    assert threads() == []


def test_a_part_of_a_stalled_connection_is_sent_on_another_one(
    far: S3Store, proxy: FaultProxy, tmp_path: Path, eight: ArtifactFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.sending.STALL", 3)
    monkeypatch.setattr("backup_agent.stores.s3.sending.ANSWER", 3)
    proxy.inject(Fault(part(3), "stall", after=MIB // 2))

    far.put_artifact(KEY, tmp_path / "source", eight, ignore)

    assert requests_like(proxy, part(3)) > 1
    with far.open(KEY) as content:
        assert content.read() == (tmp_path / "source").read_bytes()


def test_a_store_that_throttles_gets_fewer_parts_at_a_time_and_all_of_them(
    far: S3Store, proxy: FaultProxy, tmp_path: Path, eight: ArtifactFile
) -> None:
    proxy.inject(Fault(PUT_PART, "refuse", times=3))

    far.put_artifact(KEY, tmp_path / "source", eight, ignore)

    assert proxy.injected == 3
    assert far._bucket.line.allowed < 8
    assert proxy.count(PUT_PART) == 8


def test_a_resumed_upload_sends_the_missing_parts_and_reads_each_part_once(
    s3_store: Callable[..., S3Store],
    proxy: FaultProxy,
    tmp_path: Path,
    eight: ArtifactFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 1)
    store = s3_store(endpoint_url=proxy.endpoint_url, parallel_parts=1)
    proxy.inject(Fault(part(7), "refuse", status=500, code="InternalError"))
    with pytest.raises(TransientError):
        store.put_artifact(KEY, tmp_path / "source", eight, ignore)
    proxy.heal()
    read = 0
    reads = PartBody.read

    def noted(body: PartBody, size: int = -1) -> memoryview:
        nonlocal read
        block = reads(body, size)
        read += len(block)
        return block

    monkeypatch.setattr(PartBody, "read", noted)

    store.put_artifact(KEY, tmp_path / "source", eight, ignore)

    assert [requests_like(proxy, part(number)) for number in range(1, 9)] == [0] * 6 + [1, 1]
    assert read == eight.size  # SeaweedFS lists no checksums: the parts that it has are compared by their MD5


@pytest.mark.parametrize("count", [pytest.param(1_100, id="two pages"), pytest.param(9_000, marks=pytest.mark.nightly)])
def test_all_parts_of_an_unfinished_upload_are_found(
    s3_store: Callable[..., S3Store], seaweedfs: SeaweedFS, prefix: str, tmp_path: Path, count: int
) -> None:
    make(tmp_path / "source", 1024 * count)
    file = describe(tmp_path / "source", 1024)
    content = (tmp_path / "source").read_bytes()
    client: Any = seaweedfs.client()
    where = {"Bucket": BUCKET, "Key": f"{prefix}/{KEY}"}
    upload_id = client.create_multipart_upload(**where)["UploadId"]

    def send(number: int) -> None:
        body = content[(number - 1) * 1024 : number * 1024]
        client.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, [number for number in range(1, count + 1) if number != 1_007]))
    with open_source(tmp_path / "source", file) as descriptor:
        upload = Upload(KEY, tmp_path / "source", descriptor, file)
        found_id, found = Sending(s3_store()._bucket, upload, None, ignore)._resumable()

    client.abort_multipart_upload(**where, UploadId=upload_id)
    client.close()
    assert found_id == upload_id
    assert sorted(found) == [number for number in range(1, count + 1) if number != 1_007]


# Reading


def test_an_object_is_read_in_ranges_that_are_used_in_order(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, large: bytes
) -> None:
    with s3_store(endpoint_url=proxy.endpoint_url, parallel_parts=4).open(KEY) as content:
        assert content.read() == large

    assert [seen.status for seen in proxy.seen] == [206] * 5


def test_a_header_is_read_by_one_request(far: S3Store, proxy: FaultProxy, large: bytes) -> None:
    with far.open(KEY) as content:
        assert content.read(100) == large[:100]

    assert len(proxy.asked) == 1


def test_no_more_ranges_are_read_ahead_than_may_be_in_memory(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, large: bytes
) -> None:
    with s3_store(endpoint_url=proxy.endpoint_url, parallel_parts=2).open(KEY) as content:
        assert content.read(FIRST_RANGE + 1) == large[: FIRST_RANGE + 1]
        proxy.wait_until(lambda proxy: proxy.count("^GET") == 3)
        assert len(proxy.asked) == 3
        assert content.read() == large[FIRST_RANGE + 1 :]

    assert len(proxy.asked) == 5


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(GET_RANGE, "cut answer", after=1000, times=2), id="cut"),
        pytest.param(Fault(GET_RANGE, "refuse", times=2), id="503 SlowDown"),
        pytest.param(Fault(GET_RANGE, "refuse", status=500, code="InternalError", times=2), id="500"),
        pytest.param(Fault("^GET .*if-match", "refuse", status=501, code="NotImplemented", times=None), id="If-Match"),
    ],
)
def test_reading_continues_after_a_fault_and_without_optional_features(
    far: S3Store, proxy: FaultProxy, large: bytes, fault: Fault
) -> None:
    proxy.inject(Fault(**vars(fault)))

    with far.open(KEY) as content:
        assert content.read() == large

    assert proxy.injected


@pytest.mark.parametrize("condition", ["honoured", "refused"])
@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_an_object_that_changes_while_it_is_read_is_noticed(
    s3_store: Callable[..., S3Store],
    proxy: FaultProxy,
    seaweedfs: SeaweedFS,
    prefix: str,
    large: bytes,
    condition: str,
    change: str,
) -> None:
    if condition == "refused":
        proxy.inject(Fault("^GET .*if-match", "refuse", status=501, code="NotImplemented", times=None))
    client: Any = seaweedfs.client()
    with s3_store(endpoint_url=proxy.endpoint_url, parallel_parts=2).open(KEY) as content:
        assert content.read(FIRST_RANGE + 1) == large[: FIRST_RANGE + 1]
        proxy.wait_until(lambda proxy: sum(seen.status == 206 for seen in proxy.seen) == 3)
        if change == "replaced":
            client.put_object(Bucket=BUCKET, Key=f"{prefix}/{KEY}", Body=large[::-1])
        else:
            client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{KEY}")

        with pytest.raises(ConflictError, match="while it was read"):
            content.read()

    client.close()
    assert threads() == []


def test_a_range_of_another_object_is_noticed_if_the_store_ignores_the_condition(
    far: S3Store, proxy: FaultProxy, large: bytes
) -> None:
    others = (("ETag", '"00000000000000000000000000000000"'),)
    proxy.inject(Fault("^GET .*if-match", "strip", code="^etag$", headers=others, times=None))

    with far.open(KEY) as content, pytest.raises(ConflictError, match="while it was read"):
        content.read()

    assert proxy.injected
    assert large


def test_an_object_of_a_store_that_ignores_ranges_is_read_in_one_answer(s3_store: Callable[..., S3Store]) -> None:
    content = bytes(range(256)) * 8 * 1024
    with OddServer(lambda _path: whole(content, ETag='"x"')) as server:
        store = s3_store(endpoint_url=server.endpoint_url)
        with store.open(KEY) as stream:
            assert stream.read() == content


def test_a_range_that_stalls_is_read_again(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 2)
    monkeypatch.setattr("backup_agent.stores.s3.reading.ANSWER", 3)
    store = s3_store(endpoint_url=proxy.endpoint_url, parallel_parts=8)
    with store.open(KEY) as content:
        proxy.inject(Fault("^GET", "silence"))
        assert content.read() == large
        proxy.inject(Fault("^GET .*if-match", "silence", times=None))
    with pytest.raises(TransientError, match="too little moved on it"), store.open(KEY) as content:
        content.read()
