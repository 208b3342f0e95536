"""The audit of a bucket alone, after the volume was lost."""

import json
import shutil
from pathlib import Path

from tests.agent.bucket import destination, stored
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
from tests.polling import until


def test_the_bucket_alone_shows_what_was_backed_up_deleted_and_held(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    live.settings["storage"]["destinations"] = {
        "offsite": destination(seaweedfs, tmp_path, retention={"last": 1, "max_delete_share": 1})
    }
    live.environ = KEYS
    live.start()
    old = live.ask("one", database="orders", requested_by="ann")["databases"]["orders"]["artifact"]
    live.ask("two", action="hold", artifact=old, reason="audit 2026", requested_by="bob")
    live.ask("three", action="release", artifact=old, reason="done", requested_by="bob")
    live.commit()
    new = live.ask("four", database="orders", type="FULL")["databases"]["orders"]["artifact"]
    until(lambda: f"{old}.json" not in stored(seaweedfs, tmp_path), "retention at the destination", patience=60)
    on_the_volume = live.command("audit")
    assert live.end() == 0
    shutil.rmtree(live.root)

    lines = [json.loads(line) for line in live.printed("history", "--place", "offsite", "--json").splitlines()]
    audited = live.command("audit", "--place", "offsite")
    report = live.command("report", "--from", "2026-01-01", "--to", "2300-01-01", "--place", "offsite")

    assert on_the_volume["findings"] == []
    assert audited["findings"] == []
    entries = {(line["kind"], line.get("key"), line.get("claimed")) for line in lines}
    assert {("recorded", old, "ann"), ("held", old, "bob"), ("released", old, "bob")} <= entries
    assert {("copied", new, None), ("deleting", old, None)} <= entries
    [orders] = [one for one in report["databases"] if one["database"] == "orders"]
    assert [(point["key"], point["fault"]) for point in orders["points"]] == [(new, None)]
    assert [one["claimed"] for one in report["requests"]] == ["ann", "bob", "bob"]
