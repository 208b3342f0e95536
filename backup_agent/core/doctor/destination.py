"""Judge what was seen of the store of a destination, whatever its kind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backup_agent.core.doctor.checks import Check, CheckFinding, fail, ok, unknown, warn
from backup_agent.core.doctor.cluster import judge_clock, of_failure
from backup_agent.core.reasons import Failure

SMALL = 2**20
"""Records and the agent's other small objects have fewer bytes."""


@dataclass(frozen=True)
class NotSeen:
    """A fact that could not be found out."""

    why: str


NOT_TRIED = NotSeen("this is found out by writing, which `backup-agent doctor --write` does")


@dataclass(frozen=True)
class ShownFeature:
    """Whether the store has a feature, and the answer that shows it."""

    has: bool
    how: str


@dataclass(frozen=True)
class LifecycleRule:
    """A rule of the store that deletes or moves objects of the destination by their age."""

    name: str
    deletes_after: str | None = None
    """When it deletes objects, such as `30 days`; None if it deletes none."""
    archives_after: str | None = None
    """When it moves objects to a class that cannot be read at once; None if it moves none."""
    least_size: int = 0
    """It applies to objects of more bytes than this."""
    some: bool = False
    """Whether it applies only to objects with certain tags."""
    removes_old_versions: bool = False


@dataclass(frozen=True)
class StoreFacts:
    """What was seen of the store of one destination."""

    listing: Failure | None = None
    """Why it could not be listed; then nothing else was asked."""
    reading: Failure | NotSeen | None = None
    """Why an object could not be read; None if one was read."""
    conditional_writes: ShownFeature | NotSeen | Failure = NOT_TRIED
    checksums: ShownFeature | NotSeen = NOT_TRIED
    multipart: ShownFeature | NotSeen | Failure = NOT_TRIED
    deletion: ShownFeature | NotSeen | Failure = NOT_TRIED
    archived: bool | NotSeen = NOT_TRIED
    """Whether small objects are kept in a class that cannot be read at once."""
    small_class: str = ""
    """The storage class of small objects, if the store tells it."""
    encryption: str | NotSeen = NOT_TRIED
    """How the store encrypts objects by default; empty if it does not."""
    versioning: bool | NotSeen = NOT_TRIED
    lock: str | NotSeen | None = NOT_TRIED
    """Default retention of a store that can lock objects, empty without one. None: the store cannot lock objects."""
    rules: Sequence[LifecycleRule] | NotSeen = NOT_TRIED
    clock_offset: float | None = None
    """The store's clock minus this machine's, in seconds."""


@dataclass(frozen=True)
class DestinationAsked:
    """What the settings ask of a destination."""

    name: str
    deletes: bool = True
    single_writer: bool = False
    locks: bool = False
    """Whether the settings lock each artifact."""
    encrypts: str = ""
    """The encryption that the settings ask for; empty if the store decides."""
    retention: bool = False


def judge_destination(facts: StoreFacts, asked: DestinationAsked) -> Iterator[CheckFinding]:
    """Yield the finding of each check of a destination."""
    if facts.listing is not None:
        yield of_failure(Check.STORE, facts.listing)
        return
    yield ok(Check.STORE, "the store answers, and lists objects")
    yield _reading(facts.reading)
    yield _conditional_writes(facts.conditional_writes, asked)
    yield _feature(
        Check.CHECKSUMS, facts.checksums, "SHA-256 is checked", "objects are read back in part instead", needed=False
    )
    yield _feature(Check.MULTIPART, facts.multipart, "uploads can be resumed", "a killed upload begins again")
    yield _deletion(facts.deletion, asked)
    yield _storage_class(facts)
    yield _encryption(facts.encryption, asked)
    yield _versioning(facts, asked)
    yield _object_lock(facts.lock, asked)
    yield _lifecycle(facts.rules, asked)
    yield judge_clock(Check.STORE_CLOCK, facts.clock_offset, "the store")


def _reading(reading: Failure | NotSeen | None) -> CheckFinding:
    if isinstance(reading, Failure):
        return of_failure(Check.READING, reading)
    if isinstance(reading, NotSeen):
        return unknown(Check.READING, reading.why)
    return ok(Check.READING, "an object of the agent's own can be read")


def _feature(
    check: Check, found: ShownFeature | NotSeen | Failure, good: str, without: str, *, needed: bool = True
) -> CheckFinding:
    """Judge a feature without which the agent works, though less well. `needed`: its lack is a warning."""
    if isinstance(found, Failure):
        return of_failure(check, found)
    if isinstance(found, NotSeen):
        return unknown(check, found.why)
    if found.has:
        return ok(check, f"{good} ({found.how})")
    text = f"not supported, so {without} ({found.how})"
    return warn(check, text, "see the table of features in docs/s3.md") if needed else ok(check, text)


def _conditional_writes(found: ShownFeature | NotSeen | Failure, asked: DestinationAsked) -> CheckFinding:
    if isinstance(found, ShownFeature) and not found.has:
        if asked.single_writer:
            return ok(Check.CONDITIONAL_WRITES, f"not supported, and `single_writer` is set ({found.how})")
        return warn(
            Check.CONDITIONAL_WRITES,
            f"not supported, so there is no lease, and nothing is deleted here ({found.how})",
            f"if no other program writes there, set storage.destinations.{asked.name}.single_writer: true",
        )
    return _feature(Check.CONDITIONAL_WRITES, found, "conditional writes are honoured", "")


