"""The events of child processes: how they are written, and which lines are not events."""

import json
from typing import Any, get_args

import pytest

from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, PlaceName
from backup_agent.core.drill.evidence import DatabaseDrills, Evidence
from backup_agent.core.requests import events
from backup_agent.core.requests.events import (
    ArtifactStored,
    ChildEvent,
    Event,
    MalformedEvent,
    TaskEnded,
    UnknownEvent,
    is_success,
    parse,
)

FAILURE = {"reason": "internal", "error": "it cannot be done", "hint": ""}
KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
SUMMARY = {
    "set": "default",
    "database": "orders",
    "artifacts": 3,
    "size": 7,
    "first": "2026-11-23T02:00:00Z",
    "newest": KEY,
    "newest_size": 1,
    "last_success": {"FULL": "2026-11-23T02:00:00Z"},
    "chain_links": 1,
    "chain_size": {"FULL": 1, "DIFF": 0},
    "owed": {"offsite": 2},
    "owed_since": {"offsite": "2026-11-23T02:00:00Z"},
}
COPY = {
    "database": "orders", "type": "standard", "role": "primary", "writer": True, "address": "server-0:7687",
    "server_id": "a", "database_id": "b", "status": "online", "last_committed_txn": 7, "replication_lag": 0,
}  # fmt: skip
DEFINITION = {
    "primaries": 3, "secondaries": None, "default_language": "CYPHER 25", "access": "read-write",
    "options": {"txLogEnrichment": "FULL"}, "aliases": ["o"], "shards": [],
}  # fmt: skip

EVIDENCE = Evidence.model_validate(
    {
        "key": KEY,
        "since": "2026-11-23T02:00:00Z",
        "place": "offsite",
        "level": "read",
        "outcome": "passed",
        "started": "2026-11-23T01:00:00Z",
        "size": 1,
        "chain": {},
        "proven": True,
    }
).model_dump(mode="json")

DRILLS = DatabaseDrills(place=PlaceName("offsite"), set=DEFAULT_SET, database=DatabaseName("orders")).model_dump(
    mode="json"
)

LINES: dict[str, dict[str, Any]] = {
    "drilling": {"place": "offsite", "key": KEY, "level": "query"},
    "drilled": {"evidence": EVIDENCE, "hint": "", "marked": False, "unwritten": None, "drills": None, "reported": None},
    "drill_marked": {"key": KEY, "drills": DRILLS},
    "stage": {"stage": "reading"},
    "progress": {"bytes": 1, "total": 2, "estimated_seconds": 3.5},
    "warning": {"text": "place held", "because": "an earlier holder is dead"},
    "signing": {"fault": "/run/secrets/signing/key.pem: the signing key cannot be read: No such file or directory"},
    "aside": {"run": "nightly+orders+1", "name": "orders.backup"},
    "stored": {"place": "volume", "type": "FULL", "bytes": 7},
    "copying": {"key": KEY, "bytes": 7},
    "copied": {"key": KEY, "type": "FULL", "bytes": 7, "seconds": 0.5},
    "not_copied": {"key": KEY, "failure": FAILURE},
    "volume": {"hard_links": True},
    "unreadable": {"fault": f"{KEY}.json: Invalid JSON"},
    "surveyed": {},
    "survey_failed": {"failure": FAILURE},
    "summary": {"summary": SUMMARY},
    "unsummarised": {"set": "default", "database": "orders", "error": "Input/output error"},
    "gone": {"set": "default", "database": "orders"},
    "owed": {
        "set": "default",
        "database": "orders",
        "destination": "offsite",
        "owed": 2,
        "oldest": "2026-11-23T02:00:00Z",
    },
    "audit_forked": {"place": "offsite", "because": "forked", "found": "other lines from 7 on"},
    "uncounted": {"destination": "offsite", "error": "Input/output error"},
    "rows": {
        "copies": [COPY],
        "aliases": [["o", "orders"]],
        "backup_addresses": [["server-0:7687", "server-0:6362"]],
        "definitions": [["orders", DEFINITION]],
        "reachable": [["server-0:6362", None]],
    },
    "topology": {
        "seen": "2026-11-23T02:00:00Z",
        "versions": ["2026.09.0"],
        "counts": {"copies": 1},
        "clock_offset_seconds": 0.5,
        "notes": ["2 names refused"],
        "refused": 2,
        "listeners": {"server-0:7687": None, "server-1:7687": "server.backup.enabled is false"},
    },
    "cluster_state": {
        "state": {
            "servers": [
                {
                    "name": "a",
                    "address": "server-0:7687",
                    "version": "2026.09.0",
                    "state": "Enabled",
                    "health": "Available",
                    "hosting": 3,
                    "requested": 3,
                }
            ],
            "databases": 3,
            "reasons": ["server-0:7687 is Cordoned, not Enabled"],
            "more_reasons": 0,
            "unseen": [],
        }
    },
    "not_discovered": {"failure": FAILURE, "permanent": True, "counts": {"reachable": 1}},
    "pruned": {"place": "local", "key": KEY, "bytes": 7, "reason": "older than 7 days", "freed": True},
    "hold_ended": {"place": "local", "key": KEY, "because": "held until 2026-12-31T23:59:59Z"},
    "strays": {"orphans": [KEY], "unknown": [], "foreign": ["x"], "more": 7, "unreadable": []},
    "unrecognised": {"place": "offsite", "records": 2, "first": [KEY]},
    "scope": {"artifacts": 3, "size": 30, "read": 1, "read_size": 10, "estimated_seconds": 2.5},
    "reading": {"key": KEY},
    "verified": {"place": "local", "key": KEY},
    "damaged": {"place": "local", "key": KEY, "found": "another SHA-256"},
    "healed": {"place": "local", "key": KEY, "sources": ["offsite"]},
    "not_healed": {"place": "local", "key": KEY, "error": "no good copy"},
    "unread": {"place": "local", "key": KEY, "error": "Input/output error"},
    "damages": {"place": "local", "keys": [KEY], "unreadable": {"no_record": [KEY]}, "unrestorable": [KEY]},
    "backup_result": {
        "result": {"outcome": "failed", "reason": "internal", "error": "it cannot be done"},
        "execution": {"admin_version": "2026.09.0", "launch": "direct", "exit_code": 1, "source": "server-1:6362"},
    },
    "pass_result": {
        "result": {"outcome": "succeeded", "verified": 1},
        "oldest": "2026-11-23T02:00:00Z",
        "next_seconds": 60.0,
    },
    "copy_result": {"copied": 1, "counted": True, "failure": FAILURE, "ended_early": True},
    "check": {
        "finding": {
            "check": "lifecycle",
            "outcome": "FAIL",
            "found": "a rule deletes",
            "advice": "remove it",
            "place": "offsite",
            "accepted": None,
            "accepted_until": None,
        }
    },
    "checks": {"server_versions": ["2026.09.0"], "backup_addresses": ["server-0:6362"]},
    "notification": {"error": "the receiver answered 500", "hint": "see its log"},
    "page": {"error": "no space left on device"},
    "task_ended": {},
}
"""Event -> the fields of one line of it."""


