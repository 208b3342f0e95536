"""Volumes without hard links: requests are taken, and backups are written in place."""

import os
from pathlib import Path

import pytest

from tests.agent.live import Live
from tests.polling import until

REFUSING = Path(__file__).parent / "refusing"


@pytest.fixture(name="linkless")
def _linkless(live: Live) -> Live:
    path = os.pathsep.join(filter(None, (str(REFUSING), os.environ.get("PYTHONPATH"))))
    live.environ = {"PYTHONPATH": path, "REFUSE_LINKS": "yes"}
    return live


def test_a_chain_is_written_in_place(linkless: Live) -> None:
    linkless.start()
    first = linkless.ask("first", database="orders")
    linkless.commit()
    second = linkless.ask("second", database="orders")
    folder = linkless.root / "default" / "orders"
    keys = [record["key"] for record in linkless.records()]

    assert [answer["databases"]["orders"]["type"] for answer in (first, second)] == ["FULL", "DIFF"]
    assert [answer["state"] for answer in (first, second)] == ["succeeded"] * 2
    assert {path.name for path in folder.iterdir() if path.suffix == ".backup"} == {Path(key).name for key in keys}


def test_an_unfinished_artifact_of_a_killed_attempt_is_set_aside(linkless: Live) -> None:
    folder = linkless.root / "default" / "orders"
    linkless.fault({"do": "hang", "at": "copy", "command": "backup", "times": 1})
    linkless.start()
    linkless.drop("x.request", id="one", database="orders", type="FULL")
    until(lambda: list(folder.glob("*.backup")), "half an artifact")
    stranger = folder / "orders-2020-01-01T00-00-00.backup"
    stranger.write_bytes(b"a stranger's")
    linkless.kill_all()
    linkless.start()
    answer = linkless.final("one")
    recorded = {Path(record["key"]).name for record in linkless.records()}

    assert answer["state"] == "succeeded"
    assert {path.name for path in folder.glob("*.backup")} == recorded | {stranger.name}
    assert len(list((linkless.root / ".aside").iterdir())) == 1
    assert linkless.events("unfinished artifact set aside")
