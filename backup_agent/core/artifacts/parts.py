"""Parts of an S3 multipart upload, and the digests of the resulting object.

Reading back and upload must use the same parts: reading an artifact back computes the digest that the upload sends with
each part.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MIB = 1024 * 1024
SMALLEST_PART = 16 * MIB
MOST_PARTS = 9_000
"""Most parts of an upload. S3 accepts 10,000; the difference is a margin for files that grow."""


RANGE = 4 * MIB
"""Bytes of a range in which an object is read. A range is held in memory until its turn comes."""
FIRST_RANGE = 1 * MIB
"""Bytes that are read before further ranges are requested: many objects, and all headers, are smaller."""

MOST_IN_FLIGHT = 16
FEWEST_IN_FLIGHT = 2
IN_FLIGHT_MEMORY = 4 * MIB
"""Memory for one part or range in flight: a block or a range, a thread, TLS, and what the kernel buffers for its
connection, which counts in a container."""
IN_FLIGHT_SHARE = 8
"""One eighth of the memory of the container may be in flight."""


@dataclass(frozen=True)
class Part:
    """A part of a file, in bytes. S3 numbers parts from 1."""

    number: int
    offset: int
    size: int


def part_size(size: int) -> int:
    """Return the part size in bytes, a multiple of 1 MiB, for a file of `size` bytes.

    >>> part_size(0) // MIB, part_size(1024**4) // MIB
    (16, 117)
    """
    return max(SMALLEST_PART, -(-size // (MOST_PARTS * MIB)) * MIB)


def cut(size: int, part_size: int) -> tuple[Part, ...]:
    """Divide `size` bytes into parts of `part_size` bytes. The last part may be smaller."""
    return tuple(
        Part(number, offset, min(part_size, size - offset))
        for number, offset in enumerate(range(0, size, part_size), start=1)
    )


def in_flight(memory: int | None) -> int:
    """Return how many parts or ranges are sent or read at a time, given the memory limit in bytes (None: no limit).

    >>> in_flight(64 * MIB), in_flight(256 * MIB), in_flight(None)
    (2, 8, 16)
    """
    if memory is None:
        return MOST_IN_FLIGHT
    return min(MOST_IN_FLIGHT, max(FEWEST_IN_FLIGHT, memory // IN_FLIGHT_SHARE // IN_FLIGHT_MEMORY))


def ranges(size: int, start: int = 0) -> Iterator[Part]:
    """Divide an object of `size` bytes, from byte `start` on, into the ranges in which it is read.

    A small range is followed by equal ones.

    >>> [part.size // MIB for part in ranges(10 * MIB)], list(ranges(10 * MIB, 9 * MIB))
    ([1, 4, 4, 1], [Part(number=1, offset=9437184, size=1048576)])
    """
    behind = min(start + FIRST_RANGE, size)
    yield Part(1, start, behind - start)
    for number, offset in enumerate(range(behind, size, RANGE), start=2):
        yield Part(number, offset, min(RANGE, size - offset))


def whole_digest(sha256: str) -> str:
    """Return `StoredObject.digest` of an object that was uploaded in one request."""
    return f"sha256:{sha256}"


def composite_digest(parts: Iterable[str]) -> str:
    """Return `StoredObject.digest` of an object that was uploaded in parts, given the SHA-256 of each part in hex.

    As in S3, the composite digest is the SHA-256 of the concatenated digests.
    """
    digests = [bytes.fromhex(part) for part in parts]
    composite = hashlib.sha256(b"".join(digests)).digest()
    return f"sha256-parts:{b64encode(composite).decode()}-{len(digests)}"
