"""The verdict on a run of neo4j-admin: one table.

A row is: requested type | end of the program | artifacts that it left | outcome, with its reason | its last line.
The texts of the lines are in transcripts.yaml.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.names import DatabaseName, artifact_name
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.neo4j.progress import Stage, Transcript
from backup_agent.core.neo4j.verdict import (
    Completed,
    Condition,
    EndedBy,
    NewArtifact,
    NextStep,
    Verdict,
    did_not_start,
    judge,
)
from backup_agent.core.reasons import Reason
from tests.builders import a_header

FULL, DIFF, AUTO = BackupType.FULL, BackupType.DIFF, BackupType.AUTO


def left(hour: int = 0, *, database: str = "orders", name: str | None = None, **facts: Any) -> NewArtifact:
    """Return a new artifact without problems, taken at `hour`: a full at hour 0, otherwise a differential."""
    header = a_header(hour, database=database)
    return NewArtifact(
        name or artifact_name(DatabaseName(database), header.taken),
        **{"condition": Condition.SOUND, "header": header, **facts},
    )


LEFT = {
    "full": left(),
    "odd full": left(warnings=("its tar has an entry of an unknown kind",)),
    "unrecovered full": left(header=a_header(recovered=False)),
    "differential": left(1),
    "loose differential": left(1, chain_break="its store id is another"),
    "damaged": left(condition=Condition.DAMAGED, header=None, error="the zstd frame ends early at byte 4096"),
    "unreadable": left(condition=Condition.UNREADABLE, header=None, error="unknown magic b'XXXX'"),
    "billing": left(database="billing"),
    "headless": left(header=None),
}
"""Name in the table -> an artifact that neo4j-admin may leave: most of `orders`, one of `billing`."""

CUT = left(name="bad.backup", condition=Condition.DAMAGED, header=None, error="cut")

TABLE = """
FULL | exit 0    | full               | stored
FULL | exit 1    | full               | stored_with_warnings       | Unable to connect to server s-0:6362
FULL | exit 70   | full               | stored_with_warnings
FULL | signal 9  | full               | stored_with_warnings
FULL | timeout   | full               | stored_with_warnings
FULL | stalled   | full               | stored_with_warnings
FULL | cancelled | full               | failed, cancelled
FULL | exit 0    | odd full           | stored_with_warnings
FULL | exit 0    | unrecovered full   | stored_with_warnings

FULL | exit 0    | damaged            | failed, bad_artifact
FULL | exit 1    | damaged            | failed, bad_artifact
FULL | exit 1    | damaged            | failed, disk_full          | java.io.IOException: No space left on device
FULL | signal 9  | damaged            | failed, out_of_memory
FULL | timeout   | damaged            | failed, timeout
FULL | exit 0    | unreadable         | failed, bad_artifact
FULL | exit 0    | billing            | failed, bad_artifact
FULL | exit 1    | billing            | failed, bad_artifact
FULL | exit 0    | differential       | failed, bad_artifact
FULL | exit 0    | loose differential | failed, bad_artifact
AUTO | exit 0    | headless           | failed, bad_artifact

FULL | exit 0    | nothing            | failed, no_artifact
FULL | exit 1    | nothing            | failed, admin_crashed
FULL | exit 2    | nothing            | failed, admin_missing
FULL | exit 3    | nothing            | failed, admin_crashed
FULL | exit 64   | nothing            | failed, internal
FULL | exit 70   | nothing            | failed, admin_crashed
FULL | exit 126  | nothing            | failed, admin_missing
FULL | exit 127  | nothing            | failed, admin_missing
FULL | exit 137  | nothing            | failed, out_of_memory
FULL | exit 139  | nothing            | failed, admin_crashed
FULL | exit 143  | nothing            | failed, interrupted
FULL | exit 255  | nothing            | failed, admin_crashed
FULL | signal 9  | nothing            | failed, out_of_memory
FULL | signal 15 | nothing            | failed, interrupted
FULL | signal 11 | nothing            | failed, admin_crashed
FULL | signal 64 | nothing            | failed, admin_crashed
FULL | timeout   | nothing            | failed, timeout
FULL | stalled   | nothing            | failed, stalled
FULL | cancelled | nothing            | failed, cancelled

