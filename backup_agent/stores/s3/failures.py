"""The meaning of an S3 store's error answers: tables that map error codes and HTTP statuses to reasons.

A missing bucket is `storage_unreachable` and never `not_found`, which callers read as "this key does not exist".
"""

from dataclasses import dataclass, replace

from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError


@dataclass(frozen=True)
class Meaning:
    """The kind of error, its reason and its hint."""

    kind: type[BackupError]
    reason: Reason
    hint: str = ""
    text: str = ""
    """Explanation for messages, if code and status do not explain the failure."""


NOT_FOUND = Meaning(PermanentError, Reason.NOT_FOUND)
KEY = Meaning(PermanentError, Reason.STORAGE_AUTH, "check the access key: the store refuses the one that boto3 found")
POLICY = Meaning(
    PermanentError, Reason.STORAGE_AUTH, "the bucket's policy or the permissions of the access key do not allow it"
)
ARCHIVE = Meaning(PermanentError, Reason.ARCHIVED)
ENCRYPTION = Meaning(
    PermanentError, Reason.STORAGE_AUTH, "check the KMS key in put_options and the permission to use it"
)
BUCKET = Meaning(PermanentError, Reason.STORAGE_UNREACHABLE, "create the bucket, or correct the destination's `bucket`")
PLACE = Meaning(
    PermanentError, Reason.STORAGE_UNREACHABLE, "set the destination's `region` and `endpoint_url` to the bucket's"
)
CLOCK = Meaning(PermanentError, Reason.CLOCK)
CONTENT = Meaning(PermanentError, Reason.CHECKSUM_MISMATCH)
FULL = Meaning(PermanentError, Reason.DISK_FULL, "the store is full, or the bucket's quota is reached")
SLOWER = Meaning(TransientError, Reason.STORAGE_THROTTLED)
PASSES = Meaning(TransientError, Reason.STORAGE_UNREACHABLE)
SERVER_FAULT = Meaning(
    TransientError,
    Reason.STORAGE_UNREACHABLE,
    "the store, or a proxy before it, reports a fault of its own: look at its log; the copy is retried",
)
LOCAL_FILE = Meaning(PermanentError, Reason.INVALID_REQUEST, "check the destination's `ca_file`")
ENDPOINT = Meaning(
    PermanentError, Reason.INVALID_REQUEST, "check the destination's `endpoint_url`, `region` and `bucket`"
)
OPTIONS = Meaning(PermanentError, Reason.INVALID_REQUEST, "check the destination's `put_options`")
CREDENTIALS = Meaning(
    PermanentError,
    Reason.STORAGE_AUTH,
    "give the pod credentials in a way that boto3 supports: environment, files, IRSA",
)
CREDENTIALS_PASS = Meaning(TransientError, Reason.STORAGE_AUTH, "the source of the credentials does not answer")
CERTIFICATE = Meaning(
    PermanentError,
    Reason.STORAGE_UNREACHABLE,
    "set the destination's `ca_file` to the CA that signed the store's certificate",
)
ALTERED = Meaning(
    TransientError, Reason.CHECKSUM_MISMATCH, "bytes were altered on the way to the store, or in the store"
)
UNKNOWN = Meaning(PermanentError, Reason.INTERNAL)
NO_S3 = Meaning(
    TransientError,
    Reason.STORAGE_UNREACHABLE,
    "a proxy has answered for the store, or it is not an S3 store: check `endpoint_url`, `path_style`, and the log of "
    "the ingress or proxy",
    "the answer is not one of S3",
)
REDIRECTS = Meaning(
    PermanentError,
    Reason.STORAGE_UNREACHABLE,
    "set `endpoint_url` to the address that it redirects to, and `region` to the bucket's",
    "the address redirects to another one, or to itself",
)
TOO_LARGE = Meaning(
    PermanentError,
    Reason.INVALID_REQUEST,
    "raise the limit of a request's body in the proxy or ingress before the store (nginx: client_max_body_size): "
    "parts have 16 MiB, those of files above 140 GiB more",
    "the body is too large for a proxy before the store",
)
LACKING = Meaning(
    PermanentError,
    Reason.INVALID_REQUEST,
    "the store is reached, and does not have what the request needs: check `put_options`",
    "the store lacks a feature that the request needs",
)
LOCKED = Meaning(
    PermanentError,
    Reason.STORAGE_AUTH,
    "remove the default retention of the bucket, and set ObjectLockMode in put_options instead: artifacts and records "
    "are locked then, and the agent's own small objects are not",
)
REQUEST = Meaning(
    PermanentError,
    Reason.INVALID_REQUEST,
    "the store does not accept this request: check `put_options` and `endpoint_url`",
)

