"""Sending a file to S3: as one object, or in parts, of which those that an earlier attempt left are not sent again.

An upload is *ours* when it is for exactly the key that is being stored, below this store's prefix, and was begun for
SHA-256 (or the store does not say for what, as SeaweedFS). One agent owns a prefix, and a key carries its database and
second, so nobody else begins one under it. Any other upload in the bucket is foreign and never touched. What crashes
leave under keys that are never stored again is for a lifecycle rule of the bucket (AbortIncompleteMultipartUpload).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock

from backup_agent.core.artifacts.parts import Part
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.stores.part_body import PartBody, Throttle
from backup_agent.stores.s3.bucket import DENIED, EXISTS, GONE, UNCONDITIONAL, Answer, Bucket, code_of
from backup_agent.stores.s3.upload import Upload, base64_of
from backup_agent.stores.store import Permit, Progress

SENDERS = 2
"""Parts in flight. One takes the same CPU, and waits a round trip after each part; more gain nothing here."""


class Sending:
    """One file on its way into a bucket.

    With `permit` it replaces what stands under its key: asked when all is proven, right before the write that counts.
    """

    def __init__(
        self,
        bucket: Bucket,
        upload: Upload,
        throttle: Throttle | None,
        progress: Progress,
        permit: Permit | None = None,
    ) -> None:
        self._bucket = bucket
        self._upload = upload
        self._throttle = throttle
        self._progress = progress
        self._permit = permit
        self._progress_lock = Lock()
        self._stop = Event()

    def send(self) -> None:
        """Send the file. Whether it stands there now is for the caller to ask: a lost answer looks like a failure."""
        if len(self._upload.parts) > 1:
            self._send_in_parts()
        else:
            self._send_as_one()

    def _send_as_one(self) -> None:
        part = Part(1, 0, self._upload.file.size)
        condition = self._bucket.if_absent if self._permit is None else {}
        if self._permit is not None:
            self._upload.must_be_unchanged(part)  # a store that compares no checksum would take other bytes
            self._permit()
        with self._judging_the_file(part):
            answer, _ = self._bucket.ask(
                "PutObject",
                self._upload.key,
                EXISTS,
                Body=self._body(part) if part.size else b"",
                ChecksumSHA256=base64_of(self._upload.digest_of(part)),
                **condition,
            )
        self._check_if_the_store_did_not(answer, part)

    def _send_in_parts(self) -> None:
        upload_id, sent = self._resumable()
        if not upload_id:
            begun = self._bucket.call("CreateMultipartUpload", self._upload.key, ChecksumAlgorithm="SHA256")
            upload_id = begun["UploadId"]
        if sent:
            self._report(sum(part.size for part in self._upload.parts if part.number in sent))
        try:
            self._send_parts(upload_id, sent)
        except BackupError as error:
            # Nobody resumes what changed, nor what another agent's place has no use for.
            if error.failure.reason in (Reason.CHECKSUM_MISMATCH, Reason.FOREIGN_ROOT):
                self._abort(upload_id)
            raise
        self._complete(upload_id, [sent[part.number] for part in self._upload.parts])

    def _send_parts(self, upload_id: str, sent: dict[int, Answer]) -> None:
        """Send what is not in `sent` yet, and add it there."""
        with ThreadPoolExecutor(SENDERS) as pool:
            sending = {
                part.number: pool.submit(self._send_part, upload_id, part)
                for part in self._upload.parts
                if part.number not in sent
            }
            try:
                for number, future in sending.items():
                    sent[number] = future.result()
            finally:
                self._stop.set()  # the other parts need not go on once one has failed
                pool.shutdown(wait=False, cancel_futures=True)

    def _send_part(self, upload_id: str, part: Part) -> Answer:
        with self._judging_the_file(part):
            answer = self._bucket.call(
                "UploadPart",
                self._upload.key,
                UploadId=upload_id,
                PartNumber=part.number,
                Body=self._body(part),
                ChecksumSHA256=base64_of(self._upload.digest_of(part)),
            )
        self._check_if_the_store_did_not(answer, part)
        return self._upload.completed(part.number, answer["ETag"])

    def _complete(self, upload_id: str, parts: Sequence[Answer]) -> None:
        key, completing = self._upload.key, {"UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
        condition = self._bucket.if_absent if self._permit is None else {}
        if self._permit is not None:
            self._permit()
        try:
            _, refused = self._bucket.ask(
                "CompleteMultipartUpload",
                key,
                (*GONE, *EXISTS, *UNCONDITIONAL),
                **completing,
                **condition,
            )
            if refused in UNCONDITIONAL:  # there are stores that know conditions for PutObject alone
                self._bucket.ask("CompleteMultipartUpload", key, GONE, **completing)
        except BackupError as error:
            if code_of(error.__cause__) in {"InvalidPart", "InvalidPartOrder", "BadDigest"}:
                self._abort(upload_id)  # so that the next try does not resume what cannot be completed
            raise
        if refused in EXISTS:
            self._abort(upload_id)

    def _resumable(self) -> tuple[str, dict[int, Answer]]:
        """Return the own upload that has most of this content, and what it has; abort the other own ones.

        A part counts when the store's checksum, or where it lists none the MD5 in its ETag, is that of the file's part.
        One that does not count is sent again, which replaces it.
        """
        found = {upload_id: self._parts_of(upload_id) for upload_id in self._own_uploads()}
        best = max(
            (upload_id for upload_id in found if found[upload_id]), key=lambda each: len(found[each]), default=""
        )
        for upload_id in found:
            if upload_id != best:
                self._abort(upload_id)
        return best, found.get(best, {})

    def _own_uploads(self) -> list[str]:
        found: list[str] = []
        with self._allowed_to_lack():
            found.extend(
                upload["UploadId"]
                for upload in self._bucket.pages("ListMultipartUploads", self._upload.key, "Uploads")
                if upload["Key"] == self._bucket.prefix + self._upload.key
                and upload.get("ChecksumAlgorithm", "SHA256") == "SHA256"
            )
        return found

    def _parts_of(self, upload_id: str) -> dict[int, Answer]:
        found: dict[int, Answer] = {}
        with self._allowed_to_lack():
            for part in self._bucket.pages("ListParts", self._upload.key, "Parts", UploadId=upload_id):
                if self._upload.has_sent(part):
                    found[part["PartNumber"]] = self._upload.completed(part["PartNumber"], part["ETag"])
        return found

    def _abort(self, upload_id: str) -> None:
        # What cannot be aborted only costs room until a lifecycle rule takes it.
        self._bucket.ask("AbortMultipartUpload", self._upload.key, (*GONE, *DENIED), UploadId=upload_id)

    @contextmanager
    def _allowed_to_lack(self) -> Iterator[None]:
        """Go on without the right, or the operation, to list uploads: after a crash they begin anew, then."""
        try:
            yield
        except BackupError as error:
            if code_of(error.__cause__) not in (*DENIED, *GONE):
                raise

    def _body(self, part: Part) -> PartBody:
        upload = self._upload
        return PartBody(
            upload.source, upload.descriptor, part, progress=self._report, throttle=self._throttle, stop=self._stop
        )

    def _report(self, count: int) -> None:
        with self._progress_lock:
            self._progress(count)

    def _check_if_the_store_did_not(self, answer: Answer, part: Part) -> None:
        # A store with checksums says which one it compared.
        if "ChecksumSHA256" not in answer:
            self._upload.must_be_unchanged(part)

    @contextmanager
    def _judging_the_file(self, part: Part) -> Iterator[None]:
        """Say who is to blame where the store refuses a checksum: the file, or the way to the store."""
        try:
            yield
        except PermanentError as error:
            if error.failure.reason is not Reason.CHECKSUM_MISMATCH:
                raise
            self._upload.must_be_unchanged(part)
            raise TransientError(
                Reason.CHECKSUM_MISMATCH,
                f"{error}; the file is unchanged",
                "bytes were altered between the volume and the store; the copy is retried",
            ) from error
