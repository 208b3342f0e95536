"""A volume without a free byte or inode: every request is answered, and with room again the agent works as before."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.agent.live import Live
from tests.polling import until

SIZE = 64 * 2**20
INODES = 600
REQUESTS = 5
STORE = 8 * 2**20
"""Size of the database: more than both reserves together, so that no backup fits into the space of the reserves."""

Small = Callable[[str], Live]
Fill = Callable[[Path], None]


@pytest.fixture(name="small")
def _small(live: Live) -> Iterator[Small]:
    """Put one of the agent's folders, or both, on a small volume."""
    mounted: list[Path] = []

    def mount(which: str) -> Live:
        volume = live.folder / "volume"
        if which == "both":
            live.root, live.requests = volume / "backups", volume / "requests"
            live.settings["storage"]["root"], live.settings["requests"]["folder"] = str(live.root), str(live.requests)
        else:
            volume = {"root": live.root, "requests": live.requests}[which]
        volume.mkdir()
        options = f"size={SIZE},nr_inodes={INODES}"
        completed = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(volume)], capture_output=True, check=False
        )
        if completed.returncode:
            if "CI" in os.environ:
                pytest.fail(completed.stderr.decode())
            pytest.skip("mounting is refused here")
        mounted.append(volume)
        return live

    yield mount
    for volume in mounted:
        subprocess.run(["umount", "-l", str(volume)], check=True)


def fill_bytes(folder: Path) -> None:
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(b"\0" * 2**20):
            pass


def fill_inodes(folder: Path) -> None:
    (folder / "ballast").mkdir()
    with suppress(OSError):
        for number in count():
            (folder / "ballast" / str(number)).touch()


def empty(folder: Path) -> None:
    subprocess.run(["rm", "-r", str(folder / "ballast")], check=True)


FILLS = [pytest.param(fill_bytes, id="bytes"), pytest.param(fill_inodes, id="inodes", marks=pytest.mark.nightly)]


def volumes(*names: str) -> list[Any]:
    """Return each volume with each way to fill it.

    `make test` fills one folder with bytes, and the volume of both folders with inodes.
    """
    return [
        pytest.param(name, fill, id=f"{name}-{fill.__name__.removeprefix('fill_')}", marks=marks)
        for name in names
        for fill in (fill_bytes, fill_inodes)
        for marks in [pytest.mark.nightly if (name == "both") == (fill is fill_bytes) else ()]
    ]


def reserves(live: Live) -> list[int]:
    """Return the number of files of each reserve."""
    return [
        len(os.listdir(folder)) if folder.exists() else 0
        for folder in (live.root / ".agent" / "reserve", live.requests / ".spool" / "reserve")
    ]


def prepare(live: Live) -> list[int]:
    """Start the agent, and prepare requests under names that it ignores. Return the sizes of its reserves."""
    live.change(lambda cluster: cluster.with_database("orders", store_bytes=STORE))
    live.start()
    until(lambda: all(reserves(live)), "both reserves")
    for number in range(REQUESTS):
        (live.requests / f".waiting-{number}").write_text(json.dumps({"database": "orders", "type": "FULL"}))
    (live.requests / ".waiting-bad").write_text("{}}")
    return reserves(live)


def drop_all(live: Live) -> list[dict[str, Any]]:
    """Drop the prepared requests by a rename, which needs no room. Return the answers, the one to the invalid request last."""
    names = [*map(str, range(REQUESTS)), "bad"]
    for name in names:
        (live.requests / f".waiting-{name}").rename(live.requests / f"{name}.request")
    return [live.answer(name) for name in names]


def check_refused(answers: list[dict[str, Any]], *, some_fit: bool) -> None:
    """Check that backups failed for lack of room. A few inodes of the reserve may have been enough for one."""
    for answer in answers:
        if not (some_fit and answer["state"] == "succeeded"):
            assert (answer["state"], answer["reason"]) == ("failed", "disk_full")
            assert "enlarge the volume" in answer["hint"]


@pytest.mark.parametrize(("which", "fill"), volumes("root", "requests", "both"))
def test_every_request_is_answered_on_a_full_volume(small: Small, which: str, fill: Fill) -> None:
    live = small(which)
    made = prepare(live)
    full = live.folder / "volume" if which == "both" else {"root": live.root, "requests": live.requests}[which]
    fill(full)
    *answers, bad = drop_all(live)

    assert (bad["state"], bad["reason"]) == ("rejected", "invalid_request")
    if which == "requests":
        assert {answer["state"] for answer in answers} == {"succeeded"}
    else:
        check_refused(answers, some_fit=which == "both" and fill is fill_inodes)
    until(lambda: live.open_entries() == [], "nothing open")
    assert [path.read_text() for path in (live.requests / ".spool" / "rejected").iterdir()] == ["{}}"]

    empty(full)
    assert live.ask("again", database="orders", type="FULL")["state"] == "succeeded"
    until(lambda: reserves(live) == made, "the reserves as they were")
    assert live.status()["ready"]


@pytest.mark.parametrize("fill", FILLS)
def test_an_agent_that_starts_on_a_full_volume_answers_requests(small: Small, fill: Fill) -> None:
    live = small("both")
    prepare(live)
    fill(live.folder / "volume")
    live.kill()
    live.start()
    *answers, bad = drop_all(live)

    assert bad["state"] == "rejected"
    check_refused(answers, some_fit=fill is fill_inodes)


def test_a_file_that_echo_could_not_write_on_a_full_volume_is_rejected(small: Small) -> None:
    live = small("requests")
    prepare(live)
    fill_bytes(live.requests)
    echo = subprocess.run(["sh", "-c", f"echo '{{}}' > {live.requests}/x.request"], capture_output=True, check=False)
    answer = live.answer("x")

    assert echo.returncode != 0
    assert (answer["state"], answer["reason"]) == ("rejected", "invalid_request")


@pytest.mark.parametrize(("which", "fill"), volumes("root", "both"))
def test_retention_frees_a_full_volume(small: Small, which: str, fill: Fill) -> None:
    live = small(which)
    prepare(live)
    (live.requests / ".waiting-prune").write_text(json.dumps({"action": "prune", "force": True}))
    for number in range(4):
        assert live.ask(f"r{number}", database="orders", type="FULL")["state"] == "succeeded"
    live.write_settings(retention={"last": 1})  # more than max_delete_share: without force nothing is deleted
    until(lambda: live.events("settings reloaded"), "reload")
    fill(live.folder / "volume" if which == "both" else live.root)
    (live.requests / ".waiting-prune").rename(live.requests / "prune.request")
    answer = live.answer("prune")

    assert answer["state"] == "succeeded", answer
    assert answer["places"]["local"]["deleted"] == 3
    assert len(live.artifacts()) == len(live.records()) == 1
    if fill is fill_bytes:
        assert live.ask("again", database="orders", type="FULL")["state"] == "succeeded"