CODES: dict[str, Meaning] = {
    "NoSuchKey": NOT_FOUND,
    "NoSuchVersion": NOT_FOUND,
    "InvalidAccessKeyId": KEY,
    "SignatureDoesNotMatch": KEY,
    "InvalidToken": KEY,
    "ExpiredToken": KEY,
    "ExpiredTokenException": KEY,  # from STS, for web identities (IRSA)
    "InvalidIdentityToken": KEY,
    "InvalidClientTokenId": KEY,
    "IDPCommunicationError": PASSES,
    "TokenRefreshRequired": KEY,
    "UnrecognizedClientException": KEY,
    "AccessDenied": POLICY,
    "AccessDeniedException": POLICY,
    "AccountProblem": POLICY,
    "AllAccessDisabled": POLICY,
    "MethodNotAllowed": POLICY,
    "InvalidObjectState": ARCHIVE,
    "ObjectLocked": LOCKED,  # sent by MinIO
    "KMS.AccessDeniedException": ENCRYPTION,
    "KMS.DisabledException": ENCRYPTION,
    "KMS.KMSInvalidStateException": ENCRYPTION,
    "KMS.NotFoundException": ENCRYPTION,
    "NoSuchBucket": BUCKET,
    "InvalidBucketName": BUCKET,
    "AuthorizationHeaderMalformed": PLACE,  # signed for another region than the bucket's
    "IllegalLocationConstraintException": PLACE,
    "PermanentRedirect": PLACE,
    "TemporaryRedirect": replace(REDIRECTS, kind=TransientError),  # AWS sends it for a new bucket
    "NotImplemented": LACKING,
    "RequestTimeTooSkewed": CLOCK,
    "BadDigest": CONTENT,
    "InvalidDigest": CONTENT,
    "XAmzContentChecksumMismatch": CONTENT,
    "XAmzContentSHA256Mismatch": CONTENT,
    "InsufficientStorage": FULL,
    "QuotaExceeded": FULL,
    "XMinioAdminBucketQuotaExceeded": FULL,
    "XMinioStorageFull": FULL,
    "BandwidthLimitExceeded": SLOWER,
    "RequestLimitExceeded": SLOWER,
    "SlowDown": SLOWER,
    "SlowDownRead": SLOWER,  # sent by MinIO
    "SlowDownWrite": SLOWER,
    "Throttling": SLOWER,
    "ThrottlingException": SLOWER,
    "TooManyRequests": SLOWER,
    "ConditionalRequestConflict": PASSES,  # another write of this key at the same moment
    "IncompleteBody": PASSES,
    "InternalError": SERVER_FAULT,
    "InvalidPart": PASSES,  # an upload that lost a part: the next try starts again
    "InvalidPartOrder": PASSES,
    "NoSuchUpload": PASSES,  # aborted by another client, perhaps by a lifecycle rule
    "OperationAborted": PASSES,
    "RequestTimeout": PASSES,
    "ServiceUnavailable": SERVER_FAULT,
}

STATUSES: dict[int, Meaning] = {
    # For answers without an error code: answers to HEAD, which have no body, and pages of a load balancer.
    301: REDIRECTS,
    302: REDIRECTS,
    307: REDIRECTS,
    308: REDIRECTS,
    401: KEY,
    403: POLICY,
    404: NO_S3,  # S3 sends NoSuchKey or NoSuchBucket
    405: POLICY,
    408: PASSES,
    409: PASSES,
    413: TOO_LARGE,
    429: SLOWER,
    501: LACKING,
    507: FULL,
}
_LOWEST_SERVER_FAULT = 500
_OWN_WORDS = frozenset({301, 302, 307, 308, 413, 429})
"""Statuses with the same meaning from a store and from a proxy."""


def of_a_page(status: int) -> Meaning:
    """Return the meaning of an error answer that is the page of a proxy, not an answer of S3."""
    meaning = meaning_of("", status)
    if status in _OWN_WORDS:
        return meaning
    kept = NO_S3 if meaning is REQUEST else meaning
    return Meaning(kept.kind, kept.reason, NO_S3.hint)


def meaning_of(code: str, status: int) -> Meaning:
    """Return the meaning of an error answer, by its code, or by its HTTP status if the code is unknown."""
    return CODES.get(code) or STATUSES.get(status) or (SERVER_FAULT if status >= _LOWEST_SERVER_FAULT else REQUEST)
