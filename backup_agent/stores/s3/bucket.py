"""The part of a bucket below one prefix, and the only home of boto3: what goes wrong leaves here as a store's error.

A newcomer would let an exception of botocore's out, or quote one that holds a secret: `_failure_of` is the only way.
"""

import hashlib
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3.session
import botocore.session
from botocore import exceptions, xform_name
from botocore.config import Config

from backup_agent.core.reasons import BackupError
from backup_agent.stores.part_body import SendingStoppedError
from backup_agent.stores.s3 import failures

Answer = dict[str, Any]
"""What botocore makes of a response: its shape is in S3's reference, botocore has no types."""

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
    # In this order: the first class that fits decides.
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
    (exceptions.HTTPClientError, failures.PASSES),  # the connection broke, or something that urllib3 has no name for
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

_UNQUOTABLE = (exceptions.ParamValidationError, exceptions.CredentialRetrievalError, exceptions.ConfigParseError)
"""Their text may hold a value of put_options, or what a credential helper printed."""
_LONGEST_TEXT = 500
_USER_INFO = re.compile(r"//[^/@\s]*@")


class Bucket:
    """Calls S3's operations on keys below a prefix.

    `options` go to every operation that knows them: ServerSideEncryption to what begins an object, SSECustomerKey to
    reading it as well, RequestPayer to all.
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
        options: Answer,
    ) -> None:
        self.prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._store = store
        self._bucket = bucket
        self._options = options
        self._told_at: tuple[datetime, float] | None = None
        with self.classified("connect", ""):
            if ca_file:
                ssl.create_default_context(cafile=ca_file)  # boto3 takes an absent file for a broken connection
            self._client = boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint_url,
                region_name=region,
                verify=str(ca_file) if ca_file else None,  # None: $AWS_CA_BUNDLE, then certifi's
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    connect_timeout=_CONNECT_TIMEOUT,
                    read_timeout=_READ_TIMEOUT,
                    max_pool_connections=_CONNECTIONS,
                    # boto3 would else frame bodies with a CRC32 trailer, which some stores keep in the object
                    # (boto/boto3#4435).
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    s3={
                        "addressing_style": "path" if path_style else "auto",
                        # Signing a body means hashing it again, 0.7 CPU seconds a GiB. Its known SHA-256 goes along as
                        # x-amz-checksum-sha256, a signed header: the body is bound to the signature all the same.
                        "payload_signing_enabled": False,
                    },
                ),
            )
            self._client.meta.events.register("response-received.s3", self._answered)

    @cached_property
    def creates_conditionally(self) -> bool:
        """Whether the store heeds `If-None-Match: *`, asked once with an object of the agent's own.

        One request where the object is there from an earlier life. A store that takes the second write as well ignores
        the condition, and got the same content twice.
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
        """Whether the store heeds `If-Match` too, asked once: there are stores that know the one and not the other."""
        if not self.creates_conditionally:
            return False
        _, refused = self.ask(
            "PutObject", PROBE, (*EXISTS, *UNCONDITIONAL, RACE), **whole(_PROBE_CONTENT), IfMatch=_NOBODYS_VERSION
        )
        return bool(refused) and refused not in UNCONDITIONAL

    @property
    def if_absent(self) -> Answer:
        """The parameters of a write that must not overwrite; none where the store would not heed them."""
        return {"IfNoneMatch": "*"} if self.creates_conditionally else {}

    def now(self) -> datetime | None:
        """Return the store's time: that of its last answer, and what has passed since; it is asked where none came."""
        if self._told_at is None:
            self.ask("HeadObject", PROBE, ABSENT)
        if self._told_at is None:
            return None  # an answer without a Date: something before the store cut it off
        date, monotonic = self._told_at
        return date + timedelta(seconds=time.monotonic() - monotonic)

    def _answered(self, response_dict: Answer | None, **_: object) -> None:
        """Note the time of an answer, whatever it says."""
        if date := (response_dict or {}).get("headers", {}).get("date"):
            with suppress(ValueError):
                self._told_at = (parsedate_to_datetime(date).astimezone(UTC), time.monotonic())

    def ask(self, operation: str, key: str, refusals: tuple[str, ...], **parameters: object) -> tuple[Answer, str]:
        """Call an operation; return its answer, or nothing and which of `refusals` came: those the caller can take.

        A parameter that is None takes the option of that name away.
        """
        given = {**self._known_to(operation), **parameters}
        with self.classified(operation, key):
            try:
                answer: Answer = getattr(self._client, xform_name(operation))(
                    Bucket=self._bucket,
                    Key=self.prefix + key,
                    **{name: value for name, value in given.items() if value is not None},
                )
            except exceptions.ClientError as error:
                if (code := code_of(error)) in refusals:
                    return {}, code
                raise
        return answer, ""

    def call(self, operation: str, key: str, **parameters: object) -> Answer:
        """Call an operation that must succeed."""
        return self.ask(operation, key, (), **parameters)[0]

    def pages(self, operation: str, prefix: str, name: str, **parameters: object) -> Iterator[Answer]:
        """Yield all that a listing has under `name`; `prefix` is the listing's, or the key it is about."""
        about = {"Key" if operation == "ListParts" else "Prefix": self.prefix + prefix}
        with self.classified(operation, prefix):
            for page in self._client.get_paginator(xform_name(operation)).paginate(
                Bucket=self._bucket, **about, **self._known_to(operation), **parameters
            ):
                yield from page.get(name, ())

    @contextmanager
    def classified(self, operation: str, key: str) -> Iterator[None]:
        """Turn what botocore raises into what a store may raise."""
        try:
            yield
        except SendingStoppedError as stopped:
            raise stopped.because from stopped
        except (exceptions.ClientError, exceptions.BotoCoreError, ValueError, OSError) as error:
            raise _failure_of(f"{self.where(key)}: {operation}", error) from error

    def where(self, key: str) -> str:
        """Return how a key is called in messages."""
        return f"{self._store}: s3://{self._bucket}/{self.prefix}{key}"

    def _known_to(self, operation: str) -> Answer:
        known = self._client.meta.service_model.operation_model(operation).input_shape.members
        return {name: value for name, value in self._options.items() if name in known}


def whole(content: bytes) -> Answer:
    """Return the parameters that make a small object of some content."""
    return {"Body": content, "ChecksumSHA256": b64encode(hashlib.sha256(content).digest()).decode()}


@dataclass(frozen=True)
class Parameter:
    """What botocore's model of S3 says of a parameter."""

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
    """Return the store's error code (the HTTP status where it sent none); nothing where it is no answer of a store."""
    if isinstance(error, exceptions.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def _failure_of(doing: str, error: Exception) -> BackupError:
    """Return what a store raises for what botocore raised; `doing` says on which object it did what."""
    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        meaning = failures.meaning_of(code_of(error), status)
        text = code_of(error)
        # Some stores quote the key, or what they signed, when they refuse a signature.
        if meaning is not failures.KEY and (said := error.response.get("Error", {}).get("Message")):
            text += f": {said}"
    else:
        meaning = next(meaning for kind, meaning in _EXCEPTIONS if isinstance(error, kind))
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            meaning = failures.CERTIFICATE
        text = type(error).__name__ if isinstance(error, _UNQUOTABLE) else str(error)
    text = _USER_INFO.sub("//", " ".join(text.split()))[:_LONGEST_TEXT]
    return meaning.kind(meaning.reason, f"{doing}: {text}", meaning.hint)
