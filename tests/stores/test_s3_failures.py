"""Errors of boto3 and their reasons, and options of objects. These tests need no server."""

import os
from pathlib import Path
from typing import Any

import pytest
import trustme
from botocore import exceptions

from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.durable import LIMIT
from backup_agent.settings.s3 import PUT_OPTIONS
from backup_agent.stores.s3 import S3Store, check_put_options
from backup_agent.stores.s3.bucket import parameters_of
from backup_agent.stores.s3.errors import failure_of
from backup_agent.stores.s3.store import _digest_in
from tests.components.ports import Port
from tests.stores.files import KEY

pytestmark = pytest.mark.usefixtures("credentials")


def refusal(code: str, status: int, message: str = "said the store") -> exceptions.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(answer, "PutObject")


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        pytest.param(refusal("NoSuchKey", 404), PermanentError, Reason.NOT_FOUND, id="no such key"),
        pytest.param(refusal("NoSuchBucket", 404), PermanentError, Reason.STORAGE_UNREACHABLE, id="no such bucket"),
        pytest.param(refusal("AccessDenied", 403), PermanentError, Reason.STORAGE_AUTH, id="denied"),
        pytest.param(refusal("ExpiredToken", 400), PermanentError, Reason.STORAGE_AUTH, id="expired token"),
        pytest.param(refusal("PermanentRedirect", 301), PermanentError, Reason.STORAGE_UNREACHABLE, id="other region"),
        pytest.param(refusal("RequestTimeTooSkewed", 403), PermanentError, Reason.CLOCK, id="clock"),
        pytest.param(refusal("BadDigest", 400), PermanentError, Reason.CHECKSUM_MISMATCH, id="bad digest"),
        pytest.param(refusal("XMinioStorageFull", 507), PermanentError, Reason.DISK_FULL, id="store full"),
        pytest.param(refusal("SlowDown", 503), TransientError, Reason.STORAGE_THROTTLED, id="slow down"),
        pytest.param(refusal("ServiceUnavailable", 503), TransientError, Reason.STORAGE_UNREACHABLE, id="unavailable"),
        pytest.param(refusal("InternalError", 500), TransientError, Reason.STORAGE_UNREACHABLE, id="internal"),
        pytest.param(refusal("NoSuchUpload", 404), TransientError, Reason.STORAGE_UNREACHABLE, id="no such upload"),
        pytest.param(refusal("InvalidArgument", 400), PermanentError, Reason.INVALID_REQUEST, id="unknown, 400"),
        pytest.param(refusal("NewInTheFuture", 502), TransientError, Reason.STORAGE_UNREACHABLE, id="unknown, 502"),
        pytest.param(refusal("403", 403), PermanentError, Reason.STORAGE_AUTH, id="HEAD, 403"),
        pytest.param(refusal("429", 429), TransientError, Reason.STORAGE_THROTTLED, id="HEAD, 429"),
        pytest.param(refusal("507", 507), PermanentError, Reason.DISK_FULL, id="HEAD, 507"),
        pytest.param(exceptions.NoCredentialsError(), PermanentError, Reason.STORAGE_AUTH, id="no credentials"),
        pytest.param(
            exceptions.CredentialRetrievalError(provider="iam", error_msg="x"),
            TransientError,
            Reason.STORAGE_AUTH,
            id="source of credentials does not answer",
        ),
        pytest.param(
            exceptions.EndpointConnectionError(endpoint_url="http://x"),
            TransientError,
            Reason.STORAGE_UNREACHABLE,
            id="refused connection",
        ),
        pytest.param(
            exceptions.ReadTimeoutError(endpoint_url="http://x"),
            TransientError,
            Reason.STORAGE_UNREACHABLE,
            id="read timeout",
        ),
        pytest.param(
            exceptions.ConnectionClosedError(endpoint_url="http://x"),
            TransientError,
            Reason.STORAGE_UNREACHABLE,
            id="hung up",
        ),
        pytest.param(
            exceptions.SSLError(endpoint_url="http://x", error="[SSL: CERTIFICATE_VERIFY_FAILED] unable"),
            PermanentError,
            Reason.STORAGE_UNREACHABLE,
            id="certificate",
        ),
        pytest.param(
            exceptions.SSLError(endpoint_url="http://x", error="UNEXPECTED_EOF_WHILE_READING"),
            TransientError,
            Reason.STORAGE_UNREACHABLE,
            id="TLS broken off",
        ),
        pytest.param(
            exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
            TransientError,
            Reason.STORAGE_UNREACHABLE,
            id="answer cut",
        ),
        pytest.param(exceptions.NoRegionError(), PermanentError, Reason.INVALID_REQUEST, id="no region"),
        pytest.param(ValueError("Invalid endpoint: x"), PermanentError, Reason.INVALID_REQUEST, id="bad endpoint"),
        pytest.param(FileNotFoundError(2, "ca.pem"), PermanentError, Reason.INVALID_REQUEST, id="no CA file"),
        pytest.param(exceptions.BotoCoreError(), PermanentError, Reason.INTERNAL, id="unknown error"),
    ],
)
def test_every_fault_has_its_reason(error: Exception, kind: type[BackupError], reason: Reason) -> None:
    failure = failure_of("offsite: s3://bucket/key: PutObject", error)

    assert type(failure) is kind
    assert failure.failure.reason is reason
    assert failure.failure.error.startswith("offsite: s3://bucket/key: PutObject: ")
    assert failure.failure.advice


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(refusal("SignatureDoesNotMatch", 403, "signed with hunter2"), id="signature"),
        pytest.param(refusal("InvalidAccessKeyId", 403, "no such key hunter2"), id="key"),
        pytest.param(
            exceptions.ParamValidationError(report="Invalid type for SSECustomerKey, value: hunter2"), id="option"
        ),
        pytest.param(
            exceptions.CredentialRetrievalError(provider="custom-process", error_msg="hunter2"), id="credential helper"
        ),
        pytest.param(
            exceptions.EndpointConnectionError(endpoint_url="https://me:hunter2@store/bucket"), id="password in a URL"
        ),
    ],
)
def test_no_secret_is_in_an_error(error: Exception) -> None:
    failure = failure_of("doing", error)

    assert "hunter2" not in repr(failure.failure) + str(failure)


