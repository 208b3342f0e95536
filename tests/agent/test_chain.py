"""The decision between FULL and DIFF, its reason, and a FULL in the same run if a DIFF fails."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from backup_agent.standins import cluster as simulated
from backup_agent.standins.cluster import Cluster
from tests.agent.live import Live
from tests.polling import until


def back_up(live: Live, **content: Any) -> dict[str, Any]:
    """Back up `orders` once more. Return its result in the answer."""
    answer = live.ask(database="orders", **content)
    result: dict[str, Any] = answer["databases"]["orders"]
    return result | {"state": answer["state"]}


def types(live: Live, database: str = "orders") -> list[tuple[str, str]]:
    return [(record["type"], record["type_reason"]) for record in live.records(database=database)]


def commit(live: Live, databases: Iterable[str]) -> None:
    """Commit transactions in databases."""
    for database in databases:
        live.commit(database)


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


def test_an_empty_or_overlapping_differential_does_not_change_the_chain(live: Live) -> None:
    """A first differential may overlap its full since 2026.02."""
    names = ["neo4j", "orders"]
    live.start()
    live.ask(databases=names)
    live.commit(count=0)
    live.commit("neo4j")
    live.fault({"do": "overlap", "command": "backup", "database": "neo4j", "transactions": 3})
    first = live.ask(databases=names, type="DIFF")
    live.fault()
    live.commit()
    back_up(live, type="DIFF")
    records, [full, overlapping] = live.records(), live.records(database="neo4j")

    assert first["state"] == "succeeded"
    assert (records[1]["header"]["lowest"], records[1]["header"]["highest"]) == (0, 0)
    assert types(live)[1:] == [("DIFF", "asked")] * 2
    assert records[2]["parent"] == records[0]["key"]
    assert (overlapping["type"], overlapping["parent"]) == ("DIFF", full["key"])
    assert overlapping["header"]["lowest"] <= full["header"]["highest"]


FAULTS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "pruned": ({"do": "logs_pruned"}, "diff_failed", False),
    "gap": ({"do": "gap", "transactions": 2}, "diff_does_not_continue", True),
    "store": ({"do": "wrong_store_id", "type": "DIFF"}, "store_changed", True),
    "recreated": ({"do": "wrong_database_id", "type": "DIFF"}, "database_recreated", True),
}
"""Database -> what goes wrong with its differential, the reason of the FULL, whether the artifact is set aside."""


def test_a_full_follows_in_the_same_run_if_a_differential_fails(tmp_path: Path) -> None:
    with Live(tmp_path, simulated.three_servers(databases=tuple(FAULTS))) as live:
        live.start()
        live.ask(databases=list(FAULTS))
        commit(live, FAULTS)
        live.fault(*({**fault, "command": "backup", "database": name} for name, (fault, _, _) in FAULTS.items()))
        answer = live.ask(databases=list(FAULTS), type="DIFF")
        set_aside = [path.name for path in (live.root / ".aside").iterdir()]
        live.fault()
        commit(live, FAULTS)
        again = live.ask(databases=list(FAULTS))

        assert (answer["state"], again["state"]) == ("succeeded", "succeeded")
        for name, (_, reason, aside) in FAULTS.items():
            result = answer["databases"][name]
            assert (result["type"], result["type_reason"]) == ("FULL", reason)
            assert types(live, name) == [("FULL", "no_chain"), ("FULL", reason), ("DIFF", "chain_continues")]
            assert live.metric("neo4j_backup_full_promotions_total", database=name, reason=reason) == 1
            assert any(name in one for one in set_aside) == aside
        assert len(set_aside) == sum(aside for _, _, aside in FAULTS.values())


def test_another_line_begins_a_new_chain(live: Live) -> None:
    live.start()
    back_up(live)
    live.commit()
    assert live.end() == 0
    live.change(lambda cluster: _at_version(cluster, "5.26.31"))
    live.start()
    result = back_up(live, type="DIFF")

    assert (result["state"], result["type"], result["type_reason"]) == ("succeeded", "FULL", "version_changed")


def test_an_upgrade_by_a_month_continues_the_chain_of_each_database_that_is_the_same(live: Live) -> None:
    live.start()
    live.ask(databases=["neo4j", "orders"])
    commit(live, ("neo4j", "orders"))
    assert live.end() == 0
    live.change(lambda cluster: _at_version(cluster, "2026.10.0").with_database_recreated("orders"))
    live.start()
    answer = live.ask(databases=["neo4j", "orders"], type="DIFF")

    assert answer["state"] == "succeeded"
    assert types(live, "neo4j")[1] == ("DIFF", "asked")
    assert types(live)[1] == ("FULL", "database_recreated")
    assert live.records(database="neo4j")[1]["server_version"] == "2026.10.0"


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


def test_a_chain_with_a_damaged_or_missing_artifact_is_not_continued_by_the_agent(tmp_path: Path) -> None:
    links = {f"{what}{link}": link for what in ("missing", "damaged") for link in (0, 1)}
    with Live(tmp_path, simulated.three_servers(databases=tuple(links))) as live:
        live.start()
        for _ in range(2):
            live.ask(databases=list(links))
            commit(live, links)
        broken = {name: live.records(database=name)[link]["key"] for name, link in links.items()}
        for name, key in broken.items():
            if name.startswith("missing"):
                (live.root / key).unlink()
            else:
                (live.root / f"{key}.damaged.json").write_text("{}")
        answer = live.ask(databases=list(links), type="DIFF")

        assert answer["state"] == "succeeded"
        reasons = sorted(event["because"] for event in live.events("chain not continued"))
        assert len(reasons) == len(links)
        for name, key in broken.items():
            assert types(live, name)[2:] == [("FULL", "chain_broken")]
            assert sum(key in because for because in reasons) == 1
            assert live.metric("neo4j_backup_chain_length", database=name) == 1
        commit(live, links)
        live.ask(databases=list(links))
        assert [types(live, name)[3][0] for name in links] == ["DIFF"] * len(links)
