"""The part of a bucket below one prefix, and the only module that calls boto3. Its errors leave as a store's errors.

No exception of botocore may leave this module, and none may be quoted, since it may contain a secret: `_failure_of`
turns each into an error of the agent.
"""

import hashlib
import os
import re
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import boto3.session
import botocore.session
from botocore import exceptions, xform_name
from botocore.config import Config

from backup_agent import durable, quoting
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.stores.part_body import PartBody, SendingStoppedError
from backup_agent.stores.s3 import failures
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
_PROBE_CONTENT = b"Shows whether this store refuses to overwrite when it is told so.\n"
_NOBODYS_VERSION = '"00000000000000000000000000000000"'

EXISTS = ("PreconditionFailed", "412")
UNCONDITIONAL = ("NotImplemented", "501")
ABSENT = ("NoSuchKey", "NoSuchVersion", "404")
GONE = ("NoSuchUpload", "404")
DENIED = ("AccessDenied", "403", "MethodNotAllowed", "405", *UNCONDITIONAL)
RACE = "ConditionalRequestConflict"

_EXCEPTIONS: tuple[tuple[type[Exception], failures.Meaning], ...] = (
    # The first class that matches decides.
    (exceptions.NoCredentialsError, failures.CREDENTIALS),
    (exceptions.PartialCredentialsError, failures.CREDENTIALS),
    (exceptions.ProfileNotFound, failures.CREDENTIALS),
    (exceptions.ConfigNotFound, failures.CREDENTIALS),
    (exceptions.ConfigParseError, failures.CREDENTIALS),
    (exceptions.InvalidConfigError, failures.CREDENTIALS),
    (exceptions.NoAuthTokenError, failures.CREDENTIALS),
    (exceptions.SSOError, failures.CREDENTIALS),
    (exceptions.CredentialRetrievalError, failures.CREDENTIALS_PASS),
    (exceptions.MetadataRetrievalError, failures.CREDENTIALS_PASS),
    (exceptions.TokenRetrievalError, failures.CREDENTIALS_PASS),
    (exceptions.FlexibleChecksumError, failures.ALTERED),
    (exceptions.IncompleteReadError, failures.PASSES),
    (exceptions.ConnectionError, failures.PASSES),  # refused, no such host, timeouts, proxies
    (exceptions.HTTPClientError, failures.PASSES),  # a broken connection, or an error that urllib3 does not name
    (exceptions.ParamValidationError, failures.OPTIONS),
    (exceptions.BaseEndpointResolverError, failures.ENDPOINT),
    (exceptions.EndpointProviderError, failures.ENDPOINT),
    (exceptions.UnsupportedS3ArnError, failures.ENDPOINT),
    (exceptions.UnsupportedS3ConfigurationError, failures.ENDPOINT),
    (exceptions.ValidationError, failures.ENDPOINT),
    (exceptions.BotoCoreError, failures.UNKNOWN),
    (OSError, failures.LOCAL_FILE),
    (ValueError, failures.ENDPOINT),
)

