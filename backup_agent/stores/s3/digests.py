"""Digests that are sent with a request, by which the store checks the request's body."""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Digests:
    """SHA-256 and MD5 of a body.

    The MD5 is sent to stores that do not support SHA-256: Content-MD5 is older than S3's checksums.
    """

    sha256: str
    """In hex."""
    md5: Callable[[], str]
    """Computes the MD5, in hex. Called only if the MD5 is needed, since it reads the body."""

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the digests of a small body."""
        return cls(hashlib.sha256(content).hexdigest(), lambda: hashlib.md5(content, usedforsecurity=False).hexdigest())

    @property
    def as_checksum(self) -> dict[str, Any]:
        """The SHA-256 as a parameter of a request, for stores that support checksums."""
        return {"ChecksumSHA256": base64_of(self.sha256)}

    @property
    def as_md5(self) -> dict[str, Any]:
        """The MD5 as a parameter of a request, for stores that do not support checksums."""
        return {"ContentMD5": base64_of(self.md5())}


def object_parameters(content: bytes) -> dict[str, Any]:
    """Return the parameters of PutObject that store `content` as a small object.

    A small object is stored in the default class: the agent must be able to read it at any time.
    """
    return {"Body": content, "digests": Digests.of(content), "StorageClass": None}


def base64_of(digest: str) -> str:
    """Return a hexadecimal digest in base64, as S3 writes it."""
    return b64encode(bytes.fromhex(digest)).decode()
