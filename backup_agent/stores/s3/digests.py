"""The digests by which a store compares the body of a request."""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Digests:
    """SHA-256 and MD5 of a body.

    A store that does not support SHA-256 gets the MD5, which is older than S3's checksums.
    """

    sha256: str
    """In hex."""
    md5: Callable[[], str]
    """Returns the MD5 in hex. It is rarely needed, and the body must be read for it."""

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the digests of a small body."""
        return cls(hashlib.sha256(content).hexdigest(), lambda: hashlib.md5(content, usedforsecurity=False).hexdigest())

    @property
    def as_checksum(self) -> dict[str, Any]:
        """The parameter of a request to a store with checksums."""
        return {"ChecksumSHA256": base64_of(self.sha256)}

    @property
    def as_md5(self) -> dict[str, Any]:
        """The parameter of a request to a store without checksums."""
        return {"ContentMD5": base64_of(self.md5())}


def whole(content: bytes) -> dict[str, Any]:
    """Return the parameters that store a small object with some content.

    A small object is stored in the default class: the agent must be able to read it at any time.
    """
    return {"Body": content, "digests": Digests.of(content), "StorageClass": None}


def base64_of(digest: str) -> str:
    """Return a hexadecimal digest in base64, as S3 writes it."""
    return b64encode(bytes.fromhex(digest)).decode()
