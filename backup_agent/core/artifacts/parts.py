"""How a file is cut into the parts of an S3 upload, and what their digests make together.

The reading pass and the upload must cut alike: the digests taken by the one are what the other sends with each part.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1024 * 1024
SMALLEST_PART = 16 * MIB
MOST_PARTS = 9_000
"""S3 takes 10,000 parts; a file that has grown since it was measured must not meet that limit."""


@dataclass(frozen=True)
class Part:
    """One part: its number (S3 counts from 1), and where in the file it lies."""

    number: int
    offset: int
    size: int


def part_size(size: int) -> int:
    """Return the bytes of each part but the last, whole MiB, for a file of `size` bytes.

    >>> part_size(0) // MIB, part_size(1024**4) // MIB
    (16, 117)
    """
    return max(SMALLEST_PART, -(-size // (MOST_PARTS * MIB)) * MIB)


def cut(size: int, part_size: int) -> tuple[Part, ...]:
    """Cut `size` bytes into parts of `part_size` bytes, the last one with what remains."""
    return tuple(
        Part(number, offset, min(part_size, size - offset))
        for number, offset in enumerate(range(0, size, part_size), start=1)
    )


def whole_digest(sha256: str) -> str:
    """Return `Stored.digest` of an object that was sent as one."""
    return f"sha256:{sha256}"


def composite_digest(parts: Iterable[str]) -> str:
    """Return `Stored.digest` of an object that was sent in parts: S3's composite, the SHA-256 of the parts' SHA-256."""
    digests = [bytes.fromhex(part) for part in parts]
    together = hashlib.sha256(b"".join(digests)).digest()
    return f"sha256-parts:{b64encode(together).decode()}-{len(digests)}"