DEADLINE = 300.0
"""Seconds for one small request with all its retries and its whole answer: about four times what a slow store needs.

Each timeout of botocore is for one read of the socket: a store that sends a byte a second would block for ever.
"""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,99}")
"""The form of error codes and request ids that stores send. Any other text is not quoted."""
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")
_VARIABLES = {
    "access key": "AWS_ACCESS_KEY_ID",
    "secret key": "AWS_SECRET_ACCESS_KEY",
    "session token": "AWS_SESSION_TOKEN",
}


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
    ) -> None:
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
                        # Signing a body means hashing it again, 0.7 CPU seconds a GiB. Its known SHA-256 is sent as
                        # x-amz-checksum-sha256, a signed header, so the signature covers the body all the same.
                        "payload_signing_enabled": False,
                    },
                ),
            )
            self._client.meta.events.register("response-received.s3", self._answered)
            self._client.meta.events.register("before-sign.s3", self._check_credentials)

    @cached_property
    def creates_conditionally(self) -> bool:
        """Whether the store honours `If-None-Match: *`, tried once with an object of the agent's own.

        This takes one request if the object exists from an earlier try. A store that accepts the second write too
        ignores the condition; it has then stored the same content twice.
        """
        for _ in range(2):
            _, refused = self.ask(
                "PutObject", PROBE, (*EXISTS, *UNCONDITIONAL, RACE), **whole(_PROBE_CONTENT), IfNoneMatch="*"
            )
            if refused:
                return refused not in UNCONDITIONAL
        return False

    @cached_property
    def swaps_conditionally(self) -> bool:
        """Whether the store honours `If-Match` too, tried once: some stores know only the other condition."""
        if not self.creates_conditionally:
            return False
        _, refused = self.ask(
            "PutObject", PROBE, (*EXISTS, *UNCONDITIONAL, RACE), **whole(_PROBE_CONTENT), IfMatch=_NOBODYS_VERSION
        )
        return bool(refused) and refused not in UNCONDITIONAL

    @property
    def if_absent(self) -> dict[str, Any]:
        """The parameters of a write that must not overwrite; none if the store would ignore them."""
        return {"IfNoneMatch": "*"} if self.creates_conditionally else {}

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
                raise ObjectTooLargeError(self.where(key), limit, self.told(answer, "ETag", key))
            return VersionedObject(bytes(content), self.told(answer, "ETag", key))

        return self._in_time("GetObject", key, read)

    def _act(
        self, operation: str, key: str, refusals: tuple[str, ...], /, **parameters: object
    ) -> tuple[Response, str]:
        given = {**self._known_to(operation), **parameters}
        with self.classified(operation, key):
            try:
                answer: Response = getattr(self._client, xform_name(operation))(
                    Bucket=self._bucket, **{name: value for name, value in given.items() if value is not None}
                )
            except exceptions.ClientError as error:
                if (code := code_of(error)) in refusals:
                    return {}, code
                raise
        return answer, ""

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
                if not found["Key"].startswith(self.prefix + prefix):
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
        except (exceptions.ClientError, exceptions.BotoCoreError, ValueError, OSError) as error:
            raise _failure_of(f"{self.where(key)}: {operation}", error) from error

    def told(self, answer: Response, name: str, key: str) -> Any:  # noqa: ANN401  what botocore makes of it
        """Return a field of an answer that every store sends; raise TransientError if it is missing."""
        if name not in answer:
            text = f"{self.where(key)}: the answer has no {name}"
            raise TransientError(Reason.STORAGE_UNREACHABLE, text, "look at the store, and at proxies before it")
        return answer[name]

    def where(self, key: str) -> str:
        """Return the name of a key in messages."""
        return f"{self._store}: s3://{self._bucket}/{self.prefix}{key}"

    def _known_to(self, operation: str) -> dict[str, Any]:
        known = self._client.meta.service_model.operation_model(operation).input_shape.members
        return {name: value for name, value in self._options.items() if name in known}


def whole(content: bytes) -> dict[str, Any]:
    """Return the parameters that store a small object with some content."""
    return {"Body": content, "ChecksumSHA256": b64encode(hashlib.sha256(content).digest()).decode()}


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


def code_of(error: BaseException | None) -> str:
    """Return the store's error code (the HTTP status if it sent none); empty if the error is not a store's answer."""
    if isinstance(error, exceptions.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def _failure_of(doing: str, error: Exception) -> BackupError:
    """Return the store's error for an error of botocore; `doing` names the object and the operation."""
    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        meaning = failures.meaning_of(code_of(error), status)
        text = _refusal(error)
    else:
        meaning = next(meaning for kind, meaning in _EXCEPTIONS if isinstance(error, kind))
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            meaning = failures.CERTIFICATE
        text = _kind_of(error)
    return meaning.kind(meaning.reason, f"{doing}: {text}", meaning.hint)


def _refusal(error: exceptions.ClientError) -> str:
    """Return what may be quoted of an error answer: code, status and request id.

    The message is left out, since stores quote keys, tokens and headers in it. The request id finds it in their logs.
    """
    about = error.response.get("ResponseMetadata", {})
    status, code, request = about.get("HTTPStatusCode"), code_of(error), str(about.get("RequestId", ""))
    words = [f"HTTP {status}"] if status else []
    words += [f"request {request}"] if _PLAIN.fullmatch(request) else []
    if _PLAIN.fullmatch(code) and not code.isdecimal():
        return f"{code} ({', '.join(words)})" if words else code
    return ", ".join(words) or "refused"


def _kind_of(error: Exception) -> str:
    """Return what may be quoted of an error of botocore: its class, and the error of the system that caused it."""
    if isinstance(error, OSError):
        return f"{error.filename}: {quoting.shown(error)}" if error.filename else quoting.shown(error)
    said = next((one.strerror for one in _beneath(error) if isinstance(one, OSError) and one.errno is not None), None)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _beneath(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, including those that botocore and urllib3 keep in fields of their own."""
    ahead, seen = [error], set()
    while ahead:
        one = ahead.pop(0)
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            kept = getattr(one, "kwargs", None)
            inside = kept.get("error") if isinstance(kept, dict) else None
            led = (inside, getattr(one, "reason", None), one.__cause__, one.__context__, *one.args)
            ahead += [each for each in led if isinstance(each, BaseException)]
