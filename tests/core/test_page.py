"""What the status page shows: the time line, the restore points of a database, and the tables."""

import doctest
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from backup_agent.core import quantities
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import DEFAULT_SET, VOLUME, DatabaseName
from backup_agent.core.drill.evidence import DatabaseDrills, LastDrill
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.page.database import ComingBackup, DatabasePoints, StoredArtifacts, points_of
from backup_agent.core.page.overview import (
    MOST_DATABASES,
    MOST_PROBLEMS,
    MOST_ROWS,
    MOST_UNFOLDED,
    Overview,
    coming_backups,
    hidden_pairs,
    late_since,
    overview,
    rows_each,
)
from backup_agent.core.page.style import POLICY, STYLE, waiting
from backup_agent.core.page.tables import MOST_DELETIONS, Cell, Table, Tone
from backup_agent.core.page.task import PageTask
from backup_agent.core.page.timeline import LEAST_STEP, WIDTH, Marks, Scale, Stretch
from backup_agent.core.protection.health import Health, HealthState, Problem, ProblemKind
from backup_agent.core.protection.judging import DatabaseProtection, Protection
from backup_agent.core.reasons import Reason
from backup_agent.core.retention.policy import Policy
from backup_agent.core.status import (
    DestinationStatus,
    ExcludedDatabase,
    Pause,
    PlaceStatus,
    RunStatus,
    ScheduleStatus,
    Status,
)
from tests.builders import OFFSITE, ORDERS, an_entry
from tests.pages import NOW, a_chain, a_problem, a_status, a_summary, demo, protected

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_the_examples_in_the_docstrings_are_correct() -> None:
    assert doctest.testmod(quantities).failed == 0


# The time line


@pytest.mark.parametrize(
    ("ago", "x"),
    [(0 * HOUR, WIDTH), (-HOUR, WIDTH), (DAY, 500), (8 * DAY, 0), (80 * DAY, 0)],
    ids=["now", "future", "an-eighth", "oldest", "older"],
)
def test_a_moment_is_drawn_by_the_cube_root_of_its_age(ago: timedelta, x: int) -> None:
    assert Scale(NOW, NOW - 8 * DAY).x(NOW - ago) == x


def test_the_labels_of_the_scale_do_not_overlap_and_are_within_it() -> None:
    for days in (0.1, 1, 8, 100, 5000):
        found = [tick.x for tick in Scale(NOW, NOW - days * DAY).ticks]

        assert found
        assert all(after - before >= LEAST_STEP for before, after in pairwise(found))
        assert found[-1] <= WIDTH - LEAST_STEP


def test_a_scale_without_artifacts_has_six_hours() -> None:
    assert [tick.label for tick in Scale(NOW, None).ticks] == ["1h"]


def test_marks_are_drawn_once_at_each_place() -> None:
    near = (NOW - DAY, NOW - DAY + timedelta(seconds=1), NOW)
    marks = Marks((Stretch(NOW - 8 * DAY, NOW - DAY),), fulls=near, held=near[:1], late_since=NOW - DAY)

    drawn = Scale(NOW, NOW - 8 * DAY).draw(marks)

    assert drawn.stretches == "M0 10H500"
    assert drawn.fulls == "M500 3v14M1000 3v14"
    assert drawn.held == "M500 0v3"
    assert drawn.late == "M500 10H1000"
    assert drawn.drilled == drawn.broken == drawn.differentials == ""


# One database


def shown(
    *stored: StoredArtifacts, most: int = 100, drills: Sequence[DatabaseDrills] = (), **facts: Any
) -> DatabasePoints:
    """Return what is shown of the database orders."""
    return points_of(DEFAULT_SET, ORDERS, stored, drills, NOW, most=most, command=lambda key: f"restore {key}", **facts)


def local(*entries: Entry, **facts: Any) -> StoredArtifacts:
    return StoredArtifacts(VOLUME, entries, **facts)


def chain(days: float, links: int, number: int = 1) -> tuple[Entry, ...]:
    return tuple(a_chain("orders", days, links, number=number))


