"""The S3 store with a real server: uploads, faults of networks and stores, and killed processes."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from backup_agent.catalog.place import place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.durable import LIMIT
from backup_agent.stores.features import StoreFeatures
from backup_agent.stores.part_body import PartBody
from backup_agent.stores.s3 import S3Store
from backup_agent.stores.store import VersionedObject
from tests.builders import settings_with
from tests.catalog.places import with_store
from tests.components.seaweedfs import BUCKET, WRITE_ONLY, Identity, SeaweedFS
from tests.stores.conftest import POOR_STORE
from tests.stores.fault_proxy import Fault, FaultProxy
from tests.stores.files import KEY, MIB, PART, describe, ignore, make

pytestmark = pytest.mark.components

SOURCE_SIZE = 3 * PART + 7
"""Four parts."""
PUT_PART = "^PUT .*partNumber="
COMPLETE = "^POST .*uploadId="


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make(tmp_path / "source", SOURCE_SIZE)
    return tmp_path / "source"


@pytest.fixture
def behind_proxy(s3_store: Callable[..., S3Store], proxy: FaultProxy) -> S3Store:
    return s3_store(endpoint_url=proxy.endpoint_url)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stores give up soon, so that tests of lasting faults are short."""
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 2)
    monkeypatch.setattr("backup_agent.stores.s3.bucket._CONNECT_TIMEOUT", 1)
    monkeypatch.setattr("backup_agent.stores.s3.bucket._READ_TIMEOUT", 1)
    monkeypatch.setattr("backup_agent.stores.s3.connections.SENDING_TIMEOUT", 1)


@pytest.fixture
def open_uploads(seaweedfs: SeaweedFS, prefix: str) -> Iterator[Callable[[], list[str]]]:
    """Return the open uploads below the test's prefix."""
    client = seaweedfs.client()

    def listed() -> list[str]:
        found = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        return [upload["UploadId"] for upload in found.get("Uploads", ())]

    yield listed
    client.close()


def test_a_stored_artifact_has_the_digest_of_its_parts(s3_store: Callable[..., S3Store], source: Path) -> None:
    stored = s3_store().put_artifact(KEY, source, describe(source), ignore)

    assert stored.size == SOURCE_SIZE
    assert stored.digest is not None
    assert stored.digest.startswith("sha256-parts:")
    assert stored.digest.endswith("-4")
    assert stored == s3_store().stat(KEY)


def test_an_artifact_without_digests_of_parts_is_read_again_before_the_upload(
    s3_store: Callable[..., S3Store], tmp_path: Path
) -> None:
    file = make(tmp_path / "source", 17 * MIB).model_copy(update={"part_size": 0, "parts": ()})

    stored = s3_store().put_artifact(KEY, tmp_path / "source", file, ignore)

    assert stored.digest is not None
    assert stored.digest.endswith("-2")


def test_an_artifact_uploaded_in_other_parts_is_the_same_artifact(
    s3_store: Callable[..., S3Store], source: Path
) -> None:
    first = s3_store().put_artifact(KEY, source, describe(source), ignore)

    again = s3_store().put_artifact(KEY, source, describe(source, 6 * MIB), ignore)

    assert again == first


def test_each_part_is_sent_once(behind_proxy: S3Store, proxy: FaultProxy, source: Path) -> None:
    behind_proxy.put_artifact(KEY, source, describe(source), ignore)

    assert proxy.count(PUT_PART) == 4
    assert sum(seen.body for seen in proxy.seen if "partNumber" in seen.line) == SOURCE_SIZE


def test_an_artifact_that_exists_is_not_sent_again(behind_proxy: S3Store, proxy: FaultProxy, source: Path) -> None:
    behind_proxy.put_artifact(KEY, source, describe(source), ignore)
    proxy.heal()

    behind_proxy.put_artifact(KEY, source, describe(source), ignore)

    assert [seen.line.split()[0] for seen in proxy.seen] == ["HEAD"]