@pytest.mark.process
def test_a_store_on_which_no_server_listens_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_agent.stores.s3.bucket._ATTEMPTS", 1)
    port = Port.reserve()
    store = S3Store(bucket="bucket", prefix="demo", endpoint_url=f"http://127.0.0.1:{port.number}", region="x")

    with pytest.raises(TransientError) as refused:
        store.stat(KEY)

    port.release()
    assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE
    assert f"s3://bucket/demo/{KEY}" in refused.value.failure.error


def test_missing_credentials_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    store = S3Store(bucket="bucket", prefix="demo", endpoint_url="http://127.0.0.1:1", region="x")

    with pytest.raises(PermanentError) as refused:
        store.read(KEY, LIMIT)

    assert refused.value.failure.reason is Reason.STORAGE_AUTH


@pytest.mark.parametrize("endpoint_url", ["nonsense", "http://", "https://exa mple"])
def test_an_invalid_endpoint_is_an_error(endpoint_url: str) -> None:
    with pytest.raises(PermanentError) as refused:
        S3Store(bucket="bucket", prefix="demo", endpoint_url=endpoint_url, region="x").stat(KEY)

    assert refused.value.failure.reason is Reason.INVALID_REQUEST
    assert "endpoint_url" in refused.value.failure.advice


@pytest.mark.parametrize("content", [None, b"no certificate"], ids=["absent", "no certificate"])
def test_an_invalid_ca_file_is_an_error_at_once(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "ca.pem").write_bytes(content)

    with pytest.raises(PermanentError) as refused:
        S3Store(bucket="bucket", prefix="demo", region="x", ca_file=tmp_path / "ca.pem")

    assert "ca_file" in refused.value.failure.advice


def test_a_fifo_is_refused_as_ca_file_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")

    with pytest.raises(PermanentError, match="a FIFO, not a regular file"):
        S3Store(bucket="bucket", prefix="demo", region="x", ca_file=tmp_path / "ca.pem")


def test_a_ca_file_is_accepted(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    S3Store(bucket="bucket", prefix="demo", region="x", ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ServerSideEncryption": "AES256"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/x", "BucketKeyEnabled": True},
        {"StorageClass": "STANDARD_IA", "Tagging": "team=graph", "ObjectLockMode": "COMPLIANCE"},
        {"StorageClass": "A_CLASS_OF_CEPH"},
        {"ObjectLockRetainUntilDate": "2027-01-01T00:00:00Z"},
        {"Metadata": {"team": "graph"}, "ExpectedBucketOwner": "1", "RequestPayer": "requester"},
    ],
    ids=str,
)
def test_options_of_the_types_that_boto3_describes_are_accepted(options: dict[str, Any]) -> None:
    assert check_put_options(options) == []


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        (
            {"ServerSideEncryption": "AES265", "ACL": 1},
            ["ServerSideEncryption: one of AES256, ", "ACL: one of private, "],
        ),
        ({"SSEKMSKeyId": 5}, ["SSEKMSKeyId: a string expected (got int)"]),
        ({"BucketKeyEnabled": "yes"}, ["BucketKeyEnabled: true or false expected (got str)"]),
        ({"Metadata": {"a": 1}}, ["Metadata: a map of strings expected (got dict)"]),
        ({"Metadata": "a"}, ["Metadata: a map of strings expected (got str)"]),
        ({"ObjectLockRetainUntilDate": 5}, ["ObjectLockRetainUntilDate: a time expected (got int)"]),
    ],
    ids=str,
)
def test_all_faults_of_the_options_are_reported_at_once(options: dict[str, Any], faults: list[str]) -> None:
    found = check_put_options(options)

    assert len(found) == len(faults)
    assert all(text.startswith(fault) for text, fault in zip(found, faults, strict=True))


def test_each_option_that_the_settings_allow_exists_for_every_way_to_store_an_object() -> None:
    assert PUT_OPTIONS <= parameters_of("PutObject").keys() & parameters_of("CreateMultipartUpload").keys()


@pytest.mark.parametrize(
    ("head", "digest"),
    [
        pytest.param({"ETag": '"0f"'}, None, id="no digest"),
        pytest.param({"ETag": '"0f"', "ChecksumSHA256": "qrs="}, "sha256:aabb", id="in one"),
        pytest.param({"ETag": '"0f-3"', "ChecksumSHA256": "qrs=-3"}, "sha256-parts:qrs=-3", id="in parts"),
        pytest.param({"ETag": '"0f-3"', "ChecksumSHA256": "qrs="}, "sha256-parts:qrs=-3", id="in parts, of moto"),
    ],
)
def test_the_digest_of_an_object_is_read_from_its_head(head: dict[str, Any], digest: str | None) -> None:
    assert _digest_in(head) == digest


def test_the_error_does_not_quote_the_value_of_an_option() -> None:
    assert "hunter2" not in str(check_put_options({"SSEKMSKeyId": ["hunter2"], "RequestPayer": "hunter2"}))