DIFF | exit 0    | differential       | stored
DIFF | exit 0    | full               | stored
DIFF | exit 0    | loose differential | needs_full, chain_broken
DIFF | exit 1    | loose differential | needs_full, chain_broken   | Unable to connect to server s-0:6362
AUTO | exit 0    | loose differential | needs_full, chain_broken
DIFF | cancelled | loose differential | failed, cancelled
DIFF | exit 0    | damaged            | failed, bad_artifact
DIFF | exit 1    | damaged            | failed, disk_full          | java.io.IOException: No space left on device
DIFF | exit 0    | nothing            | failed, no_artifact
DIFF | exit 1    | nothing            | needs_full, chain_broken   | Differential backups require that a full backup of the same database exists
"""

ENDS = {
    "timeout": Completed(None, signal=15, ended_by=EndedBy.TIMEOUT, duration=21600.4),
    "stalled": Completed(None, signal=9, ended_by=EndedBy.STALLED),
    "cancelled": Completed(143, ended_by=EndedBy.CANCELLED),
}


def ended(words: str, *lines: str) -> Completed:
    """Return how a program ended: `exit 70`, `signal 9`, or why it was ended."""
    kind, _, number = words.partition(" ")
    if kind in ENDS:
        return replace(ENDS[kind], last_lines=lines)
    return Completed(
        exit_code=int(number) if kind == "exit" else None,
        signal=int(number) if kind == "signal" else None,
        last_lines=lines,
    )


def verdict(asked: BackupType, completed: Completed, *found: NewArtifact, database: str = "orders") -> Verdict:
    return judge(completed, Transcript(Stage.COPY, spoke=True), found, database=DatabaseName(database), asked=asked)


def rows() -> Iterator[Any]:
    for row in filter(None, TABLE.splitlines()):
        asked, end, found, expected, *line = (cell.strip() for cell in row.split("|"))
        yield pytest.param(asked, end, found, expected, line, id=" ".join(row.split()))


@pytest.mark.parametrize(("asked", "end", "found", "expected", "line"), list(rows()))
def test_the_artifact_decides_and_the_end_of_the_program_explains_a_failure(
    asked: str, end: str, found: str, expected: str, line: list[str]
) -> None:
    artifacts = [LEFT[found]] if found in LEFT else []

    judged = verdict(BackupType(asked), ended(end, *line), *artifacts)

    reasons = [judged.failure.reason.value] if judged.failure else []
    assert ", ".join([judged.outcome.value, *reasons]) == expected
    assert [judged.artifact] == (artifacts if judged.failure is None else [None])
    assert bool(judged.warnings) == (judged.outcome is NextStep.STORED_WITH_WARNINGS)


@pytest.mark.parametrize(
    ("end", "found", "error"),
    [
        (ended("exit 70", "a", "b"), (), "neo4j-admin ended with exit code 70\na\nb"),
        (ended("exit 143"), (), "neo4j-admin was ended by SIGTERM"),
        (ended("signal 9"), (), "neo4j-admin was ended by SIGKILL"),
        (ended("signal 64"), (), "neo4j-admin was ended by signal 64"),
        (ended("timeout"), (), "neo4j-admin was stopped after 21600 s, in stage copy"),
        (ended("stalled"), (), "neo4j-admin was stopped because it made no progress, in stage copy"),
        (ended("cancelled"), (), "neo4j-admin was stopped because the request was cancelled"),
        (
            ended("exit 1", "Connection refused: s-0"),
            (),
            "neo4j-admin ended with exit code 1: Connection refused: s-0\nConnection refused: s-0",
        ),
        (
            ended("exit 0"),
            (CUT, LEFT["billing"]),
            (
                "neo4j-admin ended with exit code 0; it wrote bad.backup: cut; "
                "billing-2026-11-23T02-00-00.backup: its header names database 'billing', not 'orders'"
            ),
        ),
    ],
)
def test_a_failure_has_the_end_of_the_program_and_the_faults_of_its_artifacts(
    end: Completed, found: tuple[NewArtifact, ...], error: str
) -> None:
    failure = verdict(FULL, end, *found).failure

    assert failure is not None
    assert failure.error == error


@pytest.mark.parametrize(
    ("end", "found", "warnings"),
    [
        (
            ended("exit 1", "Unable to connect to server s-0:6362: Connection refused"),
            (LEFT["full"],),
            ("neo4j-admin ended with exit code 1: Unable to connect to server s-0:6362: Connection refused",),
        ),
        (ended("exit 1", "hm"), (LEFT["full"],), ("neo4j-admin ended with exit code 1",)),
        (
            ended("exit 0"),
            (LEFT["unrecovered full"],),
            ("its header says `not recovered`: a restore must recover it first, and `database check` refuses it",),
        ),
        (
            ended("exit 0"),
            (left(24), LEFT["full"], CUT),
            (
                "orders-2026-11-23T02-00-00.backup was set aside: the run also wrote a newer artifact",
                "bad.backup was set aside: cut",
            ),
        ),
    ],
    ids=["a server was away", "a line that says nothing", "not recovered", "several"],
)
def test_a_warning_names_what_was_unexpected(
    end: Completed, found: tuple[NewArtifact, ...], warnings: tuple[str, ...]
) -> None:
    judged = verdict(FULL, end, *found)

    assert (judged.artifact, judged.warnings) == (found[0], warnings)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("orders-2026-11-23T02-00-00$(id).backup", id="a command"),
        pytest.param("orders-2026-11-23T02-60-00.backup", id="no moment"),
        pytest.param("orders-2026-11-25T02-00-00.backup", id="another day"),
        pytest.param("billing-2026-11-23T02-00-00.backup", id="another database"),
    ],
)
def test_a_sound_artifact_with_a_wrong_name_is_not_stored(name: str) -> None:
    judged = verdict(FULL, ended("exit 0"), left(name=name))

    assert judged.failure is not None
    assert judged.failure.reason is Reason.BAD_ARTIFACT
    assert name in judged.failure.error


def test_the_name_of_the_database_may_differ_in_case() -> None:
    assert verdict(FULL, ended("exit 0"), LEFT["full"], database="Orders").outcome is NextStep.STORED


@pytest.mark.parametrize(
    ("end", "spoke", "expected"),
    [
        (ended("exit 1", "Error: Could not find or load main class org.neo4j.cli.AdminTool"), False, True),
        (ended("exit 1", "Error: Could not create the Java Virtual Machine."), False, True),
        (ended("exit 1", "Unrecognized option: --nope"), False, True),
        (ended("exit 64", "Required environment variable 'NEO4J_HOME' is not set"), False, True),
        (ended("exit 2", "Unmatched arguments from index 1: 'backup', '--type=FULL'"), False, True),
        (ended("exit 1"), False, True),
        (ended("exit 1", "Storage staging path does not exist"), False, False),
        (ended("exit 1", "java.lang.NoClassDefFoundError: x"), True, False),
        (ended("exit 0"), False, False),
        (ended("signal 9"), False, False),
        (ended("timeout"), False, False),
        (Completed(1, ended_by=EndedBy.TIMEOUT), False, False),
    ],
)
def test_a_jvm_that_did_not_start_differs_from_one_that_failed(end: Completed, spoke: bool, expected: bool) -> None:
    assert did_not_start(end, Transcript(spoke=spoke)) is expected


@given(
    st.builds(
        Completed,
        st.none() | st.integers(0, 255),
        st.none() | st.integers(1, 64),
        st.none() | st.sampled_from(EndedBy),
        st.lists(st.text(max_size=40), max_size=5).map(tuple),
    ),
    st.lists(st.sampled_from(sorted(LEFT)), unique=True),
    st.sampled_from(BackupType),
)
def test_only_a_sound_artifact_of_the_database_is_ever_stored(
    completed: Completed, found: list[str], asked: BackupType
) -> None:
    judged = verdict(asked, completed, *(LEFT[name] for name in found))

    stored = judged.outcome in {NextStep.STORED, NextStep.STORED_WITH_WARNINGS}
    assert stored == (judged.artifact is not None)
    assert stored == (judged.failure is None)
    if judged.artifact is not None:
        assert judged.artifact.condition is Condition.SOUND
        assert judged.artifact.header is not None
        assert judged.artifact.header.database == "orders"
        assert judged.artifact.chain_break is None
        assert completed.ended_by is not EndedBy.CANCELLED
    if asked is FULL:
        assert judged.outcome is not NextStep.NEEDS_FULL