def test_the_newest_artifact_comes_first_with_the_command_of_its_restore() -> None:
    first, second = chain(1, 1)

    row, other = shown(local(first, second)).rows

    assert row == ("2026-11-29 18:42", "DIFF", "5.1 MiB", "", f"restore {second.key}")
    assert other.type == "FULL"


def test_artifacts_without_a_row_are_counted() -> None:
    found = shown(local(*chain(1, 4)), most=2)

    assert (len(found.rows), found.older) == (2, 3)
    assert found.caption == "2 artifacts, the newest first, with the command for each restore"


@pytest.mark.parametrize(
    ("entries", "unsound", "text"),
    [
        pytest.param((), (), "No restore point.", id="none"),
        pytest.param(chain(1, 0), (0,), "No restore point: 1 artifacts cannot be restored.", id="only-a-damaged-one"),
        pytest.param(chain(1, 0), (), "1 restore point (1 FULL, 0 DIFF), of 2026-11-29 17:42 UTC.", id="one"),
        pytest.param(chain(1, 2), (), "3 restore points (1 FULL, 2 DIFF), from 2026-11-29 17:42 to 2026-11-29 19:42 UTC.", id="a-chain"),
        pytest.param(
            chain(1, 2), (1,), "1 restore point (1 FULL, 0 DIFF), of 2026-11-29 17:42 UTC. 2 artifacts cannot be restored.",
            id="a-broken-chain",
        ),
    ],
)  # fmt: skip
def test_the_summary_counts_what_can_be_restored(
    entries: tuple[Entry, ...], unsound: tuple[int, ...], text: str
) -> None:
    found = shown(local(*entries, unsound={entries[number].key: "damaged" for number in unsound}))

    assert found.summary == text


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        pytest.param(chain(1, 0), "No moment between restore points: that takes differentials.", id="only-fulls"),
        pytest.param(chain(1, 3), "Any moment from 2026-11-29 17:44 to 2026-11-29 20:42 UTC.", id="one-chain"),
        pytest.param(
            (*chain(2, 3), *chain(1, 3, 2)),
            "Any moment from 2026-11-28 17:44 to 2026-11-29 20:42 UTC, except 1 gap, of 21h 2m.",
            id="a-gap",
        ),
        pytest.param(
            (*chain(4, 3), *chain(2, 3, 2), *chain(1, 3, 3)),
            "Any moment from 2026-11-26 17:44 to 2026-11-29 20:42 UTC, except 2 gaps, the longest of 1d 21h.",
            id="gaps",
        ),
        pytest.param(
            (*chain(1, 3), *chain(0.9, 3, 2)), "Any moment from 2026-11-29 17:44 to 2026-11-29 23:06 UTC.", id="overlapping-chains"
        ),
    ],
)  # fmt: skip
def test_the_window_is_what_chains_of_differentials_cover(entries: tuple[Entry, ...], text: str) -> None:
    assert shown(local(*entries)).window == text


def test_a_point_that_one_place_lacks_is_restored_from_another() -> None:
    entries = chain(1, 2)
    broken = local(*entries, unsound={entries[0].key: "its SHA-256 differs from the record"})

    alone = shown(broken)
    together = shown(broken, StoredArtifacts(OFFSITE, entries))

    assert [row.command for row in alone.rows] == ["", "", ""]
    assert alone.rows[0].notes == "cannot be restored: a part of its chain is missing or damaged"
    assert alone.rows[2].notes == "at local: its SHA-256 differs from the record"
    assert all(row.command for row in together.rows)
    assert together.rows[2].notes == "at local: its SHA-256 differs from the record"
    assert (alone.marks.broken, together.marks.broken) == (
        tuple(e.taken for e in reversed(entries)),
        (entries[0].taken,),
    )