PASSING = [
    pytest.param(Fault(PUT_PART, "refuse", times=2), id="503 SlowDown on a part"),
    pytest.param(Fault(PUT_PART, "refuse", status=500, code="InternalError", times=2), id="500 on a part"),
    pytest.param(Fault("partNumber=2", "reset", after=MIB), id="reset in a part"),
    pytest.param(Fault("partNumber=2", "reset"), id="reset before a part"),
    pytest.param(Fault("partNumber=1", "lose answer"), id="lost answer of a part"),
    pytest.param(Fault("^POST .*uploads", "refuse"), id="503 on the beginning"),
    pytest.param(Fault("^POST .*uploads", "lose answer"), id="lost answer of the beginning"),
    pytest.param(Fault(COMPLETE, "refuse", status=500, code="InternalError"), id="500 on the end"),
    pytest.param(Fault(COMPLETE, "refuse", status=200, code="InternalError"), id="200 with an error on the end"),
    pytest.param(Fault(COMPLETE, "lose answer"), id="lost answer of the end"),
    pytest.param(Fault("^HEAD", "refuse", times=2), id="503 on HEAD"),
    pytest.param(Fault("^GET .*uploads", "cut answer", after=20), id="cut listing"),
]


@pytest.mark.parametrize("fault", PASSING)
def test_an_upload_succeeds_in_spite_of_a_passing_fault(
    behind_proxy: S3Store, proxy: FaultProxy, source: Path, fault: Fault
) -> None:
    proxy.inject(Fault(**vars(fault)))
    reported: list[int] = []

    stored = behind_proxy.put_artifact(KEY, source, describe(source), reported.append)

    assert proxy.injected
    assert stored.size == sum(reported) == SOURCE_SIZE
    with behind_proxy.open(KEY) as content:
        assert content.read() == source.read_bytes()


LASTING = [
    pytest.param(Fault(PUT_PART, "refuse", times=None), Reason.STORAGE_THROTTLED, id="503 SlowDown"),
    pytest.param(
        Fault(PUT_PART, "refuse", status=502, code="BadGateway", times=None), Reason.STORAGE_UNREACHABLE, id="502"
    ),
    pytest.param(Fault(PUT_PART, "reset", after=MIB, times=None), Reason.STORAGE_UNREACHABLE, id="reset in a part"),
    pytest.param(Fault(PUT_PART, "stall", after=MIB, times=None), Reason.STORAGE_UNREACHABLE, id="stall in a part"),
    pytest.param(Fault("^HEAD", "silence", times=None), Reason.STORAGE_UNREACHABLE, id="no answer to HEAD"),
    pytest.param(
        Fault(COMPLETE, "refuse", status=200, code="InternalError", times=None),
        Reason.STORAGE_UNREACHABLE,
        id="200 with an error on the end",
    ),
    pytest.param(Fault("partNumber=2", "corrupt", times=None), Reason.CHECKSUM_MISMATCH, id="altered on the way"),
]


@pytest.mark.parametrize(("fault", "reason"), LASTING)
def test_a_lasting_fault_is_transient_and_leaves_no_object(
    impatient: None,  # noqa: ARG001  wanted for what it sets
    s3_store: Callable[..., S3Store],
    proxy: FaultProxy,
    source: Path,
    fault: Fault,
    reason: Reason,
) -> None:
    proxy.inject(Fault(**vars(fault)))

    with pytest.raises(TransientError) as refused:
        s3_store(endpoint_url=proxy.endpoint_url).put_artifact(KEY, source, describe(source), ignore)

    assert refused.value.failure.reason is reason
    assert f"s3://{BUCKET}/" in refused.value.failure.error
    assert s3_store().stat(KEY) is None


