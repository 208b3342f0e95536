"""Turns errors of botocore into errors of a store.

No exception of botocore may leave the package, and none may be quoted, since it may contain a secret: `failure_of`
turns each into an error of the agent.
"""

import re
from collections.abc import Iterator

from botocore import exceptions, parsers

from backup_agent import quoting
from backup_agent.core.reasons import BackupError
from backup_agent.stores.s3 import failures

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
    (parsers.ResponseParserError, failures.NO_S3),
    (RecursionError, failures.REDIRECTS),  # botocore follows a redirect to another region, which redirects again
    (OSError, failures.LOCAL_FILE),
    (ValueError, failures.ENDPOINT),
    (LookupError, failures.NO_S3),  # an answer that lacks what S3 always sends
    (TypeError, failures.NO_S3),
    (AttributeError, failures.NO_S3),
)
RAISED: tuple[type[Exception], ...] = (exceptions.ClientError, *(kind for kind, _ in _EXCEPTIONS))
"""The errors that botocore raises: its own and, for some answers that are not S3's, errors of Python."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,99}")
"""The form of error codes and request ids that stores send. Any other text is not quoted."""
_CONTENT_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,60}")

BAD_REQUEST = 400
MISSING = 404
NOT_IMPLEMENTED = 501
_VAGUE = frozenset({BAD_REQUEST, 401, 403, MISSING, 405})


def status_of(error: exceptions.ClientError) -> int:
    """Return the HTTP status of an error answer; 0 if it has none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: BaseException | None) -> str:
    """Return the store's error code (the HTTP status if it sent none); empty if the error is not a store's answer.

    A 404 without a code may come from a proxy, and then says nothing about the object: return an empty string. But an
    answer to HEAD never has a code. For HEAD, return the 404: `is_vague` has already singled out answers of a proxy.
    """
    if not isinstance(error, exceptions.ClientError):
        return ""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return "" if code == str(MISSING) and error.operation_name != "HeadObject" else code


def is_vague(error: exceptions.ClientError) -> bool:
    """Return whether an error answer to HEAD leaves the cause open, so that GET must be sent to get the error code.

    A 404 of the store itself is clear. A 404 without a sign of the store is the page of an ingress or a proxy.
    """
    status = status_of(error)
    return status in _VAGUE and not (status == MISSING and _is_the_stores(error))


def lacks(error: BaseException | None) -> bool:
    """Return whether an error answer may mean that the store lacks a feature that the request used.

    Such answers are 501, and 400 with a code that is not in `failures.CODES`: stores send InvalidArgument,
    InvalidRequest and others.
    """
    if not isinstance(error, exceptions.ClientError):
        return False
    code, status = code_of(error), status_of(error)
    return (
        status == NOT_IMPLEMENTED or code == "NotImplemented" or (status == BAD_REQUEST and code not in failures.CODES)
    )


def failure_of(doing: str, error: Exception) -> BackupError:
    """Return the agent's error for an error of botocore. `doing` names the object and the operation."""
    if isinstance(error, exceptions.ClientError):
        meaning, text = _meaning_of(error), refusal(error)
    else:
        meaning = next(meaning for kind, meaning in _EXCEPTIONS if isinstance(error, kind))
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            meaning = failures.CERTIFICATE
        text = f"{meaning.text} ({_kind_of(error)})" if meaning.text else _kind_of(error)
    return meaning.kind(meaning.reason, f"{doing}: {text}", meaning.hint)


def refusal(error: exceptions.ClientError) -> str:
    """Return what may be quoted of an error answer: code, status, request id, and content type if it is not XML.

    The message is left out, since stores quote keys, tokens and headers in it. The request id identifies the message in
    the log of the store.
    """
    about = error.response.get("ResponseMetadata", {})
    status, code, request = status_of(error), code_of(error), str(about.get("RequestId", ""))
    words = [f"HTTP {status}"] if status else []
    words += [f"request {request}"] if _PLAIN.fullmatch(request) else []
    if _PLAIN.fullmatch(code) and not code.isdecimal():
        answer = f"{code} ({', '.join(words)})" if words else code
    else:
        if _is_a_page(error):
            words.append(f"{_content_type(error)}, which is not an answer of S3")
        answer = ", ".join(words) or "refused"
    text = _meaning_of(error).text
    return f"{answer}: {text}" if text else answer


def _meaning_of(error: exceptions.ClientError) -> failures.Meaning:
    code = code_of(error)
    if code.isdecimal() and _is_a_page(error):
        return failures.of_a_page(status_of(error))
    if code == "AccessDenied" and "kms:" in str(error.response.get("Error", {}).get("Message", "")):
        return failures.ENCRYPTION
    return failures.meaning_of(code, status_of(error))


def _is_the_stores(error: exceptions.ClientError) -> bool:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return "xml" in _content_type(error) or any(name.startswith("x-amz-") for name in headers)


def _is_a_page(error: exceptions.ClientError) -> bool:
    """Return whether an error answer has a content type that is not S3's."""
    kind = _content_type(error)
    return bool(kind) and "xml" not in kind


def _content_type(error: exceptions.ClientError) -> str:
    """Return the content type of an answer without its parameters; empty if it must not be quoted."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    kind = str(headers.get("content-type", "")).partition(";")[0].strip().lower()
    return kind if _CONTENT_TYPE.fullmatch(kind) else ""


def _kind_of(error: Exception) -> str:
    """Return what may be quoted of an error of botocore: its class, and the text of the system error that caused it."""
    if isinstance(error, OSError):
        return f"{error.filename}: {quoting.shown(error)}" if error.filename else quoting.shown(error)
    cause = next((one.strerror for one in _beneath(error) if isinstance(one, OSError) and one.errno is not None), None)
    return f"{type(error).__name__}: {cause}" if cause else type(error).__name__


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
