"""Valid requests, and the faults of invalid ones."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.requests.request import LARGEST, Action, InvalidRequestError, Request, is_whole, parse
from tests.builders import TRACE

ROOT = "/backups"


def faults_of(document: Any) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(InvalidRequestError) as caught:
        parse(data, ROOT)
    return "\n".join(caught.value.faults)


def test_the_predecessors_debug_command_is_understood() -> None:
    request = parse(b'{"path":"/backups/test","type":"FULL"}\n', ROOT)

    assert (request.action, request.type, request.set_name(ROOT)) == (Action.BACKUP, BackupType.FULL, "test")


def test_an_empty_object_requests_an_automatic_backup_of_all_databases() -> None:
    request = parse(b"{}", ROOT)

    assert (request.type, request.asked, request.set_name(ROOT)) == (BackupType.AUTO, None, "default")


def test_valid_labels_are_kept_unchanged() -> None:
    labels = {"k" * 63: "x" * 256, "0.a_b-c": "", "ticket": "CHG-42 für Ördérs 🎟"}

    request = parse(json.dumps({"labels": labels}).encode(), ROOT)

    assert request.labels == request.content()["labels"] == request.attribution.labels == labels


@pytest.mark.parametrize(
    ("document", "asked"),
    [
        pytest.param({"database": "Orders"}, ("orders",), id="one name, lowered as by Neo4j"),
        pytest.param({"databases": "orders"}, ("orders",), id="a name in place of a list"),
        pytest.param({"databases": ["a*", "!ab", "x?"]}, ("a*", "!ab", "x?"), id="globs and an exclusion"),
    ],
)
def test_databases_can_be_given_in_several_ways(document: dict[str, Any], asked: tuple[str, ...]) -> None:
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
    ("document", "text"),
    [
        pytest.param({"typ": "FULL"}, "typ: no such field (fields are action, id", id="unknown field"),
        pytest.param(
            {"type": "INCREMENTAL"}, "type: one of `FULL`, `DIFF`, `AUTO` expected (got text)", id="unknown type"
        ),
        pytest.param(
            {"type": 1}, "type: one of `FULL`, `DIFF`, `AUTO` expected (got a number)", id="wrong type of type"
        ),
        pytest.param({"action": "explode"}, "action: one of `backup`, `cancel`, ", id="unknown action"),
        pytest.param(
            {"action": "restore"},
            "`restore` is not implemented; this version has `backup`",
            id="an action that is not built yet",
        ),
        pytest.param({"action": "hold", "reason": "audit"}, "`artifact` is missing", id="hold of nothing"),
        pytest.param({"action": "hold", "artifact": "a/b/c"}, "`reason` is missing", id="hold without a reason"),
        pytest.param(
            {"action": "hold", "reason": "x", "artifact": "a/b/c", "database": "a"},
            "`artifact` and `database` are both given",
            id="hold one and many",
        ),
        pytest.param({"action": "hold", "reason": "x", "database": "!a"}, "without `!`", id="hold all but"),
        pytest.param(
            {"action": "hold", "reason": "x", "taken_from": "2026-12-02", "taken_to": "2026-12-01"},
            "`taken_from` is later than `taken_to`",
            id="hold backwards",
        ),
        pytest.param({"action": "release", "artifact": "a/b/c"}, "`reason` is missing", id="release without a reason"),
        pytest.param({"until": "2026-12-31"}, "`until` is not a field of `backup`", id="a backup until"),
        pytest.param({"force": True}, "`force` is not a field of `backup`", id="force of a backup"),
        pytest.param(
            {"action": "forget", "database": "a*", "reason": "x"}, "a name expected, not a glob", id="forget a glob"
        ),
        pytest.param(
            {"action": "prune", "drop_owed": "s3"}, "`drop_owed` needs `force`", id="give up copies without force"
        ),
        pytest.param({"action": "prune", "plan": "0123"}, "`plan` needs `place`", id="a plan of no place"),
        pytest.param({"all": True}, "`all` is not a field of `backup`", id="all of a backup"),
        pytest.param(
            {"action": "verify", "all": True, "database": "a"}, "`database` and `all` are both given", id="all and one"
        ),
        pytest.param(
            {"action": "verify", "databases": ["a"]}, "`databases` is not a field of `verify`", id="verify some"
        ),
        pytest.param({"action": "verify", "database": "a*"}, "a name expected, not a glob", id="verify a glob"),
        pytest.param({"action": "verify", "chain": True}, "`chain` needs `artifact`", id="chain of nothing"),
        pytest.param({"action": "cancel"}, "`id` is missing", id="cancel of nothing"),
        pytest.param({"id": "../x"}, "id: letters, digits, ", id="an id that is a path"),
        pytest.param({"id": "x" * 129}, "id: letters, digits, ", id="an id that is too long"),
        pytest.param({"id": "x\n"}, "id: letters, digits, ", id="an id with a line break"),
        pytest.param({"id": " x"}, "id: letters, digits, ", id="an id with a space"),
        pytest.param({"id": ""}, "id: letters, digits, ", id="an empty id"),
        pytest.param(
            {"id": "hourly@20261129T211200Z"}, "id: an id without `@` expected", id="the id of a schedule's run"
        ),
        pytest.param({"id": "cli@20261129T211200000000Z-7"}, "id: an id without `@`", id="the id of a command"),
        pytest.param(
            {"action": "prune", "dry_run": "yes"}, "dry_run: `true` or `false` expected", id="text as a boolean"
        ),
        pytest.param(
            {"action": "prune", "force": 1},
            "`false` expected, without quotes (got a number)",
            id="a number as a boolean",
        ),
        pytest.param(
            {"action": "verify", "heal": "true"}, "heal: `true` or `false` expected", id="a boolean in quotes"
        ),
        pytest.param({"reason": "x" * 1001}, "reason: at most 1000 characters expected (got 1001)", id="a long reason"),
        pytest.param(
            {"reason": None, "path": {}}, "path: text in quotes expected (got an object)", id="object for text"
        ),
        pytest.param(
            {"databases": 5}, "databases: a name or a list of names expected (got a number)", id="number as name"
        ),
        pytest.param({"databases": ["a", None]}, "(item 2 is null)", id="null as a name"),
        pytest.param({"databases": ["a", "b c"]}, "(item 2 is something else)", id="odd bytes in a list"),
        pytest.param(
            {"labels": ["gold"]}, 'labels: keys and values such as {"ticket": "CHG-42"} expected', id="labels in a list"
        ),
        pytest.param(
            {"labels": dict.fromkeys(map(str, range(17)), "")}, "labels: at most 16 labels expected", id="17 labels"
        ),
        pytest.param(
            {"labels": {"a": "", "Hunter2": ""}}, "labels: in label 2 a key of at most 63 lower-case", id="odd label"
        ),
        pytest.param({"labels": {"k" * 64: ""}}, "labels: in label 1 a key of at most 63", id="long key of a label"),
        pytest.param(
            {"labels": {"-k": ""}}, "labels: in label 1 a key of at most 63", id="label that begins by a dash"
        ),
        pytest.param({"labels": {"k": 1}}, "labels: in label 1 a value of at most 256", id="number in a label"),
        pytest.param({"labels": {"k": "x" * 257}}, "labels: in label 1 a value of at most 256", id="long label"),
        pytest.param({"labels": {"k": "a\u202eb"}}, "256 printable characters expected", id="label that hides text"),
        pytest.param(
            {"action": "prune", "labels": {"k": ""}}, "`labels` is not a field of `prune`", id="labels of a prune"
        ),
        pytest.param({"force": False}, "`force` is not a field of `backup`", id="a boolean field that is false"),
        pytest.param(
            {"action": "pause", "place": None}, "`place` is not a field of `pause`", id="a field that is null"
        ),
        pytest.param(
            {"action": "prune", "database": "a"}, "`database` is not a field of `prune`", id="prune of a database"
        ),
        pytest.param({"action": "verify", "path": "a"}, "`path` is not a field of `verify`", id="verify of a set"),
        pytest.param({"action": "resume", "type": "FULL"}, "`type` is not a field of `resume`", id="resume of a type"),
        pytest.param(
            {"action": "hold", "artifact": "a/b/c", "reason": " "}, "`reason` is missing", id="a blank reason"
        ),
        pytest.param(b'{"id": ' + b"9" * 5000 + b"}", "a number has too many digits", id="a number without end"),
        pytest.param({"database": "a", "databases": ["b"]}, "both given", id="two ways at once"),
        pytest.param({"databases": []}, "name at least one database", id="an empty list"),
        pytest.param({"database": "a;b"}, "a database name or glob expected", id="odd bytes in a name"),
        *(
            pytest.param({"databases": [name]}, "a database name or glob expected", id=f"no name: {name[:9]}")
            for name in ("..", ".", "!..", "-x", "--option", "!", "!!a", "../*", "x" * 129, "*" * 129)
        ),
        pytest.param([], "a JSON object expected (got a list)", id="a list"),
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b'{"type":', "not JSON", id="cut off"),
        pytest.param(b'{"type":"FULL","type":"DIFF"}', "type: given twice", id="a key twice"),
        pytest.param(b'{"reason":"\xff"}', "not UTF-8 at byte 11", id="not UTF-8"),
        pytest.param(b'{"id":"\\ud800"}', "half of a surrogate pair", id="half a surrogate pair in a value"),
        pytest.param(b'{"\\uDFFF":1}', "half of a surrogate pair", id="half a surrogate pair in a key"),
        pytest.param(
            b"[" * 60000, "nested more than 64 levels deep: a request is one flat JSON object", id="nested deeply"
        ),
        pytest.param(b" " * (LARGEST + 1), "a request has at most 65536", id="too large"),
    ],
)
def test_every_fault_is_reported_with_the_expected_value(document: Any, text: str) -> None:
    assert text in faults_of(document)


@pytest.mark.parametrize(
    "moment", ["tomorrow", "2026-11-23", "2026-11-23T02:00:00", "1795399200", 1795399200, 1.5, True, ["x"]]
)
def test_not_after_must_be_iso_8601_with_an_offset(moment: object) -> None:
    assert "not_after: an ISO 8601 time with its offset expected" in faults_of({"not_after": moment})


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        pytest.param("2026-12-31", datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), id="a day ends in UTC"),
        pytest.param("2026-12-31T12:00:00+01:00", datetime(2026, 12, 31, 11, tzinfo=UTC), id="a time"),
        pytest.param(None, None, id="no end"),
    ],
)
def test_a_hold_may_have_an_end(until: str | None, expected: datetime | None) -> None:
    document = {"action": "hold", "artifact": "a/b/c", "reason": "audit", "until": until}

    assert parse(json.dumps(document).encode(), ROOT).until == expected


def test_a_hold_or_release_selects_all_artifacts_that_match() -> None:
    fields = {
        "reason": "x",
        "database": "a*",
        "taken_from": "2026-12-01",
        "taken_to": "2026-12-01",
        "labels": {"a": "b"},
    }
    request = parse(json.dumps({"action": "hold", **fields}).encode(), ROOT)

    assert (request.selects, request.taken_from, request.taken_to) == (
        True,
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC),
    )
    assert not parse(b'{"action": "release", "artifact": "a/b/c", "reason": "x"}', ROOT).selects
    assert not parse(b'{"database": "a"}', ROOT).selects


@pytest.mark.parametrize("until", ["2026-12-32", "20261231", "2026-W53-4", "2026-12-31T12:00:00", 1, "90d", "tomorrow"])
def test_the_end_of_a_hold_must_be_a_day_or_a_time_with_an_offset(until: object) -> None:
    document = {"action": "hold", "artifact": "a/b/c", "reason": "audit", "until": until}

    assert "until: a day, as 2026-11-23, or an ISO 8601 time with its offset expected" in faults_of(document)


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param(TRACE.upper(), id="upper case"),
        pytest.param(TRACE[:-1], id="too short"),
        pytest.param(f"{TRACE}-x", id="too long"),
        pytest.param("ff" + TRACE[2:], id="no version"),
        pytest.param(f"00-{'0' * 32}-{'1' * 16}-01", id="no trace"),
        pytest.param(f"00-{'1' * 32}-{'0' * 16}-01", id="no span"),
    ],
)
def test_a_traceparent_has_the_form_of_the_standard(trace: str) -> None:
    assert "traceparent: a traceparent expected" in faults_of({"traceparent": trace})
    assert parse(json.dumps({"traceparent": TRACE}).encode(), ROOT).trace_id == TRACE.split("-")[1]
    assert parse(b"{}", ROOT).trace_id is None


def test_a_request_that_is_sent_again_in_another_trace_is_the_same() -> None:
    first, again = Request(id="a", traceparent=TRACE), Request(id="a", traceparent=TRACE.replace("4", "5"))

    assert first.repeats(again.content())
    assert first.repeats({"id": "a"})
    assert not first.repeats({"id": "a", "type": "FULL"})
    assert not first.repeats(None)


def test_not_after_keeps_its_offset() -> None:
    request = parse(b'{"not_after": "2026-11-23T03:00:00+01:00"}', ROOT)

    assert request.not_after == datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    assert Request.model_validate(request.content()) == request
    assert parse(b'{"not_after": null}', ROOT).not_after is None
    assert Request(not_after=request.not_after).not_after == request.not_after


@pytest.mark.parametrize("identity", ["nightly@20261123T010000Z", "cli@20261123T010000000000Z-17", "plain"])
def test_any_request_can_be_cancelled(identity: str) -> None:
    assert parse(json.dumps({"action": "cancel", "id": identity}).encode(), ROOT).id == identity


SECRET = "hunter2:$6$salt$hash"


@pytest.mark.parametrize(
    "document",
    [
        {"id": SECRET},
        {"type": SECRET},
        {"action": SECRET},
        {"action": "prune", "force": SECRET},
        {"database": SECRET},
        {"databases": [SECRET]},
        {"databases": {SECRET: SECRET}},
        {"path": f"/{SECRET}"},
        {"not_after": SECRET},
        {"reason": [SECRET]},
        {"reason": SECRET * 100},
        {"action": "forget", "database": "a*", "reason": SECRET},
        {"action": "pause", "place": SECRET},
        {SECRET: 1},
        {SECRET: 1, "typ": SECRET},
        [SECRET],
        SECRET,
        f"root:{SECRET}\n".encode(),
        f'{{"{SECRET}": 1, "{SECRET}": 2}}'.encode(),
        f'{{"reason": "\\{SECRET}"}}'.encode(),
        f'{{"reason": "{SECRET}\x01"}}'.encode(),
    ],
    ids=repr,
)
def test_a_fault_does_not_quote_the_file(document: Any) -> None:
    """The file may be a link to a file with secrets. All users who can list the folder can read the answer."""
    faults = faults_of(document)

    assert not any(part in faults for part in ("hunter2", "$6$", "salt", "'x'", "Input", "input should", "type="))


def test_unknown_fields_are_named_if_they_look_like_fields_and_otherwise_counted() -> None:
    assert faults_of({"one two": 1}).startswith("1 unknown field: fields are action, id, ")
    several = faults_of({"typ": 1, "a b": 2, "c:d": 3}).splitlines()
    assert [line.partition(":")[0] for line in several] == ["typ", "2 more unknown fields"]
    assert len(faults_of({f"x{chr(97 + n // 26)}{chr(97 + n % 26)}": n for n in range(500)}).splitlines()) == 11


def test_every_fault_is_named_at_once() -> None:
    faults = faults_of({"typ": 1, "id": "?", "reason": 5})

    assert [line.split(":")[0] for line in faults.splitlines()] == ["reason", "id", "typ"]


def test_a_fault_has_only_the_length_of_a_long_value() -> None:
    assert len(faults_of({"reason": ["x"] * 1000})) < 200


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, {}),
        ({"action": "prune"}, {}),
        ({"action": "prune", "force": True}, {"prune_force": "force"}),
        (
            {"action": "prune", "force": True, "drop_owed": "offsite"},
            {"prune_force": "force", "drop_owed": "drop_owed"},
        ),
        ({"action": "forget", "database": "orders", "reason": "dropped"}, {"forget": "action"}),
        ({"action": "release", "artifact": "default/orders/x", "reason": "over"}, {"release": "action"}),
        ({"action": "pause"}, {"pause": "action"}),
        ({"action": "resume"}, {}),
    ],
    ids=str,
)
def test_a_request_names_the_permissions_it_needs(document: dict[str, Any], expected: dict[str, str]) -> None:
    assert parse(json.dumps(document).encode(), "/backups").permissions == expected


def test_a_pause_may_have_an_end_and_no_other_action_has_one() -> None:
    assert parse(b'{"action": "pause", "until": "2026-11-23T02:00:00Z"}', "/backups").until is not None
    assert "`until` is not a field of `resume`" in faults_of({"action": "resume", "until": "2026-11-23T02:00:00Z"})
    assert "until: a day" in faults_of({"action": "pause", "until": "2h"})


def test_content_has_no_default_values() -> None:
    assert {"id": "a", "type": "FULL"} == Request(id="a", type=BackupType.FULL).content()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_raise_invalid_request_error(data: bytes) -> None:
    faults: tuple[str, ...] = ()
    try:
        parse(data, ROOT)
    except InvalidRequestError as error:
        faults = error.faults

    assert all(faults)


ODD = st.text(st.characters(exclude_categories=()), max_size=4)
"""Text with characters of every category, half surrogate pairs included."""


@given(st.dictionaries(st.sampled_from(sorted(Request.model_fields)) | ODD, ODD, max_size=3))
def test_any_text_in_any_field_is_a_request_or_raises_invalid_request_error(document: dict[str, str]) -> None:
    for ensure_ascii in (True, False):
        data = json.dumps(document, ensure_ascii=ensure_ascii).encode(errors="surrogatepass")
        with suppress(InvalidRequestError):
            parse(data, ROOT)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_prefix_of_an_object_is_not_whole(value: Any) -> None:
    data = json.dumps({"x": value}).encode()

    assert is_whole(data)
    assert not any(is_whole(data[:length]) for length in range(1, len(data), 1 + len(data) // 50))


def test_data_that_can_never_become_a_request_is_whole() -> None:
    assert is_whole(b"[" * 60000)
    assert is_whole(b'["\\ud800"]')
    assert not is_whole(b"[" * 60)


@pytest.mark.parametrize(
    ("document", "in_slices"),
    [
        ({"action": "verify"}, False),
        ({"action": "verify", "artifact": "a/b/c"}, False),
        ({"action": "verify", "artifact": "a/b/c", "chain": True}, True),
        ({"action": "verify", "database": "a"}, True),
        ({"action": "verify", "all": True}, True),
        ({"database": "a"}, False),
    ],
)
def test_verify_of_many_artifacts_is_read_in_slices(document: dict[str, Any], *, in_slices: bool) -> None:
    assert parse(json.dumps(document).encode(), "/backups").reads_in_slices is in_slices
