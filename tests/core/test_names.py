"""What things are called: keys are the same on the volume and in a bucket."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backup_agent.core.artifacts import names
from backup_agent.core.requests.schedules import request_id

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"


def test_an_artifact_is_named_by_its_second_in_utc() -> None:
    taken = datetime(2026, 11, 23, 3, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert names.artifact_key("default", "orders", names.artifact_name("orders", taken)) == KEY
    assert names.artifact_name("orders", datetime(2026, 11, 23, 2, tzinfo=UTC)) == "orders-2026-11-23T02-00-00.backup"


def test_a_record_and_the_marks_stand_beside_their_artifact() -> None:
    beside = [names.record_key(KEY), names.hold_key(KEY), names.damage_key(KEY)]

    assert len(set(beside)) == len(beside)
    assert all(key.startswith(f"{KEY}.") and key.endswith(".json") for key in beside)


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        pytest.param(names.record_key(KEY), True, id="a record"),
        pytest.param(KEY, False, id="the artifact"),
        pytest.param(names.hold_key(KEY), False, id="a hold"),
        pytest.param(names.damage_key(KEY), False, id="a damage mark"),
        pytest.param("orders-2026-11-23T02-00-00.backup.json", False, id="no set and database"),
        pytest.param(f"prefix/{KEY}.json", False, id="too deep"),
        pytest.param(".staging/orders/orders-2026-11-23T02-00-00.backup.json", False, id="below a hidden folder"),
        pytest.param("default/orders/notes.json", False, id="a stranger's file"),
    ],
)
def test_a_record_is_known_by_its_key(key: str, is_one: bool) -> None:
    assert names.is_record_key(key) is is_one


@pytest.mark.parametrize("process", [1, 4_194_304])
def test_a_commands_id_is_in_a_name_space_of_its_own(process: int) -> None:
    identity = names.command_id(datetime(2026, 11, 23, 1, 0, tzinfo=UTC), process)

    assert names.COMMAND_ID.fullmatch(identity)
    assert names.ANY_REQUEST_ID.fullmatch(identity)
    assert not names.REQUEST_ID.fullmatch(identity)
    assert not names.COMMAND_ID.fullmatch(request_id("cli", datetime(2026, 11, 23, 1, 0, tzinfo=UTC)))
