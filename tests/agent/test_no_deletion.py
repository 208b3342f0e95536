"""A live agent whose credentials may not delete at its destination."""

from pathlib import Path
from uuid import uuid4

from tests.agent.bucket import destination
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, LIMITED, SeaweedFS
from tests.stores.policies import allow


def test_an_agent_that_may_not_delete_makes_copies_and_applies_no_retention_there(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    client, bucket = seaweedfs.client(), f"kept-{uuid4().hex[:8]}"
    client.create_bucket(Bucket=bucket)
    allow(client, "agent without deletion", bucket, tmp_path.name)
    offsite = {**destination(seaweedfs, tmp_path, deletes=False), "bucket": bucket}
    live.settings["storage"]["destinations"] = {"offsite": offsite}
    live.settings["retention"] = {"last": 1, "max_delete_share": 1}
    live.environ = {
        **KEYS,
        "AWS_ACCESS_KEY_ID": LIMITED.access_key,
        "AWS_SECRET_ACCESS_KEY": LIMITED.secret_key,
    }
    live.start()

    answers = [live.ask(database="orders", type="FULL", patience=60) for _ in range(2)]
    pruned = live.ask(action="prune", patience=60)

    assert [one["databases"]["orders"]["copies"] for one in answers] == [{"offsite": "stored"}] * 2
    assert [one["state"] for one in (*answers, pruned)] == ["succeeded"] * 3
    assert "deleted" not in pruned["places"]["offsite"]
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{tmp_path.name}/demo/default/")["Contents"]
    assert len(listed) == 4
    assert live.status()["retention"]["offsite"] == {"unmanaged": "deletes: false"}
    assert "blocked" not in live.status()["places"]["offsite"]
    client.close()
