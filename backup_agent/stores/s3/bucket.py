"""The part of a bucket below one prefix, and the only module that calls boto3. Its errors leave as a store's errors.

No exception of botocore may leave this module (s3/errors.py). A request goes without what the store is known to lack,
or turns out to lack: see `Digests` and `_optional`.
"""

import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import boto3.session
import botocore.auth
import botocore.session
from botocore import exceptions, xform_name
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from backup_agent import durable
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.stores.features import Feature, StoreFeatures
from backup_agent.stores.part_body import PartBody, SendingStoppedError
from backup_agent.stores.s3 import errors, failures
from backup_agent.stores.s3.errors import code_of, lacks
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
"""Key of the agent's own object for finding out what a store can do (s3/conditions.py)."""

EXISTS = ("PreconditionFailed", "412")
ABSENT = ("NoSuchKey", "NoSuchVersion", "404")
GONE = ("NoSuchUpload",)
UNCONDITIONAL = ("NotImplemented", "501")
DENIED = ("AccessDenied", "403", "MethodNotAllowed", "405", *UNCONDITIONAL)
RACE = "ConditionalRequestConflict"

_UNLOCKED = {"ObjectLockMode": None, "ObjectLockRetainUntilDate": None, "ObjectLockLegalHoldStatus": None}
"""Options for artifacts and records alone: an object that is replaced must not be locked."""

DEADLINE = 300.0
"""Seconds for one small request with all its retries and its whole answer: about four times what a slow store needs.

Each timeout of botocore is for one read of the socket: a store that sends a byte a second would block for ever.
"""

_UNSENDABLE = re.compile(r"[^\x21-\x7e]")
_VARIABLES = {
    "access key": "AWS_ACCESS_KEY_ID",
    "secret key": "AWS_SECRET_ACCESS_KEY",
    "session token": "AWS_SESSION_TOKEN",
}

_SIGNER = "s3v4-of-known-bodies"


