"""A file to be sent to S3: its digests, its parts, and a check for changes since it was read."""

import hashlib
from pathlib import Path
from threading import Event
from typing import Any

from backup_agent.core.artifacts.parts import Part, composite_digest, cut, part_size, whole_digest
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.stores.part_body import PartBody, SendingStoppedError
from backup_agent.stores.s3.digests import Digests, base64_of
from backup_agent.stores.source import source_changed


class Upload:
    """An open file and its digests. The artifact's record has the same digests."""

    def __init__(self, key: str, source: Path, descriptor: int, file: ArtifactFile) -> None:
        self.key = key
        self.source = source
        self.descriptor = descriptor
        self.file = file
        self.stop = Event()
        """Ends whatever reads the file: an upload that has failed leaves threads behind for a moment."""
        self.parts = cut(file.size, file.part_size or part_size(file.size))
        # The digests of the parts were computed when the artifact was read back. If `file` has none, the source is read
        # once more.
        self._digests = file.parts if len(file.parts) == len(self.parts) > 1 else self._read_parts()

    @property
    def digest(self) -> str:
        """The expected `StoredObject.digest` of the stored file."""
        return composite_digest(self._digests) if len(self.parts) > 1 else whole_digest(self.file.sha256)

    def digests_of(self, part: Part) -> Digests:
        """Return the digests of a part: the known SHA-256, and the MD5, for which the part is read once more."""
        return Digests(self._digests[part.number - 1], lambda: self._md5(part))

    def must_be_unchanged(self, part: Part) -> None:
        """Raise PermanentError, reason `checksum_mismatch`, if a part of the file has changed since it was read."""
        if self._hash(part, hashlib.sha256()) != self._digests[part.number - 1]:
            raise source_changed(self.source, f"bytes {part.offset} to {part.offset + part.size} differ")

    def has_sent(self, listed: dict[str, Any]) -> bool:
        """Return whether a part that the store lists has the same content as the file's part of that number."""
        number = listed.get("PartNumber", 0)
        if not 0 < number <= len(self.parts) or listed.get("Size") != self.parts[number - 1].size:
            return False
        part = self.parts[number - 1]
        if checksum := listed.get("ChecksumSHA256"):
            return bool(checksum == base64_of(self._digests[number - 1]))
        # An ETag that is not an MD5 (with SSE-KMS) never matches.
        return bool(listed.get("ETag", "").removeprefix("W/").strip('"') == self._md5(part))

    def completed(self, number: int, etag: str) -> dict[str, Any]:
        """Return the entry of a part in CompleteMultipartUpload."""
        return {"PartNumber": number, "ETag": etag, "ChecksumSHA256": base64_of(self._digests[number - 1])}

    def _md5(self, part: Part) -> str:
        return self._hash(part, hashlib.md5(usedforsecurity=False))

    def _read_parts(self) -> tuple[str, ...]:
        if len(self.parts) <= 1:
            return (self.file.sha256,)
        whole = hashlib.sha256()
        digests = tuple(self._hash(part, hashlib.sha256(), whole) for part in self.parts)
        if whole.hexdigest() != self.file.sha256:
            raise source_changed(self.source, f"SHA-256 {self.file.sha256} was read, it has {whole.hexdigest()}")
        return digests

    def _hash(self, part: Part, digest: "hashlib._Hash", *others: "hashlib._Hash") -> str:
        body = PartBody(self.source, self.descriptor, part, progress=lambda _: None, stop=self.stop)
        try:
            while block := body.read():
                for each in (digest, *others):
                    each.update(block)
        except SendingStoppedError as stopped:
            raise stopped.because from stopped
        return digest.hexdigest()