def test_notes_tell_of_copies_holds_drills_and_earlier_histories() -> None:
    [old] = chain(9, 0)
    past = old._replace(database_id="00000000-0000-0000-0000-000000000002")
    full, link = chain(1, 1)
    hold = Hold(key=full.key, since=NOW, reason="audit " * 40, request="h", until=NOW + DAY)
    ended = Hold(key=link.key, since=NOW - DAY, reason="x", request="h", until=NOW - HOUR)
    drill = LastDrill(key=link.key, level=Level.CHECK, outcome=DrillOutcome.PASSED, at=NOW - HOUR, seconds=9)
    failed = drill.model_copy(update={"key": full.key, "outcome": DrillOutcome.CONTENT_FAILED})
    drills = [
        DatabaseDrills(place=OFFSITE, set="default", database="orders", last_done=drill),
        DatabaseDrills(place=VOLUME, set="default", database="orders", last_done=failed),
        DatabaseDrills(place=VOLUME, set="default", database="orders"),
    ]

    found = shown(
        local(full, link, holds={full.key: hold, link.key: ended}),
        StoredArtifacts(OFFSITE, (past, full), owed=(link.key,)),
        drills=drills,
    )

    newest, middle, oldest = (row.notes for row in found.rows)
    assert newest == "copy missing at offsite; drill check passed 2026-11-30 16:42 UTC at offsite"
    assert middle.startswith("held until 2026-12-01T17:42:00Z: audit audit")
    assert len(middle) < 250
    assert middle.endswith("drill check content failed 2026-11-30 16:42 UTC at local")
    assert re.fullmatch(r"at offsite only; earlier history [0-9a-f]{8}", oldest)
    assert found.marks.held == (full.taken,)
    assert found.marks.drilled == (link.taken, full.taken)


# What is deleted next


def coming(days: float, *, full: bool = True) -> ComingBackup:
    return ComingBackup(NOW + days * DAY, "nightly", full)


FULLS = tuple(entry for day in (4, 3, 2, 1) for entry in chain(day, 0, number=5 - day))


@pytest.mark.parametrize(
    ("policy", "backups", "expected"),
    [
        pytest.param(None, (), None, id="kept-by-no-rules"),
        pytest.param(Policy(), (), None, id="no-rule"),
        pytest.param(Policy(last=9), (coming(1),), None, id="enough-room"),
        pytest.param(Policy(last=3), (coming(1),), (FULLS[0].key, 1, None), id="by-the-next-pass"),
        pytest.param(Policy(last=4), (coming(1),), (FULLS[0].key, 1, coming(1)), id="after-the-next-backup"),
        pytest.param(Policy(last=5), (coming(2), coming(1)), (FULLS[0].key, 1, coming(2)), id="after-the-one-but-next"),
        pytest.param(Policy(last=4), (coming(1, full=False),), (FULLS[0].key, 1, coming(1, full=False)), id="after-a-diff"),
    ],
)  # fmt: skip
def test_the_next_deletion_is_the_first_that_a_plan_makes_now_or_after_the_next_backups(
    policy: Policy | None, backups: tuple[ComingBackup, ...], expected: tuple[object, ...] | None
) -> None:
    found = shown(local(*FULLS, policy=policy), coming=backups).deletions

    assert [(one.key, one.artifacts, one.after) for one in found] == ([] if expected is None else [expected])


def test_an_owed_artifact_is_not_deleted_next() -> None:
    volume = local(*FULLS, policy=Policy(last=3))

    assert shown(volume, StoredArtifacts(OFFSITE, (), owed=(FULLS[0].key,))).deletions == ()


def test_a_simulated_differential_continues_an_empty_chain_too() -> None:
    empty = an_entry("E1", full=False, taken=NOW - HOUR, finished=NOW, lowest=0, highest=0)

    assert shown(local(empty, policy=Policy(last=1)), coming=(coming(1, full=False),)).deletions == ()


# The whole page


def view(status: Status, *points: DatabasePoints) -> Overview:
    return overview(status, points)


def table(shown_page: Overview, name: str) -> Table:
    [found] = [one for one in shown_page.tables if one.id == name]
    return found


def texts(shown_page: Overview, name: str) -> list[tuple[str, ...]]:
    return [tuple(cell.text for cell in row) for row in table(shown_page, name).rows]


