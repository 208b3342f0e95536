"""Adopting artifacts of other tools from any folder, also by a process that dies at each step."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from backup_agent.catalog import adopt as module
from backup_agent.catalog import volume_records
from backup_agent.catalog.adopt import Adopting, AdoptOutcome, Result
from backup_agent.catalog.damage_marks import mark
from backup_agent.catalog.diff import diff
from backup_agent.catalog.journal import Doing, Intent
from backup_agent.catalog.place import place_of
from backup_agent.catalog.recognised import recognised_records
from backup_agent.core.artifacts.chains import live_chain
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, SetName, artifact_name
from backup_agent.core.artifacts.records import Record
from backup_agent.settings.model import Settings
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.local import LocalStore
from tests.artifact.writer import Written, artifact, split
from tests.builders import ORDERS, settings_tree
from tests.catalog.places import place_at, tree
from tests.jobs.killed import LONGEST, Dying

NOW = datetime(2026, 12, 1, tzinfo=UTC)
TAKEN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
FULL = Written(flags=7)
DIFF = replace(FULL, flags=3, lowest=11, highest=20, taken=TAKEN + timedelta(hours=1))
SECOND = replace(FULL, flags=3, lowest=21, highest=30, taken=TAKEN + timedelta(hours=2))


class World:
    """A volume, its settings, and artifacts in any folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "backups"
        self.root.mkdir()

    def tree(self, **storage: Any) -> dict[str, Any]:
        return settings_tree(sets=["old"], storage={"root": str(self.root), **storage})

    def settings(self, **storage: Any) -> Settings:
        return Settings.model_validate(self.tree(**storage))

    def put(self, where: str, facts: Written = FULL, *, content: bytes | None = None, name: str | None = None) -> Path:
        """Write an artifact into a folder, named as neo4j-admin would."""
        path = self.folder / where / (name or artifact_name(DatabaseName(facts.database.decode()), facts.taken))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(artifact(facts) if content is None else content)
        return path

    def adopt(self, source: str | None = None, set_name: str | None = None, *, dry_run: bool = False) -> list[Result]:
        where = None if source is None else self.folder / source
        return list(
            Adopting(
                self.settings(), NOW, where, None if set_name is None else SetName(set_name), dry_run=dry_run
            ).run()
        )

    def recorded(self) -> dict[str, Record]:
        return {
            record.key: record
            for folder in volume_records.databases(self.root)
            for record in recognised_records(place_of(VOLUME, self.settings()), *folder)
        }


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return World(tmp_path)


def key(facts: Written, set_name: str = "default") -> str:
    database = facts.database.decode()
    return f"{set_name}/{database}/{artifact_name(DatabaseName(database), facts.taken)}"


def test_the_artifacts_of_a_plain_folder_become_a_chain(world: World) -> None:
    for facts in (SECOND, FULL, DIFF):
        world.put("elsewhere", facts)

    results = world.adopt("elsewhere")

    assert [(one.became, one.key) for one in results] == [
        (AdoptOutcome.ADOPTED, key(facts)) for facts in (FULL, DIFF, SECOND)
    ]
    recorded = world.recorded()
    assert [recorded[key(facts)].parent for facts in (FULL, DIFF, SECOND)] == [None, key(FULL), key(DIFF)]
    chain = live_chain(recorded.values())
    assert chain is not None
    assert [record.key for record in chain.records] == [key(FULL), key(DIFF), key(SECOND)]
    assert list(diff(place_at(world.root), checksums=True)) == []


def test_the_record_has_the_times_of_the_artifact_not_of_the_adoption(world: World) -> None:
    path = world.put("elsewhere")
    world.adopt("elsewhere")
    record = world.recorded()[key(FULL)]

    assert (record.type_reason, record.request, record.reason) == ("adopted", "catalog adopt", f"found at {path}")
    assert record.finished == record.started == record.header.taken == TAKEN
    assert (record.exit_code, record.admin_version, record.source) == (None, None, None)
    assert record.size == path.stat().st_size