def test_after_a_lasting_fault_only_the_missing_parts_are_sent(
    impatient: None,  # noqa: ARG001  wanted for what it sets
    s3_store: Callable[..., S3Store],
    proxy: FaultProxy,
    source: Path,
    open_uploads: Callable[[], list[str]],
) -> None:
    store = s3_store(endpoint_url=proxy.endpoint_url, parallel_parts=1)
    proxy.inject(Fault("partNumber=4", "refuse", times=None))
    with pytest.raises(TransientError):
        store.put_artifact(KEY, source, describe(source), ignore)
    sent = proxy.count(PUT_PART)
    proxy.heal()
    reported: list[int] = []

    store.put_artifact(KEY, source, describe(source), reported.append)

    assert sent == 3
    assert proxy.count(PUT_PART) == 4 - sent
    assert sum(reported) == SOURCE_SIZE
    assert open_uploads() == []


_UPLOADS = textwrap.dedent("""
    import resource, sys
    from pathlib import Path
    from backup_agent.core.artifacts.records import ArtifactFile
    from backup_agent.stores.s3 import S3Store
    from tests.stores.files import KEY, ignore

    endpoint_url, bucket, prefix, source, file = sys.argv[1:]
    store = S3Store(bucket=bucket, prefix=prefix, endpoint_url=endpoint_url, region="us-east-1", path_style=True)
    store.put_artifact(KEY, Path(source), ArtifactFile.model_validate_json(file), ignore)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
""")
"""A program that uploads one file, and prints its peak memory in KiB."""


def uploading(endpoint_url: str, prefix: str, source: Path) -> tuple[str | Path, ...]:
    return (sys.executable, "-c", _UPLOADS, endpoint_url, BUCKET, prefix, source, describe(source).model_dump_json())


def test_after_a_kill_during_an_upload_only_the_missing_parts_are_sent(
    behind_proxy: S3Store,
    proxy: FaultProxy,
    prefix: str,
    source: Path,
    open_uploads: Callable[[], list[str]],
) -> None:
    proxy.inject(Fault("partNumber=3", "stall", after=MIB, times=None), Fault("partNumber=4", "stall", times=None))
    process = subprocess.Popen(uploading(proxy.endpoint_url, prefix, source))
    proxy.wait_until(lambda proxy: sum("partNumber" in seen.line for seen in proxy.seen) == 2 and proxy.injected == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(open_uploads()) == 1
    proxy.heal()

    behind_proxy.put_artifact(KEY, source, describe(source), ignore)

    assert [proxy.count(f"partNumber={number}(&|$)") for number in (1, 2, 3, 4)] == [0, 0, 1, 1]
    with behind_proxy.open(KEY) as content:
        assert content.read() == source.read_bytes()
    assert open_uploads() == []


@pytest.mark.parametrize(
    ("reason", "left"),
    [
        pytest.param(Reason.FOREIGN_ROOT, 0, id="another agent has the place"),
        pytest.param(Reason.STORAGE_UNREACHABLE, 1, id="to be resumed"),
    ],
)
def test_an_upload_ends_if_its_progress_callback_raises(
    s3_store: Callable[..., S3Store],
    source: Path,
    open_uploads: Callable[[], list[str]],
    reason: Reason,
    left: int,
) -> None:
    sent = 0

    def refuse(count: int) -> None:
        nonlocal sent
        sent += count
        if sent > PART:
            raise TransientError(reason, "not any more")

    with pytest.raises(TransientError) as raised:
        s3_store().put_artifact(KEY, source, describe(source), refuse)

    assert (raised.value.failure.reason, s3_store().stat(KEY)) == (reason, None)
    assert len(open_uploads()) == left


def begin_upload(seaweedfs: SeaweedFS, key: str, parts: dict[int, bytes]) -> str:
    client = seaweedfs.client()
    upload_id: str = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    for number, content in parts.items():
        client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload_id, PartNumber=number, Body=content)
    client.close()
    return upload_id


def test_a_foreign_upload_is_never_touched(
    s3_store: Callable[..., S3Store],
    seaweedfs: SeaweedFS,
    prefix: str,
    source: Path,
    open_uploads: Callable[[], list[str]],
) -> None:
    foreign = {
        begin_upload(seaweedfs, f"{prefix}/{KEY}.more", {1: b"x" * PART}),
        begin_upload(seaweedfs, f"{prefix}/default/other", {}),
    }

    s3_store().put_artifact(KEY, source, describe(source), ignore)

    assert set(open_uploads()) == foreign


