"""Building and splitting keys."""

import pytest

from backup_agent.core.artifacts import keys
from backup_agent.core.artifacts.names import DEFAULT_SET
from tests.builders import ORDERS

NAME = "orders-2026-11-23T02-00-00.backup"
KEY = "default/orders/orders-2026-11-23T02-00-00.backup"


def test_a_key_splits_into_the_parts_it_was_built_from() -> None:
    assert keys.artifact_key(DEFAULT_SET, ORDERS, NAME) == KEY
    assert keys.split_key(KEY) == ("default", "orders", NAME)
    assert keys.database_of(KEY) == keys.split_database_key(keys.database_key(DEFAULT_SET, ORDERS))
    assert KEY == keys.database_prefix(DEFAULT_SET, ORDERS) + keys.name_of(KEY)
    assert KEY.startswith(keys.set_prefix(DEFAULT_SET))


@pytest.mark.parametrize("key", [NAME, "orders/" + NAME, "nested/" + KEY])
def test_a_key_that_does_not_have_three_valid_parts_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="values to unpack"):
        keys.split_key(key)


def test_the_keys_of_a_record_and_of_marks_begin_with_the_artifacts() -> None:
    beside = [keys.record_key(KEY), keys.hold_key(KEY), keys.damage_key(KEY), keys.evidence_key(KEY)]

    assert len(set(beside)) == len(beside)
    assert all(key.startswith(f"{KEY}.") and key.endswith(".json") for key in beside)


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        pytest.param(keys.record_key(KEY), True, id="a record"),
        pytest.param(KEY, False, id="the artifact"),
        pytest.param(keys.hold_key(KEY), False, id="a hold"),
        pytest.param(keys.damage_key(KEY), False, id="a damage mark"),
        pytest.param("orders-2026-11-23T02-00-00.backup.json", False, id="no set and database"),
        pytest.param(f"prefix/{KEY}.json", False, id="too deep"),
        pytest.param(".staging/orders/orders-2026-11-23T02-00-00.backup.json", False, id="below a hidden folder"),
        pytest.param("default//orders-2026-11-23T02-00-00.backup.json", False, id="no database"),
        pytest.param("default/orders/notes.json", False, id="a file of another program"),
    ],
)
def test_record_keys_are_recognised(key: str, is_one: bool) -> None:
    assert keys.is_record_key(key) is is_one


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KEY, "default/orders/"),
        ("default/orders/deep/er.backup", "default/orders/"),
        ("default/orders", ""),
        ("owner.json", ""),
        ("default/_x/y", ""),
        (".agent/orders/y", ""),
        ("a//y", ""),
        ("//y", ""),
    ],
)
def test_a_key_belongs_to_the_folder_of_a_database_or_to_none(key: str, expected: str) -> None:
    assert keys.prefix_of(key) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KEY, KEY),
        (f"{KEY}.1", KEY),
        (f"{KEY}.1.2", f"{KEY}.1.2"),
        (f"{KEY}.x", f"{KEY}.x"),
        (f"{KEY}.²", f"{KEY}.²"),
        ("a/b/notes.1", "a/b/notes.1"),
    ],
)
def test_a_part_belongs_to_its_manifest(key: str, expected: str) -> None:
    assert keys.artifact_of(key) == expected
