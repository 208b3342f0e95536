"""This version continues the work of each released version, which was killed during a backup."""

from pathlib import Path

import pytest

from tests.agent.live import Live
from tests.agent.releases import ARCHIVES, HELD, OPEN, unpack
from tests.components.seaweedfs import SeaweedFS
from tests.polling import until


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_the_work_that_a_release_left_is_continued_and_nothing_is_lost(
    archive: Path, live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    unpack(archive, live, seaweedfs, tmp_path.name)
    before = _listed(live, "local")
    last = max(key for key in before if "/orders/" in key)
    live.start()

    resumed = live.final(OPEN)

    assert (resumed["state"], resumed["request"]["requested_by"]) == ("succeeded", "bob"), str(resumed)
    new = resumed["databases"]["orders"]["artifact"]
    until(lambda: new in _listed(live, "offsite"), "copy of the new artifact")
    assert before | {new} == _listed(live, "local")
    assert [HELD] == [one["hold"]["reason"] for one in live.command("list", "--held")["artifacts"] if one["hold"]]
    drilled = live.command("show", last)["places"]["offsite"]["drilled"]
    assert (drilled["outcome"], drilled["schema"]) == ("passed", 1)
    for place in ("local", "offsite"):
        assert live.ask(place, action="verify", place=place, all=True)["state"] == "succeeded"
    assert live.end() == 0
    for place in ("local", "offsite"):
        assert live.command("catalog", "unrecognised", "--place", place)["unrecognised"] == []
    assert live.command("audit")["findings"] == []


def _listed(live: Live, place: str) -> set[str]:
    return {one["key"] for one in live.command("list", "--place", place)["artifacts"]}
