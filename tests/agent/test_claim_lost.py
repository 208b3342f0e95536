"""docs/runbooks/claim-lost.md: the volume is lost, the bucket has everything, and a new, empty volume replaces it."""

import json
import shutil
from pathlib import Path

from tests.agent.bucket import destination, stored
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
from tests.polling import until


def lose_the_claim(live: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> list[str]:
    """Take a FULL and a DIFF with copies, then stop the agent and remove the volume. Return the bucket's objects."""
    live.settings["storage"]["destinations"] = {
        "offsite": destination(seaweedfs, tmp_path, retention={"last": 1, "max_delete_share": 1})
    }
    live.environ = KEYS
    live.start()
    live.ask(database="orders")
    live.commit()
    assert live.ask(database="orders", type="DIFF")["databases"]["orders"]["copies"] == {"offsite": "stored"}
    kept = [record["key"] for record in live.records()]
    assert live.end() == 0
    shutil.rmtree(live.root)
    return kept


def listed(live: Live) -> list[str]:
    return [one["key"] for one in live.command("list", "--place", "offsite")["artifacts"]]


def test_after_a_lost_volume_a_full_follows_and_nothing_is_deleted_at_the_destination_until_it_is_adopted(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    kept = lose_the_claim(live, seaweedfs, tmp_path)
    live.start()
    listed_at_start = listed(live)
    accepted = live.command("catalog", "accept", "--place", "offsite", "--all")["accepted"]
    first = live.ask(database="orders", type="DIFF")
    result = first["databases"]["orders"]
    refused = live.ask("p", action="prune", place="offsite")
    held = live.ask("hold", action="hold", artifact=kept[-1], reason="the claim was lost")
    listed_then = listed(live)
    (place,) = live.command("adopt-root", "--place", "offsite", code=4)["places"]

    assert listed_at_start == accepted == kept
    assert held["state"] == "succeeded"
    assert (first["state"], result["type"], result["copies"]) == ("succeeded", "FULL", {"offsite": "stored"})
    assert listed_then == [*kept, result["artifact"]]
    assert (refused["state"], "adopt-root --yes --place offsite" in json.dumps(refused)) != ("succeeded", False)
    assert (place["ownership"], place["adopted"]) == ("lost", False)
    assert f"{kept[-1]}.hold.json" not in stored(seaweedfs, tmp_path)

    live.command("adopt-root", "--yes", "--place", "offsite")
    live.commit()
    second = live.ask("again", database="orders", type="FULL")["databases"]["orders"]["artifact"]
    live.write_settings(sets=["weekly"])  # retention, which was refused before, is due at once
    until(lambda: result["artifact"] not in stored(seaweedfs, tmp_path), "retention at the destination", patience=60)
    assert listed(live) == [*kept, second]
    assert f"{kept[-1]}.hold.json" in stored(seaweedfs, tmp_path)


def test_another_cluster_of_that_name_gets_the_destination_only_by_adopt_root(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    kept = lose_the_claim(live, seaweedfs, tmp_path)
    live.change(lambda world: world.with_database_recreated("system"))
    live.settings["storage"]["destinations"]["offsite"]["retention"]["last"] = 2  # both artifacts taken below are kept
    live.start()

    owed = live.ask(database="orders")
    assert (owed["state"], owed["databases"]["orders"]["copies"]) == ("succeeded_with_warnings", {"offsite": "owed"})
    assert live.status()["destinations"]["offsite"]["reason"] == "foreign_root"
    (place,) = live.command("adopt-root", "--place", "offsite", code=4)["places"]
    assert place["ownership"] == "foreign"

    live.command("adopt-root", "--yes", "--place", "offsite")
    answer = live.ask("again", database="orders", type="FULL", patience=60)
    since = [one["databases"]["orders"]["artifact"] for one in (owed, answer)]
    assert (answer["state"], answer["databases"]["orders"]["copies"]) == ("succeeded", {"offsite": "stored"})
    assert listed(live) == [*kept, *since]
    rebuilt = live.command("catalog", "rebuild", "--place", "offsite", code=3)
    assert (rebuilt["artifacts"], rebuilt["unrecognised"]) == (2, len(kept))
