"""Reads an object in ranges, several at a time, and gives out their bytes in order.

All ranges are of one object: each request has the ETag of the first answer as its condition, and each answer's ETag is
compared with it, for stores that do not support the condition. At most `Bucket.ranges` ranges are in memory. Nothing is
requested beyond the first one, of 1 MiB, before its bytes have been used.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from backup_agent.core.artifacts.parts import FIRST_RANGE, RANGE, Part, ranges
from backup_agent.core.reasons import BackupError, Reason, TransientError
from backup_agent.stores.part_body import BLOCK
from backup_agent.stores.s3 import failures
from backup_agent.stores.s3.bucket import ABSENT, EXISTS, Bucket, Response
from backup_agent.stores.s3.connections import Flight
from backup_agent.stores.s3.errors import lacks
from backup_agent.stores.s3.line import ANSWER, STALL
from backup_agent.stores.store import ConflictError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_NO_SUCH_RANGE = ("InvalidRange", "416")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def open_object(bucket: Bucket, key: str, start: int = 0) -> io.RawIOBase:
    """Return an object for reading from byte `start`. Raise PermanentError (`not_found`) if it does not exist."""
    opening = _Opening(bucket, key, start)
    if (first := bucket.persist(opening.first_range)) is not None:
        return _Ranges(bucket, key, first, islice(ranges(opening.size, start), 1, None), opening)
    # There is no range at the end of an object, and some stores ignore ranges.
    answer = bucket.call("GetObject", key)
    with ExitStack() as stack:
        stack.callback(answer["Body"].close)
        bucket.etag(answer, key)  # raises for the page of a proxy, which has no ETag
        stack.pop_all()
    return _Whole(answer["Body"], lambda: bucket.classified("GetObject", key), start)


class _Opening:
    """The request for the first range, which tells size and ETag of the object."""

    def __init__(self, bucket: Bucket, key: str, start: int) -> None:
        self._bucket = bucket
        self._key = key
        self._start = start
        self.size = 0
        self.etag = ""

    def first_range(self, flight: Flight) -> memoryview | None:
        """Return the first bytes of the object; None if the object is empty or the store ignores ranges."""
        flight.within(ANSWER)
        first = _range_of(Part(1, self._start, FIRST_RANGE))
        answer, refused = self._bucket.once("GetObject", self._key, _NO_SUCH_RANGE, Range=first)
        if refused:
            return None
        with closing(answer["Body"]):
            self.etag = self._bucket.etag(answer, self._key)
            found = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
            if found is None:
                return None
            self.size = int(found[3])
            part = next(ranges(self.size, self._start))
            view = memoryview(bytearray(part.size))
            _fill(self._bucket, self._key, answer, part, self.size, view, flight)
        return view


class _Ranges(io.RawIOBase):
    """The bytes of an object in order, read in ranges."""

    def __init__(self, bucket: Bucket, key: str, first: memoryview, rest: Iterable[Part], opening: _Opening) -> None:
        super().__init__()
        self._bucket = bucket
        self._key = key
        self._size = opening.size
        self._etag = opening.etag
        self._condition = {"IfMatch": opening.etag}
        self._unread = first
        self._buffers: dict[int, memoryview] = {}
        self._following: Iterator[memoryview] = bucket.carry(
            (partial(self._read_range, part) for part in rest), bucket.ranges
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if not self._unread:
            self._unread = next(self._following, self._unread)
        view = memoryview(buffer)
        count = min(len(view), len(self._unread))
        view[:count] = self._unread[:count]
        self._unread = self._unread[count:]
        return count

    def close(self) -> None:
        self._following.close()  # type: ignore[attr-defined]  # a generator
        super().close()

    def _read_range(self, part: Part, flight: Flight) -> memoryview:
        """Read a range into the buffer of the range before the last `Bucket.ranges` ones, which has been used."""
        flight.within(ANSWER)
        answer = self._ask(part)
        with closing(answer["Body"]):
            if self._bucket.etag(answer, self._key) != self._etag:
                raise self._changed()
            slot = part.number % self._bucket.ranges
            if slot not in self._buffers:
                self._buffers[slot] = memoryview(bytearray(RANGE))
            view = self._buffers[slot][: part.size]
            _fill(self._bucket, self._key, answer, part, self._size, view, flight)
        return view

    def _ask(self, part: Part) -> Response:
        refusals = (*EXISTS, *ABSENT, *_NO_SUCH_RANGE)
        asked = partial(self._bucket.once, "GetObject", self._key, refusals, Range=_range_of(part))
        condition = self._condition  # other threads change it
        try:
            answer, refused = asked(**condition)
        except BackupError as error:
            if not (condition and lacks(error.__cause__)):
                raise
            refused = "lacking"
        if refused and condition:
            # Some stores refuse each condition, with one error or another. The ETag of the answer is compared anyway.
            self._condition = {}
            answer, refused = asked()
        if refused:
            raise self._changed()
        return answer

    def _changed(self) -> ConflictError:
        return ConflictError(f"{self._bucket.where(self._key)}, while it was read,")


class _Whole(io.RawIOBase):
    """The body of an answer with a whole object. Errors of reading it are raised as errors of a store."""

    def __init__(self, body: io.IOBase, classified: Callable[[], AbstractContextManager[None]], skip: int) -> None:
        super().__init__()
        self._body: Any = body
        self._classified = classified
        self._skip = skip

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        with self._classified():
            while self._skip and (skipped := self._body.read(min(self._skip, BLOCK))):
                self._skip -= len(skipped)
            content: bytes = self._body.read(len(view))
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._body.close()
        super().close()


def _fill(bucket: Bucket, key: str, answer: Response, part: Part, size: int, view: memoryview, flight: Flight) -> None:
    """Read the body of an answer into `view`. Raise TransientError if it is not the range that was requested."""
    expected = f"{_range_of(part).replace('=', ' ')}/{size}"
    if answer.get("ContentRange") != expected or answer.get("ContentLength") != part.size:
        text = f"{bucket.where(key)}: GetObject: another range than {expected} was sent: {failures.NO_S3.text}"
        raise TransientError(Reason.STORAGE_UNREACHABLE, text, failures.NO_S3.hint)
    done = 0
    with bucket.classified("GetObject", key):
        while done < part.size:
            flight.within(STALL)
            # Raises if the body is shorter than its answer says.
            done += answer["Body"].readinto(view[done : done + BLOCK])


def _range_of(part: Part) -> str:
    return f"bytes={part.offset}-{part.offset + part.size - 1}"
