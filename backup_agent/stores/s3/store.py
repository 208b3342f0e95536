"""The S3 store. An object counts as stored only after the store has confirmed it.

An answer of 200 is not enough: HEAD must return the right size and digest. If the store has no digest (some lack S3's
checksums), ranges of the object are read back and compared with the file. boto3's transfer manager is not used, since
it can neither resume an upload nor send a checksum that is already known. Failed requests are retried by boto3, except
parts and ranges, several of which are under way at a time: the line (s3/line.py) retries these.
"""

import hashlib
import io
import os
from base64 import b64decode
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from backup_agent.cgroup import memory_limit
from backup_agent.core.artifacts.parts import in_flight, whole_digest
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from backup_agent.durable import LIMIT
from backup_agent.stores.features import Feature, StoreFeatures
from backup_agent.stores.keys import is_listed, other_content, parts_of
from backup_agent.stores.part_body import Throttle
from backup_agent.stores.s3.bucket import ABSENT, EXISTS, PROBE, RACE, Bucket
from backup_agent.stores.s3.conditions import creates_conditionally, swaps_conditionally
from backup_agent.stores.s3.digests import object_parameters
from backup_agent.stores.s3.reading import open_object
from backup_agent.stores.s3.sending import Sending
from backup_agent.stores.s3.upload import Upload
from backup_agent.stores.source import open_source
from backup_agent.stores.store import (
    ConflictError,
    ObjectTooLargeError,
    Permit,
    Progress,
    StoredObject,
    VersionedObject,
)

_BLOCK = 1024 * 1024
_READ_BACK = 16
"""Number of ranges that are compared if the store has no digest. They are spread evenly and include both ends, to find
an object that is truncated or contains the framing of its transfer (boto/boto3#4435)."""
_READ_BACK_SIZE = 64 * 1024


