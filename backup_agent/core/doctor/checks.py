"""The checks of `doctor`: what each looks at, and what it found. The table `CHECKS` has all of them.

A check never repairs anything. A check that may not look, or that needs the answer of another check that failed, is
`unknown`, which is no problem by itself.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.artifacts.records import Value


class CheckOutcome(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARN = "warn"
    """Backups work, but something about them should be changed."""
    FAIL = "FAIL"
    """Something that the settings ask for does not work, or will soon stop to work."""
    UNKNOWN = "unknown"


class Step(StrEnum):
    """A group of checks that one process makes. The checks of `SETTINGS` need no process."""

    SETTINGS = "settings"
    CLUSTER = "cluster"
    ADMIN = "admin"
    VOLUME = "volume"
    KEYS = "keys"
    DESTINATION = "destination"
    """Repeated for each destination."""


class Check(StrEnum):
    """The name of a check: in the output, in metrics and in `doctor.accept`."""

    PLAIN_BOLT = "plain_bolt"
    UNCHECKED_BOLT = "unchecked_bolt"
    BACKUP_HOSTNAME = "backup_hostname"
    PASSWORD = "password"  # noqa: S105  a name
    HOST = "host"
    BOLT = "bolt"
    ROLE = "role"
    BACKUP_LISTENERS = "backup_listeners"
    BACKUP_PORTS = "backup_ports"
    SERVER_CLOCK = "server_clock"
    NEO4J_ADMIN = "neo4j_admin"
    VERSIONS = "versions"
    VOLUME = "volume"
    ROOM = "room"
    HARD_LINKS = "hard_links"
    MODES = "modes"
    REQUESTS_FOLDER = "requests_folder"
    DRILL_CYCLE = "drill_cycle"
    SIGNING_KEY = "signing_key"
    CERTIFICATES = "certificates"
    STORE = "store"
    READING = "reading"
    CONDITIONAL_WRITES = "conditional_writes"
    CHECKSUMS = "checksums"
    MULTIPART = "multipart"
    DELETION = "deletion"
    STORAGE_CLASS = "storage_class"
    ENCRYPTION = "encryption"
    VERSIONING = "versioning"
    OBJECT_LOCK = "object_lock"
    LIFECYCLE = "lifecycle"
    STORE_CLOCK = "store_clock"


class LooksAt(NamedTuple):
    """The step of a check, and what it looks at, for people."""

    step: Step
    what: str


CHECKS: Mapping[Check, LooksAt] = {
    Check.PLAIN_BOLT: LooksAt(Step.SETTINGS, "whether the password for Bolt is sent with encryption"),
    Check.UNCHECKED_BOLT: LooksAt(Step.SETTINGS, "whether the certificate of the Bolt server is checked"),
    Check.BACKUP_HOSTNAME: LooksAt(Step.SETTINGS, "whether the certificates of the backup ports must name their hosts"),
    Check.PASSWORD: LooksAt(Step.CLUSTER, "whether the name and the password for Bolt can be read"),
    Check.HOST: LooksAt(Step.CLUSTER, "whether the host of `neo4j.uri` resolves"),
    Check.BOLT: LooksAt(Step.CLUSTER, "login and SHOW DATABASES"),
    Check.ROLE: LooksAt(Step.CLUSTER, "what the role of the account may see"),
    Check.BACKUP_LISTENERS: LooksAt(
        Step.CLUSTER, "whether each server's own settings open the backup port to other machines"
    ),
    Check.BACKUP_PORTS: LooksAt(Step.CLUSTER, "a TCP connection to the backup port of each server"),
    Check.SERVER_CLOCK: LooksAt(Step.CLUSTER, "the servers' clock against that of this machine"),
    Check.NEO4J_ADMIN: LooksAt(Step.ADMIN, "whether neo4j-admin is found, and with it the Java that it needs"),
    Check.VERSIONS: LooksAt(Step.ADMIN, "the version of neo4j-admin against those of the servers"),
    Check.VOLUME: LooksAt(Step.VOLUME, "whether `storage.root` can be written, and is on a volume of its own"),
    Check.ROOM: LooksAt(Step.VOLUME, "free space against the next FULL of the largest database"),
    Check.HARD_LINKS: LooksAt(Step.VOLUME, "whether the volume has hard links"),
    Check.MODES: LooksAt(Step.VOLUME, "owner and mode of `storage.root`"),
    Check.REQUESTS_FOLDER: LooksAt(Step.VOLUME, "whether the requests folder can be written and watched (inotify)"),
    Check.DRILL_CYCLE: LooksAt(Step.VOLUME, "whether drills of all databases take longer than `drilled_every`"),
    Check.SIGNING_KEY: LooksAt(Step.KEYS, "whether the key of `signing.key_file` can sign"),
    Check.CERTIFICATES: LooksAt(Step.KEYS, "the end of every certificate in use: files, and those that servers show"),
    Check.STORE: LooksAt(Step.DESTINATION, "whether the store answers and lists objects"),
    Check.READING: LooksAt(Step.DESTINATION, "whether an object can be read"),
    Check.CONDITIONAL_WRITES: LooksAt(Step.DESTINATION, "conditional writes, on which the lease depends"),
    Check.CHECKSUMS: LooksAt(Step.DESTINATION, "whether the store checks and keeps SHA-256"),
    Check.MULTIPART: LooksAt(Step.DESTINATION, "uploads in parts that can be resumed"),
    Check.DELETION: LooksAt(Step.DESTINATION, "whether objects can be deleted"),
    Check.STORAGE_CLASS: LooksAt(Step.DESTINATION, "the storage class of the agent's small objects"),
    Check.ENCRYPTION: LooksAt(Step.DESTINATION, "encryption of stored objects"),
    Check.VERSIONING: LooksAt(Step.DESTINATION, "whether deleted objects stay as old versions, and for how long"),
    Check.OBJECT_LOCK: LooksAt(Step.DESTINATION, "Object Lock against `put_options`"),
    Check.LIFECYCLE: LooksAt(Step.DESTINATION, "lifecycle rules that delete or archive parts of a chain"),
    Check.STORE_CLOCK: LooksAt(Step.DESTINATION, "the store's clock against that of this machine"),
}
"""Every check, in the order of the output."""


class CheckFinding(Value):
    """What one check found."""

    check: Check
    outcome: CheckOutcome
    found: str = Field(description="what was found, as a sentence without its full stop")
    advice: str = Field(default="", description="what to do about a warning or a failure")
    place: PlaceName | None = Field(default=None, description="the destination; absent for all other checks")
    accepted: str | None = Field(default=None, description="why the settings accept the outcome")
    accepted_until: date | None = None

    @property
    def counts(self) -> CheckOutcome:
        """The outcome, or `ok` if the settings accept it."""
        return self.outcome if self.accepted is None else CheckOutcome.OK


class Acceptance(NamedTuple):
    """An entry of `doctor.accept`: the outcome of a check is accepted, for a reason and until the end of a day."""

    reason: str
    until: date


def ok(check: Check, found: str) -> CheckFinding:
    """Return the finding of a check without a problem."""
    return CheckFinding(check=check, outcome=CheckOutcome.OK, found=found)


def warn(check: Check, found: str, advice: str) -> CheckFinding:
    """Return the finding of a check with a warning."""
    return CheckFinding(check=check, outcome=CheckOutcome.WARN, found=found, advice=advice)


def fail(check: Check, found: str, advice: str) -> CheckFinding:
    """Return the finding of a check that failed."""
    return CheckFinding(check=check, outcome=CheckOutcome.FAIL, found=found, advice=advice)


def unknown(check: Check, found: str, advice: str = "") -> CheckFinding:
    """Return the finding of a check that could not look."""
    return CheckFinding(check=check, outcome=CheckOutcome.UNKNOWN, found=found, advice=advice)


def of_step(step: Step) -> tuple[Check, ...]:
    """Return the checks of a step, in the order of the output."""
    return tuple(check for check, about in CHECKS.items() if about.step is step)


def accepted(finding: CheckFinding, accept: Mapping[Check, Acceptance], today: date) -> CheckFinding:
    """Return a finding with the reason why it is accepted. One without a problem is returned unchanged."""
    entry = accept.get(finding.check)
    if entry is None or today > entry.until or finding.outcome not in (CheckOutcome.WARN, CheckOutcome.FAIL):
        return finding
    return finding.model_copy(update={"accepted": entry.reason, "accepted_until": entry.until})


def worst(findings: Iterable[CheckFinding]) -> CheckOutcome:
    """Return FAIL if a check failed, else `warn` if there is a warning, else `ok`. Accepted outcomes count as `ok`."""
    found = {finding.counts for finding in findings}
    return next((one for one in (CheckOutcome.FAIL, CheckOutcome.WARN) if one in found), CheckOutcome.OK)
