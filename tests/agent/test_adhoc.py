"""An ad hoc set stays on the volume: it gets no copies, not even after a restart."""

from tests.agent.live import Live


def test_an_ad_hoc_set_has_no_missing_copies_after_a_restart(live: Live) -> None:
    nowhere = {"type": "s3", "bucket": "backups", "endpoint_url": "http://127.0.0.1:1", "path_style": True}
    live.settings["storage"]["destinations"] = {"offsite": nowhere}
    live.start()
    answer = live.ask("x", database="orders", path="test", type="FULL")
    assert answer["state"] == "succeeded", answer
    live.end()
    live.start()

    assert live.status()["destinations"]["offsite"]["owed"] == 0
    assert live.events("copy missing") == []