def test_a_folder_of_the_helm_chart_is_adopted_without_its_reports(world: World) -> None:
    neo4j = world.put("backups", replace(FULL, database=b"neo4j", database_id=UUID(int=1)))
    orders = world.put("backups")
    report = world.root / f"{orders.name}.report"
    report.mkdir()
    (report / "consistency.report").write_text("fine")
    (world.root / f"{orders.name}.report.tar.gz").write_bytes(b"tar")
    before = tree(world.root)

    results = world.adopt()

    assert {one.became for one in results} == {AdoptOutcome.ADOPTED}
    assert set(world.recorded()) == {f"default/neo4j/{neo4j.name}", key(FULL)}
    after = tree(world.root)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("folder", "options", "expected"),
    [
        pytest.param("backups", {}, "default", id="at the root"),
        pytest.param("backups/old", {}, "old", id="in a set's folder, as the predecessor left it"),
        pytest.param("backups/old/orders", {}, "old", id="in the folders of its set and database"),
        pytest.param("backups/2024/deep/er", {}, "default", id="deep"),
        pytest.param("backups/orders", {}, "default", id="in a folder of its database"),
        pytest.param("elsewhere/old", {"source": "elsewhere"}, "default", id="outside"),
        pytest.param("elsewhere", {"source": "elsewhere", "set_name": "old"}, "old", id="outside, into a set"),
        pytest.param("backups/old/orders", {"set_name": "default"}, "default", id="in place, into another set"),
    ],
)
def test_an_artifact_gets_the_set_of_its_path_or_of_the_option(
    world: World, folder: str, options: dict[str, Any], expected: str
) -> None:
    path = world.put(folder)
    before = (path.read_bytes(), path.stat().st_ino)

    world.adopt(**options)

    assert set(world.recorded()) == {key(FULL, expected)}
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert (world.root / key(FULL, expected)).stat().st_ino == path.stat().st_ino


@pytest.mark.parametrize("set_name", ["undeclared", "../etc", ".agent"])
def test_artifacts_of_an_undeclared_set_are_refused(world: World, set_name: str) -> None:
    world.put("elsewhere")
    before = tree(world.folder)

    (result,) = world.adopt("elsewhere", set_name)

    assert result.became is AdoptOutcome.REFUSED
    assert f"the set {set_name} is not declared" in result.why
    assert tree(world.folder) == before


def test_an_orphan_in_its_place_gets_a_record(world: World) -> None:
    path = world.put("backups/default/orders")

    (result,) = world.adopt()

    assert (result.became, result.key) == (AdoptOutcome.ADOPTED, key(FULL))
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, f"{path.name}.json"]


def test_a_file_with_another_name_gets_the_name_that_neo4j_would_give(world: World) -> None:
    odd = world.put("elsewhere", name="before the upgrade.backup")

    world.adopt("elsewhere")

    assert (world.root / key(FULL)).read_bytes() == odd.read_bytes()
    assert world.recorded()[key(FULL)].files[0].name == artifact_name(ORDERS, TAKEN)