def fact(shown_page: Overview, label: str) -> Cell:
    return dict(shown_page.facts)[label]


def test_the_page_of_an_idle_agent_says_that_everything_is_well() -> None:
    found = view(a_status())

    assert (found.state, found.tone, found.headline) == ("OK", Tone.GOOD, "Everything is as it should be.")
    assert found.problems == ()
    assert [one.none for one in (found.databases, *found.tables) if not one.rows] == [
        "No database is known yet.",
        "No request is open.",
        "Nothing runs.",
        "There are no schedules.",
        "Neither the next pass of retention nor the next backups delete anything.",
        "The checks have not ended yet.",
        "No drill has been made yet.",
        "Every database is backed up.",
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"health": None}, ("UNKNOWN", Tone.MUTED, "the health is not known yet"), id="unknown"),
        pytest.param({"health": None, "not_ready_because": ("the survey runs",)}, ("UNKNOWN", Tone.MUTED, "the survey runs"), id="surveying"),
        pytest.param({"health": Health(state=HealthState.FAILING, text="FAILING: not ready")}, ("FAILING", Tone.BAD, "not ready"), id="failing"),
        pytest.param({"health": Health(state=HealthState.DEGRADED, text="DEGRADED")}, ("DEGRADED", Tone.WARN, ""), id="without-a-reason"),
    ],
)  # fmt: skip
def test_the_health_comes_first(fields: dict[str, Any], expected: tuple[object, ...]) -> None:
    found = view(a_status(**fields))

    assert (found.state, found.tone, found.headline) == expected


def test_a_problem_links_to_the_restore_points_of_its_database() -> None:
    problems = (
        a_problem(ProblemKind.LATE, "default/orders", "orders is late"),
        Problem(kind=ProblemKind.CLOCK, level=HealthState.FAILING, subject="", text="clocks differ", short="clocks"),
    )
    status = a_status(health=Health(state=HealthState.FAILING, text="FAILING: x", problems=problems))

    late, clock = view(status, shown(local(*FULLS))).problems

    assert late == ("late", "orders is late", "for 3h", Tone.WARN, view(status, shown(local(*FULLS))).points[0].anchor)
    assert clock == ("clock", "clocks differ", "", Tone.BAD, "")


def test_problems_beyond_a_hundred_are_counted() -> None:
    problems = tuple(a_problem(ProblemKind.LATE, f"default/db{number}", "late") for number in range(MOST_PROBLEMS + 7))
    found = view(a_status(health=Health(state=HealthState.DEGRADED, text="DEGRADED: x", problems=problems)))

    assert (len(found.problems), found.more_problems) == (MOST_PROBLEMS, 7)


def test_the_worst_databases_come_first_and_those_of_destinations_alone_last() -> None:
    late = protected("zebra", None, state=Protection.LATE, deadline=NOW - HOUR)
    failed = a_problem(ProblemKind.FAILED, "test/orders", "the last backup of orders failed")
    judged = (protected("alpha", FULLS[0]), protected("orders", FULLS[0]).model_copy(update={"set": "test"}), late)
    status = a_status(
        protection=judged,
        databases=(a_summary(FULLS),),
        health=Health(state=HealthState.DEGRADED, text="DEGRADED: x", problems=(failed,)),
    )
    gone = points_of(DEFAULT_SET, DatabaseName("gone"), [StoredArtifacts(OFFSITE, FULLS)], (), NOW, most=9, command=str)

    found = view(status, shown(local(*FULLS)), gone)

    names = [(row[0].text, row[1].text) for row in found.databases.rows]
    assert names == [("zebra", "late"), ("test/orders", "failed"), ("alpha", "protected"), ("orders", "-")]
    assert [one.name for one in found.points] == ["orders", "gone"]
    assert found.databases.rows[3][0].anchor == found.points[0].anchor
    assert found.databases.rows[0][0].anchor == ""
    assert late_since(status) == {("default", "zebra"): NOW - HOUR}


