"""What things are called."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backup_agent.core.artifacts import names
from backup_agent.core.requests.schedules import request_id


def test_an_artifact_is_named_by_its_second_in_utc() -> None:
    taken = datetime(2026, 11, 23, 3, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert names.artifact_name("orders", taken) == "orders-2026-11-23T02-00-00.backup"
    assert names.artifact_name("orders", datetime(2026, 11, 23, 2, tzinfo=UTC)) == "orders-2026-11-23T02-00-00.backup"


@pytest.mark.parametrize("process", [1, 4_194_304])
def test_a_commands_id_is_in_a_name_space_of_its_own(process: int) -> None:
    identity = names.command_id(datetime(2026, 11, 23, 1, 0, tzinfo=UTC), process)

    assert names.COMMAND_ID.fullmatch(identity)
    assert names.ANY_REQUEST_ID.fullmatch(identity)
    assert not names.REQUEST_ID.fullmatch(identity)
    assert not names.COMMAND_ID.fullmatch(request_id("cli", datetime(2026, 11, 23, 1, 0, tzinfo=UTC)))
