"""Sends a file to S3 in one request, or in parts. Parts that an earlier attempt has sent are not sent again.

An unfinished upload counts as the agent's own if it is for exactly the key that is being stored, below this store's
prefix, and was created for SHA-256. If the store does not name the algorithm (SeaweedFS), SHA-256 is assumed. No other
client creates an upload for such a key: one agent owns the prefix, and the key contains the database and the time in
seconds. Other uploads in the bucket are not touched.

A crash may leave an upload for a key that is never stored again. A lifecycle rule of the bucket removes such uploads
(AbortIncompleteMultipartUpload).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from backup_agent.core.artifacts.parts import Part
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.stores.features import Feature
from backup_agent.stores.part_body import PartBody, Throttle
from backup_agent.stores.s3.bucket import DENIED, EXISTS, GONE, UNCONDITIONAL, Bucket, Response
from backup_agent.stores.s3.conditions import creates_conditionally
from backup_agent.stores.s3.connections import Flight
from backup_agent.stores.s3.errors import code_of, lacks
from backup_agent.stores.s3.line import ANSWER, STALL
from backup_agent.stores.s3.upload import Upload
from backup_agent.stores.store import Permit, Progress


class Sending:
    """Sends one file to a bucket.

    With `permit`, an existing object is replaced: `permit` is called right before the write that replaces the object.
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

    def send(self) -> None:
        """Send the file. The caller must then check the stored object: a write may fail although it was carried out."""
        if len(self._upload.parts) > 1:
            self._send_in_parts()
        else:
            self._send_as_one()

    def _send_as_one(self) -> None:
        part = Part(1, 0, self._upload.file.size)
        condition = self._condition()
        if self._permit is not None:
            self._upload.must_be_unchanged(part)  # a store that compares no checksum would accept other bytes
            self._permit()
        with self._explaining_mismatch(part):
            answer, _ = self._bucket.ask(
                "PutObject",
                self._upload.key,
                EXISTS,
                Body=self.body(part) if part.size else b"",
                digests=self._upload.digests_of(part),
                **condition,
            )
        self._check_if_not_compared(answer, part)

    def _send_in_parts(self) -> None:
        upload_id, sent = self._resumable()
        if not upload_id:
            begun = self._bucket.call("CreateMultipartUpload", self._upload.key, ChecksumAlgorithm="SHA256")
            upload_id = self._bucket.field(begun, "UploadId", self._upload.key)
        if sent:
            self._report(sum(part.size for part in self._upload.parts if part.number in sent))
        try:
            self._send_parts(upload_id, sent)
        except BackupError as error:
            # Never resume the upload of a file that has changed, or an upload to the place of another agent.
            if error.failure.reason in (Reason.CHECKSUM_MISMATCH, Reason.FOREIGN_ROOT):
                self._abort(upload_id)
            raise
        self._complete(upload_id, [sent[part.number] for part in self._upload.parts])

    def _send_parts(self, upload_id: str, sent: dict[int, Response]) -> None:
        """Send the parts that are not in `sent` yet, and add them there."""
        missing = [part for part in self._upload.parts if part.number not in sent]
        try:
            answers = self._bucket.carry(
                _PartRequest(self, upload_id, part, asks=part is missing[0]) for part in missing
            )
            sent.update(zip((part.number for part in missing), answers, strict=True))
        finally:
            self._upload.stop.set()  # if a part has failed, no thread may read the file any more

    def send_part(self, upload_id: str, part: Part, body: PartBody) -> Response:
        """Send one part, once."""
        with self._explaining_mismatch(part):
            answer, _ = self._bucket.once(
                "UploadPart",
                self._upload.key,
                (),
                UploadId=upload_id,
                PartNumber=part.number,
                Body=body,
                digests=self._upload.digests_of(part),
            )
        self._check_if_not_compared(answer, part)
        return self._upload.completed(part.number, self._bucket.etag(answer, self._upload.key))

    def _complete(self, upload_id: str, parts: Sequence[Response]) -> None:
        key, completing = self._upload.key, {"UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
        condition = self._condition()
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
            if refused in UNCONDITIONAL:  # some stores support conditions only for PutObject
                self._bucket.ask("CompleteMultipartUpload", key, GONE, **completing)
        except BackupError as error:
            # A store may require checksums on completion if the upload began with them, and refuse them if it did not.
            if lacks(error.__cause__) or code_of(error.__cause__) in {"InvalidPart", "InvalidPartOrder", "BadDigest"}:
                self._abort(upload_id)  # so that the next try does not resume an upload that cannot be completed
            if lacks(error.__cause__):
                raise TransientError(error.failure.reason, str(error), "the upload starts again") from error
            raise
        if refused in EXISTS:
            self._abort(upload_id)

    def _resumable(self) -> tuple[str, dict[int, Response]]:
        """Return the agent's own upload with the most valid parts, and these parts; abort its other uploads.

        A part is valid if the store's checksum equals the checksum of the file's part. If the store has no checksum,
        the MD5 in the ETag is compared. An invalid part is sent again, which replaces it.
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
        with self._listing_optional():
            found.extend(
                upload["UploadId"]
                for upload in self._bucket.pages("ListMultipartUploads", self._upload.key, "Uploads")
                if upload.get("Key") == self._bucket.prefix + self._upload.key
                and "UploadId" in upload
                and upload.get("ChecksumAlgorithm", "SHA256") == "SHA256"
            )
        return found

    def _parts_of(self, upload_id: str) -> dict[int, Response]:
        found: dict[int, Response] = {}
        with self._listing_optional():
            for part in self._bucket.pages("ListParts", self._upload.key, "Parts", UploadId=upload_id):
                if self._upload.has_sent(part):
                    etag = self._bucket.etag(part, self._upload.key)
                    found[part["PartNumber"]] = self._upload.completed(part["PartNumber"], etag)
        return found

    def _abort(self, upload_id: str) -> None:
        # An upload that cannot be aborted only uses space until a lifecycle rule removes it.
        self._bucket.ask("AbortMultipartUpload", self._upload.key, (*GONE, *DENIED), UploadId=upload_id)

    @contextmanager
    def _listing_optional(self) -> Iterator[None]:
        """Ignore an error if the upload is gone, or if listing is not permitted or not supported.

        Without listings, an upload that a crash has interrupted starts again.
        """
        try:
            yield
        except BackupError as error:
            if code_of(error.__cause__) in GONE:
                return
            if code_of(error.__cause__) not in DENIED and not lacks(error.__cause__):
                raise
            self._bucket.features.note(Feature.UPLOAD_LISTS, has=False, how=error.failure.error)

    def body(self, part: Part, on_read: Callable[[int], None] = lambda _left: None) -> PartBody:
        """Return the body of the request that sends a part; see `PartBody` for `on_read`."""
        upload = self._upload
        return PartBody(
            upload.source,
            upload.descriptor,
            part,
            progress=self._report,
            throttle=self._throttle,
            stop=upload.stop,
            on_read=on_read,
            sha256=upload.digests_of(part).sha256,
        )

    def _condition(self) -> dict[str, str]:
        """Return the condition that prevents overwriting.

        Empty if an object is to be replaced, or if the store does not honour the condition.
        """
        return {"IfNoneMatch": "*"} if self._permit is None and creates_conditionally(self._bucket) else {}

    def _report(self, count: int) -> None:
        with self._progress_lock:
            self._progress(count)

    def _check_if_not_compared(self, answer: Response, part: Part) -> None:
        # A store that compares checksums returns the checksum.
        if "ChecksumSHA256" not in answer:
            self._upload.must_be_unchanged(part)

    @contextmanager
    def _explaining_mismatch(self, part: Part) -> Iterator[None]:
        """If the store refuses a checksum, raise an error that says whether the file or bytes in transit changed."""
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


class _PartRequest:
    """The sending of one part. A repeated request has the same body, which counts the progress once.

    If it `asks`, or is sent again, the body waits for the store's consent. So a refusal is read, which may be lost if
    the store closes the connection while a body is sent. All other parts save the round trip.
    """

    def __init__(self, sending: Sending, upload_id: str, part: Part, *, asks: bool) -> None:
        self._asks = asks
        self._sending = sending
        self._upload_id = upload_id
        self._part = part
        self._body: PartBody | None = None
        self._flight: Flight | None = None

    def __call__(self, flight: Flight) -> Response:
        self._flight = flight
        self._body = self._body or self._sending.body(self._part, self._moved)
        self._body.seek(0)
        self._body.at_once, self._asks = not self._asks, True
        try:
            return self._sending.send_part(self._upload_id, self._part, self._body)
        finally:
            flight.within(float("inf"))

    def _moved(self, left: int) -> None:
        if self._flight is not None:
            self._flight.within(STALL if left else ANSWER)