def test_a_database_without_restore_points_says_so() -> None:
    status = a_status(
        protection=(protected("new", None, rpo_seconds=None),),
        databases=(a_summary(FULLS).model_copy(update={"last_success": {}, "owed": {OFFSITE: 2}}),),
    )

    new, orders = (tuple(cell.text for cell in row) for row in view(status).databases.rows)

    assert new == ("new", "protected", "never", "-", "-", "-", "-")
    assert orders[2:] == ("none restorable", "-", "4", "12.2 GiB", "offsite 2")
    assert fact(view(status), "Newest backup").text == "none"


@pytest.mark.parametrize(
    ("fields", "label", "expected"),
    [
        pytest.param({"volume_free": None}, "Volume", None, id="volume-unknown"),
        pytest.param({}, "Volume", Cell("412.0 GiB free of 1.0 TiB"), id="volume"),
        pytest.param({"full_on": NOW + 71 * DAY}, "Volume", Cell("412.0 GiB free of 1.0 TiB, full on 2027-02-09 at this rate"), id="volume-full-on"),
        pytest.param({"queue_depth": 2}, "Requests", Cell("2 open", Tone.PLAIN, "queue"), id="open-requests"),
        pytest.param({"queue_depth": 2, "queue_oldest": NOW - HOUR}, "Requests", Cell("2 open, the oldest waits for 1h", Tone.PLAIN, "queue"), id="oldest-request"),
        pytest.param({"bolt_up": None}, "Cluster", Cell("not asked yet"), id="bolt-unknown"),
        pytest.param({"bolt_notes": ("2 names refused",)}, "Cluster", Cell("Bolt answers; 2 names refused", Tone.WARN), id="bolt-notes"),
        pytest.param({"bolt_up": False}, "Cluster", Cell("Bolt does not answer", Tone.BAD), id="bolt-down"),
        pytest.param(
            {"bolt_up": False, "bolt_error": "refused", "topology_seen": NOW - HOUR},
            "Cluster", Cell("refused; the known databases are 1h old", Tone.BAD), id="bolt-down-since",
        ),
        pytest.param({"paused": Pause(since=NOW - HOUR)}, "Paused", Cell("since 2026-11-30 16:42 UTC", Tone.WARN), id="paused"),
        pytest.param({"destinations": {OFFSITE: DestinationStatus()}}, "Destination offsite", Cell("not tried yet", Tone.PLAIN, "places"), id="destination-new"),
        pytest.param({"destinations": {OFFSITE: DestinationStatus(up=True, owed=0)}}, "Destination offsite", Cell("up, complete", Tone.PLAIN, "places"), id="destination-complete"),
        pytest.param({"destinations": {OFFSITE: DestinationStatus(up=True, owed=1)}}, "Destination offsite", Cell("up, 1 copy missing", Tone.WARN, "places"), id="destination-owed"),
        pytest.param(
            {"destinations": {OFFSITE: DestinationStatus(up=False, reason=Reason.STORAGE_UNREACHABLE, owed=3)}},
            "Destination offsite", Cell("down: storage_unreachable, 3 copies missing", Tone.BAD, "places"), id="destination-down",
        ),
    ],
)  # fmt: skip
def test_a_fact_is_shown(fields: dict[str, Any], label: str, expected: Cell | None) -> None:
    assert dict(view(a_status(**fields)).facts).get(label) == expected


