from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.records import BackupType, Header
from backup_agent.core.neo4j.progress import Stage, Transcript
from backup_agent.core.neo4j.verdict import Completed, Condition, EndedBy, NewArtifact, NextStep, did_not_start, judge
from backup_agent.core.reasons import Reason

FULL, DIFF, AUTO = BackupType.FULL, BackupType.DIFF, BackupType.AUTO


def header(*, database: str = "orders", full: bool = True, hour: int = 2, recovered: bool | None = None) -> Header:
    return Header(
        magic="BZV2",
        database=database,
        database_id=UUID(int=7),
        store_id="1-2-record-aligned-1.1",
        taken=datetime(2026, 11, 23, hour, tzinfo=UTC),
        lowest=1,
        highest=9,
        full=full,
        compressed=True,
        recovered=full if recovered is None else recovered,
    )


SOUND = NewArtifact("orders-2026-11-23T02-00-00.backup", Condition.SOUND, header())
ODD = NewArtifact(
    "orders-2026-11-23T02-00-00.backup",
    Condition.SOUND,
    header(),
    warnings=("its tar has an entry of an unknown kind",),
)
SOUND_DIFF = NewArtifact("orders-2026-11-23T02-00-04.backup", Condition.SOUND, header(full=False))
BROKEN_DIFF = NewArtifact(
    "orders-2026-11-23T02-00-04.backup", Condition.SOUND, header(full=False), chain_break="its store id is another"
)
DAMAGED = NewArtifact(
    "orders-2026-11-23T02-00-00.backup", Condition.DAMAGED, error="the zstd frame ends early at byte 4096"
)
UNREADABLE = NewArtifact("orders-2026-11-23T02-00-00.backup", Condition.UNREADABLE, error="unknown magic b'XXXX'")
FOREIGN = NewArtifact("billing-2026-11-23T02-00-00.backup", Condition.SOUND, header(database="billing"))

WELL = Completed(0)
PROBLEMS = Completed(1, last_lines=("Unable to connect to server s-0:6362: Connection refused",))
KILLED = Completed(None, signal=9)
TIMED_OUT = Completed(None, signal=15, ended_by=EndedBy.TIMEOUT, duration=21600.4)
STALLED = Completed(None, signal=9, ended_by=EndedBy.STALLED)
CANCELLED = Completed(143, ended_by=EndedBy.CANCELLED)
FULL_DISK = Completed(1, last_lines=("java.io.IOException: No space left on device",))


def reached(stage: Stage) -> Transcript:
    return Transcript(stage, spoke=True)


