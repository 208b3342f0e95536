"""`catalog`: its output, its exit codes, and that `adopt` is refused while an agent runs."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog import root_lock
from backup_agent.catalog.place import Place as CatalogPlace
from backup_agent.catalog.place import place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.catalog.tenure import Held
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.settings.load import load
from backup_agent.stores import s3
from backup_agent.stores.local import LocalStore
from tests.artifact.writer import Written, artifact
from tests.builders import TAKEN, a_record
from tests.catalog.places import FilledPlace, filled, tree, with_store
from tests.cli.conftest import Place

FULL = Written(flags=7, taken=TAKEN)
DIFF = replace(FULL, flags=3, lowest=11, highest=20, taken=TAKEN + timedelta(hours=1))
KEY = "default/orders/orders-2026-11-23T02-00-00.backup"


@pytest.fixture(name="volume")
def _volume(place: Place) -> FilledPlace:
    return filled(place.root)


@pytest.fixture(name="bucket")
def _bucket(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilledPlace:
    """Return a destination that is a folder."""
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", "bucket": "backups"}}
    folder = tmp_path / "bucket"
    folder.mkdir()
    monkeypatch.setattr(s3, "open_store", lambda name, *_: LocalStore(folder, name))
    return FilledPlace(with_store(place_of("offsite", load(place.config, {}).settings), LocalStore(folder)))


def test_without_drift_diff_says_so_and_exits_0(place: Place, volume: FilledPlace) -> None:
    volume.add(a_record(0))

    assert place.run("catalog", "diff") == place.run("catalog", "diff", "--place", "local")
    result = place.run("catalog", "diff", "--checksums")

    assert (result.code, result.out) == (0, "local: every record and every checksum matches the files\n")
    assert not volume.place.index.exists()


def test_drift_is_printed_as_lines_or_json_and_exits_3(place: Place, volume: FilledPlace) -> None:
    record = volume.add(a_record(0))
    volume.store.delete(record_key(record.key))
    volume.put("notes.txt", b"mine")
    before = tree(place.root)

    shown, with_json = place.run("catalog", "diff"), place.run("catalog", "diff", "--json")

    assert (shown.code, with_json.code) == (3, 3)
    assert shown.out.startswith(f"artifact without record: {record.key}: {record.size} bytes; ")
    assert with_json.json["findings"] == [
        {
            "kind": "artifact_without_record",
            "key": record.key,
            "text": f"{record.size} bytes; `catalog adopt` adopts it if it is undamaged",
        },
        {"kind": "foreign", "key": "notes.txt", "text": "4 bytes; not a file of the agent, left alone"},
    ]
    assert tree(place.root) == before


def test_an_index_is_rebuilt_from_the_records_alone(place: Place, volume: FilledPlace) -> None:
    volume.add(a_record(0))
    index = place_of("local", load(place.config, {}).settings).index

    result = place.run("catalog", "rebuild")
    first = index.read_bytes()
    index.unlink()

    assert (result.code, result.out) == (0, f"local: 1 artifact in {index}\n")
    assert place.run("catalog", "rebuild", "--json").json["artifacts"] == 1
    assert index.read_bytes() == first


@pytest.mark.parametrize("obstacle", ["a folder that takes no file", "a file in the folder's place"])
@pytest.mark.parametrize("with_json", [False, True], ids=["text", "json"])
def test_a_rebuild_fails_if_the_index_cannot_be_written(
    place: Place, volume: FilledPlace, obstacle: str, *, with_json: bool
) -> None:
    volume.add(a_record(0))
    index = place_of("local", load(place.config, {}).settings).index
    if obstacle == "a folder that takes no file":
        index.mkdir(parents=True)
    else:
        index.parent.parent.mkdir(parents=True, exist_ok=True)
        index.parent.write_bytes(b"")

    result = place.run("catalog", "rebuild", *(["--json"] if with_json else []))

    assert (result.code, result.out) == (1, "")
    assert f"{index}: not rebuilt: " in result.err
    assert "make room on the volume" in result.err


def test_a_rebuild_warns_of_a_record_that_cannot_be_read(place: Place, volume: FilledPlace) -> None:
    volume.put(record_key(KEY), b"{")
    volume.place.record_notes.add(KEY, b"{")

    result = place.run("catalog", "rebuild")

    assert result.code == 3
    assert result.err.startswith(f"unreadable: {KEY}.json: Invalid JSON")


def test_a_rebuild_notes_copies_that_a_destination_has(place: Place, volume: FilledPlace, bucket: FilledPlace) -> None:
    copied, owed = volume.add(a_record(0)), volume.add(a_record(1))
    bucket.add(copied.model_copy(update={"fencing": 7}), recognised=False)
    settings = load(place.config, {}).settings

    result = place.run("catalog", "rebuild", "--place", "offsite")

    assert result.out.splitlines()[1:] == [f"copy found, no longer counted as missing: {copied.key}"]
    notes = place_of("offsite", settings).record_notes
    assert [record.key for record in notes.owed([copied, owed])] == [owed.key]
    assert place.run("catalog", "diff", "--place", "offsite").code == 0


def test_an_unknown_place_is_not_found(place: Place) -> None:
    result = place.run("catalog", "diff", "--place", "onsite")

    assert result.code == 1
    assert "onsite: there is no such place; the settings have local" in result.err


def folder_with(place: Place, *facts: Written) -> Path:
    folder = place.folder / "elsewhere"
    folder.mkdir()
    for one in facts:
        name = f"orders-{one.taken:%Y-%m-%dT%H-%M-%S}.backup"
        (folder / name).write_bytes(artifact(one))
    return folder


def test_a_folder_is_adopted(place: Place) -> None:
    folder = folder_with(place, FULL, DIFF)

    would = place.run("catalog", "adopt", "--from", str(folder), "--dry-run")
    result = place.run("catalog", "adopt", "--from", str(folder))

    assert (would.code, result.code) == (0, 0)
    assert would.out == result.out.replace("adopted:", "would be adopted:")
    assert result.out.splitlines()[0] == f"adopted: {folder}/{Path(KEY).name} as {KEY}"
    assert len(place.run("list", "--json").json["artifacts"]) == 2
    assert (place.root / "owner.json").exists()


def test_without_the_key_artifacts_are_adopted_and_the_command_says_that_records_are_not_signed(place: Place) -> None:
    place.settings["signing"] = {"key_file": str(place.folder / "gone.pem")}
    result = place.run("catalog", "adopt", "--from", str(folder_with(place, FULL)))

    assert (result.code, len(result.out.splitlines())) == (0, 1)
    fault = f"{place.folder}/gone.pem: the signing key cannot be read: No such file or directory"
    assert result.err == f"the records are not signed: {fault}\n"


def test_adopt_shows_refused_files_and_exits_3(place: Place) -> None:
    folder = folder_with(place, DIFF)

    result = place.run("catalog", "adopt", "--from", str(folder), "--json")

    assert result.code == 3
    (one,) = result.json["artifacts"]
    assert (one["became"], one["path"]) == ("refused", f"{folder}/orders-2026-11-23T03-00-00.backup")
    assert "no artifact that this differential" in one["why"]


def test_adopt_says_if_it_found_nothing(place: Place) -> None:
    result = place.run("catalog", "adopt")

    assert (result.code, result.out) == (0, f"no artifact without a record was found below {place.root}\n")


def test_adopting_is_refused_while_an_agent_runs_but_a_dry_run_is_not(place: Place) -> None:
    folder = folder_with(place, FULL)
    lock = root_lock.own(place.root)

    result = place.run("catalog", "adopt", "--from", str(folder))
    dry = place.run("catalog", "adopt", "--from", str(folder), "--dry-run")
    os.close(lock)

    assert result.code == 4
    assert "another agent has locked this storage root" in result.err
    assert dry.code == 0
    assert place.run("list", "--json").json["artifacts"] == []


def test_adopting_is_refused_on_another_clusters_volume(place: Place) -> None:
    folder = folder_with(place, FULL)
    place.run("catalog", "adopt")
    place.settings["cluster"] = "staging"

    result = place.run("catalog", "adopt", "--from", str(folder))

    assert result.code == 4
    assert place.run("list", "--json").json["artifacts"] == []


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("rebuild", "--checksums"), "--checksums"),
        (("rebuild", "--dry-run"), "--dry-run"),
        (("diff", "--set", "x"), "--set"),
        (("diff", "--from", "."), "--from"),
        (("adopt", "--place", "offsite"), "--place"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_an_option_of_another_subcommand_is_wrong_usage(place: Place, arguments: tuple[str, ...], option: str) -> None:
    result = place.run("catalog", *arguments)

    assert result.code == 2
    assert f"No such option '{option}'" in result.err


def discard(place: Place, *words: str) -> dict[str, Any]:
    result = place.run("catalog", "accept", "--place", "offsite", "--discard", "--yes", "--json", *words)
    document: dict[str, Any] = json.loads(result.out)
    assert result.code == (3 if document["held"] or document["recognised"] else 0)
    return document


def test_discard_deletes_unrecognised_records_with_their_files_and_nothing_else(
    place: Place, bucket: FilledPlace
) -> None:
    own = bucket.add(a_record(0))
    forged = [bucket.add(a_record(hour), recognised=False).key for hour in (1, 2)]

    assert discard(place, "--all") == {"place": "offsite", "discarded": forged, "held": [], "recognised": []}

    left = {one.key for one in bucket.store.list()}
    assert {own.key, record_key(own.key)} == {key for key in left if not key.startswith((".", "audit/"))} - {
        "owner.json"
    }


def test_discard_keeps_held_records_unless_they_are_included(place: Place, bucket: FilledPlace) -> None:
    forged = bucket.add(a_record(0), recognised=False)
    bucket.hold(forged)

    assert ([], [forged.key]) == (
        (kept := discard(place, "--all"))["discarded"],
        kept["held"],
    )
    assert bucket.store.stat(forged.key) is not None

    assert [forged.key] == discard(place, "--all", "--held")["discarded"]
    assert None is bucket.store.stat(hold_key(forged.key)) is bucket.store.stat(forged.key)
    assert place.run("catalog", "accept", "--all", "--held").code == 2


def test_a_discarded_record_does_not_give_up_the_copy_of_the_artifact_of_this_key(
    place: Place, bucket: FilledPlace
) -> None:
    genuine = a_record(0)
    forged = bucket.add(genuine.model_copy(update={"reason": "forged"}), recognised=False)
    deleted_before = bucket.add(a_record(1), recognised=False)
    bucket.place.record_notes.give_up(deleted_before.key)

    discard(place, "--all")

    assert (genuine,) == bucket.place.record_notes.owed((genuine, deleted_before))
    assert None is bucket.store.stat(forged.key)


def test_discard_keeps_a_copy_that_was_confirmed_since_the_records_were_listed(
    place: Place, bucket: FilledPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = bucket.add(a_record(0), recognised=False)

    @contextmanager
    def held_after_a_copy(at: CatalogPlace, **options: Any) -> Iterator[Held]:
        with hold_place(at, **options) as held:
            bucket.place.record_notes.add(copy.key, copy.to_json())
            yield held

    monkeypatch.setattr("backup_agent.cli.catalog.hold_place", held_after_a_copy)

    assert {"discarded": [], "recognised": [copy.key]}.items() <= discard(place, "--all").items()
    assert bucket.store.stat(copy.key) is not None
