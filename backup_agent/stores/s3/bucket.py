"""The part of a bucket below one prefix. This is the only module that calls boto3's client.

No exception of botocore may leave this module: s3/errors.py turns each into an error of a store. Requests do not use
features that the store is known to lack. If the store refuses a request because of an optional feature, the request is
repeated without the feature: see `Digests` and `_optional`.
"""

import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import boto3.session
import botocore.auth
from botocore import exceptions, xform_name
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from backup_agent import durable
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.stores.features import Feature, StoreFeatures
from backup_agent.stores.part_body import PartBody, SendingStoppedError
from backup_agent.stores.s3 import errors, failures
from backup_agent.stores.s3.descriptions import new_session
from backup_agent.stores.s3.errors import code_of, lacks
from backup_agent.stores.s3.line import Job, Line
from backup_agent.stores.store import ObjectTooLargeError, VersionedObject

Response = dict[str, Any]
"""A response as botocore returns it. Its shape is in S3's reference; botocore has no types."""

Result = TypeVar("Result")

_BLOCK = 256 * 1024
_CONNECTIONS = 4
_ATTEMPTS = 5
_CONNECT_TIMEOUT = 10
_READ_TIMEOUT = 60

PROBE = ".conditional-writes"
"""Key of the object that the agent writes to find out which features a store has (s3/conditions.py)."""

EXISTS = ("PreconditionFailed", "412")
ABSENT = ("NoSuchKey", "NoSuchVersion", "404")
GONE = ("NoSuchUpload",)
UNCONDITIONAL = ("NotImplemented", "501")
DENIED = ("AccessDenied", "403", "MethodNotAllowed", "405", *UNCONDITIONAL)
RACE = "ConditionalRequestConflict"
_NO_CONTENT = 204

_UNLOCKED = {"ObjectLockMode": None, "ObjectLockRetainUntilDate": None, "ObjectLockLegalHoldStatus": None}
"""Options that are left out for objects that the agent replaces: only artifacts and records may be locked."""

DEADLINE = 300.0
"""Seconds for one small request with all its retries and its whole answer: about four times what a slow store needs.

A timeout of botocore applies to one read of the socket, so a store that sends one byte a second would block for ever.
"""

_UNSENDABLE = re.compile(r"[^\x21-\x7e]")
_VARIABLES = {
    "access key": "AWS_ACCESS_KEY_ID",
    "secret key": "AWS_SECRET_ACCESS_KEY",
    "session token": "AWS_SESSION_TOKEN",
}

_SIGNER = "s3v4-of-known-bodies"