def test_own_stale_uploads_are_aborted(
    s3_store: Callable[..., S3Store],
    seaweedfs: SeaweedFS,
    prefix: str,
    source: Path,
    open_uploads: Callable[[], list[str]],
) -> None:
    for parts in ({}, {1: b"x" * PART}, {1: b"short"}, {9: b"x" * PART}):
        begin_upload(seaweedfs, f"{prefix}/{KEY}", parts)

    s3_store().put_artifact(KEY, source, describe(source), ignore)

    assert open_uploads() == []
    with s3_store().open(KEY) as content:
        assert content.read() == source.read_bytes()


def test_a_part_with_other_content_is_sent_again(
    behind_proxy: S3Store, proxy: FaultProxy, seaweedfs: SeaweedFS, prefix: str, source: Path
) -> None:
    content = source.read_bytes()
    begin_upload(seaweedfs, f"{prefix}/{KEY}", {1: content[:PART], 2: b"x" * PART, 4: content[3 * PART :]})

    behind_proxy.put_artifact(KEY, source, describe(source), ignore)

    assert [proxy.count(f"partNumber={number}(&|$)") for number in (1, 2, 3, 4)] == [0, 1, 1, 0]


@pytest.mark.parametrize("pattern", ["^GET .*uploads", "^GET .*uploadId"], ids=["uploads", "parts"])
@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (501, "NotImplemented")])
def test_without_the_right_to_list_uploads_an_upload_begins_anew(
    behind_proxy: S3Store,
    proxy: FaultProxy,
    seaweedfs: SeaweedFS,
    prefix: str,
    source: Path,
    pattern: str,
    status: int,
    code: str,
) -> None:
    begin_upload(seaweedfs, f"{prefix}/{KEY}", {1: source.read_bytes()[:PART]})
    proxy.inject(Fault(pattern, "refuse", status=status, code=code, times=None))

    behind_proxy.put_artifact(KEY, source, describe(source), ignore)

    assert proxy.count(PUT_PART) == 4


