"""Answers are kept as long as the settings say. Their artifacts stay."""

from tests.agent.live import Live
from tests.polling import until


def test_answers_are_kept_as_long_as_the_settings_say(live: Live) -> None:
    live.settings["limits"] = {"keep_answers": "1s"}
    live.start()
    answer = live.ask(id="one", database="orders")
    until(lambda: not live.answer_of("one"), "forgotten answer")
    until(lambda: not (live.requests / ".spool" / "done" / "one.json").exists(), "forgotten request")

    assert answer["state"] == "succeeded"
    assert not (live.requests / "x.status.json").exists()
    assert len(live.records()) == 1
