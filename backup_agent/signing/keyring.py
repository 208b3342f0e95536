"""Signs documents with the agent's own key, and verifies signatures by the keys that the settings trust."""

import base64
import binascii
from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

from pydantic import ValidationError

from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.records import Record, Signature
from backup_agent.core.audit.segments import Seal
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.reasons import PermanentError
from backup_agent.settings.model import Settings
from backup_agent.signing.key_file import fingerprint, load, public_key_of
from backup_agent.signing.message import FIELD, decoded, message

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ED25519 = "ed25519"

KINDS: dict[type, str] = {Record: "record", Hold: "hold", Damage: "damage", Evidence: "evidence", Seal: "audit"}
"""The kinds of documents that are signed, by their names in signatures."""

Signed = Record | Hold | Damage | Evidence | Seal

D = TypeVar("D", bound=Signed)


class Keyring:
    """The keys of one cluster: the agent's own, which signs, and the keys whose signatures are accepted.

    Creating a Keyring opens no file and imports no library.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.signing
        self._cluster = settings.cluster
        self.fault: str | None = None
        """Why the last document was left unsigned although the settings name a key; None if it was signed."""

    @property
    def has_keys(self) -> bool:
        """Whether the settings name a key whose signatures are accepted."""
        return self._settings.key_file is not None or bool(self._settings.trusted)

    def sign(self, document: D) -> D:
        """Return a copy of a document with a signature by the agent's own key.

        A document that cannot be signed is returned without a signature, and `fault` says why. No backup fails because
        a signature is missing.
        """
        self.fault = None
        unsigned = cast("D", document.model_copy(update={FIELD: None}))
        if self._settings.key_file is None:
            return unsigned
        if isinstance(self._own, str):
            self.fault = self._own
            return unsigned
        try:
            covered = message(KINDS[type(document)], self._cluster, document.key, unsigned.to_json())
        except ValueError:
            self.fault = f"{document.key}: it has a number that is too large to be signed"
            return unsigned
        public = public_key_of(self._own)
        signature = Signature(
            kind=ED25519,
            key=fingerprint(public),
            public_key=base64.b64encode(public).decode(),
            value=base64.b64encode(self._own.sign(covered)).decode(),
        )
        return cast("D", document.model_copy(update={FIELD: signature}))

    @property
    def usable(self) -> bool:
        """Whether the agent's own key can sign."""
        return self._settings.key_file is not None and not isinstance(self._own, str)

    def check(self) -> None:
        """Set `fault` to the reason why the agent's own key cannot be used; None if it can, or none is named."""
        named = self._settings.key_file is not None
        self.fault = self._own if named and isinstance(self._own, str) else None

    def signer(
        self, kind: type[Signed], key: str, content: bytes, *, revoked: bool = False, also: Collection[str] = ()
    ) -> str | None:
        """Return the fingerprint of the trusted key that signed a document, or None.

        `content` is the document as it is stored, `key` the key of its artifact. With `revoked`, a signature by a
        revoked key is accepted too. `also` are the fingerprints of more keys that are trusted for this document.
        """
        signed = _signature(content)
        if signed is None:
            return None
        was_trusted = revoked and signed.key in self._settings.revoked
        trusted_too = signed.key in also and signed.key not in self._settings.revoked
        if not (self._trusts(signed.key) or trusted_too or was_trusted):
            return None
        return signed.key if _verifies(signed, KINDS[kind], self._cluster, key, content) else None

    def _trusts(self, key: str) -> bool:
        """Return whether signatures by the key with this fingerprint are accepted.

        The agent's own key is loaded only if the settings neither trust nor revoke this fingerprint.
        """
        if key in self._settings.revoked:
            return False
        if key in self._settings.trusted:
            return True
        if self._settings.key_file is None or isinstance(self._own, str):
            return False
        return key == fingerprint(public_key_of(self._own))

    @cached_property
    def _own(self) -> "Ed25519PrivateKey | str":
        """The agent's own key, or the reason why it cannot be used."""
        if self._settings.key_file is None:
            return "signing.key_file is not set"
        try:
            key = load(self._settings.key_file)
        except PermanentError as error:
            return error.failure.error
        if fingerprint(public_key_of(key)) in self._settings.revoked:
            return f"{self._settings.key_file}: the settings revoke this key"
        return key


def _signature(content: bytes) -> Signature | None:
    """Return the signature that a document has; None if it has no readable signature."""
    if b'"signature"' not in content:
        return None
    try:
        return Signature.model_validate(decoded(content).get(FIELD))
    except (ValueError, ValidationError):
        return None


def _verifies(signed: Signature, kind: str, cluster: str, key: str, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  needed only to verify
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415  the same

    try:
        public = base64.b64decode(signed.public_key, validate=True)
        if signed.kind != ED25519 or fingerprint(public) != signed.key:
            return False
        covered = message(kind, cluster, key, content)
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signed.value, validate=True), covered)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
