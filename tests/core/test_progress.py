from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.neo4j.progress import ProgressStep, Stage, Transcript, parse, patience

NO_FULL = (
    "Differential backups require that a full backup of the same database exists in the folder defined in --to-path."
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Starting backup of database 'neo4j' from servers: [localhost:6363]", ProgressStep(Stage.CONNECTING)),
        ("Start backup of database 'neo4j'.", ProgressStep(Stage.CONNECTING)),
        (
            "Using remote server localhost:6363 for backup of database 'neo4j'.",
            ProgressStep(Stage.CONNECTING, server="localhost:6363"),
        ),
        ("Start full backup of database 'neo4j'.", ProgressStep(Stage.CHECKPOINT)),
        ("Start receiving store files for database 'neo4j'.", ProgressStep(Stage.COPY)),
        ("Finished receiving store files for database 'neo4j', took 110ms.", ProgressStep(Stage.COPY)),
        ("Start receiving transactions from 12 for database 'neo4j'.", ProgressStep(Stage.TRANSACTIONS)),
        ("Start differential backup of database 'neo4j'.", ProgressStep(Stage.TRANSACTIONS)),
        ("Start recovering database 'neo4j'.", ProgressStep(Stage.RECOVER)),
        ("Recovery in progress: 10% completed", ProgressStep(Stage.RECOVER)),
        ("Start artifact creation 'a.backup' for database 'neo4j'.", ProgressStep(Stage.ARTIFACT)),
        (
            "Finished artifact creation 'idle-2026-10-06T07-36-03.backup' for database 'idle', took 38ms.",
            ProgressStep(Stage.DONE),
        ),
        (f"Differential backup of database 'fellback' failed. Reason: {NO_FULL}", ProgressStep()),
        ("Differential backup of database 'fellback' failed.", ProgressStep()),
        ("Falling back to full backup of database 'fellback'.", ProgressStep(Stage.CONNECTING)),
        ("Finished full backup of database 'other'. Downloaded from tx -1 to tx 5.", None),
        ("The remote server (s-0:6362) has not any recent data for database 'DatabaseId{c16ce93f[idle]}'.", None),
        ("Picked up JAVA_TOOL_OPTIONS", None),
        ("", None),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "2023-07-18 14:30:04.205+0000 INFO  [c.n.b.v.b.BackupOutputMonitor] ",
        "2026-10-06 07:36:03.001+0000 INFO  [c.n.b.b.BackupOutputMonitor] ",
    ],
    ids=["bare", "5.11", "5.26"],
)
def test_a_line_is_matched_by_its_text_whatever_precedes_it(
    prefix: str, line: str, expected: ProgressStep | None
) -> None:
    assert parse(prefix + line) == expected


def test_a_full_passes_through_all_stages() -> None:
    transcript = Transcript()
    stages = [transcript.stage]
    for line in (
        "Using remote server s-1:6362 for backup of database 'orders'.",
        "Start full backup of database 'orders'.",
        "Start receiving store files for database 'orders'.",
        "a line that is not about progress",
        "Start receiving transactions from 3",
        "Start recovering database 'orders'",
        "Start artifact creation",
        "Finished artifact creation 'orders-2026-11-23T02-00-00.backup' for database 'orders', took 1s.",
    ):
        transcript = transcript.after(line)
        if transcript.stage is not stages[-1]:
            stages.append(transcript.stage)

    assert stages == list(Stage)
    assert transcript == Transcript(Stage.DONE, server="s-1:6362", spoke=True)


def test_a_differential_that_falls_back_starts_again_as_a_full() -> None:
    transcript = Transcript()
    for line in (
        "Start differential backup of database 'orders'.",
        "Differential backup of database 'orders' failed. Reason: transactions 3 to 9 are no longer on the server",
        "Falling back to full backup of database 'orders'.",
        "Start full backup of database 'orders'.",
    ):
        transcript = transcript.after(line)

    assert transcript == Transcript(Stage.CHECKPOINT, spoke=True)


def test_other_lines_do_not_change_the_transcript() -> None:
    assert Transcript().after("Error: Could not find or load main class org.neo4j.cli.AdminTool") == Transcript()


@given(st.lists(st.text()))
def test_any_lines_are_read_without_an_error(lines: list[str]) -> None:
    transcript = Transcript()
    for line in lines:
        transcript = transcript.after(line)

    assert transcript.stage in Stage


@pytest.mark.parametrize(
    ("stage", "minutes"),
    [
        (Stage.CONNECTING, 15),
        (Stage.CHECKPOINT, 60),
        (Stage.COPY, 15),
        (Stage.TRANSACTIONS, 15),
        (Stage.RECOVER, 60),
        (Stage.ARTIFACT, 15),
        (Stage.DONE, 15),
    ],
)
def test_checkpoint_and_recovery_may_make_no_progress_for_longer(stage: Stage, minutes: int) -> None:
    assert patience(stage, timedelta(minutes=15)) == timedelta(minutes=minutes)
