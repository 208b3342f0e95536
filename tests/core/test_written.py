"""Stored documents: a round trip through JSON, and documents of a newer schema."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from backup_agent.core.artifacts.attribution import Attribution
from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.records import LARGEST, ArtifactFile, BackupType, History, Record, TooManyValuesError
from backup_agent.core.requests.request import Request
from backup_agent.core.requests.tasks import BackupTask, CopyTask, PruneTask, SurveyTask, VerifyTask
from tests.builders import ATTRIBUTION, TAKEN, a_header, a_record, artifact_file

NOW = TAKEN
NAME = "orders-2026-11-23T02-00-00.backup"
KEY = f"default/orders/{NAME}"

RECORD = a_record(parts=1)
"""The record of an artifact with two files."""

WRITTEN = [
    pytest.param(RECORD, id="record"),
    pytest.param(Hold(key=KEY, since=NOW, reason="audit", request="h"), id="hold"),
    pytest.param(Hold(key=KEY, since=NOW, reason="audit", request="h", until=NOW), id="hold with an end"),
    pytest.param(Damage(key=KEY, since=NOW, found="size 1, recorded 2"), id="damage"),
]


@pytest.mark.parametrize("one", WRITTEN)
def test_a_document_survives_a_round_trip_through_json(one: Record | Hold | Damage) -> None:
    assert type(one).from_json(one.to_json()) == one
    assert one.to_json() == type(one).from_json(one.to_json()).to_json()
    assert one.to_json().endswith(b"}\n")


@pytest.mark.parametrize("one", WRITTEN)
def test_a_document_of_a_newer_schema_is_refused(one: Record | Hold | Damage) -> None:
    newer = {**json.loads(one.to_json()), "schema": 2}

    with pytest.raises(ValidationError, match="schema"):
        type(one).from_json(json.dumps(newer).encode())


def test_a_hold_without_an_end_ends_after_every_other() -> None:
    endless = Hold(key=KEY, since=NOW, reason="audit", request="h")
    short, long = (endless.model_copy(update={"until": NOW + timedelta(days=days)}) for days in (1, 2))

    assert [one.outlasts(short) for one in (endless, long, short)] == [True, True, True]
    assert [one.outlasts(long) for one in (endless, long, short)] == [True, True, False]
    assert [one.outlasts(endless) for one in (endless, long, short)] == [True, False, False]


def test_a_hold_ends_after_its_last_moment() -> None:
    hold = Hold(key=KEY, since=NOW, reason="audit", request="h", until=NOW)

    assert (hold.ended(NOW), hold.ended(NOW + timedelta(seconds=1))) == (False, True)
    assert not hold.model_copy(update={"until": None}).ended(NOW)
    assert (str(hold), str(hold.model_copy(update={"until": None}))) == ("held until 2026-11-23T02:00:00Z", "held")


def test_a_record_has_the_key_of_its_artifact() -> None:
    with pytest.raises(ValidationError, match="does not name default/orders/"):
        a_record(key="default/sales/" + NAME)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        f"../sales/{NAME}",
        f"{NAME}.part1",
        f"{NAME}.",
        f"{NAME}.\N{ARABIC-INDIC DIGIT ONE}",
        "orders-2026-11-24T02-00-00.backup",
        f"/{NAME}.1",
    ],
)
def test_a_record_with_a_foreign_file_name_is_refused(name: str) -> None:
    files = (RECORD.files[0], artifact_file(name))

    with pytest.raises(ValidationError, match="is not a part of 'orders-"):
        a_record(files=files)


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        pytest.param("set", "../x", "is not the name of a set", id="set"),
        pytest.param("set", ".staging", "is not the name of a set", id="hidden set"),
        pytest.param("database", "$(id)", "is not the name of a database", id="database"),
        pytest.param("database", "--option", "is not the name of a database", id="option"),
        pytest.param("database", "billing", "header names database 'orders', not 'billing'", id="another database"),
        pytest.param("name", "orders-2026-11-23T02-00-00$(id>PWNED;echo).backup", "file 'orders-", id="a command"),
        pytest.param("name", "orders-2026-11-23T02-00-00\n.backup", "00\\\\n.backup' is not", id="line break"),
        pytest.param(
            "name", "orders-\N{FULLWIDTH DIGIT TWO}026-11-23T02-00-00.backup", "is not <database>", id="other digits"
        ),
        pytest.param("name", "orders-2026-11-32T02-00-00.backup", "is not <database>", id="no day"),
        pytest.param("name", "billing-2026-11-23T02-00-00.backup", "is not <database>", id="of another database"),
        pytest.param(
            "name", "orders-2026-11-25T02-00-00.backup", "differs from the time in the header", id="another day"
        ),
        pytest.param("parent", "../../etc/passwd", "is not an artifact of default/orders", id="parent"),
        pytest.param("parent", f"other/orders/{NAME}", "is not an artifact of default/orders", id="parent elsewhere"),
    ],
)
def test_a_record_with_a_name_of_another_artifact_is_refused(field: str, value: str, fault: str) -> None:
    name = value if field == "name" else NAME
    facts: dict[str, Any] = {"set": "default", "database": "orders", "files": (artifact_file(name),)}
    if field != "name":
        facts[field] = value

    with pytest.raises(ValidationError, match=fault):
        a_record(key=f"{facts['set']}/{facts['database']}/{name}", header=RECORD.header, **facts)


def test_the_name_of_an_artifact_may_have_a_local_time() -> None:
    name = "orders-2026-11-22T14-00-00.backup"
    files = (artifact_file(name),)

    assert a_record(key=f"default/orders/{name}", files=files).files == files


def test_a_record_whose_type_contradicts_the_header_is_refused() -> None:
    with pytest.raises(ValidationError, match="type FULL contradicts the header"):
        a_record(type=BackupType.FULL, header=a_header(full=False))


@pytest.mark.parametrize("moment", ["2026-11-23T02:00:00", "0001-01-01T00:00:00Z"], ids=["no zone", "the year 1"])
def test_a_record_with_a_naive_or_extreme_time_is_refused(moment: str) -> None:
    written = json.loads(RECORD.to_json())
    written["header"]["taken"] = moment

    with pytest.raises(ValidationError, match=r"header\.taken"):
        Record.from_json(json.dumps(written).encode())


def test_the_history_of_an_artifact_consists_of_the_ids_in_its_header() -> None:
    assert a_header().history == History(database_id=UUID(int=7), store_id="1-2-record-aligned-1.1")


def test_a_record_has_the_whole_attribution_of_its_request() -> None:
    record = Record.from_json(a_record(**Request(**ATTRIBUTION).attribution.model_dump()).to_json())

    assert record.attribution == Request(**ATTRIBUTION).attribution == Attribution(**ATTRIBUTION)
    assert record.fields_given() == ATTRIBUTION
    assert ATTRIBUTION.keys() == Attribution.model_fields.keys(), "each field has an example"


def test_the_size_of_an_artifact_is_that_of_all_its_files() -> None:
    assert a_record(files=(artifact_file(NAME, b"12345"), artifact_file(f"{NAME}.1", b"678"))).size == 8


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(
            BackupTask(
                run="r",
                request="q",
                set="default",
                database="orders",
                type=BackupType.AUTO,
                sources=("server-1:6362",),
                since=NOW,
                settings={"cluster": "demo"},
            ),
            id="backup",
        ),
        pytest.param(CopyTask(run="r", place="offsite", sets=("default",), settings={}), id="copy"),
        pytest.param(PruneTask(run="r", place="local", forgotten={"orders": NOW}, settings={}), id="prune"),
        pytest.param(VerifyTask(run="r", place="local", seconds=1.0, settings={}), id="verify"),
        pytest.param(SurveyTask(open_runs=("r",), settings={}), id="survey"),
    ],
)
def test_a_task_is_one_line(
    task: BackupTask | CopyTask | PruneTask | VerifyTask | SurveyTask,
) -> None:
    line = task.model_dump_json()

    assert "\n" not in line
    assert type(task).model_validate_json(line) == task


def test_a_document_with_too_many_values_is_refused_before_parsing() -> None:
    keys = b"{" + b",".join(b'"%x":0' % number for number in range(100_000)) + b"}"

    for document in (keys, b"[" * 200_000, b'{"files":[' + b"0," * 200_000, b"{}," * 100_000):
        with pytest.raises(TooManyValuesError, match="more than 120000 values"):
            Record.from_json(document)


def test_a_record_with_many_commas_in_a_text_is_accepted() -> None:
    record = a_record(warnings=("," * 65_536,))

    assert Record.from_json(record.to_json()) == record


def test_a_record_that_would_be_too_large_has_no_digests_of_parts() -> None:
    def of(parts: int) -> Record:
        files = (ArtifactFile(name=NAME, size=2048, sha256="ab" * 32, part_size=1, parts=("cd" * 32,) * parts),)
        return a_record(files=files)

    fits, large = of(9_000), of(20_000)

    assert fits.bounded() is fits
    assert len(large.to_json()) > LARGEST
    assert len(large.bounded().to_json()) < 2_000
    assert [(file.parts, file.part_size) for file in large.bounded().files] == [((), 0)]
    assert large.bounded().size == large.size


def test_the_history_of_an_artifact_is_its_database_and_its_store() -> None:
    header = a_header()

    assert (header.history.database_id, header.history.store_id) == (header.database_id, header.store_id)