class _SignerOfKnownBodies(botocore.auth.S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs each body without reading it if its SHA-256 is known: reading costs 0.7 CPU seconds a GiB.

    Unsigned bodies (UNSIGNED-PAYLOAD) are refused by some stores, and a policy of the bucket may forbid them.
    """

    def payload(self, request: AWSRequest) -> str:
        body = request.data
        known = body.sha256 if isinstance(body, PartBody) else ""
        return known or str(super().payload(request))


botocore.auth.AUTH_TYPE_MAPS[_SIGNER] = _SignerOfKnownBodies


class Bucket:
    """Calls S3's operations on keys below a prefix.

    `options` go to every operation that has a parameter of that name: ServerSideEncryption to those that create an
    object, RequestPayer to all.
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
    ) -> None:
        self.features = features
        self.prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._store = store
        self._bucket = bucket
        self._options = options
        self._told_at: tuple[datetime, float] | None = None
        with self.classified("connect", ""):
            if ca_file:
                durable.read(ca_file, follow=True)  # refuses a FIFO, which boto3 would wait for
                ssl.create_default_context(cafile=ca_file)  # boto3 reports a missing file as a broken connection
            session = boto3.session.Session()
            with self._obtaining_credentials():
                self._credentials = session.get_credentials()
            self._client = session.client(
                "s3",
                endpoint_url=endpoint_url,
                region_name=region,
                verify=str(ca_file) if ca_file else None,  # None: $AWS_CA_BUNDLE, then certifi's
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    connect_timeout=_CONNECT_TIMEOUT,
                    read_timeout=_READ_TIMEOUT,
                    max_pool_connections=_CONNECTIONS,
                    # Otherwise boto3 frames bodies with a CRC32 trailer, which some stores keep in the object
                    # (boto/boto3#4435).
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    s3={
                        "addressing_style": "path" if path_style else "auto",
                        "payload_signing_enabled": True,
                    },
                ),
            )
            self._client.meta.events.register("response-received.s3", self._answered)
            self._client.meta.events.register("before-sign.s3", self._check_credentials)
            self._client.meta.events.register("choose-signer.s3", _choose_signer)
            if endpoint_url:
                self._client.meta.events.register("before-call.s3", _do_not_redirect)

    def now(self) -> datetime | None:
        """Return the store's time, from its last answer and the time since. Without an answer yet, ask the store."""
        if self._told_at is None:
            self.ask("HeadObject", PROBE, ABSENT)
        if self._told_at is None:
            return None  # an answer without a Date: a proxy removed it
        date, monotonic = self._told_at
        return date + timedelta(seconds=time.monotonic() - monotonic)

    def _answered(self, response_dict: Response | None, **_: object) -> None:
        """Remember the time of an answer, also of an error."""
        if date := (response_dict or {}).get("headers", {}).get("date"):
            with suppress(ValueError):
                self._told_at = (parsedate_to_datetime(date).astimezone(UTC), time.monotonic())

    @contextmanager
    def _obtaining_credentials(self) -> Iterator[None]:
        """Raise PermanentError for an error of a source of credentials: neither endpoint nor CA file is at fault."""
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
        """Raise PermanentError if a credential cannot be sent: the HTTP client would quote it in its own error."""
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
        """Call an operation; return its answer, or an empty one with the error code if that is among `refusals`.

        A parameter that is None removes the option of that name.
        """
        act = partial(self._act, operation, key, refusals, Key=self.prefix + key, **parameters)
        # Sending an artifact may take long and be throttled; a store completes a large upload for minutes.
        if isinstance(parameters.get("Body"), PartBody) or operation == "CompleteMultipartUpload":
            return act()
        return self._in_time(operation, key, act)

    def small(self, key: str, limit: int, refusals: tuple[str, ...], **parameters: object) -> VersionedObject | None:
        """Return an object of at most `limit` bytes with its ETag; None if one of `refusals` came.

        Raise ObjectTooLargeError if it is larger. No more than a byte beyond the limit is read of it.
        """

        def read() -> VersionedObject | None:
            answer, refused = self._act("GetObject", key, refusals, Key=self.prefix + key, **parameters)
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

    def _act(
        self, operation: str, key: str, refusals: tuple[str, ...], /, **parameters: object
    ) -> tuple[Response, str]:
        given = {**self._known_to(operation), **parameters}
        with self.classified(operation, key):
            try:
                return self._answer(operation, {name: value for name, value in given.items() if value is not None}), ""
            except exceptions.ClientError as error:
                if (code := code_of(error)) in refusals:
                    return {}, code
                self._doubt(given, error)
                raise

    def _answer(self, operation: str, given: dict[str, Any]) -> Response:
        """Return the answer to a request, which is made without its optional feature if the store lacks that."""
        optional = _optional(operation, given)
        if optional is None or self.features.has(optional) is False:
            return self._answer_to(operation, _plain(given))
        try:
            answer = self._answer_to(operation, _with_checksums(given))
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
            return self._answer_to(operation, _plain(given))

    def _note_checksum(self, operation: str, given: dict[str, Any], answer: Response) -> None:
        """Note whether the store tells the checksum that it has compared: it may have ignored the one that was sent."""
        told = "ChecksumSHA256" in answer
        if operation == "UploadPart" and told:
            self.features.note(Feature.PART_CHECKSUMS, has=True, how="UploadPart: a checksum in the answer")
        elif operation == "PutObject" and "digests" in given:
            how = f"PutObject: {'a' if told else 'no'} checksum in the answer"
            self.features.note(Feature.CHECKSUMS, has=told, how=how)

    @contextmanager
    def _noting_the_lack(self, feature: Feature, how: str) -> Iterator[None]:
        """Note that the store lacks a feature if a request without it is answered, by whatever but the same refusal."""
        try:
            yield
        except exceptions.ClientError as error:
            if not lacks(error) and code_of(error) in {*EXISTS, *ABSENT}:
                self.features.note(feature, has=False, how=how)
            raise
        self.features.note(feature, has=False, how=how)

    def _doubt(self, given: dict[str, Any], error: exceptions.ClientError) -> None:
        """Let conditional writes be tried again by the next process if one was refused as such."""
        if lacks(error) and not {"IfNoneMatch", "IfMatch"}.isdisjoint(given):
            self.features.forget(Feature.CREATE_IF_ABSENT)
            self.features.forget(Feature.REPLACE_IF_SAME)

    def _note_versions(self, operation: str, answer: Response) -> None:
        """Note whether the bucket keeps old versions, as the answers to writes and deletions tell."""
        versioned = answer.get("VersionId", "null") != "null"
        if operation in {"PutObject", "CompleteMultipartUpload"} or answer.get("DeleteMarker"):
            how = f"{operation}: {'a' if versioned else 'no'} version in the answer"
            self.features.note(Feature.OLD_VERSIONS, has=versioned, how=how)

    def _answer_to(self, operation: str, parameters: dict[str, Any]) -> Response:
        try:
            answer: Response = getattr(self._client, xform_name(operation))(Bucket=self._bucket, **parameters)
        except exceptions.ClientError as error:
            if operation != "HeadObject" or not errors.is_vague(error):
                raise
            # HEAD's answers have no error code. GET's have; and some proxies allow GET alone.
            answer = self._client.get_object(Bucket=self._bucket, **parameters)
            answer.pop("Body").close()
        kind = answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", "")
        if operation not in {"GetObject", "HeadObject"} and kind.startswith("text/html"):
            raise TransientError(
                Reason.STORAGE_UNREACHABLE,
                f"{self.where(str(parameters.get('Key', '')).removeprefix(self.prefix))}: {operation}: text/html: "
                f"{failures.NO_S3.text}",
                failures.NO_S3.hint,
            )
        self._note_versions(operation, answer)
        return answer

    def _in_time(self, operation: str, key: str, act: Callable[[], Result]) -> Result:
        """Return what `act` returns; raise TransientError if it has not ended by the deadline.

        It runs in a thread, which is then abandoned: nothing else ends a read that gets a byte now and then.
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
                f"{self.where(key)}: {operation}: no whole answer within {DEADLINE:g} s",
                "the store, or something before it, answers too slowly: look at its health and at the network",
            ) from None

    def call(self, operation: str, key: str, **parameters: object) -> Response:
        """Call an operation that must succeed."""
        return self.ask(operation, key, (), **parameters)[0]

    def put_own(self, key: str, refusals: tuple[str, ...], /, **parameters: object) -> tuple[Response, str]:
        """Write a small object that is replaced time and again: the options of `put_options` do not lock it.

        Raise PermanentError that names the bucket's default retention if that has locked the object.
        """
        try:
            return self.ask("PutObject", key, refusals, **{**parameters, **_UNLOCKED})
        except PermanentError as error:
            if error.failure.reason is Reason.STORAGE_AUTH and (until := self._locked_until(key)):
                text = f"{error}: the default retention of the bucket has locked the object until {until}"
                raise PermanentError(Reason.STORAGE_AUTH, text, failures.LOCKED.hint) from error
            raise

    def _locked_until(self, key: str) -> str:
        """Return until when an object is locked; empty if it is not, or if the agent may not know."""
        with suppress(BackupError):
            head, _ = self.ask("HeadObject", key, ABSENT)
            until = head.get("ObjectLockRetainUntilDate")
            if until is not None and until > datetime.now(UTC):
                return f"{until:%Y-%m-%d %H:%M} ({head.get('ObjectLockMode', 'no mode is told')})"
        return ""

    def objects(self, prefix: str) -> Iterator[Response]:
        """Yield all objects below a prefix; raise TransientError if the listing is not whole.

        An object that a listing omits would be taken for deleted. So the pages are not left to botocore, which takes a
        truncated page without a token for the last one.
        """
        tokens: set[str] = set()
        token: str | None = None
        while True:
            act = partial(self._act, "ListObjectsV2", prefix, (), Prefix=self.prefix + prefix, ContinuationToken=token)
            page, _ = self._in_time("ListObjectsV2", prefix, act)
            for found in page.get("Contents", ()):
                if not str(self.told(found, "Key", prefix)).startswith(self.prefix + prefix):
                    raise self._not_whole(prefix, "it has a key that does not begin with the prefix asked for")
                yield found
            if "IsTruncated" not in page:
                raise self._not_whole(prefix, "the answer does not say whether more follows")
            if not page["IsTruncated"]:
                return
            token = page.get("NextContinuationToken")
            if not token:
                raise self._not_whole(prefix, "more follows, by the answer, and there is no token to ask for it")
            if token in tokens:
                raise self._not_whole(prefix, "the answer gives a token to go on that was used before")
            tokens.add(token)

    def _not_whole(self, prefix: str, found: str) -> TransientError:
        return TransientError(
            Reason.STORAGE_UNREACHABLE,
            f"{self.where(prefix)}: ListObjectsV2: the listing is not whole: {found}",
            "nothing is decided by half a listing; look at the store, and at proxies before it",
        )

    def pages(self, operation: str, key: str, name: str, **parameters: object) -> Iterator[Response]:
        """Yield what a listing of uploads or parts has under `name`. One that is not whole costs sending again."""
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

    def told(self, answer: Response, name: str, key: str) -> Any:  # noqa: ANN401  what botocore makes of it
        """Return a field of an answer that every store sends; raise TransientError if it is missing."""
        if answer.get(name) is None:
            text = f"{self.where(key)}: the answer has no {name}: {failures.NO_S3.text}"
            raise TransientError(Reason.STORAGE_UNREACHABLE, text, failures.NO_S3.hint)
        return answer[name]

    def etag(self, answer: Response, key: str) -> str:
        """Return the ETag of an answer. A proxy that compresses marks it as weak, and the store knows it without."""
        return str(self.told(answer, "ETag", key)).removeprefix("W/")

    def where(self, key: str) -> str:
        """Return the name of a key in messages."""
        return f"{self._store}: s3://{self._bucket}/{self.prefix}{key}"

    def _known_to(self, operation: str) -> dict[str, Any]:
        known = self._client.meta.service_model.operation_model(operation).input_shape.members
        return {name: value for name, value in self._options.items() if name in known}


def _choose_signer(signature_version: str, **_: object) -> str | None:
    return _SIGNER if signature_version in {"v4", "s3v4"} else None


def _do_not_redirect(params: dict[str, Any], **_: object) -> None:
    """Keep botocore from following a redirect: it leads to a region of AWS, or to itself without an end."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _optional(operation: str, given: dict[str, Any]) -> Feature | None:
    """Return the feature that a request uses and can do without."""
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
    model = botocore.session.Session().get_service_model("s3").operation_model(operation)
    return {
        name: Parameter(shape.type_name, tuple(getattr(shape, "enum", ())))
        for name, shape in model.input_shape.members.items()
    }