def test_the_made_up_cluster_fills_every_table_of_the_page() -> None:
    found = demo()

    assert texts(found, "places")[0] == (
        "local", "40% free", "1", "0", "0", "0",
        "last 12, hourly 24, daily 14, monthly 6; applied 2026-11-30 17:22 UTC, 61 deleted since the start",
        "2026-11-24 17:42 UTC",
    )  # fmt: skip
    assert texts(found, "places")[2][:3] == ("archive", "down: HTTP 503 SlowDown", "-")
    assert texts(found, "queue")[1] == (
        "before-upgrade", "backup orders, customers FULL", "queued, behind hourly@20261130T171500Z", "4m",
        "ann: CHG-4711, upgrade to 2026.09",
    )  # fmt: skip
    assert texts(found, "runs") == [
        ("backup", "system", "copying", "22s", "512.0 MiB of 3.0 GiB", "1m"),
        ("copy", "offsite", "sending", "9s", "256.0 MiB", "-"),
    ]
    assert [row[:2] for row in texts(found, "schedules")] == [
        ("hourly", "in 33m, 2026-11-30 18:15 UTC"),
        ("nightly", "in 8h, 2026-12-01 01:42 UTC"),
        ("weekly-drill", "suspended"),
    ]
    assert [row[:2] for row in texts(found, "doctor")] == [
        ("backup ports", "FAIL"), ("lifecycle offsite", "warn"), ("bolt", "ok"), ("room", "ok"),
    ]  # fmt: skip
    assert texts(found, "drills") == [
        ("orders", "offsite", "passed", "2026-11-28 17:42 UTC", "read 2026-11-28, restore 2026-11-28, check 2026-11-28", "3m")
    ]  # fmt: skip
    assert texts(found, "deletions")[0][0] == "by the next pass"
    assert texts(found, "excluded") == [("archive", "is excluded by '!archive'")]
    assert fact(found, "Last doctor") == Cell("1 FAIL, 1 warn, 5h ago", Tone.BAD, "doctor")
    assert fact(found, "Next run") == Cell("hourly in 33m, 2026-11-30 18:15 UTC", Tone.PLAIN, "schedules")


def test_the_table_of_places_shows_unknown_values_and_why_retention_is_blocked() -> None:
    blocked = PlaceStatus(
        blocked=Reason.INVALID_REQUEST,
        error="60 of 70 artifacts would be deleted",
        unreadable={"no_record": ("a", "b")},
    )
    lost = a_status(survey_failure="Input/output error", places={VOLUME: blocked}, retention={"local": {"last": 2}})

    assert texts(view(lost), "places") == [
        ("local", "survey failed: Input/output error", "-", "-", "2", "-", "last 2; blocked: 60 of 70 artifacts would be deleted", "-")
    ]  # fmt: skip
    assert texts(view(a_status(volume_total=None)), "places")[0][1] == "not known yet"


def test_requests_and_deletions_that_are_not_shown_are_counted() -> None:
    request = {"id": "r", "action": "prune", "state": "queued", "asks": "", "received": NOW}
    queue = table(view(a_status(queue_depth=30, requests=(request,))), "queue")
    deletion = shown(local(*FULLS, policy=Policy(last=3)))
    many = [replace(deletion, database=DatabaseName(f"db{number}")) for number in range(MOST_DELETIONS + 2)]

    assert queue.note == "And 29 more."
    assert table(view(a_status(), *many), "deletions").note.startswith("Of 22 databases and places the first 20.")


def test_a_run_without_database_or_progress_is_shown() -> None:
    runs = (RunStatus(run="survey-1", kind="check_cluster", seconds=61),)

    assert texts(view(a_status(running=runs)), "runs") == [("check cluster", "-", "-", "1m", "-", "-")]


def test_a_database_without_a_passed_drill_is_shown() -> None:
    drill = DatabaseDrills(place=VOLUME, set="default", database="orders")

    assert texts(view(a_status(drills=(drill,))), "drills") == [("orders", "local", "-", "-", "-", "-")]


def test_databases_are_excluded_with_their_reasons() -> None:
    status = a_status(
        excluded_databases={"composite": ExcludedDatabase(kind="composite", why="is a composite database")},
        protection=(protected("composite", None, state=Protection.EXCLUDED), protected("old", None, state=Protection.EXCLUDED)),
    )  # fmt: skip

    assert texts(view(status), "excluded") == [("composite", "is a composite database"), ("old", "")]


