"""`backup-agent signing`, and `catalog accept --signed`."""

from pathlib import Path

import pytest

from backup_agent.catalog.audit_reading import AuditSource
from backup_agent.catalog.place import Place as CatalogPlace
from backup_agent.catalog.place import place_of
from backup_agent.catalog.recognised import create_on_volume
from backup_agent.catalog.unsigned import unsigned_at
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.artifacts.records import Record
from backup_agent.core.audit.lines import AuditKind
from backup_agent.settings.model import Settings
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.store import Store
from tests.builders import a_record, settings_with
from tests.catalog.places import filled, place_at, with_store
from tests.cli.conftest import Place
from tests.stores.memory_store import MemoryStore


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "key.pem", key_file.create(tmp_path / "key.pem")


def add(place: Place, hour: int, settings: Settings, *, noted: bool = True) -> Record:
    """Put an artifact on the volume, signed by the key of the settings."""
    signed = Keyring(settings).sign(a_record(hour))
    return filled(place.root).add(signed, recognised=noted)


def test_a_new_key_is_written_once_and_its_fingerprint_is_printed(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "new.pem"
    result = place.run_bare("signing", "new", "--out", str(path))

    made = key_file.fingerprint(key_file.public_key_of(key_file.load(path)))
    assert (0, f"{path}: a new key\n{made}\n") == (result.code, result.out)
    assert path.stat().st_mode & 0o777 == 0o600
    again = place.run_bare("signing", "new", "--out", str(path))
    assert (1, "") == (again.code, again.out)
    assert again.err.startswith(f"backup-agent: {path}: no key was written: File exists\n")


def test_making_a_key_on_a_machine_with_the_volume_is_in_the_audit_log(place: Place, tmp_path: Path) -> None:
    filled(place.root).add(a_record(0))
    made = place.run("signing", "new", "--out", str(tmp_path / "new.pem"), "--json").json["fingerprint"]

    [line] = [one for one in AuditSource.of_folder(VOLUME, place.root).lines() if one.kind == AuditKind.KEY_MADE]
    assert line.facts == {"fingerprint": made, "file": str(tmp_path / "new.pem")}
    assert (line.request or "").startswith("cli@")


def test_the_keys_of_the_settings_are_shown(place: Place, key: tuple[Path, str]) -> None:
    old, stolen = "sha256:" + 64 * "1", "sha256:" + 64 * "2"
    place.settings["signing"] = {
        "key_file": str(key[0]),
        "trusted": [old],
        "revoked": {stolen: "2026-11-23T02:00:00Z"},
    }
    result = place.run("signing", "show")

    rows = [line.split()[:2] for line in result.out.splitlines()]
    assert rows == [["KEY", "FINGERPRINT"], ["own", key[1]], ["trusted", old], ["revoked", stolen]]
    assert result.code == 0


def test_a_key_that_cannot_be_read_is_shown_as_a_fault(place: Place, tmp_path: Path) -> None:
    place.settings["signing"] = {"key_file": str(tmp_path / "gone.pem")}
    result = place.run("signing", "show")

    assert (3, "") == (result.code, result.out)
    assert f"{tmp_path}/gone.pem: the signing key cannot be read: No such file or directory\n" in result.err
    assert place.run("signing", "show", "--json").json["fault"].endswith("No such file or directory")


def test_without_a_key_nothing_is_signed(place: Place) -> None:
    result = place.run("signing", "show")

    assert (0, "nothing is signed: signing.key_file is not set, and no key is trusted\n") == (result.code, result.out)


def test_check_counts_the_records_of_each_key_and_names_those_without(place: Place, key: tuple[Path, str]) -> None:
    place.settings["signing"] = {"key_file": str(key[0])}
    add(place, 0, settings_with(signing={"key_file": str(key[0])}))
    unsigned = add(place, 24, settings_with())
    result = place.run("signing", "check")

    assert (3, f"local: 2 recognised records\nsigned by {key[1]}: 1\n") == (result.code, result.out)
    assert result.err == f"not signed by a key of the settings (1): {unsigned.key}\n"
    printed = place.run("signing", "check", "--json").json
    assert printed == {
        "place": "local",
        "signed": {key[1]: 1},
        "unsigned": [unsigned.key],
        "signed_after_revocation": [],
    }


def test_check_names_what_was_signed_after_the_revocation(place: Place, key: tuple[Path, str]) -> None:
    signing = settings_with(signing={"key_file": str(key[0])})
    before, after = add(place, 0, signing), add(place, 24, signing)
    place.settings["signing"] = {"revoked": {key[1]: after.finished.isoformat()}}

    result = place.run("signing", "check")

    assert before.finished < after.finished
    assert (3, f"signed after the key was revoked (1): {after.key}\n") == (result.code, result.err)


def test_records_of_a_revoked_key_are_accepted_if_they_finished_before_the_revocation(
    place: Place, key: tuple[Path, str]
) -> None:
    signing = settings_with(signing={"key_file": str(key[0])})
    before, given_up, after = (add(place, hour, signing, noted=False) for hour in (0, 24, 48))
    unsigned = filled(place.root).add(a_record(72), recognised=False)
    notes = place_at(place.root).record_notes
    notes.give_up(given_up.key)
    place.settings["signing"] = {"revoked": {key[1]: after.finished.isoformat()}}

    result = place.run("catalog", "accept", "--signed")

    assert (0, f"accepted: {before.key}\n") == (result.code, result.out)
    assert [before.key] == [one.key for one in (before, given_up, after, unsigned) if notes.has(one.key)]


@pytest.mark.parametrize("options", [("--signed", "--all"), ("--signed", "--discard"), ("--signed", "x"), ()])
def test_accept_takes_one_way_of_naming_records(place: Place, options: tuple[str, ...]) -> None:
    assert place.run("catalog", "accept", *options).code == 2


def test_a_record_written_on_the_volume_is_signed_by_the_key_of_the_settings(
    place: Place, key: tuple[Path, str]
) -> None:
    place.settings["signing"] = {"key_file": str(key[0])}
    volume = filled(place.root).place
    create_on_volume(volume, a_record(), Keyring(settings_with(signing={"key_file": str(key[0])})))

    assert place.run("signing", "check", "--json").json["signed"] == {key[1]: 1}


def test_sign_lets_a_pass_sign_the_unsigned_records_of_a_destination(
    place: Place, key: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.settings["storage"]["destinations"] = {"offsite": {"bucket": "backups"}}
    place.settings["signing"] = {"key_file": str(key[0])}
    bucket = filled(place.root, MemoryStore("offsite"), "offsite")
    signed = bucket.add(Keyring(settings_with(signing={"key_file": str(key[0])})).sign(a_record()))
    unsigned = bucket.add(a_record(24))
    unknown = bucket.add(a_record(48), recognised=False)
    monkeypatch.setattr("backup_agent.cli.signing.place_of", lambda _name, settings: _at(settings, bucket.store))

    printed = place.run("signing", "sign", "--place", "offsite", "--json").json

    assert printed == {"place": "offsite", "to_be_signed": [unsigned.key]}
    assert [unsigned.key] == list(unsigned_at(bucket.place))
    assert not {signed.key, unknown.key} & set(unsigned_at(bucket.place))


def _at(settings: Settings, store: Store) -> CatalogPlace:
    return with_store(place_of("offsite", settings), store)


def test_records_on_the_volume_are_not_signed_later(place: Place) -> None:
    result = place.run("signing", "sign", "--place", "local")

    assert result.code == 2
    assert "name a destination" in result.err
