"""What a fault on the way to S3 means: tables from error codes, HTTP statuses and botocore's exceptions to reasons.

A missing bucket is `storage_unreachable` and never `not_found`, which callers read as "this key is not there".
"""

import re
from dataclasses import dataclass

from botocore import exceptions

from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError


@dataclass(frozen=True)
class Meaning:
    """How a refusal is to be taken."""

    kind: type[BackupError]
    reason: Reason
    hint: str = ""


_NOT_FOUND = Meaning(PermanentError, Reason.NOT_FOUND)
_KEY = Meaning(
    PermanentError, Reason.STORAGE_AUTH, "check the access key: boto3's own chain found one the store refuses"
)
_POLICY = Meaning(PermanentError, Reason.STORAGE_AUTH, "the bucket's policy or the key's rights do not allow it")
_ENCRYPTION = Meaning(PermanentError, Reason.STORAGE_AUTH, "check the KMS key in put_options and the rights to use it")
_BUCKET = Meaning(PermanentError, Reason.STORAGE_UNREACHABLE, "make the bucket, or correct the destination's `bucket`")
_PLACE = Meaning(
    PermanentError, Reason.STORAGE_UNREACHABLE, "set the destination's `region` and `endpoint_url` to the bucket's"
)
_CLOCK = Meaning(PermanentError, Reason.CLOCK)
_CONTENT = Meaning(PermanentError, Reason.CHECKSUM_MISMATCH)
_FULL = Meaning(PermanentError, Reason.DISK_FULL, "the store is full, or the bucket's quota is reached")
_SLOWER = Meaning(TransientError, Reason.STORAGE_THROTTLED)
_PASSES = Meaning(TransientError, Reason.STORAGE_UNREACHABLE)
_LOCAL_FILE = Meaning(PermanentError, Reason.INVALID_REQUEST, "check the destination's `ca_file`")
_ENDPOINT = Meaning(
    PermanentError, Reason.INVALID_REQUEST, "check the destination's `endpoint_url`, `region` and `bucket`"
)
_OPTIONS = Meaning(PermanentError, Reason.INVALID_REQUEST, "check the destination's `put_options`")
_CREDENTIALS = Meaning(
    PermanentError, Reason.STORAGE_AUTH, "give the pod credentials by a way that boto3 knows: environment, files, IRSA"
)
_CREDENTIALS_PASS = Meaning(TransientError, Reason.STORAGE_AUTH, "the place the credentials come from does not answer")
_CERTIFICATE = Meaning(
    PermanentError,
    Reason.STORAGE_UNREACHABLE,
    "set the destination's `ca_file` to the CA that signed the store's certificate",
)
_ALTERED = Meaning(TransientError, Reason.CHECKSUM_MISMATCH, "bytes were altered on the way, or in the store")
_UNKNOWN = Meaning(PermanentError, Reason.INTERNAL)
_REQUEST = Meaning(
    PermanentError, Reason.INVALID_REQUEST, "the store takes no such request: check `put_options` and `endpoint_url`"
)

CODES: dict[str, Meaning] = {
    "NoSuchKey": _NOT_FOUND,
    "NoSuchVersion": _NOT_FOUND,
    "InvalidAccessKeyId": _KEY,
    "SignatureDoesNotMatch": _KEY,
    "InvalidToken": _KEY,
    "ExpiredToken": _KEY,
    "ExpiredTokenException": _KEY,  # from STS, for web identities (IRSA)
    "InvalidIdentityToken": _KEY,
    "InvalidClientTokenId": _KEY,
    "IDPCommunicationError": _PASSES,
    "TokenRefreshRequired": _KEY,
    "UnrecognizedClientException": _KEY,
    "AccessDenied": _POLICY,
    "AccessDeniedException": _POLICY,
    "AccountProblem": _POLICY,
    "AllAccessDisabled": _POLICY,
    "MethodNotAllowed": _POLICY,
    "InvalidObjectState": _POLICY,
    "KMS.AccessDeniedException": _ENCRYPTION,
    "KMS.DisabledException": _ENCRYPTION,
    "KMS.KMSInvalidStateException": _ENCRYPTION,
    "KMS.NotFoundException": _ENCRYPTION,
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "AuthorizationHeaderMalformed": _PLACE,  # signed for another region than the bucket's
    "IllegalLocationConstraintException": _PLACE,
    "PermanentRedirect": _PLACE,
    "TemporaryRedirect": _PASSES,
    "RequestTimeTooSkewed": _CLOCK,
    "BadDigest": _CONTENT,
    "InvalidDigest": _CONTENT,
    "XAmzContentChecksumMismatch": _CONTENT,
    "XAmzContentSHA256Mismatch": _CONTENT,
    "InsufficientStorage": _FULL,
    "QuotaExceeded": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "BandwidthLimitExceeded": _SLOWER,
    "RequestLimitExceeded": _SLOWER,
    "SlowDown": _SLOWER,
    "SlowDownRead": _SLOWER,  # MinIO's
    "SlowDownWrite": _SLOWER,
    "Throttling": _SLOWER,
    "ThrottlingException": _SLOWER,
    "TooManyRequests": _SLOWER,
    "ConditionalRequestConflict": _PASSES,  # another write of this key at the same moment
    "IncompleteBody": _PASSES,
    "InternalError": _PASSES,
    "InvalidPart": _PASSES,  # an upload that lost a part: the next try begins anew
    "InvalidPartOrder": _PASSES,
    "NoSuchUpload": _PASSES,  # ended by somebody else, a lifecycle rule perhaps
    "OperationAborted": _PASSES,
    "RequestTimeout": _PASSES,
    "ServiceUnavailable": _PASSES,
}