@pytest.mark.parametrize("size", [100, SOURCE_SIZE], ids=["in one", "in parts"])
def test_a_source_that_changed_after_it_was_read_is_refused_by_the_store(
    s3_store: Callable[..., S3Store], tmp_path: Path, size: int, open_uploads: Callable[[], list[str]]
) -> None:
    source = tmp_path / "source"
    file = make(source, size)
    with source.open("r+b") as changing:
        changing.seek(size // 2)
        changing.write(b"changed")

    with pytest.raises(PermanentError) as refused:
        s3_store().put_artifact(KEY, source, file, ignore)

    assert refused.value.failure.reason is Reason.CHECKSUM_MISMATCH
    assert "has changed since it was read" in refused.value.failure.error
    assert s3_store().stat(KEY) is None
    assert open_uploads() == []


@pytest.mark.parametrize("size", [100, SOURCE_SIZE], ids=["in one", "in parts"])
def test_if_the_store_compares_no_checksum_the_agent_compares_the_source(
    behind_proxy: S3Store, proxy: FaultProxy, tmp_path: Path, size: int
) -> None:
    file = make(tmp_path / "source", size, seed=1)
    make(tmp_path / "source", size, seed=2)
    proxy.inject(Fault("^PUT .*(partNumber|backup)", "answer", status=200, times=None))

    with pytest.raises(PermanentError) as refused:
        behind_proxy.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert "has changed since it was read" in refused.value.failure.error


def test_a_source_that_shrinks_while_it_is_sent_is_refused_at_once(
    s3_store: Callable[..., S3Store], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = describe(source)
    read = PartBody.read

    def shrinking(body: PartBody, size: int = -1) -> memoryview:
        os.truncate(source, PART // 2)
        return read(body, size)

    monkeypatch.setattr(PartBody, "read", shrinking)

    with pytest.raises(PermanentError) as refused:
        s3_store().put_artifact(KEY, source, file, ignore)

    assert refused.value.failure.reason is Reason.CHECKSUM_MISMATCH


@pytest.mark.parametrize("poor", [False, True], ids=["with digests", "without digests"])
def test_an_object_that_differs_from_the_sent_bytes_is_found(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path, poor: bool
) -> None:
    s3_store().create(KEY, b"x" * 99 + b"y")
    (tmp_path / "source").write_bytes(b"x" * 100)
    if poor:
        proxy.inject(Fault("", "strip", code="^x-amz-checksum", times=None))
    store = s3_store(endpoint_url=proxy.endpoint_url)
    assert store.conditional_writes
    proxy._faults[:0] = [Fault("^HEAD", "refuse", status=404, code="404")]

    with pytest.raises(PermanentError) as refused:
        store.put_artifact(KEY, tmp_path / "source", describe(tmp_path / "source"), ignore)

    assert refused.value.failure.reason is Reason.CHECKSUM_MISMATCH
    assert "is not what was sent" in refused.value.failure.error


def test_an_object_that_is_cut_short_is_found(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path
) -> None:
    s3_store().create(KEY, b"x" * 99)
    (tmp_path / "source").write_bytes(b"x" * 100)
    proxy.inject(Fault("^HEAD", "refuse", status=404, code="404"))

    with pytest.raises(PermanentError) as refused:
        s3_store(endpoint_url=proxy.endpoint_url).put_artifact(
            KEY, tmp_path / "source", describe(tmp_path / "source"), ignore
        )

    assert "100 bytes were sent, it has 99" in refused.value.failure.error


def test_an_object_that_is_lost_at_once_is_transient(behind_proxy: S3Store, proxy: FaultProxy, source: Path) -> None:
    assert behind_proxy.conditional_writes
    proxy.inject(Fault("^HEAD", "refuse", status=404, code="404", times=2))

    with pytest.raises(TransientError) as refused:
        behind_proxy.put_artifact(KEY, source, describe(source), ignore)

    assert "HEAD does not find it" in refused.value.failure.error


def test_an_upload_that_cannot_be_completed_is_not_resumed(
    behind_proxy: S3Store, proxy: FaultProxy, source: Path, open_uploads: Callable[[], list[str]]
) -> None:
    proxy.inject(Fault(COMPLETE, "refuse", status=400, code="InvalidPart"))

    with pytest.raises(TransientError):
        behind_proxy.put_artifact(KEY, source, describe(source), ignore)

    assert open_uploads() == []


def test_a_store_with_conditions_for_single_puts_only_gets_none_at_the_end_of_an_upload(
    behind_proxy: S3Store, proxy: FaultProxy, source: Path
) -> None:
    proxy.inject(Fault("^POST .*if-none-match", "refuse", status=501, code="NotImplemented", times=None))

    behind_proxy.put_artifact(KEY, source, describe(source), ignore)

    assert behind_proxy.conditional_writes


def test_one_probe_shows_whether_writes_are_conditional(s3_store: Callable[..., S3Store], proxy: FaultProxy) -> None:
    store = s3_store(endpoint_url=proxy.endpoint_url)

    assert store.conditional_writes
    assert [seen.status for seen in proxy.seen] == [200, 412, 200, 200, 200, 200, 412]
    assert store.conditional_writes
    proxy.heal()
    assert s3_store(endpoint_url=proxy.endpoint_url).conditional_writes
    assert [seen.status for seen in proxy.seen] == [412, 200, 200, 200, 200, 412]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(POOR_STORE[0], id="refused"),
        pytest.param(Fault("if-none-match", "answer", status=200, times=None), id="ignored"),
        pytest.param(Fault("if-match", "refuse", status=501, code="NotImplemented", times=None), id="If-Match refused"),
        pytest.param(Fault("if-match", "answer", status=200, times=None), id="If-Match ignored"),
    ],
)
def test_a_store_without_conditional_writes_is_known(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, fault: Fault
) -> None:
    proxy.inject(Fault(**vars(fault)))
    store = s3_store(endpoint_url=proxy.endpoint_url, single_writer=True)

    assert not store.conditional_writes
    assert store.single_writer
    store.create(KEY, b"{}")
    with pytest.raises(PermanentError):
        store.create(KEY, b"other")
    assert store.read(KEY, LIMIT) == b"{}"


def test_holding_a_place_takes_three_requests(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, tmp_path: Path
) -> None:
    storage = {"root": str(tmp_path), "destinations": {"offsite": {"bucket": BUCKET}}}
    offsite = place_of("offsite", settings_with(storage=storage))
    for _ in range(2):
        proxy.heal()
        known = StoreFeatures(offsite.store_card, offsite.identity)
        store = s3_store(endpoint_url=proxy.endpoint_url, name="offsite", features=known)
        with hold_place(with_store(offsite, store)) as held:
            held.check()

    assert held.number == 2
    asked = [(seen.line.partition("?")[0].rpartition("/")[2], seen.status) for seen in proxy.seen]
    assert asked == [("owner.json", 200), ("lease.json", 200), ("lease.json", 200)]


@pytest.mark.parametrize("do", ["lose answer", "refuse"])
def test_swapping_with_a_lost_answer_succeeds(behind_proxy: S3Store, proxy: FaultProxy, do: Any) -> None:
    assert behind_proxy.conditional_writes
    first = behind_proxy.swap(KEY, b"1", None)
    proxy.inject(Fault("^PUT", do))

    second = behind_proxy.swap(KEY, b"2", first)

    assert behind_proxy.look(KEY, LIMIT) == VersionedObject(b"2", second)


def test_swapped_objects_are_readable_at_once_whatever_the_storage_class_of_artifacts(
    s3_store: Callable[..., S3Store],
) -> None:
    store = s3_store(put_options={"StorageClass": "GLACIER", "Tagging": "team=data"})
    store.swap(KEY, b"1", None)

    head = store._bucket.call("HeadObject", KEY)
    assert head.get("StorageClass", "STANDARD") == "STANDARD"
    assert store._bucket.call("GetObjectTagging", KEY)["TagSet"] == [{"Key": "team", "Value": "data"}]


def test_creating_with_a_lost_answer_succeeds(behind_proxy: S3Store, proxy: FaultProxy) -> None:
    assert behind_proxy.conditional_writes
    proxy.inject(Fault("^PUT", "lose answer"))

    behind_proxy.create(KEY, b"{}")

    assert behind_proxy.read(KEY, LIMIT) == b"{}"


def test_a_download_that_breaks_off_each_time_is_transient(
    s3_store: Callable[..., S3Store], proxy: FaultProxy, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 2)
    store = s3_store(endpoint_url=proxy.endpoint_url)
    store.put_artifact(KEY, source, describe(source), ignore)
    proxy.inject(Fault("^GET", "cut answer", after=1000, times=None))

    with pytest.raises(TransientError) as refused, store.open(KEY) as content:
        content.read()

    assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE


@pytest.mark.parametrize(
    ("changes", "identity", "reason", "words"),
    [
        pytest.param({}, Identity("AKADMIN", "wrong"), Reason.STORAGE_AUTH, "SignatureDoesNotMatch", id="wrong secret"),
        pytest.param({}, Identity("AKNOBODY", "x"), Reason.STORAGE_AUTH, "InvalidAccessKeyId", id="unknown key"),
        pytest.param(
            {"bucket": "no-such-bucket"}, None, Reason.STORAGE_UNREACHABLE, "NoSuchBucket", id="missing bucket"
        ),
        pytest.param({}, WRITE_ONLY, Reason.STORAGE_AUTH, "AccessDenied", id="may write and not read"),
    ],
)
@pytest.mark.parametrize("size", [10, SOURCE_SIZE], ids=["in one", "in parts"])
def test_the_error_of_a_refused_upload_has_the_cause(
    s3_store: Callable[..., S3Store],
    credentials: Callable[[Identity], None],
    tmp_path: Path,
    changes: dict[str, Any],
    identity: Identity | None,
    reason: Reason,
    words: str,
    size: int,
) -> None:
    if identity:
        credentials(identity)
    file = make(tmp_path / "source", size)
    sent: list[int] = []

    with pytest.raises(BackupError) as refused:
        s3_store(**changes).put_artifact(KEY, tmp_path / "source", file, sent.append)

    assert refused.value.failure.reason is reason
    assert words in refused.value.failure.error
    assert KEY in refused.value.failure.error or ".conditional-writes" in refused.value.failure.error
    assert "wrong" not in refused.value.failure.error
    assert sent == []


def test_if_writing_is_refused_no_part_is_sent(
    s3_store: Callable[..., S3Store], seaweedfs: SeaweedFS, source: Path
) -> None:
    client = seaweedfs.client()
    client.create_bucket(Bucket="read-only")
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",'
        ' "Resource": "arn:aws:s3:::read-only/*"}]}'
    )
    client.put_bucket_policy(Bucket="read-only", Policy=policy)
    sent: list[int] = []

    with pytest.raises(PermanentError) as refused:
        s3_store(bucket="read-only").put_artifact(KEY, source, describe(source), sent.append)

    client.close()
    assert refused.value.failure.reason is Reason.STORAGE_AUTH
    assert sent == []


