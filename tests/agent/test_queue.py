"""One database fails in every way of the stand-in. The other databases, the queue and the agent continue."""

from pathlib import Path
from typing import Any

from backup_agent.standins import cluster as simulated
from tests.agent.live import Live

STALL = "6s"
SUCCEEDED, WARNED, FAILED = "succeeded", "succeeded_with_warnings", "failed"

ENDS: dict[str, tuple[str, str | None]] = {
    "artifact_exists": (FAILED, "bad_artifact"),
    "corrupt_byte": (FAILED, "bad_artifact"),
    "crash_137": (FAILED, "out_of_memory"),
    "cut_in_half": (FAILED, "bad_artifact"),
    "empty_file": (FAILED, "bad_artifact"),
    "exit_0_without_artifact": (FAILED, "no_artifact"),
    "exit_1": (FAILED, "source_unreachable"),
    "exit_1_with_artifact": (WARNED, None),
    "exit_70": (FAILED, "admin_crashed"),
    "exit_code": (WARNED, None),
    "hang": (FAILED, "stalled"),
    "leftover_partial": (FAILED, "source_unreachable"),
    "no_counts": (SUCCEEDED, None),
    "no_space": (FAILED, "disk_full"),
    "odd_output": (SUCCEEDED, None),
    "slow": (SUCCEEDED, None),
    "slow_checkpoint": (SUCCEEDED, None),
    "slow_recovery": (SUCCEEDED, None),
    "split_parts": (SUCCEEDED, None),
    "truncated": (FAILED, "bad_artifact"),
    "two_processes": (SUCCEEDED, None),
    "unknown_magic": (FAILED, "bad_artifact"),
    "wrong_database": (FAILED, "bad_artifact"),
}
"""Fault of the stand-in -> the result of a FULL."""

FIELDS: dict[str, dict[str, Any]] = {
    "exit_code": {"code": 3},
    "hang": {"at": "start"},
    "slow": {"bytes_per_second": 200_000},
    "slow_checkpoint": {"seconds": 8},  # longer than the stall timeout: a checkpoint shows no progress
    "slow_recovery": {"seconds": 8},
}


def database(fault: str) -> str:
    return fault.replace("_", "-")


def test_each_database_gets_its_own_verdict_and_no_failure_stops_another(tmp_path: Path) -> None:
    names = [database(fault) for fault in ENDS]
    with Live(tmp_path, simulated.three_servers(databases=(*names, "neo4j"))) as live:
        live.settings["limits"] = {"parallel": 2, "stall_timeout": STALL}
        live.fault(
            *(
                {"do": fault, "command": "backup", "database": database(fault), **FIELDS.get(fault, {})}
                for fault in ENDS
            )
        )
        live.start()
        answer = live.ask(databases=[*names, "neo4j"], patience=240)
        results = answer["databases"]

        assert {
            fault: (results[database(fault)]["outcome"], results[database(fault)].get("reason")) for fault in ENDS
        } == ENDS
        assert results["neo4j"]["outcome"] == SUCCEEDED
        assert answer["state"] == "failed"
        failed = [database(fault) for fault, (outcome, _) in ENDS.items() if outcome == FAILED]
        assert answer["reason"] == next(results[name]["reason"] for name in results if name in failed)
        assert answer["hint"]
        for name in failed:
            assert results[name]["hint"]
            assert f"{name}: {results[name]['error']}" in answer["error"]
            assert live.artifacts(database=name) == []
        assert "java.lang.NullPointerException" in results["exit-70"]["error"]
        for name in results.keys() - failed:
            assert len(live.records(database=name)) == 1

        for outcome in (SUCCEEDED, WARNED, FAILED):
            count = sum(1 for result in results.values() if result["outcome"] == outcome)
            assert live.metric("neo4j_backup_runs_total", outcome=outcome) == count
        assert live.metric("neo4j_backup_requests_total", action="backup", outcome="failed") == 1
        assert live.metric("neo4j_backup_last_failure_timestamp_seconds", database="no-space", reason="disk_full")
        assert live.metric("neo4j_backup_last_success_timestamp_seconds", database="no-space") is None
        assert live.is_ready()
        assert list((live.root / ".staging").iterdir()) == []
        assert all(path.name.endswith(".aside") for path in (live.root / ".aside").iterdir())
        live.until_idle()
        live.fault()
        assert live.ask("again", databases=failed, patience=120)["state"] == SUCCEEDED


def test_only_the_database_that_does_not_exist_fails(live: Live) -> None:
    live.start()
    answer = live.ask(databases=["nowhere", "orders"])

    assert (answer["state"], answer["reason"]) == ("failed", "no_such_database")
    assert answer["databases"]["orders"]["outcome"] == SUCCEEDED
    assert "nowhere" in answer["error"]


def test_a_request_without_a_name_backs_up_all_databases(live: Live) -> None:
    live.start()
    answer = live.ask("all")

    assert answer["state"] == SUCCEEDED
    assert set(answer["databases"]) == {"neo4j", "orders", "system"}


def test_more_than_twenty_ad_hoc_sets_are_refused_even_while_their_requests_wait(live: Live) -> None:
    live.fault({"do": "hang", "command": "backup"})
    live.start()
    for number in range(20):
        live.drop(f"set-{number}.request", database="orders", path=f"adhoc-{number}")
    for number in range(20):
        live.answer(f"set-{number}", final=False)
    refused = live.ask("one-more", database="orders", path="adhoc-20")

    assert (refused["state"], refused["reason"]) == ("rejected", "invalid_request")
    assert "20 is the most" in refused["error"]
    live.drop("known.request", database="orders", path="adhoc-3")
    assert live.answer("known", final=False)["state"] == "queued"
