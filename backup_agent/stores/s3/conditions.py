"""Finds out which conditional writes a store honours, by writing one object of the agent's own.

A store may refuse a condition (501, 400), ignore it, or answer 412 to every request with a condition.
"""

from botocore.exceptions import ClientError

from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.stores.features import Feature
from backup_agent.stores.s3.bucket import ABSENT, EXISTS, PROBE, RACE, Bucket
from backup_agent.stores.s3.digests import object_parameters
from backup_agent.stores.s3.errors import lacks, refusal

ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
"""AWS storage classes whose objects cannot be read until a restore of several hours has ended."""

_CONTENT = b"Shows whether this store refuses to overwrite when it is told so.\n"
_NOBODYS_VERSION = '"00000000000000000000000000000000"'


def creates_conditionally(bucket: Bucket) -> bool:
    """Return whether the store honours `If-None-Match: *`. If this is unknown, probe the store."""
    return _has(bucket, Feature.CREATE_IF_ABSENT)


def swaps_conditionally(bucket: Bucket) -> bool:
    """Return whether the store honours `If-Match`, too: some stores support only `If-None-Match`."""
    return _has(bucket, Feature.REPLACE_IF_SAME)


def _has(bucket: Bucket, feature: Feature) -> bool:
    if bucket.features.has(feature) is None:
        _find_out(bucket)
    return bool(bucket.features.has(feature))


def _find_out(bucket: Bucket) -> None:
    """Probe and note both features. Raise PermanentError, reason `archived`, if the bucket archives small objects."""
    try:
        why_not = _why_none_is_created(bucket)
    except PermanentError as error:
        if error.failure.reason is not Reason.ARCHIVED:
            raise
        raise _archives(bucket, "an object of the agent's own is archived") from error
    head, _ = bucket.ask("HeadObject", PROBE, ABSENT)
    if (kept_in := head.get("StorageClass")) in ARCHIVES:
        raise _archives(bucket, f"the bucket stores objects in the class {kept_in} by itself")
    how = why_not or "a second write with If-None-Match was refused"
    bucket.features.note(Feature.CREATE_IF_ABSENT, has=not why_not, how=how)
    why_not = why_not or _why_none_is_replaced(bucket)
    how = why_not or "a write with another If-Match was refused"
    bucket.features.note(Feature.REPLACE_IF_SAME, has=not why_not, how=how)


def _why_none_is_created(bucket: Bucket) -> str:
    """Return why the store cannot create conditionally; empty if it can."""
    for _ in range(2):
        answer = _put(bucket, IfNoneMatch="*")
        if answer in EXISTS or answer == RACE:
            # A few proxies and stores answer 412 to every condition.
            exists = bucket.small(PROBE, len(_CONTENT), ABSENT) is not None
            return "" if exists else "If-None-Match is answered by 412 although the object does not exist"
        if answer:
            return f"If-None-Match is {answer}"
    return "If-None-Match is ignored: a second write was accepted"


def _why_none_is_replaced(bucket: Bucket) -> str:
    """Return why the store cannot replace conditionally; empty if it can."""
    found = bucket.small(PROBE, len(_CONTENT), ())
    if found is None:
        raise TypeError("a missing object must raise an error")
    if answer := _put(bucket, IfMatch=found.version):
        return f"If-Match with the version that exists is answered by {answer}"
    answer = _put(bucket, IfMatch=_NOBODYS_VERSION)
    if not answer:
        return "If-Match is ignored: a write with another version was accepted"
    return "" if answer in EXISTS or answer == RACE else f"If-Match is {answer}"


def _archives(bucket: Bucket, found: str) -> PermanentError:
    return PermanentError(
        Reason.ARCHIVED,
        f"{bucket.where(PROBE)}: {found}",
        "records and the agent's own objects must be readable at once: set the storage class of artifacts in "
        "put_options instead, and let no lifecycle rule of the bucket archive what ends in .json or begins with a dot",
    )


def _put(bucket: Bucket, **condition: str) -> str:
    """Write the object under a condition; return why the write was refused, or an empty string.

    If the store seems not to support the condition, write the object without it: if the refusal had another cause, this
    write raises the error.
    """
    try:
        return bucket.put_own(PROBE, (*EXISTS, RACE), **object_parameters(_CONTENT), **condition)[1]
    except BackupError as error:
        refused = error.__cause__
        if not (isinstance(refused, ClientError) and lacks(refused)):
            raise
        bucket.put_own(PROBE, (), **object_parameters(_CONTENT))
        return f"refused: {refusal(refused)}"
