"""Signing by the agent's own key, and which signatures count."""

import base64
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.records import Record
from backup_agent.settings.model import Settings
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from tests.builders import a_record, settings_tree

KEY = a_record().key
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
SECRET = "c2VjcmV0"


def settings(**signing: Any) -> Settings:
    return Settings.model_validate_json(json.dumps(settings_tree(signing=signing)))


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    key_file.create(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def fingerprint(key: Path) -> str:
    return key_file.fingerprint(key_file.public_key_of(key_file.load(key)))


def signed(key: Path) -> bytes:
    return Keyring(settings(key_file=str(key))).sign(a_record()).to_json()


def signer(content: bytes, key: str = KEY, kind: type[Record | Hold | Damage] = Record, **signing: Any) -> str | None:
    return Keyring(settings(**signing)).signer(kind, key, content)


def test_a_record_signed_by_the_own_key_is_verified(key: Path) -> None:
    keyring = Keyring(settings(key_file=str(key)))
    record = keyring.sign(a_record())

    assert keyring.fault is None
    assert fingerprint(key) == keyring.signer(Record, KEY, record.to_json())
    assert a_record() == record.model_copy(update={"signature": None})


def test_a_trusted_fingerprint_is_enough_to_verify(key: Path) -> None:
    assert fingerprint(key) == signer(signed(key), trusted=[fingerprint(key)])


def test_a_key_that_is_neither_trusted_nor_the_own_one_does_not_count(key: Path, tmp_path: Path) -> None:
    other = key_file.create(tmp_path / "other.pem")

    assert signer(signed(key)) is None
    assert signer(signed(key), trusted=[other]) is None
    assert signer(signed(key), key_file=str(tmp_path / "other.pem")) is None


def test_a_revoked_key_does_not_count_even_if_it_is_the_own_one(key: Path) -> None:
    revoked = {fingerprint(key): "2026-11-23T02:00:00Z"}
    keyring = Keyring(settings(key_file=str(key), revoked=revoked))

    assert signer(signed(key), key_file=str(key), revoked=revoked) is None
    assert keyring.sign(a_record()).signature is None
    assert f"{key}: the settings revoke this key" == keyring.fault


def test_the_public_key_in_a_signature_must_be_the_one_of_its_fingerprint(key: Path, tmp_path: Path) -> None:
    key_file.create(tmp_path / "other.pem")
    forged = json.loads(signed(tmp_path / "other.pem"))
    forged["signature"]["key"] = fingerprint(key)

    assert signer(json.dumps(forged).encode(), trusted=[fingerprint(key)]) is None


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_set("size", to=1), id="unknown key added"),
        pytest.param(_set("reason", to="x"), id="reason"),
        pytest.param(_set("files", to=[]), id="files"),
        pytest.param(_set("header", "highest", to=99), id="inside the header"),
        pytest.param(_set("fencing", to=7), id="number of the lease"),
        pytest.param(_set("signature", "value", to=base64.b64encode(bytes(64)).decode()), id="other value"),
        pytest.param(_set("signature", "value", to="???"), id="not base64"),
        pytest.param(_set("signature", "public_key", to=base64.b64encode(bytes(32)).decode()), id="other public key"),
        pytest.param(_set("signature", "public_key", to="AA=="), id="short public key"),
        pytest.param(_set("signature", "kind", to="rsa"), id="other kind"),
        pytest.param(_set("signature", to=None), id="no signature"),
        pytest.param(_set("signature", to=[1]), id="no signature but a list"),
    ],
)
def test_a_document_that_was_changed_has_no_signer(key: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(signed(key))
    change(document)

    assert signer(json.dumps(document).encode(), trusted=[fingerprint(key)]) is None


def test_a_signed_document_with_a_repeated_key_has_no_signer(key: Path) -> None:
    content = signed(key).removesuffix(b"\n}\n") + b', "reason": "forged"}'

    assert json.loads(content)["reason"] == "forged"
    assert signer(content, trusted=[fingerprint(key)]) is None


def test_a_signature_counts_for_its_own_kind_cluster_and_key_only(key: Path) -> None:
    trusted = [fingerprint(key)]
    tree = settings_tree(cluster="other", signing={"trusted": trusted})
    elsewhere = Keyring(Settings.model_validate_json(json.dumps(tree)))

    assert signer(signed(key), kind=Hold, trusted=trusted) is None
    assert signer(signed(key), key=KEY.replace("02-00-00", "03-00-00"), trusted=trusted) is None
    assert elsewhere.signer(Record, KEY, signed(key)) is None


@pytest.mark.parametrize(
    "mark",
    [Hold(key=KEY, since=NOW, reason="audit", request="h1"), Damage(key=KEY, since=NOW, found="size 1, recorded 2")],
    ids=["hold", "damage"],
)
def test_marks_are_signed_like_records(key: Path, mark: Hold | Damage) -> None:
    content = Keyring(settings(key_file=str(key))).sign(mark).to_json()

    assert fingerprint(key) == signer(content, kind=type(mark), trusted=[fingerprint(key)])


def test_fields_of_a_newer_agent_are_covered_by_the_signature(key: Path) -> None:
    newer = Record.from_json(json.dumps(json.loads(a_record().to_json()) | {"later": {"x": [1, None]}}).encode())
    content = Keyring(settings(key_file=str(key))).sign(newer).to_json()

    assert b'"later"' in content
    assert fingerprint(key) == signer(content, trusted=[fingerprint(key)])


def test_without_a_key_nothing_is_signed_and_no_fault_is_reported() -> None:
    keyring = Keyring(settings())

    assert a_record() == keyring.sign(a_record())
    assert keyring.fault is None


def test_a_number_that_cannot_be_signed_leaves_the_record_unsigned_and_says_so(key: Path) -> None:
    keyring = Keyring(settings(key_file=str(key)))
    record = keyring.sign(a_record().model_copy(update={"last_committed_tx": 2**60}))

    assert record.signature is None
    assert f"{KEY}: it has a number that is too large to be signed" == keyring.fault


def _pem(key: Any, password: bytes | None = None) -> bytes:
    return bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
        )
    )


