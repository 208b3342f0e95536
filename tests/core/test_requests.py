"""What a request may say, and what is said of one that says something else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.records import BackupType
from backup_agent.core.requests import LARGEST, Action, InvalidRequestError, Request, is_whole, parse

ROOT = "/backups"


def faults_of(document: Any) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(InvalidRequestError) as caught:
        parse(data, ROOT)
    return "\n".join(caught.value.faults)


def test_the_predecessors_debug_command_is_understood() -> None:
    request = parse(b'{"path":"/backups/test","type":"FULL"}\n', ROOT)

    assert (request.action, request.type, request.set_name(ROOT)) == (Action.BACKUP, BackupType.FULL, "test")


def test_an_empty_object_asks_for_an_automatic_backup_of_all() -> None:
    request = parse(b"{}", ROOT)

    assert (request.type, request.asked, request.set_name(ROOT)) == (BackupType.AUTO, None, "default")


@pytest.mark.parametrize(
    ("document", "asked"),
    [
        pytest.param({"database": "Orders"}, ("orders",), id="one name, in lower case as Neo4j keeps it"),
        pytest.param({"databases": "orders"}, ("orders",), id="a name where a list may stand"),
        pytest.param({"databases": ["a*", "!ab", "x?"]}, ("a*", "!ab", "x?"), id="globs and an exclusion"),
    ],
)
def test_databases_are_named_in_several_ways(document: dict[str, Any], asked: tuple[str, ...]) -> None:
    assert asked == parse(json.dumps(document).encode(), ROOT).asked


@pytest.mark.parametrize(
    ("path", "expected"),
    [("test", "test"), ("/backups/test", "test"), ("/backups/test/", "test"), ("a.b-c_1", "a.b-c_1")],
)
def test_a_path_names_one_set(path: str, expected: str) -> None:
    assert expected == parse(json.dumps({"path": path}).encode(), ROOT).set_name(ROOT)


@pytest.mark.parametrize(
    "path",
    [
        "/backups",
        "/backups/",
        "/etc",
        "..",
        "../x",
        "/backups/../etc",
        "a/b",
        "/backups/a/b",
        ".hidden",
        "",
        "a b",
        "/backupsX/a",
        "owner.json",
    ],
)
def test_a_path_that_leaves_the_root_or_has_more_than_one_name_is_refused(path: str) -> None:
    assert "path: one name below the storage root expected" in faults_of({"path": path})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param({"typ": "FULL"}, "typ: no such field (fields are action, id", id="unknown field"),
        pytest.param({"type": "INCREMENTAL"}, "type: input should be 'FULL', 'DIFF' or 'AUTO'", id="unknown type"),
        pytest.param({"type": 1}, "type:", id="wrong type of type"),
        pytest.param({"action": "explode"}, "action: input should be 'backup'", id="unknown action"),
        pytest.param({"action": "drill"}, "'drill' is not built yet; this version carries out `backup`", id="later"),
        pytest.param({"action": "hold", "reason": "audit"}, "`artifact` is missing", id="hold of nothing"),
        pytest.param({"action": "hold", "artifact": "a/b/c"}, "`reason` is missing", id="hold without a reason"),
        pytest.param({"force": True}, "`force` means nothing to `backup`", id="force of a backup"),
        pytest.param(
            {"action": "forget", "database": "a*", "reason": "x"}, "one whole name expected", id="forget a glob"
        ),
        pytest.param({"action": "prune", "drop_owed": "s3"}, "write `force`", id="give up copies lightly"),
        pytest.param({"action": "cancel"}, "`id` is missing", id="cancel of nothing"),
        pytest.param({"id": "../x"}, "id:", id="an id that is a path"),
        pytest.param({"id": "x" * 129}, "id:", id="an id that is too long"),
        pytest.param({"database": "a", "databases": ["b"]}, "both given", id="two ways at once"),
        pytest.param({"databases": []}, "name at least one database", id="an empty list"),
        pytest.param({"database": "a;b"}, "a database name or glob expected", id="odd bytes in a name"),
        pytest.param([], "a JSON object expected, got list", id="a list"),
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b'{"type":', "not JSON", id="half"),
        pytest.param(b'{"type":"FULL","type":"DIFF"}', "type: stands twice", id="a key twice"),
        pytest.param(b'{"reason":"\xff"}', "not UTF-8 at byte 11", id="not UTF-8"),
        pytest.param(b"[" * 60000, "nested too deeply", id="nested deeply"),
        pytest.param(b" " * (LARGEST + 1), "a request has at most 65536", id="too large"),
    ],
)
def test_what_is_wrong_is_said(document: Any, said: str) -> None:
    assert said in faults_of(document)


def test_every_fault_is_named_at_once() -> None:
    faults = faults_of({"typ": 1, "id": "?", "reason": 5})

    assert [line.split(":")[0] for line in faults.splitlines()] == ["id", "reason", "typ"]


def test_a_long_value_is_cut_in_the_fault() -> None:
    assert len(faults_of({"reason": ["x"] * 1000})) < 200


def test_content_leaves_out_what_was_not_said() -> None:
    assert {"id": "a", "type": "FULL"} == Request(id="a", type=BackupType.FULL).content()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_clear_fault(data: bytes) -> None:
    faults: tuple[str, ...] = ()
    try:
        parse(data, ROOT)
    except InvalidRequestError as error:
        faults = error.faults

    assert all(faults)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_prefix_of_json_is_never_taken_for_the_whole_object(value: Any) -> None:
    data = json.dumps({"x": value}).encode()

    assert is_whole(data)
    assert not any(is_whole(data[:length]) for length in range(1, len(data), 1 + len(data) // 50))
