"""`adopt-root`: showing the owner of each place, and taking over."""

import json
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.owner_file import check_volume
from tests.cli.conftest import Place
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS


def owner_of(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "owner.json").read_text())
    return content


def test_the_agents_own_volume_is_shown_as_ours(place: Place) -> None:
    result = place.run("adopt-root")

    assert result.code == 0
    assert result.out.splitlines()[1].endswith("yes")


def test_without_yes_the_volume_of_another_agent_is_shown_and_left_unchanged(place: Place) -> None:
    check_volume(place.root, "other")
    before = owner_of(place.root)
    result = place.run("adopt-root")

    assert result.code == 4
    assert f"{before['id']} (cluster other" in result.out
    assert "--yes" in result.err
    assert owner_of(place.root) == before


def test_a_volume_that_is_taken_over_gets_a_new_id(place: Place) -> None:
    check_volume(place.root, "other")
    before = owner_of(place.root)
    result = place.run("adopt-root", "--yes", "--json")

    assert result.code == 0
    assert [one["adopted"] for one in result.json["places"]] == [True]
    assert owner_of(place.root)["cluster"] == "demo"
    assert owner_of(place.root)["id"] != before["id"]
    assert place.run("adopt-root").code == 0


def test_the_settings_may_forbid_to_take_over(place: Place) -> None:
    check_volume(place.root, "other")
    before = owner_of(place.root)
    place.settings["requests"]["allow"] = {"adopt_root": False}

    result = place.run("adopt-root", "--yes")

    assert (result.code, owner_of(place.root)) == (1, before)
    assert "requests.allow.adopt_root is false. To allow it, set it to true" in result.err
    assert place.run("adopt-root").code == 4


def test_a_volume_whose_owner_cannot_be_read_can_be_taken_over(place: Place) -> None:
    (place.root / "owner.json").write_text("{")

    assert place.run("adopt-root").code == 4
    assert place.run("adopt-root", "--yes").code == 0
    assert owner_of(place.root)["cluster"] == "demo"


@pytest.mark.parametrize("owner", [{"schema": 2, "id": "x", "cluster": "other"}, {"schema": 2}])
def test_a_place_of_a_newer_agent_is_never_taken_over(place: Place, owner: dict[str, Any]) -> None:
    (place.root / "owner.json").write_text(json.dumps(owner))
    result = place.run("adopt-root", "--yes")

    assert result.code == 4
    assert "schema 2" in result.err
    assert owner_of(place.root) == owner


def test_a_place_that_is_not_in_the_settings_is_an_error(place: Place) -> None:
    result = place.run("adopt-root", "--place", "nowhere")

    assert result.code == 1
    assert "nowhere" in result.err


@pytest.mark.components
def test_a_destination_is_taken_over(
    place: Place, seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ADMIN.use(monkeypatch)
    place.settings["storage"]["destinations"] = {"offsite": seaweedfs.place(tmp_path.name)}
    there = {"schema": 1, "id": "z", "cluster": "demo", "system_id": "Z"}
    key = f"{tmp_path.name}/demo/owner.json"
    seaweedfs.client().put_object(Bucket=BUCKET, Key=key, Body=json.dumps(there).encode())

    shown = place.run("adopt-root", "--json")
    taken = place.run("adopt-root", "--yes", "--place", "offsite")

    assert shown.code == 4
    assert [one["ownership"] for one in shown.json["places"]] == ["ours", "foreign"]
    assert taken.code == 0
    now = json.loads(seaweedfs.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert now["id"] == owner_of(place.root)["id"]