def test_a_split_artifact_is_adopted_with_its_parts(world: World) -> None:
    content = artifact(FULL)
    manifest = world.folder / "elsewhere" / "odd.backup"
    manifest.parent.mkdir()
    parts = split(manifest, content, 24 + len(content) // 3)

    (result,) = world.adopt("elsewhere")

    assert result.became is AdoptOutcome.ADOPTED
    record = world.recorded()[key(FULL)]
    stem = record.files[0].name
    assert [file.name for file in record.files] == [stem, *(f"{stem}.{n}" for n in range(1, len(parts)))]
    assert list(diff(place_at(world.root), checksums=True)) == []


def damaged_content() -> bytes:
    data = bytearray(artifact(FULL))
    data[len(data) // 2] ^= 1
    return bytes(data)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut": (lambda: artifact(FULL)[:-20], "odd.backup"),
    "flipped": (damaged_content, "odd.backup"),
    "empty": (lambda: b"", "odd.backup"),
    "no backup": (lambda: b"a text with the name of a backup", "the magic of a backup expected"),
    "no name of a database": (lambda: artifact(replace(FULL, database=b"../etc")), "'../etc' is not the name of a"),
    "a differential alone": (lambda: artifact(DIFF), "this differential (transactions 11 to 20) continues is recorded"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_artifact_that_cannot_be_restored_is_refused_with_a_reason(world: World, name: str) -> None:
    content, why = REFUSED[name]
    odd = world.put("elsewhere", content=content(), name="odd.backup")
    good = world.put("elsewhere", replace(FULL, database=b"neo4j"))
    before = tree(world.folder / "elsewhere")

    results = {one.path: one for one in world.adopt("elsewhere")}

    assert results[odd].became is AdoptOutcome.REFUSED
    assert why in results[odd].why
    assert results[good].became is AdoptOutcome.ADOPTED
    assert tree(world.folder / "elsewhere") == before
    assert len(world.recorded()) == 1


def test_a_differential_of_a_refused_artifact_is_refused(world: World) -> None:
    world.put("elsewhere", content=damaged_content())
    world.put("elsewhere", DIFF)
    world.put("elsewhere", SECOND)

    assert [one.became for one in world.adopt("elsewhere")] == [AdoptOutcome.REFUSED] * 3
    assert world.recorded() == {}


def test_a_differential_of_a_recorded_artifact_is_adopted(world: World) -> None:
    world.put("first")
    world.put("second", DIFF)
    world.adopt("first")

    assert [one.became for one in world.adopt("second")] == [AdoptOutcome.ADOPTED]
    assert world.recorded()[key(DIFF)].parent == key(FULL)


@pytest.mark.parametrize("harm", ["marked", "gone"])
def test_a_differential_of_a_damaged_artifact_is_refused(world: World, harm: str) -> None:
    world.put("first")
    world.put("second", DIFF)
    world.adopt("first")
    if harm == "marked":
        volume = place_at(world.root)
        mark(volume, Keyring(volume.settings), key(FULL), found="SHA-256 differs", file=None, now=NOW)
    else:
        (world.root / key(FULL)).unlink()

    assert [one.became for one in world.adopt("second")] == [AdoptOutcome.REFUSED]


def test_a_differential_that_overlaps_its_full_is_adopted(world: World) -> None:
    world.put("elsewhere")
    world.put("elsewhere", replace(DIFF, lowest=9))

    assert [one.became for one in world.adopt("elsewhere")] == [AdoptOutcome.ADOPTED] * 2
    assert world.recorded()[key(DIFF)].parent == key(FULL)


def test_if_two_parents_are_possible_the_one_without_overlap_is_chosen(world: World) -> None:
    world.put("elsewhere")
    world.put("elsewhere", replace(FULL, highest=15, taken=TAKEN + timedelta(minutes=30)))
    world.put("elsewhere", DIFF)
    world.adopt("elsewhere")

    assert world.recorded()[key(DIFF)].parent == key(FULL)


def test_a_full_comes_before_a_differential_of_the_same_second(world: World) -> None:
    world.put("elsewhere")
    world.put("elsewhere", replace(DIFF, taken=TAKEN), name="orders-2026-11-23T01-59-59.backup")

    assert [one.became for one in world.adopt("elsewhere")] == [AdoptOutcome.ADOPTED] * 2


def test_an_intent_names_only_files_that_the_agent_has_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put("elsewhere")
    world.put("backups/old/customers", replace(FULL, database=b"customers"))

    def die(_store: LocalStore, key: str, _content: bytes) -> None:
        raise KeyboardInterrupt(key)

    monkeypatch.setattr(LocalStore, "create", die)
    for source in ("elsewhere", None):
        with pytest.raises(KeyboardInterrupt):
            world.adopt(source)

    assert [(one.key, one.doing) for one in place_at(world.root).journal] == [(key(FULL), Doing.PUBLISHING)]


def test_adopting_again_adopts_nothing(world: World) -> None:
    world.put("backups")
    world.put("backups", DIFF)
    world.put("backups/default/customers", replace(FULL, database=b"customers"))
    world.adopt()
    before = tree(world.root)

    results = world.adopt()

    assert [(one.became, one.key) for one in results] == [
        (AdoptOutcome.RECORDED, key(FULL)), (AdoptOutcome.RECORDED, key(DIFF)),
    ]  # fmt: skip
    assert tree(world.root) == before


def test_the_same_artifact_under_two_names_is_recorded_once(world: World) -> None:
    world.put("elsewhere")
    world.put("elsewhere/again", name="copy.backup")

    assert [one.became for one in world.adopt("elsewhere")] == [AdoptOutcome.ADOPTED, AdoptOutcome.RECORDED]
    assert len(world.recorded()) == 1


def test_another_artifact_with_a_recorded_name_is_refused(world: World) -> None:
    world.put("first")
    world.adopt("first")
    world.put("second", replace(FULL, database_id=UUID(int=3)))
    before = tree(world.root)

    (result,) = world.adopt("second")

    assert (result.became, result.key) == (AdoptOutcome.REFUSED, key(FULL))
    assert "another artifact is recorded under this name" in result.why
    assert tree(world.root) == before


def test_a_foreign_file_in_the_place_of_an_artifact_is_not_overwritten(world: World) -> None:
    strange = world.put("backups/default/orders", content=b"strange")
    world.put("elsewhere")

    (result,) = world.adopt("elsewhere")

    assert result.became is AdoptOutcome.REFUSED
    assert strange.read_bytes() == b"strange"
    assert world.recorded() == {}
    assert list(place_at(world.root).journal) == []  # because of an intent the file would be deleted later


def test_an_unreadable_record_is_not_overwritten(world: World) -> None:
    (world.root / "default/orders").mkdir(parents=True)
    (world.root / record_key(key(FULL))).write_text("{")
    world.put("elsewhere")
    before = tree(world.root)

    assert [one.became for one in world.adopt("elsewhere")] == [AdoptOutcome.REFUSED]
    assert tree(world.root) == before


def test_an_artifact_whose_deletion_has_begun_is_not_adopted(world: World) -> None:
    world.put("backups/default/orders")
    journal = place_at(world.root).journal
    journal.begin(Intent(key=key(FULL), doing=Doing.DELETING, files=(key(FULL),), since=NOW))

    (result,) = world.adopt()

    assert result.became is AdoptOutcome.REFUSED
    assert "deleting" in result.why


@pytest.mark.parametrize("hidden", [".aside", ".staging/run-1/default/orders", ".agent", "default/.x", "lost+found"])
def test_hidden_files_and_folders_are_ignored(world: World, hidden: str) -> None:
    world.put(f"backups/{hidden}")

    assert world.adopt() == []


def test_links_are_not_followed(world: World) -> None:
    path = world.put("elsewhere")
    (world.root / path.name).symlink_to(path)
    (world.root / "folder").symlink_to(path.parent)

    assert world.adopt() == []


def test_a_dry_run_has_the_same_results_and_changes_nothing(world: World) -> None:
    for facts in (FULL, DIFF, SECOND):
        world.put("elsewhere", facts)
    world.put("elsewhere", content=b"strange", name="odd.backup")
    before = tree(world.folder)

    dry = world.adopt("elsewhere", dry_run=True)

    assert tree(world.folder) == before
    assert [
        one._replace(became=AdoptOutcome.ADOPTED) if one.became is AdoptOutcome.WOULD_BE else one for one in dry
    ] == (world.adopt("elsewhere"))


@pytest.fixture(name="other_file_system")
def _other_file_system(tmp_path: Path) -> Iterator[Path]:
    own = tmp_path.stat().st_dev
    others = (place for place in ("/dev/shm", tempfile.gettempdir()) if Path(place).is_dir())
    other = next((place for place in others if Path(place).stat().st_dev != own), None)
    if other is None:
        pytest.skip("no second file system here")
    with tempfile.TemporaryDirectory(prefix="adopt-", dir=other) as name:
        yield Path(name)


def test_an_artifact_on_another_file_system_is_copied(world: World, other_file_system: Path) -> None:
    path = other_file_system / artifact_name(ORDERS, TAKEN)
    path.write_bytes(artifact(FULL))

    assert [one.became for one in Adopting(world.settings(), NOW, other_file_system).run()] == [AdoptOutcome.ADOPTED]
    assert (world.root / key(FULL)).read_bytes() == path.read_bytes()
    assert [one.became for one in Adopting(world.settings(), NOW, other_file_system).run()] == [AdoptOutcome.RECORDED]


@pytest.fixture(name="dying")
def _dying() -> Iterator[Dying]:
    with Dying(kinds=False) as dying:
        yield dying


@pytest.mark.process
def test_an_adoption_killed_at_any_step_is_finished_by_the_next(tmp_path: Path, dying: Dying) -> None:
    for step in range(LONGEST):
        folder = tmp_path / str(step)
        folder.mkdir()
        world = World(folder)
        world.put("backups")
        world.put("backups", DIFF)
        world.put("backups/old/customers", replace(FULL, database=b"customers"))
        before = tree(world.root)

        died = dying.order("adopt", world.root, step, {"settings": world.tree(), "now": NOW.isoformat()})["died"]
        for record in world.recorded().values():
            for file in record.files:
                assert (world.root / record.set / record.database / file.name).stat().st_size == file.size
        results = world.adopt()

        assert {one.became for one in results} <= {AdoptOutcome.ADOPTED, AdoptOutcome.RECORDED}
        assert set(world.recorded()) == {
            key(FULL), key(DIFF), key(replace(FULL, database=b"customers"), "old"),
        }  # fmt: skip
        assert list(diff(place_at(world.root), checksums=True))[2:] == []
        assert list(place_at(world.root).journal) == []
        after = tree(world.root)
        assert {name: after[name] for name in before} == before
        if not died:
            break

    assert step > 15


def test_the_request_in_the_record_of_an_adopted_artifact_cannot_be_the_id_of_a_request() -> None:
    from backup_agent.core.artifacts.names import REQUEST_ID  # noqa: PLC0415  only for this test

    assert REQUEST_ID.fullmatch(module.REQUEST) is None
