"""Features of a store beyond storing, reading, listing and deleting objects. Findings are noted on the volume.

A store's module asks `StoreFeatures` before it relies on a feature, and notes what the store's answers show. A finding
is used for a day. After a day, or if a request that relied on the finding fails, the store is asked again.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from threading import Lock

from pydantic import Field

from backup_agent import durable
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.doctor.features import FeatureFinding

BELIEVED = timedelta(days=1)
"""How long a finding is used: a store may be upgraded, or replaced behind the same address."""


class Feature(StrEnum):
    """A feature that not every store has. The values appear in the card, in `status` and in the documentation."""

    CREATE_IF_ABSENT = "create_if_absent"
    """The store can be told to refuse a write if the object exists."""
    REPLACE_IF_SAME = "replace_if_same"
    """The store can be told to refuse a write if the object has another version than expected."""
    CHECKSUMS = "checksums"
    """The store checks and keeps the SHA-256 of an object that is sent in one request."""
    PART_CHECKSUMS = "part_checksums"
    """The store checks and keeps the SHA-256 of each part of an upload."""
    CHECKSUM_ANSWERS = "checksum_answers"
    """The answer to a request for an object contains its stored checksum."""
    UPLOAD_LISTS = "upload_lists"
    """The store lists unfinished uploads and their parts, so that an upload can be resumed."""
    OLD_VERSIONS = "old_versions"
    """The store keeps a deleted or replaced object as an old version, which takes space."""


class StoreCard(StoredValue):
    """What is known of one store (schema 1). `features` has the names of `Feature`."""

    identity: str
    features: dict[str, FeatureFinding] = Field(default={})

    @classmethod
    def read(cls, path: Path, identity: str) -> "StoreCard":
        """Return the card in a file; an empty card if the file is missing, unreadable or about another store."""
        with suppress(OSError, ValueError):
            card = cls.from_json(durable.read(path))
            if card.identity == identity:
                return card
        return cls(identity=identity)


class StoreFeatures:
    """The known features of one store.

    All processes of the agent share the findings in a file on the volume, `path`. Without `path`, or if the file cannot
    be written, findings are known only to this process.
    """

    def __init__(
        self,
        path: Path | None = None,
        identity: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path = path
        self._clock = clock
        self._lock = Lock()
        self._card = StoreCard.read(path, identity) if path else StoreCard(identity=identity)

    def has(self, feature: Feature) -> bool | None:
        """Return whether the store has a feature; None if no finding is known, or the finding is too old."""
        found = self._card.features.get(feature)
        return found.has if found is not None and self._is_young(found) else None

    def finding(self, feature: Feature) -> FeatureFinding | None:
        """Return the last finding about a feature, however old it is."""
        return self._card.features.get(feature)

    def note(self, feature: Feature, *, has: bool, how: str) -> None:
        """Note that the store has a feature or lacks it, as an answer shows. A known finding is not written again."""
        if self.has(feature) is not has:
            self._change(feature, FeatureFinding(has=has, found=self._clock(), how=how))

    def forget(self, feature: Feature) -> None:
        """Forget a finding after a request that relied on it has failed, so that the store is asked again."""
        if feature in self._card.features:
            self._change(feature, None)

    def _change(self, feature: Feature, finding: FeatureFinding | None) -> None:
        with self._lock:
            features = dict(self._card.features)
            if self._path is not None:
                for name, one in StoreCard.read(self._path, self._card.identity).features.items():
                    # Another process may have noted newer findings.
                    features[name] = max(one, features.get(name, one), key=lambda each: each.found)
            features.pop(feature, None)
            if finding is not None:
                features[feature] = finding
            self._card = self._card.model_copy(update={"features": features})
            if self._path is not None:
                with suppress(OSError):
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    durable.write(self._path, self._card.to_json())

    def _is_young(self, found: FeatureFinding) -> bool:
        return timedelta(0) <= self._clock() - found.found < BELIEVED
