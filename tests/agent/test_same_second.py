"""Two backups of one database within one second: artifacts are named by the second."""

from tests.agent.live import Live


def test_backups_in_quick_succession_have_different_names(live: Live) -> None:
    live.start()
    for number in range(3):
        answer = live.ask(f"x{number}", database="orders", type="FULL")
        assert answer["state"] == "succeeded", answer

    assert len(live.records()) == len(live.artifacts()) == 3
