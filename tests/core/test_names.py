"""The names of artifacts, databases and requests."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from backup_agent.core.artifacts import names
from backup_agent.core.requests.schedules import request_id
from tests.builders import ORDERS


def test_the_name_of_an_artifact_has_its_time_in_utc() -> None:
    taken = datetime(2026, 11, 23, 3, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert names.artifact_name(ORDERS, taken) == "orders-2026-11-23T02-00-00.backup"
    assert names.artifact_name(ORDERS, datetime(2026, 11, 23, 2, tzinfo=UTC)) == "orders-2026-11-23T02-00-00.backup"


@pytest.mark.parametrize("text", ["orders", "orders*", "!web", "*"])
def test_a_glob_of_databases_may_be_a_name_and_may_exclude(text: str) -> None:
    assert names.database_glob(text) == text


@pytest.mark.parametrize("text", ["", "!", "!!web", "../orders", "or ders", "orders\n"])
def test_a_text_that_can_match_no_database_is_not_a_glob(text: str) -> None:
    with pytest.raises(ValueError, match="a database name, a glob"):
        names.database_glob(text)


@pytest.mark.parametrize("process", [1, 4_194_304])
def test_a_commands_id_differs_from_all_other_ids(process: int) -> None:
    identity = names.command_id(datetime(2026, 11, 23, 1, 0, tzinfo=UTC), process)

    assert names.COMMAND_ID.fullmatch(identity)
    assert names.ANY_REQUEST_ID.fullmatch(identity)
    assert not names.REQUEST_ID.fullmatch(identity)
    assert not names.COMMAND_ID.fullmatch(request_id("cli", datetime(2026, 11, 23, 1, 0, tzinfo=UTC)))


@pytest.mark.parametrize(
    "text",
    ["-orders", "--verbose", "@/etc/passwd", "", "orders\n", "or ders", "ord\0ers", "*", "ördërs", "a/b", "x" * 129],
)
def test_ambiguous_texts_are_not_names_of_databases(text: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a database") as refused:
        names.database_name(text)

    assert str(refused.value).isprintable()


@given(st.text() | st.from_regex(names.DATABASE))
def test_a_database_name_is_never_an_option_nor_two_words(text: str) -> None:
    try:
        database = names.database_name(text)
    except ValueError:
        return

    assert database == text
    assert database.isascii()
    assert database[0].isalnum()
    assert not set(database) & set("*? \n@/")


@pytest.mark.parametrize(
    ("name", "text"),
    [(names.DatabaseName, "$(id)"), (names.SetName, "owner.json"), (names.PlaceName, "a/b"), (names.RequestId, "../a")],
)
def test_names_are_checked_when_a_document_is_read(name: Any, text: str) -> None:
    with pytest.raises(ValidationError, match="1 validation error"):
        TypeAdapter(name).validate_python(text)
