"""The file with the private key: ed25519 in PEM (PKCS #8), without a password, as `openssl genpkey` writes it."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from backup_agent import durable
from backup_agent.core.reasons import PermanentError, Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LARGEST = 16 * 1024
"""Largest size of a key file in bytes. A file with an ed25519 key has 119 bytes."""

MAKE_ONE = "`backup-agent signing new --out FILE` makes a key that the agent can use"


def fingerprint(public_key: bytes) -> str:
    """Return the fingerprint of a public key, given as its 32 bytes.

    >>> fingerprint(bytes(32))[:20]
    'sha256:66687aadf862b'
    """
    return f"sha256:{hashlib.sha256(public_key).hexdigest()}"


def public_key_of(key: "Ed25519PrivateKey") -> bytes:
    """Return the 32 bytes of the public key of a private key."""
    return key.public_key().public_bytes_raw()


def load(path: Path) -> "Ed25519PrivateKey":
    """Return the private key in a file; raise PermanentError, which names the file and quotes none of its content."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  needed only to sign and to verify
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  the same
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  the same

    try:
        content = durable.read(path, LARGEST, follow=True)
    except OSError as error:
        hint = "check signing.key_file, and that the agent's user may read the file"
        raise PermanentError(
            Reason.UNREADABLE, f"{path}: the signing key cannot be read: {error.strerror}", hint
        ) from None
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        text = "the signing key is encrypted: the agent has no password for it"
        raise PermanentError(Reason.UNREADABLE, f"{path}: {text}", MAKE_ONE) from None
    except (ValueError, UnsupportedAlgorithm):
        text = "not a private key in PEM"
        raise PermanentError(Reason.UNREADABLE, f"{path}: {text}", MAKE_ONE) from None
    if not isinstance(key, Ed25519PrivateKey):
        text = "a private key of another kind than ed25519"
        raise PermanentError(Reason.UNREADABLE, f"{path}: {text}", MAKE_ONE)
    return key


def create(path: Path) -> str:
    """Make a key, write it to a new file that only its owner may read, and return its fingerprint.

    Raise FileExistsError if the file exists, or another OSError.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  needed only to make a key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  the same

    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    durable.create_secret(path, content)
    return fingerprint(public_key_of(key))
