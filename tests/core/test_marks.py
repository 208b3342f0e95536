"""Marks of artifacts: what is said of a hold."""

from datetime import timedelta

from backup_agent.core.artifacts.marks import Hold
from tests.builders import TAKEN

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"


def test_a_hold_says_since_when_by_whom_until_when_and_why() -> None:
    plain = Hold(key=KEY, since=TAKEN, reason="audit", request="one")
    whole = plain.model_copy(update={"requested_by": "ann", "until": TAKEN + timedelta(days=7)})

    assert plain.story == "since 2026-11-23T02:00:00Z: audit"
    assert whole.story == "since 2026-11-23T02:00:00Z by ann until 2026-11-30T02:00:00Z: audit"
