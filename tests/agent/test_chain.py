"""FULL or DIFF, decided with a reason, and a FULL in the same run if a DIFF fails."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backup_agent.standins.cluster import Cluster
from tests.agent.live import Live
from tests.polling import until


def back_up(live: Live, **content: Any) -> dict[str, Any]:
    """Back up `orders` once more. Return its result in the answer."""
    answer = live.ask(database="orders", **content)
    result: dict[str, Any] = answer["databases"]["orders"]
    return result | {"state": answer["state"]}


def types(live: Live) -> list[tuple[str, str]]:
    return [(record["type"], record["type_reason"]) for record in live.records()]


def test_differentials_continue_the_chain(live: Live) -> None:
    live.start()
    back_up(live)
    for _ in range(2):
        live.commit()
        back_up(live)
    records = live.records()

    assert types(live) == [("FULL", "no_chain"), ("DIFF", "chain_continues"), ("DIFF", "chain_continues")]
    assert [record["parent"] for record in records] == [None, records[0]["key"], records[1]["key"]]
    assert records[2]["header"]["lowest"] == records[1]["header"]["highest"] + 1
    assert live.metric("neo4j_backup_chain_length", database="orders") == 3


def test_an_empty_differential_does_not_change_the_chain(live: Live) -> None:
    live.start()
    back_up(live)
    live.commit(count=0)
    empty = back_up(live, type="DIFF")
    live.commit()
    back_up(live, type="DIFF")
    records = live.records()

    assert (empty["state"], empty["type"]) == ("succeeded", "DIFF")
    assert (records[1]["header"]["lowest"], records[1]["header"]["highest"]) == (0, 0)
    assert types(live)[2] == ("DIFF", "asked")
    assert records[2]["parent"] == records[0]["key"]


def test_a_first_differential_may_overlap_its_full_since_2026_02(live: Live) -> None:
    live.start()
    back_up(live)
    live.commit()
    live.fault({"do": "overlap", "command": "backup", "transactions": 3})
    result = back_up(live, type="DIFF")

    assert (result["state"], result["type"]) == ("succeeded", "DIFF")
    assert live.records()[1]["parent"] == live.records()[0]["key"]


@pytest.mark.parametrize(
    ("fault", "reason", "aside"),
    [
        pytest.param({"do": "logs_pruned"}, "diff_failed", 0, id="logs pruned"),
        pytest.param({"do": "gap", "transactions": 2}, "diff_does_not_continue", 1, id="gap"),
        pytest.param({"do": "wrong_store_id", "type": "DIFF"}, "store_changed", 1, id="another store"),
        pytest.param({"do": "wrong_database_id", "type": "DIFF"}, "database_recreated", 1, id="another database"),
    ],
)
def test_a_full_follows_in_the_same_run_if_a_differential_fails(
    live: Live, fault: dict[str, Any], reason: str, aside: int
) -> None:
    live.start()
    back_up(live)
    live.commit()
    live.fault({**fault, "command": "backup"})
    result = back_up(live, type="DIFF")

    assert (result["state"], result["type"], result["type_reason"]) == ("succeeded", "FULL", reason)
    assert types(live) == [("FULL", "no_chain"), ("FULL", reason)]
    assert live.metric("neo4j_backup_full_promotions_total", database="orders", reason=reason) == 1
    set_aside = list((live.root / ".aside").iterdir()) if aside else []
    assert len(set_aside) == aside
    live.fault()
    live.commit()
    assert back_up(live)["type_reason"] == "chain_continues"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda cluster: cluster.with_database_recreated("orders"), "database_recreated", id="recreated"),
        pytest.param(lambda cluster: _at_version(cluster, "5.26.31"), "version_changed", id="another line"),
    ],
)
def test_a_full_begins_a_new_chain_if_the_old_one_cannot_be_continued(live: Live, change: Any, reason: str) -> None:
    live.start()
    back_up(live)
    live.commit()
    assert live.end() == 0
    live.change(change)
    live.start()
    result = back_up(live, type="DIFF")

    assert (result["state"], result["type"], result["type_reason"]) == ("succeeded", "FULL", reason)


def test_an_upgrade_by_a_month_continues_the_chain(live: Live) -> None:
    live.start()
    back_up(live)
    live.commit()
    assert live.end() == 0
    live.change(lambda cluster: _at_version(cluster, "2026.10.0"))
    live.start()
    result = back_up(live)

    assert (result["state"], result["type"], result["type_reason"]) == ("succeeded", "DIFF", "chain_continues")
    assert live.records()[1]["server_version"] == "2026.10.0"


def test_a_schedule_can_refuse_a_full_instead_of_a_differential(live: Live) -> None:
    live.start()
    back_up(live)
    live.commit()
    assert live.end() == 0
    live.fault({"do": "logs_pruned"})
    schedule = {"cron": "0 * * * *", "type": "DIFF", "databases": ["orders"], "promote": "at_next_full"}
    live.settings["schedules"] = {"hourly": schedule}
    live.handled("hourly", "0 * * * * UTC", timedelta(hours=2))
    live.start()
    run = until(lambda: live.events("backup ended"), "scheduled run")[0]

    assert (run["outcome"], run["reason"]) == ("failed", "chain_broken")
    assert types(live) == [("FULL", "no_chain")]
    answer = json.loads(next((live.requests / "answers").glob("hourly@*.json")).read_text())
    assert "at_next_full" in answer["hint"]
    assert live.metric("neo4j_backup_runs_total", trigger="schedule", outcome="failed", reason="chain_broken") == 1


def _at_version(cluster: Cluster, version: str) -> Cluster:
    return replace(cluster, version=version)


@pytest.mark.parametrize("link", [0, 1], ids=["its full", "its end"])
@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_a_chain_with_a_damaged_or_missing_artifact_is_not_continued_by_the_agent(
    live: Live, link: int, fault: str
) -> None:
    live.start()
    back_up(live)
    live.commit()
    back_up(live)
    key = live.records()[link]["key"]
    if fault == "missing":
        (live.root / key).unlink()
    else:
        (live.root / f"{key}.damaged.json").write_text("{}")
    live.commit()
    result = back_up(live, type="DIFF")

    assert (result["state"], result["type"], result["type_reason"]) == ("succeeded", "FULL", "chain_broken")
    assert [key in event["because"] for event in live.events("chain not continued")] == [True]
    assert live.metric("neo4j_backup_chain_length", database="orders") == 1
    live.commit()
    assert back_up(live)["type"] == "DIFF"
