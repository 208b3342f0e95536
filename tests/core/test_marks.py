"""The text that describes a hold."""

from datetime import timedelta

from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.quantities import second
from tests.builders import TAKEN

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"


def test_the_text_of_a_hold_has_its_begin_requester_end_and_reason() -> None:
    plain = Hold(key=KEY, since=TAKEN, reason="audit", request="one")
    whole = plain.model_copy(update={"requested_by": "ann", "until": TAKEN + timedelta(days=7)})

    assert plain.in_words(second) == "since 2026-11-23T02:00:00Z: audit"
    assert whole.in_words(second) == "since 2026-11-23T02:00:00Z by ann until 2026-11-30T02:00:00Z: audit"