@pytest.mark.parametrize("kind", LINES)
def test_a_line_is_read_as_its_event_and_written_again(kind: str) -> None:
    line = {"event": kind, **LINES[kind]}
    event = parse(json.dumps(line).encode())

    assert isinstance(event, ChildEvent)
    written = json.loads(event.model_dump_json())
    assert {name: value for name, value in written.items() if name not in ("result", "execution")} == {
        name: value for name, value in line.items() if name not in ("result", "execution")
    }
    for name in ("result", "execution"):
        assert line.get(name, {}).items() <= written.get(name, {}).items()
    assert next(iter(written)) == "event"


def test_each_event_has_an_example_here() -> None:
    union = (*get_args(Event), TaskEnded)
    defined = {one for one in vars(events).values() if isinstance(one, type) and issubclass(one, ChildEvent)}

    assert {one.model_fields["event"].default for one in union} == set(LINES)
    assert defined - {ChildEvent} == set(union)


def test_unknown_fields_of_an_event_are_ignored() -> None:
    line = b'{"event":"stored","place":"offsite","type":"FULL","bytes":7,"since":{"a":[1]}}'

    assert parse(line) == ArtifactStored(place="offsite", type="FULL", bytes=7)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        pytest.param(b"", "", id="an empty line"),
        pytest.param(b"a library that prints", "", id="prose"),
        pytest.param(b"\xff\x00{", "", id="not UTF-8"),
        pytest.param(b"[1]", "", id="a list"),
        pytest.param(b"{}", "", id="without a kind"),
        pytest.param(b"[" * 40_000, "", id="deep"),
        pytest.param(b'{"event":7}', "7", id="a number for a kind"),
        pytest.param(b'{"event":"invented_later","size":1}', "invented_later", id="of a newer child"),
        pytest.param(b'{"event":"' + b"x" * 5000 + b'"}', "x" * 40, id="a long name"),
    ],
)
def test_a_line_that_is_not_an_event_of_this_version_is_unknown(line: bytes, kind: str) -> None:
    assert parse(line) == UnknownEvent(kind)


def test_a_line_with_too_many_values_is_not_read() -> None:
    line = b'{"event":"rows","copies":[' + b"7," * 500_000 + b"7]}"
    event = parse(line)

    assert isinstance(event, MalformedEvent)
    assert str(event.error) == "more than 50000 values, so it was not parsed"


@pytest.mark.parametrize(
    "line",
    [
        {"event": "summary"},
        {"event": "summary", "summary": {**SUMMARY, "artifacts": "many"}},
        {"event": "backup_result", "result": {"outcome": 7}},
        {"event": "rows", "copies": [{"database": "../etc"}]},
    ],
    ids=["without its fields", "of other types", "a result without an outcome", "a hostile name"],
)
def test_a_malformed_event_differs_from_an_unknown_one(line: dict[str, Any]) -> None:
    event = parse(json.dumps(line).encode())

    assert isinstance(event, MalformedEvent)
    assert event.kind == line["event"]


@pytest.mark.parametrize(
    ("kind", "success"),
    [
        ("backup_result", False),
        ("pass_result", True),
        ("copy_result", False),
        ("topology", True),
        ("survey_failed", False),
        ("not_discovered", False),
        ("notification", False),
        ("page", False),
    ],
)
def test_a_child_waits_for_another_task_only_after_a_success(kind: str, success: bool) -> None:
    result = parse(json.dumps({"event": kind, **LINES[kind]}).encode())

    assert is_success(result) is success  # type: ignore[arg-type]  # the lines above are results


@pytest.mark.parametrize("outcome", ["recorded", "succeeded", "succeeded_with_warnings"])
def test_a_backup_with_an_artifact_is_a_success(outcome: str) -> None:
    line = {"event": "backup_result", "result": {"outcome": outcome}}

    assert is_success(parse(json.dumps(line).encode()))  # type: ignore[arg-type]  # the lines above are results