STATUSES: dict[int, Meaning] = {
    # HEAD has no body and therefore no code; a load balancer in front of the store has a page of its own.
    301: _PLACE,
    307: _PASSES,
    401: _KEY,
    403: _POLICY,
    404: _NOT_FOUND,
    405: _POLICY,
    408: _PASSES,
    409: _PASSES,
    429: _SLOWER,
    507: _FULL,
}
_SERVER_FAULT = 500


EXCEPTIONS: tuple[tuple[type[Exception], Meaning], ...] = (
    # In this order: the first class that fits decides.
    (exceptions.NoCredentialsError, _CREDENTIALS),
    (exceptions.PartialCredentialsError, _CREDENTIALS),
    (exceptions.ProfileNotFound, _CREDENTIALS),
    (exceptions.ConfigNotFound, _CREDENTIALS),
    (exceptions.ConfigParseError, _CREDENTIALS),
    (exceptions.InvalidConfigError, _CREDENTIALS),
    (exceptions.NoAuthTokenError, _CREDENTIALS),
    (exceptions.SSOError, _CREDENTIALS),
    (exceptions.CredentialRetrievalError, _CREDENTIALS_PASS),
    (exceptions.MetadataRetrievalError, _CREDENTIALS_PASS),
    (exceptions.TokenRetrievalError, _CREDENTIALS_PASS),
    (exceptions.FlexibleChecksumError, _ALTERED),
    (exceptions.IncompleteReadError, _PASSES),
    (exceptions.ConnectionError, _PASSES),  # refused, no such host, timeouts, proxies
    (exceptions.HTTPClientError, _PASSES),  # the connection broke, or something that urllib3 has no name for
    (exceptions.ParamValidationError, _OPTIONS),
    (exceptions.BaseEndpointResolverError, _ENDPOINT),
    (exceptions.EndpointProviderError, _ENDPOINT),
    (exceptions.UnsupportedS3ArnError, _ENDPOINT),
    (exceptions.UnsupportedS3ConfigurationError, _ENDPOINT),
    (exceptions.ValidationError, _ENDPOINT),
    (exceptions.BotoCoreError, _UNKNOWN),
    (OSError, _LOCAL_FILE),
    (ValueError, _ENDPOINT),
)

_UNQUOTABLE = (exceptions.ParamValidationError, exceptions.CredentialRetrievalError, exceptions.ConfigParseError)
"""Their text may hold a value of put_options, or what a credential helper printed."""
_LONGEST_TEXT = 500
_USER_INFO = re.compile(r"//[^/@\s]*@")


def code_of(error: BaseException | None) -> str:
    """Return the store's error code (the HTTP status where it sent none); nothing where it is no answer of a store."""
    if isinstance(error, exceptions.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def meaning_of(code: str, status: int) -> Meaning:
    """Return how to take a refusal: by its code, else by the HTTP status."""
    return CODES.get(code) or STATUSES.get(status) or (_PASSES if status >= _SERVER_FAULT else _REQUEST)


def failure_of(doing: str, error: Exception) -> BackupError:
    """Return what a store raises for what botocore raised; `doing` says on which object it did what."""
    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        meaning = meaning_of(code_of(error), status)
        text = code_of(error)
        # Some stores quote the key, or what they signed, when they refuse a signature.
        if meaning is not _KEY and (said := error.response.get("Error", {}).get("Message")):
            text += f": {said}"
    else:
        meaning = next(meaning for kind, meaning in EXCEPTIONS if isinstance(error, kind))
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            meaning = _CERTIFICATE
        text = type(error).__name__ if isinstance(error, _UNQUOTABLE) else str(error)
    text = _USER_INFO.sub("//", " ".join(text.split()))[:_LONGEST_TEXT]
    return meaning.kind(meaning.reason, f"{doing}: {text}", meaning.hint)
