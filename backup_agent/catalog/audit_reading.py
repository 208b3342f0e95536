"""Reading the audit log of a place, and comparing it with the records there. Needs no agent and no volume."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.audit_log import OPEN, AuditLog
from backup_agent.catalog.place import OWN, Place
from backup_agent.catalog.record_notes import digest_of
from backup_agent.core.artifacts.keys import AUDIT, RECORD_SUFFIX, is_record_key
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.artifacts.records import LARGEST as LARGEST_RECORD
from backup_agent.core.artifacts.records import Record
from backup_agent.core.audit.examination import AuditFault, AuditFinding, Examination, RecordFacts
from backup_agent.core.audit.lines import AuditLine
from backup_agent.core.audit.segments import LARGEST, Seal, Segment, listed
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import ObjectTooLargeError, Store

_TOO_LARGE = b"too large\n"


@dataclass(frozen=True)
class AuditSource:
    """A place with an audit log, or a copy of such a place in a folder."""

    place: PlaceName
    """The place whose records the log explains."""
    store: Store
    folder: Path | None = None
    """The folder of the log on a volume; None if the segments are objects of the store."""

    @classmethod
    def of_place(cls, place: Place) -> "AuditSource":
        """Return the log at a place of the settings. Opens its store."""
        return cls(place.name, place.store, AuditLog(place.root).folder if place.is_volume else None)

    @classmethod
    def of_folder(cls, place: PlaceName, folder: Path) -> "AuditSource":
        """Return the log in a copy of a place: of the volume, or of a destination below its prefix and cluster."""
        own = folder / OWN / "audit"
        return cls(place, LocalStore(folder, str(folder)), own if own.is_dir() else None)

    def segments(self) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents of the segments in order. Raise BackupError or OSError if one cannot be read."""
        if self.folder is None:
            for segment in listed(one.key for one in self.store.list(AUDIT)):
                yield segment.name, _read(self.store, segment.key, LARGEST)
            return
        for name in durable.names(self.folder):
            if Segment.of(name) is not None:
                yield name, durable.read(self.folder / name, LARGEST)
        with suppress(FileNotFoundError):
            yield OPEN, durable.read(self.folder / OPEN, LARGEST)

    def lines(self) -> Iterator[AuditLine]:
        """Yield the lines in order, without those that cannot be read."""
        for _, content in self.segments():
            for raw in content.splitlines():
                with suppress(ValueError):
                    yield AuditLine.from_json(raw)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Yield artifacts and the contents of their records, in the order of the keys."""
        keys = (one.key for one in self.store.list() if is_record_key(one.key))
        with ThreadPoolExecutor(self.store.concurrent_reads, thread_name_prefix="record") as pool:
            for key, content in pool.map(lambda key: (key, _read(self.store, key, LARGEST_RECORD)), keys):
                yield key.removesuffix(RECORD_SUFFIX), content


def _read(store: Store, key: str, limit: int) -> bytes:
    """Return the content of an object. One that is too large is not the agent's: return bytes that cannot be parsed."""
    try:
        return store.read(key, limit)
    except ObjectTooLargeError:
        return _TOO_LARGE


class Examined:
    """The result of `examine`."""

    def __init__(
        self,
        source: AuditSource,
        keyring: Keyring,
        heads: Iterable[str],
        on_record: Callable[[Record], None],
        on_line: Callable[[AuditLine], None],
    ) -> None:
        self._source = source
        self._keyring = keyring
        self._faults: list[AuditFinding] = []
        self.sealed: dict[str, int] = {}
        """Fingerprint of a trusted key -> number of segments that it has signed."""
        self.segments = 0
        records, unreadable = _facts(source.records(), on_record)
        self.examination = Examination(source.place, on_line)
        self.examination.expect((*heads, *(record.head for record in records)))
        for name, content in source.segments():
            self.segments += 1
            self.examination.segment(name, content)
            self._check_seal(name, content)
        self.findings = (*self.examination.findings(records), *unreadable, *self._faults, *self._missing(heads))

    def _check_seal(self, name: str, content: bytes) -> None:
        segment = Segment.of(name)
        if segment is None or self._source.folder is not None or not self._keyring.has_keys:
            return
        stored = self._source.store.look(segment.seal_key, durable.LIMIT)
        if stored is None:
            return
        signer = self._keyring.signer(Seal, segment.name, stored.content)
        if signer is None:
            self._tell_seal(name, "no trusted key has signed its seal")
        elif Seal.from_json(stored.content).sha256 != hashlib.sha256(content).hexdigest():
            self._tell_seal(name, f"it is not the segment that {signer} has signed")
        else:
            self.sealed[signer] = self.sealed.get(signer, 0) + 1

    def _tell_seal(self, name: str, text: str) -> None:
        self._faults.append(AuditFinding(AuditFault.SEAL, name, text))

    def _missing(self, heads: Iterable[str]) -> Iterator[AuditFinding]:
        for head in heads:
            if self.examination.misses(head):
                yield AuditFinding(AuditFault.REMOVED, head, "no line has this digest: the log ended there once")


def examine(
    source: AuditSource,
    keyring: Keyring,
    heads: Iterable[str] = (),
    *,
    on_record: Callable[[Record], None] = lambda _: None,
    on_line: Callable[[AuditLine], None] = lambda _: None,
) -> Examined:
    """Examine the log of a place. `heads` are digests of lines that it must have, which an auditor has noted before.

    `on_record` is called with each readable record of the place, then `on_line` with each line of the log. Raise
    BackupError or OSError if the place cannot be read.
    """
    return Examined(source, keyring, tuple(heads), on_record, on_line)


def _facts(
    records: Iterable[tuple[str, bytes]], on_record: Callable[[Record], None]
) -> tuple[list[RecordFacts], list[AuditFinding]]:
    found: list[RecordFacts] = []
    unreadable: list[AuditFinding] = []
    for key, content in records:
        try:
            record = Record.from_json(content)
        except ValueError:
            unreadable.append(AuditFinding(AuditFault.UNEXPLAINED, key, "its record cannot be read"))
            continue
        on_record(record)
        found.append(RecordFacts(key, digest_of(content), record.finished, record.audit_head))
    return found, unreadable