@pytest.mark.parametrize(
    ("completed", "found", "outcome", "reason"),
    [
        pytest.param(WELL, SOUND, NextStep.STORED, None, id="0, sound"),
        pytest.param(PROBLEMS, SOUND, NextStep.STORED_WITH_WARNINGS, None, id="1, sound"),
        pytest.param(Completed(70), SOUND, NextStep.STORED_WITH_WARNINGS, None, id="70, sound"),
        pytest.param(KILLED, SOUND, NextStep.STORED_WITH_WARNINGS, None, id="killed, sound"),
        pytest.param(TIMED_OUT, SOUND, NextStep.STORED_WITH_WARNINGS, None, id="timeout, sound"),
        pytest.param(STALLED, SOUND, NextStep.STORED_WITH_WARNINGS, None, id="stalled, sound"),
        pytest.param(CANCELLED, SOUND, NextStep.FAILED, Reason.CANCELLED, id="cancelled, sound"),
        pytest.param(WELL, ODD, NextStep.STORED_WITH_WARNINGS, None, id="0, sound but odd"),
        pytest.param(WELL, None, NextStep.FAILED, Reason.NO_ARTIFACT, id="0, none"),
        pytest.param(Completed(1), None, NextStep.FAILED, Reason.ADMIN_CRASHED, id="1, none"),
        pytest.param(PROBLEMS, None, NextStep.FAILED, Reason.SOURCE_UNREACHABLE, id="1, none, server away"),
        pytest.param(FULL_DISK, None, NextStep.FAILED, Reason.DISK_FULL, id="1, none, disk full"),
        pytest.param(Completed(2), None, NextStep.FAILED, Reason.ADMIN_MISSING, id="2, none"),
        pytest.param(Completed(3), None, NextStep.FAILED, Reason.ADMIN_CRASHED, id="3, none"),
        pytest.param(Completed(64), None, NextStep.FAILED, Reason.INTERNAL, id="64, none"),
        pytest.param(Completed(70), None, NextStep.FAILED, Reason.ADMIN_CRASHED, id="70, none"),
        pytest.param(Completed(126), None, NextStep.FAILED, Reason.ADMIN_MISSING, id="126, none"),
        pytest.param(Completed(127), None, NextStep.FAILED, Reason.ADMIN_MISSING, id="127, none"),
        pytest.param(Completed(137), None, NextStep.FAILED, Reason.OUT_OF_MEMORY, id="137, none"),
        pytest.param(Completed(139), None, NextStep.FAILED, Reason.ADMIN_CRASHED, id="139, none"),
        pytest.param(Completed(143), None, NextStep.FAILED, Reason.INTERRUPTED, id="143, none"),
        pytest.param(Completed(255), None, NextStep.FAILED, Reason.ADMIN_CRASHED, id="255, none"),
        pytest.param(KILLED, None, NextStep.FAILED, Reason.OUT_OF_MEMORY, id="SIGKILL, none"),
        pytest.param(Completed(None, 15), None, NextStep.FAILED, Reason.INTERRUPTED, id="SIGTERM, none"),
        pytest.param(Completed(None, 11), None, NextStep.FAILED, Reason.ADMIN_CRASHED, id="SIGSEGV, none"),
        pytest.param(Completed(None, 64), None, NextStep.FAILED, Reason.ADMIN_CRASHED, id="another signal, none"),
        pytest.param(TIMED_OUT, None, NextStep.FAILED, Reason.TIMEOUT, id="timeout, none"),
        pytest.param(STALLED, None, NextStep.FAILED, Reason.STALLED, id="stalled, none"),
        pytest.param(CANCELLED, None, NextStep.FAILED, Reason.CANCELLED, id="cancelled, none"),
        pytest.param(WELL, DAMAGED, NextStep.FAILED, Reason.BAD_ARTIFACT, id="0, damaged"),
        pytest.param(Completed(1), DAMAGED, NextStep.FAILED, Reason.BAD_ARTIFACT, id="1, damaged"),
        pytest.param(FULL_DISK, DAMAGED, NextStep.FAILED, Reason.DISK_FULL, id="1, damaged by a full disk"),
        pytest.param(KILLED, DAMAGED, NextStep.FAILED, Reason.OUT_OF_MEMORY, id="killed, damaged"),
        pytest.param(TIMED_OUT, DAMAGED, NextStep.FAILED, Reason.TIMEOUT, id="timeout, damaged"),
        pytest.param(WELL, UNREADABLE, NextStep.FAILED, Reason.BAD_ARTIFACT, id="0, unreadable"),
        pytest.param(WELL, FOREIGN, NextStep.FAILED, Reason.BAD_ARTIFACT, id="0, of another database"),
        pytest.param(Completed(1), FOREIGN, NextStep.FAILED, Reason.BAD_ARTIFACT, id="1, of another database"),
        pytest.param(WELL, SOUND_DIFF, NextStep.FAILED, Reason.BAD_ARTIFACT, id="0, a differential for a full"),
    ],
)
def test_a_full_is_judged_by_its_artifact_and_its_failure_by_the_exit(
    completed: Completed, found: NewArtifact | None, outcome: NextStep, reason: Reason | None
) -> None:
    artifacts = () if found is None else (found,)

    verdict = judge(completed, reached(Stage.COPY), artifacts, database="orders", asked=FULL)

    assert verdict.outcome is outcome
    assert reason == (verdict.failure and verdict.failure.reason)
    stored = outcome in {NextStep.STORED, NextStep.STORED_WITH_WARNINGS}
    assert verdict.artifact == (found if stored else None)
    assert bool(verdict.warnings) == (outcome is NextStep.STORED_WITH_WARNINGS)


NO_FULL = (
    "Differential backups require that a full backup of the same database exists in the folder defined in --to-path."
)


