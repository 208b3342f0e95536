"""Builders: files to store, with the description that the reading pass would give. The digests are computed here."""

import hashlib
import random
from pathlib import Path

from backup_agent.core.artifacts.records import ArtifactFile

MIB = 1024 * 1024
PART = 5 * MIB
"""The smallest part that S3 accepts."""
BLOCK = 64 * 1024
"""Bytes that differ only in the number of the block. Making random bytes took most of the time of these tests."""
KEY = "default/orders/orders-2026-11-23T02-00-00.backup"


def make(path: Path, size: int, seed: int = 0) -> ArtifactFile:
    """Write a file in which no part equals another, and describe it."""
    block = random.Random(seed).randbytes(BLOCK)
    with path.open("wb") as file:
        for number in range(-(-size // BLOCK)):
            file.write((number.to_bytes(8, "big") + block[8:])[: size - number * BLOCK])
    return describe(path)


def describe(path: Path, part_size: int = PART) -> ArtifactFile:
    content = path.read_bytes()
    cut = [content[start : start + part_size] for start in range(0, len(content), part_size)]
    return ArtifactFile(
        name=path.name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        part_size=part_size,
        parts=tuple(hashlib.sha256(part).hexdigest() for part in cut),
    )


def ignore(_count: int) -> None:
    """Ignore progress."""