def _public(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(None, "the signing key cannot be read: No such file or directory", id="missing"),
        pytest.param(b"", "not a private key in PEM", id="empty"),
        pytest.param(f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n".encode(), "not a private key in PEM", id="cut off"),
        pytest.param(_public(ed25519.Ed25519PrivateKey.generate()), "not a private key in PEM", id="public key"),
        pytest.param(_pem(ed25519.Ed25519PrivateKey.generate(), b"x"), "the signing key is encrypted: the agent has no password for it", id="encrypted"),
        pytest.param(_pem(ec.generate_private_key(ec.SECP256R1())), "a private key of another kind than ed25519", id="elliptic curve"),
        pytest.param(_pem(rsa.generate_private_key(65537, 2048)), "a private key of another kind than ed25519", id="RSA"),
        pytest.param(20_000 * b"x", "the signing key cannot be read: larger than 16384 bytes", id="large"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_used_leaves_the_record_unsigned_and_names_the_file(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    keyring = Keyring(settings(key_file=str(path)))

    assert a_record() == keyring.sign(a_record())
    assert f"{path}: {fault}" == keyring.fault
    assert SECRET not in keyring.fault


def test_a_link_to_the_key_is_followed_because_mounted_secrets_are_links(key: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.pem"
    link.symlink_to(key)

    assert fingerprint(key) == signer(signed(link), trusted=[fingerprint(key)])


def test_only_its_owner_can_read_a_new_key_and_it_overwrites_no_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = key_file.create(tmp_path / "key.pem")
    finally:
        os.umask(before)

    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert fingerprint(tmp_path / "key.pem") == made
    with pytest.raises(FileExistsError):
        key_file.create(tmp_path / "key.pem")


def test_a_key_made_by_openssl_can_be_used(tmp_path: Path) -> None:
    # openssl genpkey -algorithm ed25519; its seed is 32 times the byte 1.
    seed = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + 32 * b"\1").decode()
    (tmp_path / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{seed}\n-----END PRIVATE KEY-----\n")

    public = bytes.fromhex("8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c")  # by RFC 8032
    assert public == key_file.public_key_of(key_file.load(tmp_path / "key.pem"))


def test_a_key_cannot_be_both_trusted_and_revoked() -> None:
    one = "sha256:" + 64 * "0"

    with pytest.raises(ValueError, match=r"in signing\.trusted or here, not in both"):
        settings(trusted=[one], revoked={one: "2026-11-23T02:00:00Z"})
