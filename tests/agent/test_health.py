"""The protection of databases and the health of a live agent, from its start and over restarts."""

import http.client
from pathlib import Path

from backup_agent.core.page.task import FILE
from tests.agent.live import Live
from tests.polling import until

NIGHTLY = {"nightly": {"cron": "0 2 29 2 *", "databases": ["*", "!scratch"]}}
"""A schedule that is not due while a test runs."""


def page(live: Live) -> str | None:
    """Return the status page, or None if it is still being made."""
    code, body = live.get("/")
    return body if code == http.client.OK else None


def states(live: Live) -> dict[str, str]:
    return {one["database"]: one["state"] for one in live.status().get("protection", ())}


def test_databases_are_judged_from_the_start_and_a_failure_is_known_after_a_restart(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        live.fault({"command": "backup", "database": "orders", "do": "exit_1"})
        live.write_settings(schedules=NIGHTLY)
        live.start()
        until(lambda: states(live).get("orders") == "waiting", "first discovery")
        assert live.metric("neo4j_backup_protection", database="neo4j", state="waiting") == 1
        live.ask("good", database="neo4j")
        failed = live.ask("bad", database="orders")
        live.end()
        live.start()
        status = until(lambda: found if (found := live.status()).get("protection") else None, "survey")

        assert states(live) == {"neo4j": "protected", "orders": "waiting", "system": "waiting"}
        [problem] = [one for one in status["health"]["problems"] if one["kind"] == "failed"]
        assert (problem["subject"], status["health"]["state"]) == ("default/orders", "OK")
        assert f"`backup-agent show {failed['id']}` has more" in problem["text"]

        assert not (live.root / FILE).exists()
        shown = until(lambda: page(live), "status page")
        assert "<h1>Backups of demo</h1>" in shown
        assert "the last backup of orders failed" in shown
        assert "backup-agent restore " in shown
