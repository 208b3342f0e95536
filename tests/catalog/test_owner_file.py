"""owner.json on a volume and at a destination, and holding a place."""

import errno
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog import owner_file, tenure
from backup_agent.catalog.owner_file import check_volume
from backup_agent.catalog.place import place_of
from backup_agent.catalog.place_ownership import adopt_place, hold_place, this_volume
from backup_agent.catalog.tenure import Held, Holding
from backup_agent.cluster.saved_topology import save_topology
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.durable import LIMIT
from backup_agent.settings.model import Settings
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store
from tests import memory
from tests.builders import a_copy, a_topology, settings_with
from tests.catalog.places import with_store
from tests.stores.faulty import Does, Fault, FaultyStore
from tests.stores.memory_store import MemoryStore

PERIOD = 0.05
NEWER = {"schema": 2, "cluster": "demo", "shape": "of things to come"}


class PoorStore(MemoryStore):
    """A store without conditional writes: it overwrites any version."""

    conditional_writes = False


@dataclass
class Agent:
    """What child processes of an agent know: its settings, its volume and the saved topology."""

    root: Path
    settings: Settings

    def knows(self, system: str | None) -> "Agent":
        if system is not None:
            save_topology(self.root, a_topology(a_copy(database="system", database_id=system)))
        return self

    def hold(self, store: Store, wait: float = 0) -> Held:
        place = with_store(place_of("offsite", self.settings), store)
        vars(place)["holding"] = Holding(place.lease_folder, PERIOD)
        with hold_place(place, wait=wait) as held:
            held.check()
            return held


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Agent]:
    """Make an agent on a new volume."""

    def make(name: str = "a", system: str | None = None, cluster: str = "demo", **destination: Any) -> Agent:
        root = tmp_path / name / "backups"
        root.mkdir(parents=True)
        place = {"bucket": "backups", **destination}
        storage = {"root": str(root), "destinations": {"offsite": place}}
        settings = settings_with(cluster=cluster, requests={"folder": str(tmp_path / "requests")}, storage=storage)
        return Agent(root, settings).knows(system)

    return make


def owner_at(store: Store) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(store.read(owner_file.KEY, LIMIT))
    return content


def refusal(agent: Agent, store: Store, wait: float = 0) -> str:
    """Return the error with which an agent is refused at a store. Check that the agent wrote nothing there."""
    before = owner_at(store)
    with pytest.raises(BackupError) as refused:
        agent.hold(store, wait)

    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    assert owner_at(store) == before
    return refused.value.failure.error


def test_a_volume_gets_an_id_and_keeps_it(tmp_path: Path) -> None:
    first = check_volume(tmp_path, "demo")
    again = check_volume(tmp_path, "demo", namespace="prod", system_id="S1")

    assert first.ours.id == again.ours.id
    assert (again.foreign, again.no_deletion) == (None, None)
    stored = json.loads((tmp_path / owner_file.KEY).read_text())
    assert (stored["schema"], stored["namespace"], stored["system_id"]) == (1, "prod", "S1")


def test_facts_about_the_owner_are_kept_if_they_are_unknown_later(tmp_path: Path) -> None:
    check_volume(tmp_path, "demo", namespace="prod", system_id="S1")

    assert check_volume(tmp_path, "demo").ours.system_id == "S1"


@pytest.mark.parametrize(
    "now",
    [
        pytest.param({"cluster": "other"}, id="another cluster's name"),
        pytest.param({"namespace": "staging"}, id="another namespace"),
        pytest.param({"system_id": "S2"}, id="another cluster"),
    ],
)
def test_a_volume_of_another_agent_is_refused_with_both_owners(tmp_path: Path, now: dict[str, str]) -> None:
    facts: dict[str, Any] = {"cluster": "demo", "namespace": "prod", "system_id": "S1"}
    check_volume(tmp_path, **facts)
    before = (tmp_path / owner_file.KEY).read_bytes()

    volume = check_volume(tmp_path, **{**facts, **now})

    assert volume.foreign is not None
    assert volume.foreign == volume.no_deletion
    assert volume.foreign.reason is Reason.FOREIGN_ROOT
    for side in (*facts.values(), *now.values()):
        assert side in volume.foreign.error
    assert (tmp_path / owner_file.KEY).read_bytes() == before