@pytest.mark.parametrize(
    ("completed", "found", "outcome", "reason"),
    [
        pytest.param(WELL, SOUND_DIFF, NextStep.STORED, None, id="it continues the chain"),
        pytest.param(WELL, SOUND, NextStep.STORED, None, id="the tool fell back to a full by itself"),
        pytest.param(WELL, BROKEN_DIFF, NextStep.NEEDS_FULL, Reason.CHAIN_BROKEN, id="it does not continue the chain"),
        pytest.param(
            PROBLEMS, BROKEN_DIFF, NextStep.NEEDS_FULL, Reason.CHAIN_BROKEN, id="nor does it with exit code 1"
        ),
        pytest.param(
            Completed(1, last_lines=(NO_FULL, "Run with '--verbose' for a more detailed error message.")),
            None,
            NextStep.NEEDS_FULL,
            Reason.CHAIN_BROKEN,
            id="no full in the folder",
        ),
        pytest.param(
            Completed(
                1,
                last_lines=(
                    "Differential backup of database 'orders' failed. Reason: The remote server (s-0:6362) no longer has the transaction logs that start at 3",
                ),
            ),
            None,
            NextStep.NEEDS_FULL,
            Reason.CHAIN_BROKEN,
            id="logs pruned",
        ),
        pytest.param(
            Completed(1, last_lines=("Differential backup of database 'orders' failed. Reason: for once",)),
            None,
            NextStep.NEEDS_FULL,
            Reason.CHAIN_BROKEN,
            id="a reason nobody knows",
        ),
        pytest.param(
            Completed(1, last_lines=("Differential backup of database 'orders' failed. Reason: Connection refused",)),
            None,
            NextStep.FAILED,
            Reason.SOURCE_UNREACHABLE,
            id="the server is away: a full would fail too",
        ),
        pytest.param(FULL_DISK, DAMAGED, NextStep.FAILED, Reason.DISK_FULL, id="disk full: a full would need more"),
        pytest.param(WELL, None, NextStep.FAILED, Reason.NO_ARTIFACT, id="nothing"),
        pytest.param(WELL, DAMAGED, NextStep.FAILED, Reason.BAD_ARTIFACT, id="damaged"),
        pytest.param(CANCELLED, BROKEN_DIFF, NextStep.FAILED, Reason.CANCELLED, id="cancelled"),
    ],
)
def test_a_differential_that_cannot_be_had_asks_for_a_full(
    completed: Completed, found: NewArtifact | None, outcome: NextStep, reason: Reason | None
) -> None:
    artifacts = () if found is None else (found,)

    verdict = judge(completed, reached(Stage.TRANSACTIONS), artifacts, database="orders", asked=DIFF)

    assert verdict.outcome is outcome
    assert reason == (verdict.failure and verdict.failure.reason)


def test_a_full_is_never_asked_for_after_a_full() -> None:
    verdict = judge(Completed(1, last_lines=(NO_FULL,)), Transcript(), (), database="orders", asked=FULL)

    assert verdict.outcome is NextStep.FAILED
    assert verdict.failure is not None
    assert verdict.failure.reason is Reason.CHAIN_BROKEN


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("java.io.IOException: No space left on device: /backups/x", Reason.DISK_FULL),
        ("Disk quota exceeded", Reason.DISK_FULL),
        ("Terminating due to java.lang.OutOfMemoryError: Java heap space", Reason.OUT_OF_MEMORY),
        ("# There is insufficient memory for the Java Runtime Environment to continue.", Reason.OUT_OF_MEMORY),
        ("Error: Could not find or load main class org.neo4j.cli.AdminTool", Reason.ADMIN_MISSING),
        ("java.lang.UnsupportedClassVersionError: org/neo4j/cli/AdminTool has been compiled", Reason.ADMIN_MISSING),
        ("Unmatched arguments from index 1: 'backup', '--type=FULL'", Reason.ADMIN_MISSING),
        ("Neo4j Enterprise: you must accept the license agreement", Reason.ADMIN_CRASHED),
        ("Unrecognized setting. No declared setting with name: server.bogus", Reason.ADMIN_CRASHED),
        ("java.nio.file.AccessDeniedException: /backups/.staging", Reason.ADMIN_CRASHED),
        ("Connection refused: server-0/10.0.0.1:6362", Reason.SOURCE_UNREACHABLE),
        ("java.net.UnknownHostException: server-0", Reason.SOURCE_UNREACHABLE),
        ("Failed to run a backup using the available strategies.", Reason.SOURCE_UNREACHABLE),
        ("javax.net.ssl.SSLHandshakeException: PKIX path building failed", Reason.SOURCE_UNREACHABLE),
        ("io.netty.handler.timeout.ReadTimeoutException", Reason.TIMEOUT),
        ("Database does not exist: orders", Reason.NO_SUCH_DATABASE),
        ("Database 'orders' does not exist", Reason.NO_SUCH_DATABASE),
        ("Unknown database: orders", Reason.NO_SUCH_DATABASE),
        ("Unable to find database orders", Reason.NO_SUCH_DATABASE),
        ("DatabaseNotFoundException: orders", Reason.NO_SUCH_DATABASE),
        ("Storage staging path does not exist: /x", Reason.ADMIN_CRASHED),
        ("something nobody has seen", Reason.ADMIN_CRASHED),
    ],
)
@pytest.mark.parametrize("frame", [False, True], ids=["5.26", "2026, framed"])
def test_the_last_lines_tell_the_reason(line: str, reason: Reason, frame: bool) -> None:
    lines = ("-" * 40, "Command Failed", "", line, "-" * 40) if frame else (line, "Run with '--verbose' for more.")

    failure = judge(Completed(1, last_lines=lines), Transcript(), (), database="orders", asked=FULL).failure

    assert failure is not None
    assert failure.reason is reason
    assert line in failure.error


