"""What the supervisor believes after a child of it has died: that it does not know, and never that nothing is there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.agent.live import Live, until

DYING = Path(__file__).parent / "dying"
BACKUP = "backup_agent.run.backup"


class Dying:
    """A live agent whose children die as they are ordered to."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._orders = live.folder / "orders.json"
        self._orders.write_text("[]")
        path = os.pathsep.join(filter(None, (str(DYING), os.environ.get("PYTHONPATH"))))
        live.environ |= {"PYTHONPATH": path, "DYING_ORDERS": str(self._orders)}

    def order(self, *orders: dict[str, Any]) -> None:
        self._orders.write_text(json.dumps(orders))

    def until_carried_out(self) -> None:
        until(lambda: self._orders.read_text() == "[]", "death of a child")


@pytest.fixture(name="dying")
def _dying(live: Live) -> Dying:
    return Dying(live)


def test_an_adopted_backup_has_its_canonical_line_and_no_step_fails(dying: Dying, live: Live) -> None:
    live.start()
    dying.order({"module": BACKUP, "killed_in": "result"})
    answer = live.ask(id="one", database="orders")
    lines = until(lambda: live.events("backup ended")[1:], "canonical line of the second attempt")

    assert answer["databases"]["orders"]["adopted"] is True
    assert [(line["outcome"], line["adopted"]) for line in lines] == [("succeeded", True)]
    assert live.events("step failed") == []
