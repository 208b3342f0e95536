"""Parts of an S3 multipart upload, and the digests of the resulting object.

Reading back and upload must use the same parts: reading an artifact back computes the digest that the upload sends with
each part.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1024 * 1024
SMALLEST_PART = 16 * MIB
MOST_PARTS = 9_000
"""Most parts of an upload. S3 accepts 10,000; the difference is a margin for files that grow."""


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