def test_an_exception_with_exit_code_0_is_told_by_its_text() -> None:
    lines = ("Database 'ordres' does not exist",)

    failure = judge(Completed(0, last_lines=lines), Transcript(), (), database="ordres", asked=FULL).failure

    assert failure is not None
    assert failure.reason is Reason.NO_SUCH_DATABASE


def test_of_texts_that_a_run_may_survive_the_last_counts() -> None:
    lines = ("Unable to connect to server s-0:6362", "Database does not exist: orders")

    failure = judge(Completed(1, last_lines=lines), Transcript(), (), database="orders", asked=FULL).failure

    assert failure is not None
    assert failure.reason is Reason.NO_SUCH_DATABASE


def test_memory_explains_more_than_any_text() -> None:
    lines = ("Unable to connect to server s-0:6362",)

    failure = judge(Completed(137, last_lines=lines), Transcript(), (), database="orders", asked=FULL).failure

    assert failure is not None
    assert failure.reason is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("completed", "error"),
    [
        (Completed(70, last_lines=("a", "b")), "neo4j-admin ended with exit code 70\na\nb"),
        (Completed(143), "neo4j-admin was ended by SIGTERM"),
        (Completed(None, 9), "neo4j-admin was ended by SIGKILL"),
        (Completed(None, 64), "neo4j-admin was ended by signal 64"),
        (TIMED_OUT, "neo4j-admin was ended after 21600 s, in stage copy"),
        (STALLED, "neo4j-admin was ended: neither output nor bytes, in stage copy"),
        (CANCELLED, "neo4j-admin was ended: the request was cancelled"),
    ],
)
def test_a_failure_says_how_the_program_ended(completed: Completed, error: str) -> None:
    failure = judge(completed, reached(Stage.COPY), (), database="orders", asked=FULL).failure

    assert failure is not None
    assert failure.error == error


def test_a_bad_artifact_is_named_with_what_is_wrong() -> None:
    verdict = judge(WELL, Transcript(), (DAMAGED, FOREIGN), database="orders", asked=FULL)

    assert verdict.failure is not None
    assert verdict.failure.error == (
        "neo4j-admin ended with exit code 0; it left orders-2026-11-23T02-00-00.backup: the zstd frame ends early at byte 4096; "
        "billing-2026-11-23T02-00-00.backup: its header names database 'billing', not 'orders'"
    )


def test_a_warning_says_which_server_was_away() -> None:
    verdict = judge(PROBLEMS, Transcript(), (SOUND,), database="orders", asked=FULL)

    assert verdict.warnings == (
        "neo4j-admin ended with exit code 1: Unable to connect to server s-0:6362: Connection refused",
    )


def test_a_full_that_was_not_recovered_is_kept_with_a_warning() -> None:
    found = NewArtifact("orders-2026-11-23T02-00-00.backup", Condition.SOUND, header(recovered=False))
    verdict = judge(WELL, Transcript(), (found,), database="orders", asked=BackupType.FULL)

    assert verdict.outcome is NextStep.STORED_WITH_WARNINGS
    assert "a restore has to recover it first" in verdict.warnings[0]


def test_a_differential_is_never_recovered_and_that_is_no_warning() -> None:
    found = NewArtifact("orders-2026-11-23T02-00-04.backup", Condition.SOUND, header(full=False, recovered=False))

    assert judge(WELL, Transcript(), (found,), database="orders", asked=BackupType.DIFF).warnings == ()


def test_a_warning_without_a_known_line_is_the_exit_alone() -> None:
    verdict = judge(Completed(1, last_lines=("hm",)), Transcript(), (SOUND,), database="orders", asked=FULL)

    assert verdict.warnings == ("neo4j-admin ended with exit code 1",)


