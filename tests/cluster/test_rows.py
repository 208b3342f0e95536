"""The rows of a topology in events: all are received, and an incomplete answer is refused."""

from collections.abc import Iterable
from typing import Any

import pytest

from backup_agent.cluster.rows import ALIASES, COPIES, DEFINITIONS, MOST, REACHABLE, IncompleteError, Rows, events_with
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.neo4j.definitions import LARGEST, definitions
from backup_agent.core.neo4j.topology import Copy, Refusals
from backup_agent.core.requests.events import TopologyRows, parse
from backup_agent.supervisor.children.process import LONGEST_LINE

COPY: dict[str, Any] = {"database": "orders", "address": "server-0:7687"}
LONGEST: dict[str, Any] = {
    "database": "d" * 128, "address": "a" * 253 + ":65535", "server_id": "i" * 128, "database_id": "i" * 128,
    "type": "t" * 64, "role": "r" * 64, "status": "s" * 64, "writer": False, "last_committed_txn": 2**62,
    "replication_lag": -(2**62),
}  # fmt: skip


def rows_of(events: Iterable[TopologyRows]) -> Rows:
    found = Rows()
    for event in events:
        found.take(TopologyRows.model_validate_json(event.model_dump_json()))
    return found


@pytest.mark.parametrize("count", [0, 1, 100, 101, 4500])
def test_all_rows_that_are_sent_are_received(count: int) -> None:
    pairs = [(f"a{number}", "orders") for number in range(count)]
    found = rows_of(events_with({COPIES: [COPY] * count, ALIASES: pairs}))

    assert found.complete({COPIES: count, ALIASES: count})[COPIES] == [Copy(**COPY)] * count
    assert [tuple(pair) for pair in found.complete({COPIES: count, ALIASES: count})[ALIASES]] == pairs


def test_no_line_is_longer_than_the_limit_of_the_supervisor() -> None:
    reachable = [("a" * 259, "no " * 400)] * MOST[REACHABLE]
    defined = [("d" * 128, {"options": {"x": "x" * LARGEST}})] * 1000
    events = list(events_with({COPIES: [LONGEST] * 1000, REACHABLE: reachable, DEFINITIONS: defined}))

    assert max(len(event.model_dump_json()) for event in events) < LONGEST_LINE / 4
    counts = {COPIES: 1000, REACHABLE: MOST[REACHABLE], DEFINITIONS: 1000}
    assert Copy(**LONGEST) in rows_of(events).complete(counts)[COPIES]


def test_no_line_of_definitions_has_more_values_than_the_limit_of_the_supervisor() -> None:
    full_of_commas = {"x": "," * (LARGEST - 200)}
    found = definitions([{"name": f"db{number}", "options": full_of_commas} for number in range(100)], Refusals())

    assert len(found) == 100
    for event in events_with({DEFINITIONS: found.items()}):
        assert parse(event.model_dump_json().encode()) == event


def test_equal_definitions_are_kept_once() -> None:
    equal = {"primaries": 3, "options": {"txLogEnrichment": "FULL"}}
    rows = [("orders", equal), ("hr", {**equal}), ("web", {"primaries": 1})]
    found = dict(rows_of(events_with({DEFINITIONS: rows})).complete({DEFINITIONS: 3})[DEFINITIONS])

    assert found == {name: Definition.model_validate(row) for name, row in rows}
    assert found["orders"] is found["hr"]


def test_equal_texts_are_kept_once() -> None:
    first, second = rows_of(events_with({COPIES: [COPY, COPY]})).complete({COPIES: 2})[COPIES]

    assert first.address is second.address


@pytest.mark.parametrize(
    ("event", "counts", "fault"),
    [
        pytest.param({COPIES: [COPY]}, {COPIES: 2}, "1 of 2 copies were received", id="too few"),
        pytest.param({COPIES: [COPY]}, {}, "1 of 0 copies were received", id="too many"),
        pytest.param({REACHABLE: [("a", None)] * 3000}, {}, "more than 2000 reachable", id="a flood"),
    ],
)
def test_an_incomplete_answer_is_refused(event: dict[str, Any], counts: dict[str, int], fault: str) -> None:
    found = rows_of([TopologyRows.model_validate(event)])

    with pytest.raises(IncompleteError, match=fault):
        found.complete(counts)
