"""Looks at a bucket for the doctor: the permissions of the credentials, and the bucket's configuration.

Each question is asked by itself: credentials that back up well may lack the permission for most of them.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from backup_agent.core.doctor.destination import NOT_TRIED, LifecycleRule, NotSeen, ShownFeature, StoreFacts, days
from backup_agent.core.reasons import BackupError, Failure
from backup_agent.stores.features import Feature
from backup_agent.stores.s3.bucket import ABSENT, PROBE, Bucket, Response
from backup_agent.stores.s3.conditions import ARCHIVES, swaps_conditionally
from backup_agent.stores.s3.store import S3Store
from backup_agent.stores.store import Store

T = TypeVar("T")

_LARGEST_PROBE = 4096

_UNCONFIGURED = {
    # Operation -> the error code of a bucket without such a configuration.
    "GetBucketEncryption": ("ServerSideEncryptionConfigurationNotFoundError",),
    "GetObjectLockConfiguration": ("ObjectLockConfigurationNotFoundError", "ObjectLockConfigurationNotFound"),
    "GetBucketLifecycleConfiguration": ("NoSuchLifecycleConfiguration",),
    "GetBucketVersioning": (),
}


def examine(store: Store, *, probe: bool, write: bool) -> StoreFacts:
    """Return what can be seen of the bucket. See `StoreKind.examine`."""
    if not isinstance(store, S3Store):
        raise TypeError("a store of another kind")
    bucket = store.bucket
    try:
        bucket.first_listed()
    except BackupError as error:
        return StoreFacts(listing=error.failure)
    versioning = _asked(bucket, "GetBucketVersioning", lambda answer: answer.get("Status") == "Enabled", False)
    # Before the next question, which writes the object again.
    deletion = _tried(lambda: _deletion(store, keeps_versions=versioning is not False)) if write else NOT_TRIED
    conditional = _tried(lambda: _conditional(bucket, probe=probe or write))
    head = _tried(lambda: bucket.ask("HeadObject", PROBE, ABSENT))
    archived, small_class = _class_of(head)
    return StoreFacts(
        reading=_reading(bucket),
        conditional_writes=conditional,
        checksums=_shown(bucket, Feature.CHECKSUMS),
        multipart=_tried(lambda: _multipart(bucket)) if write else _known_multipart(bucket),
        deletion=deletion,
        archived=archived,
        small_class=small_class,
        encryption=_asked(bucket, "GetBucketEncryption", _encryption, ""),
        versioning=versioning,
        lock=_asked(bucket, "GetObjectLockConfiguration", _default_lock, None),
        rules=_asked(bucket, "GetBucketLifecycleConfiguration", lambda answer: _rules(answer, bucket.prefix), ()),
        clock_offset=_clock_offset(bucket),
    )


def _tried(ask: Callable[[], T]) -> T | Failure:
    """Return the answer to a question, or why it failed."""
    try:
        return ask()
    except BackupError as error:
        return error.failure


def _asked(bucket: Bucket, operation: str, read: Callable[[Response], T], without: T) -> T | NotSeen:
    """Return a part of the bucket's configuration, `without` if it is missing, or why it is unknown."""
    try:
        answer = bucket.configuration(operation, _UNCONFIGURED[operation])
        return without if answer is None else read(answer)
    except BackupError as error:
        return NotSeen(f"it cannot be asked for: {error.failure.error}")
    except (LookupError, TypeError, AttributeError, ValueError):
        return NotSeen(f"the answer to {operation} is not one of S3")


def _shown(bucket: Bucket, *features: Feature) -> ShownFeature | NotSeen:
    """Return whether the store has all of these features, as far as is known, even if that was found out days ago."""
    findings = [bucket.features.finding(feature) for feature in features]
    known = [finding for finding in findings if finding is not None]
    lacking = [finding for finding in known if not finding.has]
    if not lacking and len(known) < len(features):
        return NotSeen("it is not known yet; `backup-agent doctor --write` finds it out")
    shown = (lacking or known)[0]
    return ShownFeature(not lacking, f"{shown.how}, on {shown.found:%Y-%m-%d}")


def _conditional(bucket: Bucket, *, probe: bool) -> ShownFeature | NotSeen:
    if probe:
        bucket.features.forget(Feature.CREATE_IF_ABSENT)
        bucket.features.forget(Feature.REPLACE_IF_SAME)
        swaps_conditionally(bucket)
    return _shown(bucket, Feature.CREATE_IF_ABSENT, Feature.REPLACE_IF_SAME)


