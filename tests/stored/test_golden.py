"""Stored documents keep their form. An optional key of a newer agent makes no document unreadable, and is not lost."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from backup_agent.catalog.index import IndexLine, with_checksum
from backup_agent.core.artifacts.marks import Mark
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.neo4j.topology import Topology
from tests.stored.values import GOLDEN, LINES, RECORD, VALUES

NEW = {"from_a_newer_agent": {"any": ["value", 1, None]}}


def every_subclass(kind: type[StoredValue]) -> set[type[StoredValue]]:
    below = set(kind.__subclasses__())
    return below.union(*(every_subclass(one) for one in below))


def grown(value: Any, written: Any) -> Any:
    """Return a document with an unknown key in each of its objects that is a model, not a map from names."""
    if isinstance(value, BaseModel):
        names = {field.alias or name: name for name, field in type(value).model_fields.items()}
        return {key: grown(getattr(value, names[key]), one) for key, one in written.items()} | NEW
    if isinstance(value, dict):
        return {key: grown(value[key], one) for key, one in written.items()}
    if isinstance(value, tuple):
        return [grown(*pair) for pair in zip(value, written, strict=True)]
    return written


@pytest.mark.parametrize("name", VALUES)
def test_a_golden_file_is_read_as_its_value(name: str) -> None:
    value = VALUES[name]

    assert type(value).from_json((GOLDEN / f"{name}.json").read_bytes()) == value


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_written_as_its_golden_file(name: str) -> None:
    assert VALUES[name].to_json() == (GOLDEN / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", VALUES)
def test_unknown_keys_are_ignored_and_written_again(name: str) -> None:
    value = VALUES[name]
    document = grown(value, json.loads(value.to_json()))

    found = type(value).from_json(json.dumps(document).encode())

    assert json.loads(found.to_json()) == document


@pytest.mark.parametrize("name", VALUES)
def test_a_document_of_another_schema_is_refused(name: str) -> None:
    document = {**json.loads(VALUES[name].to_json()), "schema": 2}

    with pytest.raises(ValidationError, match="schema"):
        type(VALUES[name]).from_json(json.dumps(document).encode())


def test_an_unknown_key_of_a_copy_is_ignored() -> None:
    document = json.loads(VALUES["topology"].to_json())
    document["copies"][0] |= NEW

    assert Topology.from_json(json.dumps(document).encode()) == VALUES["topology"]


def test_every_kind_of_stored_document_has_a_golden_file_and_sets_every_field() -> None:
    assert {type(value) for value in VALUES.values()} | {Mark} == every_subclass(StoredValue)
    for name, value in VALUES.items():
        assert value.model_fields_set | {"schema_"} == set(type(value).model_fields), name


@pytest.mark.parametrize("name", LINES)
def test_a_golden_line_is_read_and_written_as_it_is(name: str) -> None:
    line = LINES[name]
    content = (GOLDEN / f"{name}.txt").read_bytes()

    assert line.read(content) == line.value
    assert line.write(line.value) == content


def test_an_unknown_field_in_a_line_of_the_index_is_ignored() -> None:
    line = IndexLine.of(RECORD, 2222, recognised=True)
    values = json.loads(line.to_bytes()[9:])

    assert IndexLine.from_bytes(with_checksum(json.dumps([*values, {"label": "gold"}, None]).encode())) == line