def test_only_schedules_that_back_up_a_database_have_coming_backups() -> None:
    def schedule(kind: str, *runs: datetime) -> ScheduleStatus:
        return ScheduleStatus(cron="* * * * *", timezone="UTC", type=kind, suspended=False, next_runs=runs)

    judged = DatabaseProtection(
        set="default", database="orders", state=Protection.PROTECTED, schedules=("full", "diff", "drill", "none")
    )
    status = a_status(
        protection=(judged,),
        schedules={"full": schedule("FULL", NOW), "diff": schedule("DIFF", NOW), "drill": schedule("DRILL", NOW), "none": schedule("FULL")},
    )  # fmt: skip

    assert coming_backups(status) == {("default", "orders"): (ComingBackup(NOW, "full", full=True), ComingBackup(NOW, "diff", full=False))}  # fmt: skip


def test_many_databases_have_few_rows_each_and_the_least_important_ones_none() -> None:
    few = a_status(databases=(a_summary(FULLS),))
    summary = a_summary(FULLS)
    many = a_status(
        databases=tuple(summary.model_copy(update={"database": DatabaseName(f"db{number:04}")}) for number in range(2000)),
        protection=(protected("db1999", None, state=Protection.LATE),),
    )  # fmt: skip

    assert (rows_each(a_status()), rows_each(few), rows_each(many)) == (5000, 5000, 5)
    assert len(hidden_pairs(many)) == 2000 - MOST_DATABASES
    assert ("default", "db1999") not in hidden_pairs(many)
    lines = [
        replace(shown(local(*FULLS)), database=DatabaseName(f"db{number:04}")) for number in range(MOST_UNFOLDED + 2)
    ]
    assert [len(one) for one in (view(many, *lines).points, view(many, *lines).folded)] == [MOST_UNFOLDED, 2]
    assert len(view(many).databases.rows) == MOST_ROWS
    assert view(many).databases.note == "And 1000 more: `backup-agent status --database '*'` shows all."


# How it looks


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG 2.2 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


GROUNDS = {
    "text": ("page", "card", "code", "good-fill", "warn-fill", "bad-fill", "muted-fill"),
    "soft": ("page", "card"),
    "link": ("page", "card"),
    "good": ("card", "good-fill"),
    "warn": ("card", "warn-fill"),
    "bad": ("card", "bad-fill"),
    "muted": ("card", "muted-fill"),
}
"""Colour of text -> the background colours behind it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_a_contrast_of_four_and_a_half(scheme: str) -> None:
    sheets = STYLE.split("@media")
    sheet = sheets[0] if scheme == "light" else next(one for one in sheets if "prefers-color-scheme: dark" in one)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", sheet))

    low = {
        (text, on) for text, grounds in GROUNDS.items() for on in grounds if contrast(colours[text], colours[on]) < 4.5
    }

    assert low == set()
    assert set(re.findall(r"[^-]color: var\(--([a-z-]+)\)", STYLE)) <= GROUNDS.keys()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_mark_of_the_time_line_stands_out(scheme: str) -> None:
    """WCAG requires a contrast of 3 for marks with a meaning. Marks that are the background of others are left out."""
    sheets = STYLE.split("@media")
    sheet = sheets[0] if scheme == "light" else next(one for one in sheets if "prefers-color-scheme: dark" in one)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", sheet))

    assert all(contrast(colours[mark], colours["card"]) >= 3 for mark in ("point", "held", "drilled", "broken"))
    assert contrast(colours["point"], colours["stretch"]) >= 3


def test_the_policy_allows_nothing_but_the_style_sheet() -> None:
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        POLICY,
    )


def test_the_waiting_page_reloads_itself() -> None:
    assert b"http-equiv=refresh content=2" in waiting("soon")
    assert b"<p role=status>soon</p>" in waiting("soon")


def test_the_task_is_read_as_it_was_written() -> None:
    task = PageTask(settings={"cluster": "demo"}, status=a_status(full_on=NOW))

    assert PageTask.model_validate_json(task.model_dump_json(by_alias=True, exclude_none=True)) == task


def test_a_status_is_written_as_json_without_what_is_unknown() -> None:
    assert b'"cluster": "demo"' in a_status().to_json()
    assert b"signing_fault" not in a_status().to_json()