def _known_multipart(bucket: Bucket) -> ShownFeature | NotSeen:
    """Return whether uploads in parts work, as uploads of artifacts have shown."""
    lists_nothing = bucket.features.finding(Feature.UPLOAD_LISTS) is not None
    return _shown(bucket, Feature.UPLOAD_LISTS if lists_nothing else Feature.PART_CHECKSUMS)


def _multipart(bucket: Bucket) -> ShownFeature:
    """Begin an upload, list it, and abort it."""
    upload = bucket.call("CreateMultipartUpload", PROBE)["UploadId"]
    try:
        listed = any(one.get("UploadId") == upload for one in bucket.pages("ListMultipartUploads", PROBE, "Uploads"))
    finally:
        bucket.call("AbortMultipartUpload", PROBE, UploadId=upload)
    return ShownFeature(listed, f"ListMultipartUploads: {'lists' if listed else 'does not list'} an upload under way")


def _deletion(store: S3Store, *, keeps_versions: bool) -> ShownFeature | NotSeen:
    """Delete the agent's own object, unless the bucket may keep an old version of it."""
    if keeps_versions:
        return NotSeen("it is not tried, since this bucket may keep the object as an old version")
    store.delete(PROBE)
    return ShownFeature(has=True, how="DeleteObject: accepted")


def _reading(bucket: Bucket) -> Failure | NotSeen | None:
    found = _tried(lambda: bucket.small(PROBE, _LARGEST_PROBE, ABSENT))
    if isinstance(found, Failure):
        return found
    return NotSeen("there is no object of the agent's own yet") if found is None else None


def _class_of(head: tuple[Response, str] | Failure) -> tuple[bool | NotSeen, str]:
    """Return whether the class of a small object cannot be read at once, and its name."""
    if isinstance(head, Failure):
        return NotSeen(f"the class cannot be asked for: {head.error}"), ""
    answer, absent = head
    if absent:
        return NotSeen("there is no object of the agent's own yet"), ""
    kept_in = str(answer.get("StorageClass", ""))
    return kept_in in ARCHIVES, kept_in


def _encryption(answer: Response) -> str:
    rules = answer["ServerSideEncryptionConfiguration"].get("Rules", ())
    defaults = (rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules)
    return next((str(one["SSEAlgorithm"]) for one in defaults if "SSEAlgorithm" in one), "")


def _default_lock(answer: Response) -> str | None:
    configuration = answer.get("ObjectLockConfiguration", {})
    if configuration.get("ObjectLockEnabled") != "Enabled":
        return None
    retention = configuration.get("Rule", {}).get("DefaultRetention", {})
    years = f"{retention['Years']} years" if retention.get("Years") else ""
    span = days(int(retention["Days"])) if retention.get("Days") else years
    return f"{retention.get('Mode', 'mode unknown')}, {span}" if retention else ""


def _rules(answer: Response, prefix: str) -> tuple[LifecycleRule, ...]:
    """Return the enabled rules that apply to objects below a prefix."""
    enabled = (rule for rule in answer.get("Rules", ()) if rule.get("Status") == "Enabled")
    return tuple(_rule(rule) for rule in enabled if _applies(rule, prefix))


def _filters(rule: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the conditions of a rule, also those in `And`."""
    yield "Prefix", rule.get("Prefix", "")
    found = rule.get("Filter", {})
    yield from found.items()
    yield from found.get("And", {}).items()


def _applies(rule: dict[str, Any], prefix: str) -> bool:
    prefixes = (value for name, value in _filters(rule) if name == "Prefix")
    return all(prefix.startswith(one) or one.startswith(prefix) for one in prefixes)


def _rule(rule: dict[str, Any]) -> LifecycleRule:
    archiving = [one for one in rule.get("Transitions", ()) if one.get("StorageClass") in ARCHIVES]
    expiry = rule.get("Expiration", {})
    conditions = dict(_filters(rule))
    return LifecycleRule(
        name=repr(str(rule.get("ID", "without a name"))[:80]),
        deletes_after=_when(expiry),
        archives_after=next(map(_when, archiving), None),
        least_size=int(conditions.get("ObjectSizeGreaterThan", 0)),
        some=bool(conditions.get("Tag") or conditions.get("Tags")),
        removes_old_versions="NoncurrentVersionExpiration" in rule,
    )


def _when(action: dict[str, Any]) -> str | None:
    if "Days" in action:
        return days(int(action["Days"]))
    return f"{action['Date']:%Y-%m-%d}" if "Date" in action else None


def _clock_offset(bucket: Bucket) -> float | None:
    try:
        shown = bucket.now()
    except BackupError:
        return None
    return None if shown is None else (shown - datetime.now(UTC)).total_seconds()
