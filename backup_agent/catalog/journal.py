"""The intents of the agent. An intent names the files that the agent is about to write or delete.

After a crash, the intents show which orphans the agent has left: an orphan that an intent names is the agent's own, and
is deleted. Other orphans are reported and left alone.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from backup_agent import durable
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, artifact_of, is_key
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.escaping import quoted
from backup_agent.core.reasons import PermanentError
from backup_agent.stores.store import Store


class Doing(StrEnum):
    """What is being done to an artifact."""

    PUBLISHING = "publishing"
    DELETING = "deleting"


class Intent(StoredValue):
    """One artifact at one place, and what is being done to it."""

    key: str
    doing: Doing
    files: tuple[str, ...] = Field(description="keys of its files, in the order of its record")
    since: datetime

    @model_validator(mode="after")
    def _names_its_own_files(self) -> Self:
        # The files that an intent names are deleted after a crash.
        if not is_key(self.key) or not self.key.endswith(ARTIFACT_SUFFIX):
            raise ValueError(f"key {quoted(self.key)} is not that of an artifact")
        for file in self.files:
            if artifact_of(file) != self.key:
                raise ValueError(f"file {quoted(file)} does not belong to {self.key}")
        return self


class Journal(NoteFolder):
    """The intents at one place."""

    def begin(self, intent: Intent) -> None:
        """Write an intent to disk. Call this before the first file is written or deleted."""
        self._write(intent.key, intent.to_json())

    def begin_publishing(self, store: Store, key: str, files: tuple[str, ...], now: datetime) -> None:
        """Write the intent to store the files of an artifact.

        The intent does not name files that exist already, because they may belong to another program and must not be
        deleted later. Files that an earlier intent names are the exception.
        """
        earlier = self._intent(key)
        ours = tuple(file for file in files if (earlier and file in earlier.files) or _is_free(store, file))
        if ours:
            self.begin(Intent(key=key, doing=Doing.PUBLISHING, files=ours, since=now))

    def deletes(self, key: str) -> bool:
        """Return whether the deletion of an artifact has begun and is not finished."""
        intent = self._intent(key)
        return intent is not None and intent.doing is Doing.DELETING

    def _intent(self, key: str) -> Intent | None:
        """Return the intent for an artifact, or None if it does not exist or cannot be read."""
        with suppress(durable.RefusedFileError, ValueError):
            content = self._read(key)
            if content is not None and (intent := Intent.from_json(content)).key == key:
                return intent
        return None

    def done(self, key: str) -> None:
        """Remove the intent for an artifact, after its files have been written or deleted."""
        self._remove(key)

    def __iter__(self) -> Iterator[Intent]:
        """Yield the intents in the order of their keys, without those that cannot be read."""
        yield from filter(None, map(self._intent, self._keys()))


def _is_free(store: Store, key: str) -> bool:
    """Return whether no object has this key; False if the store refuses the request."""
    try:
        return store.stat(key) is None
    except PermanentError:
        return False
