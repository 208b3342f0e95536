"""Healing that is killed at each step, in both directions between a volume and a real bucket.

After each death the undamaged copy still exists, and the damaged artifact has its mark or the right bytes. The next pass
finishes the work. Only the files at the two places are checked.
"""

from pathlib import Path

import pytest

from tests.components.seaweedfs import BUCKET, SeaweedFS
from tests.jobs.killed import LONGEST, Dying, Places, result_of
from tests.jobs.outside import of_folder
from tests.jobs.worlds import World, owing

VERIFY = "backup_agent.jobs.verify:main"


class Both:
    """The volume and the bucket of a world whose copies are made."""

    def __init__(self, places: Places, world: World) -> None:
        self._places = places
        self.world = world
        self._prefix = f"{world.destinations['offsite']['prefix']}/demo/"

    def seen(self, place: str) -> dict[str, bytes]:
        return of_folder(self.world.root) if place == "local" else self._places.seen(self.world)

    def spoil(self, place: str, key: str, *, missing: bool) -> None:
        content = self.seen(place)[key]
        if place == "local":
            (self.world.root / key).unlink()
            if not missing:
                (self.world.root / key).write_bytes(content[:-1] + b"?")
            return
        assert self._places.client is not None
        if missing:
            self._places.client.delete_object(Bucket=BUCKET, Key=self._prefix + key)
        else:
            self._places.client.put_object(Bucket=BUCKET, Key=self._prefix + key, Body=content[:-1] + b"?")


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        pytest.param("local", True, id="local-missing"),
        pytest.param("offsite", False, id="offsite-damaged"),
        pytest.param("local", False, id="local-damaged", marks=pytest.mark.nightly),
        pytest.param("offsite", True, id="offsite-missing", marks=pytest.mark.nightly),
    ],
)
def test_healing_killed_at_any_step_loses_nothing_and_is_finished_by_the_next_pass(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS, place: str, missing: bool
) -> None:
    places = Places(tmp_path, seaweedfs)
    other = {"local": "offsite", "offsite": "local"}[place]
    marked_before = healed_before = 0
    for step in range(LONGEST):
        both = Both(places, places.make(str(step), owing, on_volume=True))
        result_of(dying.copy(both.world, None))
        before = {name: both.seen(name) for name in (place, other)}
        key = next(key for key in before[place] if key.endswith(".backup.1"))
        artifact = key.removesuffix(".1")
        mark = f"{artifact}.damaged.json"
        both.spoil(place, key, missing=missing)
        asked = {"place": place, "artifact": artifact, "heal": True, "seconds": 60}
        died = dying.run(VERIFY, both.world, step, **asked)["died"]
        seen = both.seen(place)

        assert both.seen(other) == before[other]
        good = seen.get(key) == before[place][key]
        assert good or {name: data for name, data in seen.items() if name != mark}.keys() >= before[place].keys() - {
            key
        }
        marked_before += mark in seen
        healed_before += good and died

        result = result_of(dying.run(VERIFY, both.world, None, **asked))["result"]
        assert (result["outcome"], result["damaged"]) == ("succeeded", []), result
        assert both.seen(place) == before[place]
        assert both.seen(other) == before[other]
        assert not list(both.world.root.glob(".staging/*"))
        if not died:
            break

    assert marked_before > (0 if dying.kinds else 3)
    assert healed_before > (0 if dying.kinds else 1)