def test_of_several_sound_ones_the_newest_is_stored_and_the_rest_put_aside() -> None:
    older = NewArtifact("orders-2026-11-23T02-00-26.backup", Condition.SOUND, header(hour=1))
    newer = NewArtifact("orders-2026-11-23T02-00-02.backup", Condition.SOUND, header(hour=3))

    verdict = judge(WELL, Transcript(), (newer, older, DAMAGED), database="orders", asked=FULL)

    assert verdict.outcome is NextStep.STORED_WITH_WARNINGS
    assert verdict.artifact == newer
    assert verdict.warnings == (
        "orders-2026-11-23T02-00-26.backup was put aside: a newer one came with it",
        "orders-2026-11-23T02-00-00.backup was put aside: the zstd frame ends early at byte 4096",
    )


def test_a_sound_one_without_a_header_is_not_believed() -> None:
    verdict = judge(WELL, Transcript(), (NewArtifact("x.backup", Condition.SOUND),), database="orders", asked=AUTO)

    assert verdict.outcome is NextStep.FAILED


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("orders-2026-11-23T02-00-00$(id).backup", id="a command"),
        pytest.param("orders-2026-11-23T02-60-00.backup", id="no moment"),
        pytest.param("orders-2026-11-25T02-00-00.backup", id="another day"),
        pytest.param("billing-2026-11-23T02-00-00.backup", id="another database"),
    ],
)
def test_a_sound_one_by_a_wrong_name_is_not_stored(name: str) -> None:
    verdict = judge(WELL, Transcript(), (NewArtifact(name, Condition.SOUND, header()),), database="orders", asked=FULL)

    assert verdict.outcome is NextStep.FAILED
    assert verdict.failure is not None
    assert verdict.failure.reason is Reason.BAD_ARTIFACT
    assert name in verdict.failure.error


def test_a_name_differs_in_case_only() -> None:
    assert judge(WELL, Transcript(), (SOUND,), database="Orders", asked=FULL).outcome is NextStep.STORED


@pytest.mark.parametrize(
    ("completed", "told", "expected"),
    [
        (
            Completed(1, last_lines=("Error: Could not find or load main class org.neo4j.cli.AdminTool",)),
            Transcript(),
            True,
        ),
        (Completed(1, last_lines=("Error: Could not create the Java Virtual Machine.",)), Transcript(), True),
        (Completed(1, last_lines=("Unrecognized option: --nope",)), Transcript(), True),
        (Completed(64, last_lines=("Required environment variable 'NEO4J_HOME' is not set",)), Transcript(), True),
        (Completed(2, last_lines=("Unmatched arguments from index 1: 'backup', '--type=FULL'",)), Transcript(), True),
        (Completed(1), Transcript(), True),
        (Completed(1, last_lines=("Storage staging path does not exist",)), Transcript(), False),
        (Completed(1, last_lines=("java.lang.NoClassDefFoundError: x",)), Transcript(spoke=True), False),
        (Completed(0), Transcript(), False),
        (Completed(None, signal=9), Transcript(), False),
        (Completed(1, ended_by=EndedBy.TIMEOUT), Transcript(), False),
    ],
)
def test_a_jvm_that_never_came_to_work_is_known(completed: Completed, told: Transcript, expected: bool) -> None:
    assert did_not_start(completed, told) is expected


@given(
    st.builds(
        Completed,
        st.none() | st.integers(0, 255),
        st.none() | st.integers(1, 64),
        st.none() | st.sampled_from(EndedBy),
        st.lists(st.text(max_size=40), max_size=5).map(tuple),
    ),
    st.lists(st.sampled_from([SOUND, ODD, SOUND_DIFF, BROKEN_DIFF, DAMAGED, UNREADABLE, FOREIGN]), unique=True),
    st.sampled_from(BackupType),
)
def test_whatever_happened_only_a_sound_artifact_of_the_database_is_stored(
    completed: Completed, found: list[NewArtifact], asked: BackupType
) -> None:
    verdict = judge(completed, Transcript(), tuple(found), database="orders", asked=asked)

    stored = verdict.outcome in {NextStep.STORED, NextStep.STORED_WITH_WARNINGS}
    assert stored == (verdict.artifact is not None)
    assert stored == (verdict.failure is None)
    if verdict.artifact is not None:
        assert verdict.artifact.condition is Condition.SOUND
        assert verdict.artifact.header is not None
        assert verdict.artifact.header.database == "orders"
        assert verdict.artifact.chain_break is None
        assert completed.ended_by is not EndedBy.CANCELLED
    if asked is FULL:
        assert verdict.outcome is not NextStep.NEEDS_FULL
