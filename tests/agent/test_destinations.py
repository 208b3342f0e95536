"""Destinations that fail: no backup and no other destination waits for them, and every request is answered."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.agent.bucket import WARNED, destination, stored
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
from tests.polling import until
from tests.stores.fault_proxy import Fault, FaultProxy

FAULTS = {
    "hangs": Fault("^", "silence", times=None),
    "refuses": Fault("^", "refuse", status=403, code="AccessDenied", times=None),
    "throttles": Fault("^", "refuse", status=503, code="SlowDown", times=None),
}


@pytest.fixture(name="proxy")
def _proxy(seaweedfs: SeaweedFS) -> Iterator[FaultProxy]:
    with FaultProxy(int(seaweedfs.endpoint_url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture(name="pair")
def _pair(live: Live, seaweedfs: SeaweedFS, proxy: FaultProxy, tmp_path: Path) -> Live:
    """A live agent with two destinations, one of them behind the proxy."""
    places = {name: destination(seaweedfs, tmp_path / f"{tmp_path.name}-{name}") for name in ("bad", "good")}
    places["bad"]["endpoint_url"] = proxy.endpoint_url
    live.settings["storage"]["destinations"] = places
    live.settings["limits"] = {"copy_wait": "20s"}
    live.environ = KEYS
    return live


def copied(live: Live, database: str, place: str, *, request: str | None = None) -> bool:
    """Return whether the answer to a request, by default named like the database, says that a copy is stored."""
    result = live.answer_of(request or database).get("databases", {}).get(database, {})
    return bool(result.get("copies", {}).get(place) == "stored")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=name, marks=[pytest.mark.nightly] if name == "throttles" else [])
        for name, fault in FAULTS.items()
    ],
)
def test_a_destination_that_fails_delays_no_backup_and_no_other_destination(
    pair: Live, seaweedfs: SeaweedFS, proxy: FaultProxy, tmp_path: Path, fault: Fault
) -> None:
    proxy.inject(fault)
    pair.start()
    for name in ("orders", "neo4j"):
        pair.drop(f"{name}.request", id=name, database=name)
    for name in ("orders", "neo4j"):
        until(partial(copied, pair, name, "good"), f"copy of {name} at the other destination")
    answers = [pair.final(name, patience=90) for name in ("orders", "neo4j")]

    assert [(answer["state"], answer["reason"]) for answer in answers] == [WARNED] * 2
    assert [one["copies"] for answer in answers for one in answer["databases"].values()] == [
        {"bad": "owed", "good": "stored"}
    ] * 2
    proxy.heal()
    pair.write_settings(sets=["weekly"])  # after a change of the settings the next try is at once
    until(
        lambda: len(stored(seaweedfs, tmp_path / f"{tmp_path.name}-bad")) == 4, "copies that were missing", patience=90
    )


def test_a_restart_while_copies_are_awaited_loses_no_answer(pair: Live, proxy: FaultProxy) -> None:
    pair.settings["limits"] = {"copy_wait": "10m"}
    pair.start()
    until(lambda: pair.status()["places"]["bad"].get("pruned"), "first pass of retention")
    proxy.inject(FAULTS["hangs"])
    pair.drop(id="one", database="orders")
    pair.until_stage("one", "copies")
    until(partial(copied, pair, "orders", "good", request="one"), "first copy")
    assert pair.end() == 0
    ended = pair.answer_of("one")
    proxy.heal()
    pair.start()
    answer = pair.final("one")

    assert (ended["state"], ended["databases"]["orders"]["outcome"]) == ("running", "recorded")
    assert (answer["state"], answer["databases"]["orders"]["attempts"]) == ("succeeded", 1)
    assert answer["databases"]["orders"]["copies"] == {"bad": "stored", "good": "stored"}
    assert len(pair.records()) == 1


def test_a_destination_removed_while_its_copy_is_awaited_ends_the_wait(pair: Live, proxy: FaultProxy) -> None:
    pair.settings["limits"] = {"copy_wait": "10m"}
    pair.start()
    until(lambda: pair.status()["places"]["bad"].get("pruned"), "first pass of retention")
    proxy.inject(FAULTS["hangs"])
    pair.drop(id="one", database="orders")
    pair.until_stage("one", "copies")
    pair.settings["storage"]["destinations"].pop("bad")
    pair.write_settings()
    answer = pair.final("one")

    assert (answer["state"], answer["reason"]) == WARNED
    assert answer["databases"]["orders"]["copies"] == {"bad": "owed", "good": "stored"}
    assert "the settings have no destination bad any more" in answer["error"]


def test_giving_up_the_copies_of_a_destination_ends_its_pass_and_the_wait(pair: Live, proxy: FaultProxy) -> None:
    pair.settings["limits"] = {"copy_wait": "10m"}
    pair.start()
    until(lambda: pair.status()["places"]["bad"].get("pruned"), "first pass of retention")
    proxy.inject(FAULTS["hangs"])
    pair.drop(id="one", database="orders")
    pair.until_stage("one", "copies")
    until(lambda: [run for run in pair.status()["running"] if run.get("destination") == "bad"], "pass that hangs")
    dropped = pair.ask("p", action="prune", place="local", force=True, drop_owed="bad")
    answer = pair.final("one")

    assert (dropped["state"], dropped["places"]["local"]["dropped"]) == ("succeeded", 1)
    assert (answer["state"], answer["reason"]) == WARNED
    assert "has given it up" in answer["error"]


def test_a_request_at_a_destination_waits_for_one_artifact_and_not_for_all(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    live.settings["storage"].pop("destinations", None)
    live.change(lambda cluster: cluster.with_database("orders", store_bytes=2 << 20))
    live.start()
    for number in range(3):
        live.ask(f"r{number}", database="orders", type="FULL")
        live.commit()
    assert live.end() == 0
    live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path, bandwidth="512KiB")}
    live.environ = KEYS
    live.start()
    until(lambda: [run for run in live.status()["running"] if run.get("bytes")], "copy under way", patience=60)
    planned = live.ask("p", action="prune", place="offsite", dry_run=True)

    assert planned["state"] == "succeeded"
    assert 0 < live.status()["destinations"]["offsite"]["owed"] < 3
    until(lambda: not live.status()["destinations"]["offsite"]["owed"], "all copies", patience=60)
