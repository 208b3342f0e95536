"""Definitions of databases: the columns that each version is asked for, and how the answer is read."""

from typing import Any

import pytest

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.capabilities import Version
from backup_agent.core.neo4j.definitions import LARGEST, LARGEST_TOTAL, definitions, statement
from backup_agent.core.neo4j.topology import Refusals
from tests.builders import ORDERS

OLD = "SHOW DATABASES YIELD name, requestedPrimariesCount, requestedSecondariesCount, access, options, aliases"

ROW: dict[str, Any] = {
    "name": "orders",
    "requestedPrimariesCount": 3,
    "requestedSecondariesCount": 1,
    "access": "read-write",
    "options": {"txLogEnrichment": "FULL"},
    "aliases": ["shop"],
    "defaultLanguage": "CYPHER 25",
    "graphShards": ["orders"],
    "propertyShards": [],
}
DEFINED = Definition(
    primaries=3,
    secondaries=1,
    default_language="CYPHER 25",
    access="read-write",
    options={"txLogEnrichment": "FULL"},
    aliases=("shop",),
)


def read_rows(*rows: dict[str, Any]) -> tuple[dict[DatabaseName, Definition], tuple[str, ...]]:
    refusals = Refusals()
    return definitions(rows, refusals), refusals.notes()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(None, OLD, id="unknown"),
        pytest.param(Version(5, 26, 31), OLD, id="5.26"),
        pytest.param(Version(2025, 5), OLD, id="2025.05"),
        pytest.param(Version(2025, 6), f"{OLD}, defaultLanguage", id="2025.06"),
        pytest.param(Version(2025, 11, 2), f"{OLD}, defaultLanguage", id="2025.11"),
        pytest.param(Version(2025, 12), f"CYPHER 25 {OLD}, defaultLanguage, graphShards, propertyShards", id="2025.12"),
    ],
)
def test_the_query_names_the_columns_that_the_version_of_the_server_has(version: Version | None, expected: str) -> None:
    assert statement(version) == expected


def test_a_definition_has_the_values_of_the_columns() -> None:
    assert read_rows(ROW) == ({"orders": DEFINED}, ())


def test_the_first_row_of_a_database_counts() -> None:
    assert read_rows(ROW, {**ROW, "requestedPrimariesCount": 5}) == ({"orders": DEFINED}, ())


def test_nulls_and_missing_columns_are_unknown() -> None:
    assert read_rows({"name": "orders", "options": None, "access": None}) == ({"orders": Definition()}, ())


def test_a_sharded_database_names_its_shards() -> None:
    row = {**ROW, "graphShards": ["orders-g000"], "propertyShards": ["orders-p000", "orders-p001"]}

    assert read_rows(row)[0][ORDERS].shards == ("orders-g000", "orders-p000", "orders-p001")


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("requestedPrimariesCount", "3", "primaries"),
        ("requestedSecondariesCount", -1, "secondaries"),
        ("defaultLanguage", "CYPHER\n25", "default_language"),
        ("access", 7, "access"),
        ("options", "FULL", "options"),
        ("aliases", "shop", "aliases"),
    ],
)
def test_an_invalid_value_is_left_out_and_reported(column: str, value: object, field: str) -> None:
    found, notes = read_rows({**ROW, column: value})

    assert found[ORDERS] == DEFINED.model_copy(update={field: Definition.model_fields[field].default})
    assert notes == (f"1 invalid values of {column}, left out of the definition: 'orders'",)


def test_invalid_database_names_and_aliases_are_left_out() -> None:
    found, notes = read_rows({**ROW, "aliases": ["shop", "$(id)", 7]}, {**ROW, "name": "../x"}, {**ROW, "name": None})

    assert (found, notes) == ({"orders": DEFINED}, ())


def test_options_of_seeding_and_options_that_may_contain_a_secret_are_not_kept() -> None:
    private = ["seedURI", "seedCredentials", "existingData", "s3SecretKey", "accessToken", "userPassword", "Credential"]
    options: dict[Any, Any] = {
        "txLogEnrichment": "FULL",
        **dict.fromkeys(private, "hunter2"),
        "nested": {"a": "hunter2"},
        7: "hunter2",
    }

    assert read_rows({**ROW, "options": options}) == ({"orders": DEFINED}, ())


def test_a_definition_that_is_too_large_is_not_kept() -> None:
    found, notes = read_rows(
        {**ROW, "options": {"x": "\N{SNOWMAN}" * (LARGEST // 6)}}, {**ROW, "name": "hr", "graphShards": ["hr"]}
    )

    assert found == {"hr": DEFINED}
    assert notes == ("1 definitions of databases that are too large, left out: 'orders'",)


def test_a_sharded_database_with_many_shards_is_still_recognised() -> None:
    found, notes = read_rows({**ROW, "propertyShards": [f"orders-p{number:03}" for number in range(1000)]})

    assert found == {"orders": Definition(shards=("orders-p000",))}
    assert notes == ("1 definitions of databases that are too large, left out: 'orders'",)


def test_all_definitions_together_are_bounded() -> None:
    rows = [{**ROW, "name": f"db{number}", "options": {"x": "x" * 1300}} for number in range(3200)]
    found, notes = read_rows(*rows)

    assert 0.98 * LARGEST_TOTAL < sum(len(one.model_dump_json()) for one in found.values()) <= LARGEST_TOTAL
    assert len(notes) == 1