def _deletion(found: ShownFeature | NotSeen | Failure, asked: DestinationAsked) -> CheckFinding:
    if not asked.deletes:
        return ok(Check.DELETION, "not needed: `deletes` is false")
    return _feature(Check.DELETION, found, "objects can be deleted", "")


def _storage_class(facts: StoreFacts) -> CheckFinding:
    if isinstance(facts.archived, NotSeen):
        return unknown(Check.STORAGE_CLASS, facts.archived.why)
    if facts.archived:
        return fail(
            Check.STORAGE_CLASS,
            f"small objects are kept in {facts.small_class}, where nothing can be read for hours",
            "set the storage class of artifacts in put_options, and let no lifecycle rule archive small objects",
        )
    return ok(Check.STORAGE_CLASS, f"small objects are kept in {facts.small_class or 'the standard class'}")


def _encryption(found: str | NotSeen, asked: DestinationAsked) -> CheckFinding:
    if asked.encrypts:
        return ok(Check.ENCRYPTION, f"{asked.encrypts}, by put_options")
    if isinstance(found, NotSeen):
        return unknown(Check.ENCRYPTION, found.why)
    if not found:
        return warn(
            Check.ENCRYPTION,
            "the store encrypts nothing by default",
            f"set storage.destinations.{asked.name}.put_options: {{ServerSideEncryption: AES256}}, or a default there",
        )
    return ok(Check.ENCRYPTION, f"{found}, by default of the store")


def _versioning(facts: StoreFacts, asked: DestinationAsked) -> CheckFinding:
    if isinstance(facts.versioning, NotSeen):
        return unknown(Check.VERSIONING, facts.versioning.why)
    if not facts.versioning:
        return ok(Check.VERSIONING, "no old versions are kept: what is deleted is gone")
    if isinstance(facts.rules, NotSeen) or any(rule.removes_old_versions for rule in facts.rules):
        return ok(Check.VERSIONING, "deleted objects are kept as old versions")
    if not (asked.deletes and asked.retention):
        return ok(Check.VERSIONING, "old versions are kept, and the agent deletes no artifact here")
    return warn(
        Check.VERSIONING,
        "deleted objects are kept as old versions for ever, so retention frees no space",
        "add a lifecycle rule that removes old versions (NoncurrentVersionExpiration), see docs/s3.md",
    )


def _object_lock(found: str | NotSeen | None, asked: DestinationAsked) -> CheckFinding:
    if isinstance(found, NotSeen):
        return unknown(Check.OBJECT_LOCK, found.why)
    if asked.locks and found is None:
        return fail(
            Check.OBJECT_LOCK,
            "put_options lock each artifact, and the store locks nothing, so it refuses every copy",
            "use a bucket with Object Lock, or remove the ObjectLock options from put_options",
        )
    if found:
        return warn(
            Check.OBJECT_LOCK,
            f"every object is locked by default ({found}), also those that the agent replaces time and again",
            "remove the default retention, and set ObjectLockMode and ObjectLockRetainUntilDate in put_options",
        )
    text = "no Object Lock" if found is None else "Object Lock without a default retention"
    return ok(Check.OBJECT_LOCK, f"{text}; artifacts are {'' if asked.locks else 'not '}locked by put_options")


def _lifecycle(rules: Sequence[LifecycleRule] | NotSeen, asked: DestinationAsked) -> CheckFinding:
    if isinstance(rules, NotSeen):
        return unknown(Check.LIFECYCLE, rules.why)
    deleting = [rule for rule in rules if rule.deletes_after is not None]
    if deleting:
        text = "; ".join(f"rule {one.name} deletes {_which(one)} after {one.deletes_after}" for one in deleting)
        certain = asked.deletes and not all(rule.some for rule in deleting)
        return (fail if certain else warn)(
            Check.LIFECYCLE,
            f"{text}, also a FULL that newer differentials need",
            "remove the rule, and set `retention` of the destination instead: it never breaks a chain",
        )
    archiving = [rule for rule in rules if rule.archives_after is not None]
    if not archiving:
        return ok(Check.LIFECYCLE, "no lifecycle rule deletes or archives artifacts")
    text = "; ".join(f"rule {one.name} archives {_which(one)} after {one.archives_after}" for one in archiving)
    if any(rule.least_size < SMALL and not rule.some for rule in archiving):
        return fail(
            Check.LIFECYCLE,
            f"{text}, also records, which must be readable at once",
            "restrict the rule to objects above 1 MiB (ObjectSizeGreaterThan)",
        )
    return warn(
        Check.LIFECYCLE,
        f"{text}: before a restore these must be brought back, which takes hours",
        "keep this rule only if that is intended; accept the check by doctor.accept.lifecycle then",
    )


def _which(rule: LifecycleRule) -> str:
    words = ["objects"]
    if rule.least_size:
        words.append(f"above {rule.least_size} bytes")
    if rule.some:
        words.append("with certain tags")
    return " ".join(words)


def days(count: int) -> str:
    """Return a number of days as text.

    >>> days(1), days(30)
    ('1 day', '30 days')
    """
    return f"{count} {'day' if count == 1 else 'days'}"