def test_nothing_is_deleted_on_a_volume_that_a_newer_agent_has_used(tmp_path: Path) -> None:
    (tmp_path / owner_file.KEY).write_text(json.dumps({**NEWER, "id": "n"}))

    volume = check_volume(tmp_path, "demo")

    assert volume.ours.id == "n"
    assert volume.foreign is None
    assert volume.no_deletion is not None
    assert "schema 2" in volume.no_deletion.error


def test_a_volume_with_an_unreadable_owner_is_foreign(tmp_path: Path) -> None:
    (tmp_path / owner_file.KEY).write_text("{")

    assert check_volume(tmp_path, "demo").foreign is not None


def test_a_full_volume_without_an_id_allows_deletions_and_no_publishing(
    make: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise PermanentError(Reason.DISK_FULL, "full")

    monkeypatch.setattr("backup_agent.stores.local.LocalStore.swap", full)
    agent = make()
    with hold_place(place_of("local", agent.settings)) as held:
        assert held.may_delete
    with pytest.raises(PermanentError) as refused:
        agent.hold(MemoryStore())

    assert refused.value.failure.reason is Reason.DISK_FULL


def test_a_volume_that_cannot_be_written_is_an_error(make: Callable[..., Agent]) -> None:
    agent = make()
    (agent.root / ".agent").write_bytes(b"in the way")

    with pytest.raises(PermanentError) as refused:
        agent.hold(MemoryStore())

    assert ".agent" in refused.value.failure.error


def test_a_destination_is_owned_from_the_first_pass_on(make: Callable[..., Agent]) -> None:
    store, agent = MemoryStore("offsite"), make(system="S1")
    first, second = agent.hold(store), agent.hold(store)

    assert (first.number, second.number, second.may_delete) == (1, 2, True)
    assert owner_at(store)["id"] == this_volume(agent.settings).ours.id
    assert owner_at(store)["system_id"] == "S1"


def test_the_system_id_is_added_once_it_is_known(make: Callable[..., Agent]) -> None:
    store, agent = MemoryStore("offsite"), make()
    agent.hold(store)
    before = owner_at(store)["system_id"]
    agent.knows("S1").hold(store)

    assert (before, owner_at(store)["system_id"]) == (None, "S1")


@pytest.mark.parametrize(("one", "other"), [("S1", "S2"), (None, None), ("S1", None), (None, "S2")])
def test_a_second_cluster_with_the_same_name_is_refused(
    make: Callable[..., Agent], one: str | None, other: str | None
) -> None:
    store, first, second = MemoryStore("offsite"), make("a", one), make("b", other)
    first.hold(store)

    error = refusal(second, store)

    for agent in (first, second):
        assert this_volume(agent.settings).ours.id in error
    first.hold(store)


def test_a_cloned_volume_of_another_cluster_is_refused(make: Callable[..., Agent]) -> None:
    """The clone has the same id, but its cluster has another `system` database."""
    store, production, staging = MemoryStore("offsite"), make("a", "S1"), make("b")
    production.hold(store)
    clone(production, staging)

    assert "S2" in refusal(staging.knows("S2"), store)
    production.hold(store)


def test_a_cloned_volume_in_another_namespace_is_refused(
    make: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, production, staging = MemoryStore("offsite"), make("a"), make("b")
    monkeypatch.setenv(owner_file.NAMESPACE, "production")
    production.hold(store)
    clone(production, staging)
    monkeypatch.setenv(owner_file.NAMESPACE, "staging")

    assert "staging" in refusal(staging, store)


def clone(production: Agent, staging: Agent) -> None:
    (staging.root / owner_file.KEY).write_bytes((production.root / owner_file.KEY).read_bytes())


def test_the_place_of_a_lost_volume_of_the_same_pod_is_taken_over_at_once(make: Callable[..., Agent]) -> None:
    store, agent = MemoryStore("offsite"), make(system="S1")
    agent.hold(store)
    before = owner_at(store)["id"]
    lose_volume(agent)

    held = agent.knows("S1").hold(store)

    assert "adopted" in held.notices[0]
    assert before in held.notices[0]
    assert owner_at(store)["id"] == this_volume(agent.settings).ours.id != before
    assert agent.hold(store).notices == ()


def lose_volume(agent: Agent) -> None:
    for path in sorted(agent.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("kind", [MemoryStore, PoorStore])
def test_after_a_takeover_nothing_is_deleted_until_a_person_confirms(
    make: Callable[..., Agent], kind: type[MemoryStore]
) -> None:
    store, agent = kind("offsite"), make(system="S1", single_writer=True)
    agent.hold(store)
    before = owner_at(store)["id"]
    lose_volume(agent)
    agent.knows("S1")

    held = [agent.hold(store) for _ in range(3)]

    assert [one.may_delete for one in held] == [False] * 3
    failure = held[-1].no_deletion
    assert failure is not None
    assert (failure.reason, before in failure.error) == (Reason.FOREIGN_ROOT, True)
    assert "adopt-root --yes --place offsite" in failure.hint

    adopt_place(with_store(place_of("offsite", agent.settings), store), this_volume(agent.settings).ours)

    assert agent.hold(store).may_delete


def test_after_a_second_takeover_still_nothing_is_deleted(make: Callable[..., Agent]) -> None:
    store, agent = MemoryStore("offsite"), make(system="S1")
    agent.hold(store)
    for _ in range(2):
        lose_volume(agent)
        agent.knows("S1").hold(store)

    assert not agent.hold(store).may_delete


def test_a_takeover_is_noted_before_it_happens(make: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    store, agent = MemoryStore("offsite"), make(system="S1")
    agent.hold(store)
    before = owner_at(store)
    lose_volume(agent)
    agent.knows("S1")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("backup_agent.durable.write", full)
    with pytest.raises(BackupError):
        agent.hold(store)

    assert owner_at(store) == before


def test_the_place_of_another_pod_is_taken_over_once_its_agent_no_longer_renews_the_lease(
    make: Callable[..., Agent],
) -> None:
    """The other agent may be alive by mistake, so its lease is watched, even a released one."""
    store, former, agent = MemoryStore("offsite"), make("a", "S1"), make("b", "S1")
    former.hold(store)
    refusal(agent, store)
    former.hold(store)
    refusal(agent, store)

    agent.hold(store, wait=20 * PERIOD)

    assert owner_at(store)["id"] == this_volume(agent.settings).ours.id
    assert "it belongs to" in refusal(former, store, wait=10 * PERIOD)


def test_without_the_system_id_a_place_is_taken_over_only_by_adopt_root(make: Callable[..., Agent]) -> None:
    store, former, agent = MemoryStore("offsite"), make("a"), make("b")
    former.hold(store)
    assert "adopt-root" in refusal_hint(agent, store)

    adopt_place(with_store(place_of("offsite", agent.settings), store), this_volume(agent.settings).ours)

    agent.hold(store)
    refusal(former, store)


def refusal_hint(agent: Agent, store: Store) -> str:
    with pytest.raises(BackupError) as refused:
        agent.hold(store)
    return refused.value.failure.hint


def test_nothing_is_published_from_a_foreign_volume(make: Callable[..., Agent]) -> None:
    store, agent = MemoryStore("offsite"), make()
    check_volume(agent.root, "other")

    with pytest.raises(PermanentError) as refused:
        agent.hold(store)

    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    assert store.look(owner_file.KEY, LIMIT) is None


@pytest.mark.parametrize("ours", [True, False])
def test_nothing_is_deleted_or_overwritten_at_a_place_of_a_newer_agent(make: Callable[..., Agent], ours: bool) -> None:
    store, agent = MemoryStore("offsite"), make()
    identity = this_volume(agent.settings).ours.id if ours else "another"
    store.create(owner_file.KEY, json.dumps({**NEWER, "id": identity}).encode())

    if ours:
        held = agent.hold(store)
        assert held.number == 1
        assert not held.may_delete
    else:
        refusal(agent, store)
    assert owner_at(store)["schema"] == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"schema": "x"}', b'{"schema": 1}', b"[" * 100_000],
    ids=["nothing", "list", "schema", "empty", "nested"],
)
def test_an_unreadable_owner_is_foreign(make: Callable[..., Agent], content: bytes) -> None:
    store = MemoryStore("offsite")
    store.create(owner_file.KEY, content)

    with pytest.raises(PermanentError) as refused:
        make().hold(store)

    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    assert "`backup-agent adopt-root --yes --place 'offsite'` writes it again" in refused.value.failure.advice
    assert store.read(owner_file.KEY, LIMIT) == content


@pytest.mark.parametrize("vouched", [False, True])
def test_without_conditional_writes_nothing_is_deleted_unless_single_writer_is_set(
    make: Callable[..., Agent], vouched: bool
) -> None:
    store, agent = PoorStore("offsite"), make(single_writer=vouched)

    held = agent.hold(store)

    assert held.number is None
    assert held.may_delete is vouched
    assert len(held.notices) == (0 if vouched else 1)
    assert store.look(tenure.KEY, LIMIT) is None
    assert owner_at(store)["id"] == this_volume(agent.settings).ours.id


def test_without_conditional_writes_a_place_of_another_pod_is_not_taken_over(make: Callable[..., Agent]) -> None:
    store = PoorStore("offsite")
    make("a", "S1").hold(store)

    refusal(make("b", "S1"), store)


def test_the_volume_needs_no_lease(make: Callable[..., Agent]) -> None:
    agent = make()
    with hold_place(place_of("local", agent.settings)) as held:
        held.check()
        held.confirm()

    assert (held.number, held.may_delete) == (None, True)


def test_a_pass_sends_four_requests_for_ownership(make: Callable[..., Agent]) -> None:
    """With S3, the fourth request tests whether conditional overwrites are supported."""
    store, agent = FaultyStore(MemoryStore("offsite")), make(system="S1")
    agent.hold(store)
    store.calls.clear()
    agent.hold(store)

    assert dict(store.calls) == {"look": 1, "swap": 2}


def test_if_two_agents_claim_a_vacant_place_one_gets_it(make: Callable[..., Agent]) -> None:
    one, other = make("a"), make("b")

    class Overtaken(MemoryStore):
        def look(self, key: str, limit: int) -> Any:
            seen = super().look(key, limit)
            if key == owner_file.KEY and seen is None:
                super().swap(owner_file.KEY, this_volume(other.settings).ours.to_json(), None)
            return seen

    store = Overtaken("offsite")
    with pytest.raises(PermanentError) as refused:
        one.hold(store)

    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    assert owner_at(store)["id"] == this_volume(other.settings).ours.id


@pytest.mark.parametrize("operation", ["look", "swap"])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("does", list(Does)[:3])
def test_after_any_failure_the_next_pass_claims_the_place(
    make: Callable[..., Agent], operation: str, nth: int, does: Does
) -> None:
    store, agent = FaultyStore(MemoryStore("offsite"), Fault(operation, does, nth)), make(system="S1")
    with suppress(BackupError):
        agent.hold(store)
    store.revive()

    agent.hold(store)

    assert Owner.from_json(store.read(owner_file.KEY, LIMIT)).id == this_volume(agent.settings).ours.id


def test_an_owner_file_that_is_too_large_stops_publishing_and_can_be_taken_over(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    memory.sparse(tmp_path / owner_file.KEY, 2**30)

    found = owner_file.look(store)
    volume = owner_file.check_volume(tmp_path, "demo")

    assert (found.owner, found.fault) == (None, "is larger than 1048576 bytes")
    assert volume.foreign is not None
    owner_file.adopt(store, volume.ours.model_copy(update={"id": "ours"}))
    assert owner_file.look(store).owner is not None


def test_a_lease_that_is_too_large_belongs_to_another_program(tmp_path: Path) -> None:
    store = MemoryStore()
    store.create(tenure.KEY, b"x" * (2**20 + 1))
    ours = owner_file.check_volume(tmp_path, "demo").ours

    with (
        pytest.raises(tenure.HeldByAnotherError, match="newer agent or by another program"),
        Holding(tmp_path).hold(store, ours),
    ):
        pytest.fail("it was held")
