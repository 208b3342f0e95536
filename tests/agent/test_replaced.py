"""A database that was replaced gets a FULL of its new history without a request."""

from tests.agent.live import Live
from tests.polling import until


def test_a_replaced_database_is_backed_up_when_all_its_copies_are_online(live: Live) -> None:
    live.start()
    live.ask("first", type="FULL", database="orders")
    other = live.cluster.database("orders").copies[0].server
    live.change(lambda world: world.with_database_recreated("orders").with_copy("orders", other, status="starting"))
    live.write_settings(limits={"parallel": 2})  # the cluster is queried again before the next backup
    until(lambda: live.events("settings reloaded"), "the reload")
    live.ask("safety", type="FULL", database="orders", path="before-restore")
    seen = live.status()
    assert list((live.requests / "answers").glob("replaced@*")) == [], "a copy is still starting"
    live.change(lambda world: world.with_copy("orders", other, status="online"))
    live.write_settings(limits={"parallel": 1})
    until(lambda: len(live.events("settings reloaded")) == 2, "the second reload")
    until(lambda: len(live.records()) == 2, "the FULL of the new history")
    newest = live.records()[-1]

    assert list(seen["without_full"]) == ["orders"]
    assert (newest["type"], newest["requested_by"]) == ("FULL", "backup-agent")
    assert newest["request"].startswith("replaced@")
    assert abs(newest["clock_offset"]) < 60
    until(lambda: "without_full" not in live.status() or not live.status()["without_full"], "no problem any more")
    assert [one["set"] for one in live.records("before-restore")] == ["before-restore"]