class S3Store:
    """Keeps objects below `prefix` (`<prefix>/<cluster>`) in a bucket.

    boto3 finds the credentials: environment, files, IRSA, instance. `bandwidth` is the limit for artifacts in bytes per
    second; `put_options` are parameters of PutObject and CreateMultipartUpload, already checked by `check_put_options`.
    `single_writer` is the operator's promise that no other client writes here; needed if `conditional_writes` is False.
    """

    concurrent_reads = 8

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str,
        endpoint_url: str | None = None,
        region: str | None = None,
        path_style: bool = False,
        ca_file: Path | None = None,
        bandwidth: int | None = None,
        put_options: dict[str, Any] | None = None,
        name: str = "s3",
        single_writer: bool = False,
        features: StoreFeatures | None = None,
        parallel_parts: int | None = None,
    ) -> None:
        """`features` has the known features of the store. Without it, they are found out again.

        `parallel_parts` is the number of parts that are sent at a time; by default it depends on the memory.
        """
        self.name = name
        room = in_flight(memory_limit())
        width = parallel_parts or room
        self.single_writer = single_writer
        self._throttle = Throttle(bandwidth) if bandwidth else None
        self._bucket = Bucket(
            store=name,
            bucket=bucket,
            prefix=prefix,
            endpoint_url=endpoint_url,
            region=region,
            path_style=path_style,
            ca_file=ca_file,
            options=put_options or {},
            features=features or StoreFeatures(),
            width=width,
            ranges=min(width, room),
        )

    @property
    def bucket(self) -> Bucket:
        """The part of the bucket with the objects, for other modules of the package."""
        return self._bucket

    @property
    def keeps_versions(self) -> bool:
        """Whether the bucket has shown that it keeps old versions."""
        return bool(self._bucket.features.has(Feature.OLD_VERSIONS))

    @property
    def conditional_writes(self) -> bool:
        """Whether the store honours conditional writes. If this is unknown, five requests find it out."""
        return swaps_conditionally(self._bucket)

    def now(self) -> datetime | None:
        """Return the store's time, from the Date of its answers."""
        return self._bucket.now()

    def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
        """Store a file of an artifact, resuming an interrupted upload; see `Store`.

        A resumed upload keeps the put_options with which it was created.
        """
        parts_of(key)
        with open_source(source, file) as descriptor:
            upload = Upload(key, source, descriptor, file)
            if there := self._already_there(upload):
                progress(file.size)
                return there
            Sending(self._bucket, upload, self._throttle, progress).send()
            return self._confirm(upload)

    def replace_artifact(
        self, key: str, source: Path, file: ArtifactFile, progress: Progress, permit: Permit
    ) -> StoredObject:
        """Store a file under a key whether or not the key exists. A versioned bucket keeps the old version."""
        parts_of(key)
        with open_source(source, file) as descriptor:
            upload = Upload(key, source, descriptor, file)
            Sending(self._bucket, upload, self._throttle, progress, permit).send()
            return self._confirm(upload)

    def create(self, key: str, content: bytes) -> None:
        """Store a small object that must not exist yet: by a conditional write if possible, else after a check."""
        parts_of(key)
        condition = {"IfNoneMatch": "*"} if creates_conditionally(self._bucket) else {}
        exists = not condition and self.stat(key) is not None
        answer, refused = (
            ({}, EXISTS[0])
            if exists
            else self._bucket.ask("PutObject", key, EXISTS, **object_parameters(content), **condition)
        )
        # A store that compares checksums returns the checksum.
        if (refused or "ChecksumSHA256" not in answer) and not self._holds(key, content):
            raise other_content(self._bucket.where(key))

    def _holds(self, key: str, content: bytes) -> bool:
        """Return whether an object has this content."""
        try:
            return self.read(key, len(content)) == content
        except ObjectTooLargeError:
            return False

    def look(self, key: str, limit: int) -> VersionedObject | None:
        """Return a small object with its ETag, or None if it does not exist."""
        parts_of(key)
        return self._bucket.small(key, limit, ABSENT, ChecksumMode="ENABLED")

    def swap(self, key: str, content: bytes, version: str | None) -> str:
        """Replace a small object if its ETag is still `version`: by a conditional write, or else after a check."""
        parts_of(key)
        condition: dict[str, str] = {}
        if self.conditional_writes:
            condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        elif (found.version if (found := self._looked_at(key)) else None) != version:
            return self._swapped_before(key, content, found)
        # AWS answers 404 if the object is gone, and 409 if another write came at the same moment.
        answer, refused = self._bucket.put_own(key, (*EXISTS, *ABSENT, RACE), **object_parameters(content), **condition)
        etag: str = (
            self._swapped_before(key, content, self._looked_at(key)) if refused else self._bucket.etag(answer, key)
        )
        return etag

    def _looked_at(self, key: str) -> VersionedObject | None:
        """Return an object that is about to be replaced, without its content if it is large."""
        try:
            return self.look(key, LIMIT)
        except ObjectTooLargeError as error:
            return VersionedObject(b"", error.version)

    def _swapped_before(self, key: str, content: bytes, found: VersionedObject | None) -> str:
        """Return the version of `found` if an earlier try has stored `content` already; else raise ConflictError."""
        if found is None or found.content != content:
            raise ConflictError(self._bucket.where(key))
        return found.version

    def read(self, key: str, limit: int) -> bytes:
        """Return a small object, compared with its digest if the store keeps one."""
        return self._content(key, limit, ChecksumMode="ENABLED")

    def open(self, key: str, start: int = 0) -> io.BufferedIOBase:
        """Return an artifact's file for reading from byte `start`."""
        parts_of(key)
        return io.BufferedReader(open_object(self._bucket, key, start), _BLOCK)

    def stat(self, key: str) -> StoredObject | None:
        """Return the object under a key, with the store's own digest, or None if it does not exist.

        The answer to HEAD has no error code, so a missing bucket looks like a missing key. A write tells them apart.
        """
        parts_of(key)
        head, absent = self._bucket.ask("HeadObject", key, ABSENT, ChecksumMode="ENABLED")
        if absent:
            return None
        self._bucket.etag(head, key)  # raises for the page of a proxy, which has no ETag
        return StoredObject(key, self._bucket.field(head, "ContentLength", key), _digest_in(head))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with a prefix, in order. Holds all in memory: 20 MiB for 100,000 keys."""
        listed = (
            (found["Key"].removeprefix(self._bucket.prefix), self._bucket.field(found, "Size", prefix))
            for found in self._bucket.objects(prefix)
        )
        # S3 lists keys in byte order, SeaweedFS folder by folder (a/b before a-b).
        for key, size in sorted(entry for entry in listed if is_listed(entry[0])):
            yield StoredObject(key, size)

    def versions(self, folder: str, most: int) -> dict[str, str]:
        """Return the keys below a folder of the agent's own with their ETags, at most `most` of them."""
        listed = (
            (found["Key"].removeprefix(self._bucket.prefix), str(found.get("ETag") or "").removeprefix("W/"))
            for found in self._bucket.objects(folder)
        )
        return dict(islice((entry for entry in listed if is_listed(entry[0].removeprefix(folder))), most))

    def delete(self, key: str) -> bool:
        """Remove a key. A key that does not exist is not an error. Return False if the bucket keeps an old version.

        In a bucket with versions, a deletion writes a marker even for a key that never existed, so the key is checked
        first.
        """
        parts_of(key)
        if self.keeps_versions and self.stat(key) is None:
            return True
        answer, _ = self._bucket.ask("DeleteObject", key, ABSENT)
        return not answer.get("DeleteMarker") or answer.get("VersionId") == "null"

    def _already_there(self, upload: Upload) -> StoredObject | None:
        """Return the object under the key, or None if it does not exist. Raise an error if it has other content."""
        try:
            found = self.stat(upload.key)
        except PermanentError as error:
            if error.failure.reason is not Reason.STORAGE_AUTH:
                raise
            # Without permission to list, HEAD answers 403 for a missing key. If HEAD is refused for PROBE too, which
            # exists, no object could be confirmed: fail before gigabytes are sent. If PROBE must be written first and
            # is refused, that error says why.
            creates_conditionally(self._bucket)
            self.stat(PROBE)
            return None
        if found is None or (found.size == upload.file.size and found.digest == upload.digest):
            return found
        if found.size == upload.file.size:  # the parts have another size, or there is no digest
            with self.open(upload.key) as content:
                if hashlib.file_digest(content, "sha256").hexdigest() == upload.file.sha256:
                    return found
        raise other_content(self._bucket.where(upload.key))

    def _confirm(self, upload: Upload) -> StoredObject:
        """Return the object after its upload; raise unless it has the content that was sent."""
        found = self.stat(upload.key)
        if found is None:
            raise TransientError(
                Reason.STORAGE_UNREACHABLE, f"{self._bucket.where(upload.key)} was sent, and HEAD does not find it"
            )
        if found.size != upload.file.size:
            raise self._altered(upload, f"{upload.file.size} bytes were sent, it has {found.size}")
        if found.digest is None:
            self._read_back(upload)
        elif found.digest != upload.digest:
            raise self._altered(upload, f"{upload.digest} was sent, the store says {found.digest}")
        return found

    def _read_back(self, upload: Upload) -> None:
        """Compare ranges of an object with the file that was sent."""
        last = max(0, upload.file.size - _READ_BACK_SIZE)
        for offset in sorted({last * step // (_READ_BACK - 1) for step in range(_READ_BACK)}):
            expected = os.pread(upload.descriptor, _READ_BACK_SIZE, offset)
            end = offset + len(expected) - 1
            if expected and self._content(upload.key, _READ_BACK_SIZE, Range=f"bytes={offset}-{end}") != expected:
                raise self._altered(upload, f"bytes {offset} to {end} differ")

    def _content(self, key: str, limit: int, **parameters: str) -> bytes:
        parts_of(key)
        found = self._bucket.small(key, limit, (), **parameters)
        if found is None:
            raise TypeError("a missing object must raise an error")
        return found.content

    def _altered(self, upload: Upload, found: str) -> PermanentError:
        return PermanentError(
            Reason.CHECKSUM_MISMATCH,
            f"{self._bucket.where(upload.key)} is not what was sent: {found}",
            "the store, or a proxy before it, alters objects; no record names this object: inspect it, and delete it",
        )


def _digest_in(head: dict[str, Any]) -> str | None:
    """Return `StoredObject.digest` from the answer to HEAD."""
    checksum: str = head.get("ChecksumSHA256", "")
    if not checksum:
        return None
    if "-" in checksum:  # a composite digest ends with a dash and the number of parts, and base64 has no dash
        return f"sha256-parts:{checksum}"
    # S3 has the SHA-256 of the whole object only if it was sent in one request. For an object that was sent in parts,
    # moto gives the number of parts only in the ETag.
    _, _, parts = head.get("ETag", "").strip('"').partition("-")
    return f"sha256-parts:{checksum}-{parts}" if parts.isdecimal() else whole_digest(b64decode(checksum).hex())