def test_put_options_are_sent_with_every_object(
    s3_store: Callable[..., S3Store], seaweedfs: SeaweedFS, prefix: str, source: Path
) -> None:
    store = s3_store(put_options={"ServerSideEncryption": "AES256", "Metadata": {"team": "graph"}})
    store.put_artifact(KEY, source, describe(source), ignore)
    store.create(KEY + ".json", b"{}")

    client = seaweedfs.client()
    heads = [client.head_object(Bucket=BUCKET, Key=f"{prefix}/{key}") for key in (KEY, KEY + ".json")]

    client.close()
    assert [(head["ServerSideEncryption"], head["Metadata"]) for head in heads] == [("AES256", {"team": "graph"})] * 2


def test_the_bandwidth_is_not_exceeded(
    s3_store: Callable[..., S3Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    file = make(tmp_path / "source", 2 * PART)
    store = s3_store(bandwidth=10 * MIB)
    assert store._throttle is not None
    monkeypatch.setattr(store._throttle, "_sleep", slept.append)
    clock = store._throttle._clock()
    monkeypatch.setattr(store._throttle, "_clock", lambda: clock)

    store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert max(slept) == pytest.approx(1, abs=0.2)


def test_only_the_ca_of_the_settings_is_trusted(
    seaweedfs_tls: SeaweedFS,
    s3_store: Callable[..., S3Store],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    source: Path,
) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 1)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    where = {"endpoint_url": seaweedfs_tls.endpoint_url}
    for ca_file in (None, tmp_path / "other.pem"):
        with pytest.raises(PermanentError) as refused:
            s3_store(**where, ca_file=ca_file).put_artifact(KEY, source, describe(source), ignore)
        assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE
        assert "ca_file" in refused.value.failure.advice

    stored = s3_store(**where, ca_file=seaweedfs_tls.ca_file).put_artifact(KEY, source, describe(source), ignore)

    assert stored.size == SOURCE_SIZE


def test_the_memory_of_an_upload_does_not_depend_on_the_size_of_the_file(
    seaweedfs: SeaweedFS,
    credentials: Callable[[Identity], None],  # noqa: ARG001  wanted for what it sets
    prefix: str,
    tmp_path: Path,
) -> None:
    def peak(size: int) -> int:
        make(tmp_path / "source", size)
        argv = uploading(seaweedfs.endpoint_url, f"{prefix}-{size}", tmp_path / "source")
        return int(subprocess.run(argv, capture_output=True, check=True).stdout)

    assert peak(60 * MIB) - peak(PART + 1) < 4 * 1024