class _SignerOfKnownBodies(botocore.auth.S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs a body without reading it if the SHA-256 is known: reading costs 0.7 CPU seconds a GiB.

    Unsigned bodies (UNSIGNED-PAYLOAD) are refused by some stores, and a policy of the bucket may forbid them.
    """

    def payload(self, request: AWSRequest) -> str:
        body = request.data
        known = body.sha256 if isinstance(body, PartBody) else ""
        return known or str(super().payload(request))


botocore.auth.AUTH_TYPE_MAPS[_SIGNER] = _SignerOfKnownBodies


class Bucket:
    """Calls S3's operations on keys below a prefix.

    Each of the `options` is passed to every operation that has a parameter of its name: ServerSideEncryption to the
    operations that create an object, RequestPayer to all.
    """

    def __init__(
        self,
        *,
        store: str,
        bucket: str,
        prefix: str,
        endpoint_url: str | None,
        region: str | None,
        path_style: bool,
        ca_file: Path | None,
        options: dict[str, Any],
        features: StoreFeatures,
        width: int,
        ranges: int,
    ) -> None:
        """`width` is the number of parts that are sent at a time, `ranges` the number of ranges held in memory."""
        self.features = features
        self.ranges = ranges
        self.line = Line(width, _ATTEMPTS)
        self.prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._store = store
        self._bucket = bucket
        self._options = options
        self._store_time: tuple[datetime, float] | None = None
        """Date of the store's last answer, and the monotonic time of its arrival."""
        with self.classified("connect", ""):
            if ca_file:
                durable.read(ca_file, follow=True)  # refuses a FIFO, on which boto3 would block
                ssl.create_default_context(cafile=ca_file)  # boto3 reports a missing file as a broken connection
            session = boto3.session.Session(botocore_session=new_session())
            with self._obtaining_credentials():
                self._credentials = session.get_credentials()
            config = Config(
                connect_timeout=_CONNECT_TIMEOUT,
                read_timeout=_READ_TIMEOUT,
                # Otherwise boto3 frames bodies with a CRC32 trailer, which some stores keep in the object
                # (boto/boto3#4435).
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={
                    "addressing_style": "path" if path_style else "auto",
                    "payload_signing_enabled": True,
                },
            )
            self._make_client = partial(
                session.client,
                "s3",
                endpoint_url=endpoint_url,
                region_name=region,
                verify=str(ca_file) if ca_file else None,  # None: $AWS_CA_BUNDLE, then certifi's
            )
            self._endpoint_url = endpoint_url
            self._config = config
            self._client = self._client_with(_ATTEMPTS, _CONNECTIONS)

    def _client_with(self, attempts: int, connections: int) -> Any:  # noqa: ANN401  botocore has no types
        more = Config(retries={"mode": "standard", "total_max_attempts": attempts}, max_pool_connections=connections)
        client = self._make_client(config=self._config.merge(more))
        client.meta.events.register("response-received.s3", self._answered)
        client.meta.events.register("before-sign.s3", self._check_credentials)
        client.meta.events.register("choose-signer.s3", _choose_signer)
        client.meta.events.register("before-call.s3", _send_at_once)
        if self._endpoint_url:
            client.meta.events.register("before-call.s3", _do_not_redirect)
        return client

    @cached_property
    def _line_client(self) -> Any:  # noqa: ANN401  botocore has no types
        """The client of the line: it repeats no request, and has a connection for each."""
        with self.classified("connect", ""):
            return self._client_with(1, self.line.width)

    def carry(self, jobs: Iterable[Job[Result]], ahead: int | None = None) -> Iterator[Result]:
        """Carry out jobs by the line, see `Line.carry`. They call `once`."""
        _ = self._line_client  # made by this thread, before those of the line need it
        return self.line.carry(jobs, ahead)

    def persist(self, job: Job[Result]) -> Result:
        """Carry out one job by the line, in this thread."""
        return self.line.persist(job, Event(), set())

    def once(
        self, operation: str, key: str, refusals: tuple[str, ...], /, **parameters: object
    ) -> tuple[Response, str]:
        """Like `ask`, for a job of the line: the request is sent once, and without a deadline."""
        return self._ask(operation, key, refusals, Key=self.prefix + key, client=self._line_client, **parameters)

    def now(self) -> datetime | None:
        """Return the store's time: the Date of its last answer plus the time since.

        Before the first answer, ask the store. Return None if its answer has no Date.
        """
        if self._store_time is None:
            self.ask("HeadObject", PROBE, ABSENT)
        if self._store_time is None:
            return None  # an answer without a Date: a proxy removed it
        date, monotonic = self._store_time
        return date + timedelta(seconds=time.monotonic() - monotonic)

    def _answered(self, response_dict: Response | None, **_: object) -> None:
        """Remember the time of an answer, even if the answer is an error."""
        if date := (response_dict or {}).get("headers", {}).get("date"):
            with suppress(ValueError):
                self._store_time = (parsedate_to_datetime(date).astimezone(UTC), time.monotonic())

    @contextmanager
    def _obtaining_credentials(self) -> Iterator[None]:
        """Raise PermanentError if a source of credentials fails; otherwise endpoint or CA file would be blamed."""
        try:
            yield
        except (ValueError, OSError) as error:
            token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
            what = (
                "the credential in AWS_CONTAINER_AUTHORIZATION_TOKEN contains a line break"
                if "\n" in token or "\r" in token
                else f"the source of the credentials failed: {type(error).__name__}"
            )
            raise PermanentError(
                Reason.STORAGE_AUTH,
                f"{self._store}: {what}",
                "check `credential_process` in AWS's configuration and the AWS_CONTAINER_… variables",
            ) from error

    def _check_credentials(self, **_: object) -> None:
        """Raise PermanentError if a credential cannot be sent. The HTTP client's own error would quote it."""
        if self._credentials is None:
            return
        with self._obtaining_credentials():
            now = self._credentials.get_frozen_credentials()
        for name, value in (
            ("access key", now.access_key),
            ("secret key", now.secret_key),
            ("session token", now.token),
        ):
            if found := _UNSENDABLE.search(value or ""):
                method = str(self._credentials.method)
                where = _VARIABLES[name] if method == "env" else f"{name} of boto3's source {method!r}"
                what = "a line break" if found[0] in "\r\n" else "a character that is not printable ASCII"
                raise PermanentError(
                    Reason.STORAGE_AUTH,
                    f"{self._store}: the credential in {where} contains {what}",
                    "set it again without that character; `echo` and editors add a newline, `printf %s` does not",
                )

    def ask(self, operation: str, key: str, refusals: tuple[str, ...], **parameters: object) -> tuple[Response, str]:
        """Call an operation; return its answer and an empty string.

        If the error code is in `refusals`, return an empty answer and the code.

        A parameter that is None removes the option of the same name.
        """
        act = partial(self._ask, operation, key, refusals, Key=self.prefix + key, **parameters)
        # No deadline: sending an artifact may take long, and a store may take minutes to complete a large upload.
        if isinstance(parameters.get("Body"), PartBody) or operation == "CompleteMultipartUpload":
            return act()
        return self._in_time(operation, key, act)

    def small(self, key: str, limit: int, refusals: tuple[str, ...], **parameters: object) -> VersionedObject | None:
        """Return an object of at most `limit` bytes with its ETag; None if the error code is in `refusals`.

        Raise ObjectTooLargeError if it is larger; then at most one byte beyond the limit has been read.
        """

        def read() -> VersionedObject | None:
            answer, refused = self._ask("GetObject", key, refusals, Key=self.prefix + key, **parameters)
            if refused:
                return None
            content = bytearray()
            with self.classified("GetObject", key), closing(answer["Body"]) as body:
                large = answer.get("ContentLength", 0) > limit
                while not large and (block := body.read(min(_BLOCK, limit + 1 - len(content)))):
                    content += block
                    large = len(content) > limit
            if large:
                raise ObjectTooLargeError(self.where(key), limit, self.etag(answer, key))
            return VersionedObject(bytes(content), self.etag(answer, key))

        return self._in_time("GetObject", key, read)

    def _ask(
        self, operation: str, key: str, refusals: tuple[str, ...], /, client: object = None, **parameters: object
    ) -> tuple[Response, str]:
        given = {**self._known_to(operation), **parameters}
        given = {name: value for name, value in given.items() if value is not None}
        with self.classified(operation, key):
            try:
                return self._send(client or self._client, operation, given), ""
            except exceptions.ClientError as error:
                if (code := code_of(error)) in refusals:
                    return {}, code
                self._forget_conditions(given, error)
                raise

    def _send(self, client: object, operation: str, given: dict[str, Any]) -> Response:
        """Send a request and return the answer. Leave out the optional feature if the store lacks the feature."""
        optional = _optional(operation, given)
        if optional is None or self.features.has(optional) is False:
            return self._send_once(client, operation, _plain(given))
        try:
            answer = self._send_once(client, operation, _with_checksums(given))
        except exceptions.ClientError as error:
            if not lacks(error):
                raise
            refused = error
        else:
            self._note_checksum(operation, given, answer)
            return answer
        if isinstance(body := given.get("Body"), PartBody):
            body.seek(0)  # some of it may have been sent
        with self._noting_the_lack(optional, f"{operation}: {errors.refusal(refused)}, and accepted without"):
            return self._send_once(client, operation, _plain(given))

    def _note_checksum(self, operation: str, given: dict[str, Any], answer: Response) -> None:
        """Note whether the answer has a checksum. A store may ignore a checksum in the request."""
        compared = "ChecksumSHA256" in answer
        if operation == "UploadPart" and compared:
            self.features.note(Feature.PART_CHECKSUMS, has=True, how="UploadPart: a checksum in the answer")
        elif operation == "PutObject" and "digests" in given:
            how = f"PutObject: {'a' if compared else 'no'} checksum in the answer"
            self.features.note(Feature.CHECKSUMS, has=compared, how=how)

    @contextmanager
    def _noting_the_lack(self, feature: Feature, how: str) -> Iterator[None]:
        """Note that the store lacks a feature if it accepts the request without the feature.

        A failed condition or a missing object also shows that the store accepts the request.
        """
        try:
            yield
        except exceptions.ClientError as error:
            if not lacks(error) and code_of(error) in {*EXISTS, *ABSENT}:
                self.features.note(feature, has=False, how=how)
            raise
        self.features.note(feature, has=False, how=how)

    def _forget_conditions(self, given: dict[str, Any], error: exceptions.ClientError) -> None:
        """If the store does not support the condition of a write, have conditional writes probed again."""
        if lacks(error) and error.operation_name != "GetObject" and not {"IfNoneMatch", "IfMatch"}.isdisjoint(given):
            self.features.forget(Feature.CREATE_IF_ABSENT)
            self.features.forget(Feature.REPLACE_IF_SAME)

    def _note_versions(self, operation: str, answer: Response) -> None:
        """Note whether the bucket keeps old versions, from the answer to a write or a deletion."""
        versioned = answer.get("VersionId", "null") != "null"
        if operation in {"PutObject", "CompleteMultipartUpload"} or answer.get("DeleteMarker"):
            how = f"{operation}: {'a' if versioned else 'no'} version in the answer"
            self.features.note(Feature.OLD_VERSIONS, has=versioned, how=how)

    def _send_once(self, client: object, operation: str, parameters: dict[str, Any]) -> Response:
        try:
            answer: Response = getattr(client, xform_name(operation))(Bucket=self._bucket, **parameters)
        except exceptions.ClientError as error:
            if operation != "HeadObject" or not errors.is_vague(error):
                raise
            # Answers to HEAD have no error code, but answers to GET have one. Some proxies allow only GET.
            answer = self._client.get_object(Bucket=self._bucket, **parameters)
            answer.pop("Body").close()
        about = answer["ResponseMetadata"]
        page = about["HTTPHeaders"].get("content-type", "").startswith("text/html")
        # The other answers of S3 have fields that the page of a proxy lacks. The answer to DeleteObject is empty: its
        # status is 204, and its content type may be any.
        if operation == "DeleteObject" and page and about["HTTPStatusCode"] != _NO_CONTENT:
            where = self.where(str(parameters["Key"]).removeprefix(self.prefix))
            text = f"{where}: {operation}: text/html: {failures.NO_S3.text}"
            raise TransientError(Reason.STORAGE_UNREACHABLE, text, failures.NO_S3.hint)
        self._note_versions(operation, answer)
        return answer

    def _in_time(self, operation: str, key: str, act: Callable[[], Result]) -> Result:
        """Return what `act` returns; raise TransientError if it has not ended by the deadline.

        `act` runs in a thread that is abandoned at the deadline. There is no other way to end a read that receives a
        byte now and then.
        """
        outcome: Future[Result] = Future()

        def run() -> None:
            try:
                outcome.set_result(act())
            except BaseException as error:  # noqa: BLE001  raised again by the caller
                outcome.set_exception(error)

        threading.Thread(target=run, name=operation, daemon=True).start()
        try:
            return outcome.result(DEADLINE)
        except FutureTimeoutError:
            if outcome.done():
                raise
            raise TransientError(
                Reason.STORAGE_UNREACHABLE,
                f"{self.where(key)}: {operation}: no complete answer within {DEADLINE:g} s",
                "the store, or a proxy before it, answers too slowly: check its health and the network",
            ) from None

    def call(self, operation: str, key: str, **parameters: object) -> Response:
        """Call an operation and return its answer; raise for every error code."""
        return self.ask(operation, key, (), **parameters)[0]

    def first_listed(self) -> Response | None:
        """Return the first object that one request lists, or None if there is no object."""
        act = partial(self._ask, "ListObjectsV2", "", (), Prefix=self.prefix, MaxKeys=1)
        page, _ = self._in_time("ListObjectsV2", "", act)
        found: Response | None = next(iter(page.get("Contents", ())), None)
        return found

    def configuration(self, operation: str, absent: tuple[str, ...]) -> Response | None:
        """Return the answer to a question about the bucket itself; None if the error code is in `absent`."""
        answer, refused = self._in_time(operation, "", partial(self._ask, operation, "", absent))
        return None if refused else answer

    def put_own(self, key: str, refusals: tuple[str, ...], /, **parameters: object) -> tuple[Response, str]:
        """Write a small object that the agent replaces later, without the options that lock objects.

        Return as `ask` does. Raise PermanentError, which names the bucket's default retention if that has locked the
        object.
        """
        try:
            answer, refused = self.ask("PutObject", key, refusals, **{**parameters, **_UNLOCKED})
        except PermanentError as error:
            if error.failure.reason is Reason.STORAGE_AUTH and (until := self._locked_until(key)):
                text = f"{error}: the default retention of the bucket has locked the object until {until}"
                raise PermanentError(Reason.STORAGE_AUTH, text, failures.LOCKED.hint) from error
            raise
        if not refused:
            self.etag(answer, key)  # raises for the page of a proxy, which has no ETag
        return answer, refused

    def _locked_until(self, key: str) -> str:
        """Return the time until which an object is locked; empty if it is not locked or the agent cannot find out."""
        with suppress(BackupError):
            head, _ = self.ask("HeadObject", key, ABSENT)
            until = head.get("ObjectLockRetainUntilDate")
            if until is not None and until > datetime.now(UTC):
                return f"{until:%Y-%m-%d %H:%M} ({head.get('ObjectLockMode', 'mode unknown')})"
        return ""

    def objects(self, prefix: str) -> Iterator[Response]:
        """Yield all objects below a prefix; raise TransientError if the listing is incomplete.

        The agent treats an object that is not listed as deleted. Therefore botocore's paginator is not used: it takes
        a truncated page without a token for the last page.
        """
        tokens: set[str] = set()
        token: str | None = None
        while True:
            act = partial(self._ask, "ListObjectsV2", prefix, (), Prefix=self.prefix + prefix, ContinuationToken=token)
            page, _ = self._in_time("ListObjectsV2", prefix, act)
            for found in page.get("Contents", ()):
                if not str(self.field(found, "Key", prefix)).startswith(self.prefix + prefix):
                    raise self._incomplete(prefix, "it has a key that does not begin with the requested prefix")
                yield found
            if "IsTruncated" not in page:
                raise self._incomplete(prefix, "the answer does not say whether more pages follow")
            if not page["IsTruncated"]:
                return
            token = page.get("NextContinuationToken")
            if not token:
                raise self._incomplete(prefix, "the answer says that more pages follow, but has no token for them")
            if token in tokens:
                raise self._incomplete(prefix, "the answer repeats a token of an earlier page")
            tokens.add(token)

    def _incomplete(self, prefix: str, found: str) -> TransientError:
        return TransientError(
            Reason.STORAGE_UNREACHABLE,
            f"{self.where(prefix)}: ListObjectsV2: the listing is incomplete: {found}",
            "the agent uses only complete listings; check the store, and proxies before it",
        )

    def pages(self, operation: str, key: str, name: str, **parameters: object) -> Iterator[Response]:
        """Yield the elements of the list `name` from a listing of uploads or parts. What it omits is sent again."""
        about = {"Key" if operation == "ListParts" else "Prefix": self.prefix + key}
        with self.classified(operation, key):
            pages = iter(
                self._client.get_paginator(xform_name(operation)).paginate(
                    Bucket=self._bucket, **about, **self._known_to(operation), **parameters
                )
            )
            while (page := self._in_time(operation, key, partial(next, pages, None))) is not None:
                yield from page.get(name, ())

    @contextmanager
    def classified(self, operation: str, key: str) -> Iterator[None]:
        """Turn errors of botocore into errors of a store."""
        try:
            yield
        except SendingStoppedError as stopped:
            raise stopped.because from stopped
        except errors.RAISED as error:
            raise errors.failure_of(f"{self.where(key)}: {operation}", error) from error

    def field(self, answer: Response, name: str, key: str) -> Any:  # noqa: ANN401  a value from botocore
        """Return the field `name` of an answer. Every store sends it: raise TransientError if it is missing."""
        if answer.get(name) is None:
            text = f"{self.where(key)}: the answer has no {name}: {failures.NO_S3.text}"
            raise TransientError(Reason.STORAGE_UNREACHABLE, text, failures.NO_S3.hint)
        return answer[name]

    def etag(self, answer: Response, key: str) -> str:
        """Return the ETag of an answer as the store sent it, without the `W/` that a compressing proxy adds."""
        return str(self.field(answer, "ETag", key)).removeprefix("W/")

    def where(self, key: str) -> str:
        """Return the store, bucket and full key of an object, for messages."""
        return f"{self._store}: s3://{self._bucket}/{self.prefix}{key}"

    def _known_to(self, operation: str) -> dict[str, Any]:
        known = self._client.meta.service_model.operation_model(operation).input_shape.members
        return {name: value for name, value in self._options.items() if name in known}


def _choose_signer(signature_version: str, **_: object) -> str | None:
    return _SIGNER if signature_version in {"v4", "s3v4"} else None


def _send_at_once(params: dict[str, Any], **_: object) -> None:
    """Leave out `Expect: 100-continue` if a body is to be sent at once: waiting for the store costs a round trip."""
    if isinstance(body := params.get("body"), PartBody) and body.at_once:
        params["headers"].pop("Expect", None)


def _do_not_redirect(params: dict[str, Any], **_: object) -> None:
    """Keep botocore from following redirects, which would lead to a region of AWS or into an endless loop."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _optional(operation: str, given: dict[str, Any]) -> Feature | None:
    """Return the optional feature that a request uses; None if it uses none."""
    if operation in {"UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"}:
        return Feature.PART_CHECKSUMS
    if "digests" in given:
        return Feature.CHECKSUMS
    return Feature.CHECKSUM_ANSWERS if "ChecksumMode" in given else None


def _with_checksums(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request to a store with S3's checksums."""
    return _sent(given) | (given["digests"].as_checksum if "digests" in given else {})


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request to a store without S3's checksums."""
    parameters = _sent(given) | (given["digests"].as_md5 if "digests" in given else {})
    if "MultipartUpload" in parameters:
        parts = [
            {name: part[name] for name in ("PartNumber", "ETag")} for part in parameters["MultipartUpload"]["Parts"]
        ]
        parameters["MultipartUpload"] = {"Parts": parts}
    return {name: value for name, value in parameters.items() if name not in {"ChecksumMode", "ChecksumAlgorithm"}}


def _sent(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "digests"}


@dataclass(frozen=True)
class Parameter:
    """Type and allowed values of a parameter, from botocore's model of S3."""

    type: str
    choices: tuple[str, ...]


def parameters_of(operation: str) -> dict[str, Parameter]:
    """Return the parameters of an operation of S3, by name."""
    model = new_session().get_service_model("s3").operation_model(operation)
    return {
        name: Parameter(shape.type_name, tuple(getattr(shape, "enum", ())))
        for name, shape in model.input_shape.members.items()
    }
