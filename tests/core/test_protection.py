"""Which databases are protected, late, unprotected or excluded: from records, schedules and objectives."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.names import BEFORE_RESTORE, DEFAULT_SET, DatabaseName, SetName
from backup_agent.core.neo4j.kinds import ExcludedKind
from backup_agent.core.protection.expected import BackupSchedule, Objective, Pair, Rules, selects
from backup_agent.core.protection.judging import (
    DatabaseProtection,
    ExpectedSince,
    KnownDatabases,
    Protection,
    expected_since,
    judge,
)
from backup_agent.core.requests.cron import Cron
from backup_agent.core.requests.schedules import Timetable
from tests.builders import ORDERS

HOUR = timedelta(hours=1)
CREATED = datetime(2026, 11, 23, 10, tzinfo=UTC)
"""When the databases of these tests were first listed: a Monday."""

WEEKLY_SET = SetName("weekly")
DEFAULT: Pair = (DEFAULT_SET, ORDERS)


def every(
    cron: str, *databases: str, set_name: SetName = DEFAULT_SET, name: str = "nightly", **timetable: Any
) -> BackupSchedule:
    """Return a schedule of these databases, by default of all."""
    return BackupSchedule(Timetable(name, Cron.parse(cron), **timetable), set_name, databases or ("*",))


NIGHTLY = every("0 2 * * *")
HOURLY = every("15 * * * *", name="hourly")


def known(*databases: str, last: datetime | None = None, **changes: Any) -> KnownDatabases:
    """Return the facts of listed databases, by default of orders: listed since `CREATED`, with this last success."""
    names = [DatabaseName(name) for name in databases or ["orders"]]
    facts: dict[str, Any] = {
        "listed": names,
        "last_success": {(DEFAULT_SET, name): last for name in names} if last else {},
        "since": {(DEFAULT_SET, name): ExpectedSince(since=CREATED, scheduled=True) for name in names},
    }
    return KnownDatabases(**{**facts, **changes})


def only(known: KnownDatabases, rules: Rules, now: datetime) -> DatabaseProtection:
    """Return the protection of the only database."""
    [one] = judge(known, rules, now)
    return one


@pytest.mark.parametrize(
    ("rules", "success", "age", "state"),
    [
        pytest.param(Rules((NIGHTLY,)), None, 16 * HOUR, "waiting", id="new: before the first due time"),
        pytest.param(Rules((NIGHTLY,)), None, 18 * HOUR, "waiting", id="new: at the end of the grace"),
        pytest.param(Rules((NIGHTLY,)), None, 18.1 * HOUR, "unprotected", id="new: after the grace"),
        pytest.param(Rules((NIGHTLY,)), 16 * HOUR, 42 * HOUR, "protected", id="a day and the grace old"),
        pytest.param(Rules((NIGHTLY,)), 16 * HOUR, 42.1 * HOUR, "late", id="older than a day and the grace"),
        pytest.param(Rules((HOURLY,)), 16 * HOUR, 17.5 * HOUR, "protected", id="hourly: within the grace"),
        pytest.param(Rules((HOURLY,)), 16 * HOUR, 17.6 * HOUR, "late", id="hourly: late after an hour and a half"),
        pytest.param(Rules((NIGHTLY, HOURLY)), 16 * HOUR, 17.6 * HOUR, "late", id="the schedule that runs most often"),
        pytest.param(Rules((every("0 2 * * 1-5"),)), 16 * HOUR, 89 * HOUR, "protected", id="weekdays: three days"),
        pytest.param(Rules((every("0 2 1 * *"),)), None, 100 * HOUR, "waiting", id="monthly: not due for a week"),
        pytest.param(
            Rules((every("0 2 * * *", jitter=3 * HOUR),)), 16 * HOUR, 45 * HOUR, "protected", id="the jitter is grace"
        ),
        pytest.param(
            Rules((HOURLY,), objectives=(Objective(("orders*",), rpo=4 * HOUR),)), 16 * HOUR, 21 * HOUR, "protected",
            id="an objective that is wider than the schedule",
        ),
        pytest.param(
            Rules((NIGHTLY,), objectives=(Objective(("*",), rpo=HOUR, grace=HOUR),)), 16 * HOUR, 18.1 * HOUR, "late",
            id="an objective with its grace that is narrower than the schedule",
        ),
        pytest.param(
            Rules((NIGHTLY,), objectives=(Objective(("sales",), rpo=HOUR),)), 16 * HOUR, 40 * HOUR, "protected",
            id="an objective of other databases",
        ),
        pytest.param(
            Rules((NIGHTLY,), objectives=(Objective(("*", "!orders"), rpo=HOUR), Objective(("*",), rpo=99 * HOUR))),
            16 * HOUR, 60 * HOUR, "protected", id="the first objective that matches",
        ),
        pytest.param(
            Rules(objectives=(Objective(("*",), rpo=HOUR),)), 16 * HOUR, 17 * HOUR, "protected",
            id="an objective without a schedule: requests meet it",
        ),
        pytest.param(Rules(), 16 * HOUR, 17 * HOUR, "unprotected", id="no schedule, even with a restore point"),
        pytest.param(Rules((every("0 2 * * *", "sales"),)), None, HOUR, "unprotected", id="no schedule matches"),
    ],
)  # fmt: skip
def test_a_database_is_judged_by_its_own_schedules_and_objectives(
    rules: Rules, success: timedelta | None, age: timedelta, state: str
) -> None:
    last = None if success is None else CREATED + success
    facts = known(last=last)
    if not rules.schedules and not rules.objectives:
        facts = replace(facts, since={DEFAULT: ExpectedSince(since=CREATED, scheduled=False)})

    assert only(facts, rules, CREATED + age).state == state


SUSPENDED = every("0 2 * * *", suspend=True)


@pytest.mark.parametrize(
    ("database", "rules", "changes", "why"),
    [
        pytest.param(
            "scratch", Rules((every("0 2 * * *", "*", "!scratch"),), ("*", "!scratch")), {},
            'is excluded by "!" in databases', id="excluded in the settings",
        ),
        pytest.param(
            "scratch", Rules((every("0 2 * * *", "*", "!scratch*"),)), {},
            'is excluded by "!" in schedule nightly', id="excluded in a schedule",
        ),
        pytest.param(
            "scratch",
            Rules((every("0 2 * * *", "*", "!scratch"),), objectives=(Objective(("*",), rpo=HOUR),)), {},
            'is excluded by "!" in schedule nightly', id="excluded by name, although an objective matches",
        ),
        pytest.param(
            "web", Rules((NIGHTLY,)), {"kinds": {"web": ExcludedKind.COMPOSITE}}, "is a composite database: it holds no "
            "data of its own", id="composite",
        ),
        pytest.param(
            "web", Rules((NIGHTLY,)), {"kinds": {"web": ExcludedKind.REPLICA}}, ExcludedKind.REPLICA.why, id="replica",
        ),
        pytest.param("orders", Rules((SUSPENDED,)), {}, "has only suspended schedules: nightly", id="suspended"),
        pytest.param(
            "orders-restored", Rules((NIGHTLY,), rehearsals=("*-restored", "*-restored-[0-9]")), {},
            "is named like a database that was restored beside another (restore.rehearsals)", id="rehearsal",
        ),
        pytest.param(
            "orders-restored-2", Rules((NIGHTLY,), rehearsals=("*-restored", "*-restored-[0-9]")), {},
            "is named like a database that was restored beside another (restore.rehearsals)", id="second rehearsal",
        ),
        pytest.param("gone", Rules((NIGHTLY,)), {"listed": (), "forgotten": {"gone"}}, "was forgotten", id="forgotten"),
    ],
)  # fmt: skip
def test_a_database_that_needs_no_backup_is_excluded_with_the_reason_at_any_age(
    database: str, rules: Rules, changes: Mapping[str, Any], why: str
) -> None:
    found = only(known(database, last=CREATED, **changes), rules, CREATED + timedelta(days=400))

    assert (found.state, found.why, found.deadline) == (Protection.EXCLUDED, why, None)


def test_a_schedule_that_runs_beside_a_suspended_one_counts() -> None:
    assert only(known(), Rules((SUSPENDED, HOURLY)), CREATED + 2 * HOUR).state is Protection.UNPROTECTED


def test_a_database_that_is_not_listed_any_more_is_missing_and_never_late() -> None:
    facts = replace(known(last=CREATED), listed=())

    assert only(facts, Rules((NIGHTLY,)), CREATED + timedelta(days=9)).state is Protection.MISSING


def test_a_dropped_rehearsal_is_not_missing() -> None:
    facts = replace(known("orders-restored", last=CREATED), listed=())

    assert only(facts, Rules((NIGHTLY,), rehearsals=("*-restored",)), CREATED).state is Protection.EXCLUDED


def test_each_set_is_judged_by_its_own_schedules() -> None:
    rules = Rules((NIGHTLY, every("0 3 * * 0", set_name=WEEKLY_SET, name="sundays")))
    facts = known(last=CREATED)
    late = CREATED + timedelta(days=4)

    assert [(one.set, one.state, one.schedules) for one in judge(facts, rules, late)] == [
        (DEFAULT_SET, Protection.LATE, ("nightly",)),
        (WEEKLY_SET, Protection.WAITING, ("sundays",)),
    ]


def test_a_set_that_only_requests_use_is_not_expected_to_be_young() -> None:
    release = (SetName("before-release"), ORDERS)
    facts = replace(known(last=CREATED), last_success={DEFAULT: CREATED, release: CREATED})
    found = {one.set: one for one in judge(facts, Rules((NIGHTLY,)), CREATED + HOUR)}

    assert found[release[0]].state is Protection.EXCLUDED
    assert found[release[0]].why == "is not expected in the set before-release: schedules back it up into default"


def test_nothing_is_expected_of_the_backups_before_a_restore() -> None:
    safety = (BEFORE_RESTORE, ORDERS)
    facts = replace(known(last=CREATED), last_success={DEFAULT: CREATED, safety: CREATED})
    found = {one.set: one for one in judge(facts, Rules(()), CREATED + HOUR)}

    assert (found[DEFAULT_SET].state, found[BEFORE_RESTORE].state) == (Protection.UNPROTECTED, Protection.EXCLUDED)


def test_without_a_topology_the_databases_that_schedules_name_have_a_row() -> None:
    rules = Rules((every("0 2 * * *", "Orders", "sales*", "!sales-test"),))

    assert [one.database for one in judge(KnownDatabases(), rules, CREATED)] == ["orders"]


def test_a_database_has_a_row_from_the_first_time_it_is_listed() -> None:
    found = only(KnownDatabases(listed={ORDERS}), Rules((NIGHTLY,)), CREATED)

    assert (found.state, found.why) == (
        Protection.WAITING,
        "has no restore point yet; its first backup is due by 2026-11-24T04:00Z",
    )


def test_backups_are_expected_since_a_database_is_listed_and_a_restart_forgets_nothing() -> None:
    rules = Rules((NIGHTLY,))
    first = expected_since(KnownDatabases(listed={ORDERS}), rules, CREATED)
    later = expected_since(KnownDatabases(listed={ORDERS}, since=first), rules, CREATED + timedelta(days=3))

    assert first == later == {DEFAULT: ExpectedSince(since=CREATED, scheduled=True)}


def test_a_schedule_that_is_resumed_has_until_its_next_due_time() -> None:
    suspended = expected_since(known(last=CREATED), Rules((SUSPENDED,)), CREATED)
    resumed = CREATED + timedelta(days=30)
    since = expected_since(known(last=CREATED, since=suspended), Rules((NIGHTLY,)), resumed)

    assert suspended == {}
    facts = known(last=CREATED, since=since)
    assert only(facts, Rules((NIGHTLY,)), resumed + 17 * HOUR).state is Protection.PROTECTED
    assert only(facts, Rules((NIGHTLY,)), resumed + 19 * HOUR).state is Protection.LATE


def test_a_schedule_for_a_database_that_had_none_has_until_its_first_due_time() -> None:
    before = expected_since(KnownDatabases(listed={ORDERS}), Rules(), CREATED)
    added = CREATED + timedelta(days=30)
    since = expected_since(KnownDatabases(listed={ORDERS}, since=before), Rules((NIGHTLY,)), added)

    assert before == {DEFAULT: ExpectedSince(since=CREATED, scheduled=False)}
    assert since == {DEFAULT: ExpectedSince(since=added, scheduled=True)}


def test_a_clock_that_was_ahead_delays_no_deadline() -> None:
    ahead = {DEFAULT: ExpectedSince(since=CREATED + timedelta(days=999), scheduled=True)}

    assert (
        expected_since(KnownDatabases(listed={ORDERS}, since=ahead), Rules((NIGHTLY,)), CREATED)[DEFAULT].since
        == CREATED
    )


CRONS = st.sampled_from(["15 * * * *", "0 2 * * *", "0 2 * * 1-5", "30 3 * * 0", "0 0 1 * *"])
SPANS = st.integers(0, 60 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
GRACES = st.none() | st.integers(0, 600).map(lambda minutes: timedelta(minutes=minutes))
PROBLEMS = {Protection.LATE, Protection.UNPROTECTED}


@given(cron=CRONS, success=st.none() | SPANS, age=SPANS, later=SPANS, grace=GRACES)
def test_only_a_success_ends_a_delay_and_no_delay_begins_before_the_first_due_time_and_the_grace(
    cron: str, success: timedelta | None, age: timedelta, later: timedelta, grace: timedelta | None
) -> None:
    schedule = every(cron)
    rules = Rules((schedule,), objectives=(Objective(("*",), grace=grace),))
    facts = known(last=None if success is None else CREATED + success)
    now = only(facts, rules, CREATED + age)
    then = only(facts, rules, CREATED + age + later)
    succeeded = only(replace(facts, last_success={DEFAULT: CREATED + age}), rules, CREATED + age)

    assert now.deadline is not None
    first_due = schedule.timetable.start(schedule.timetable.cron.next_after(CREATED))
    assert now.deadline >= first_due + timedelta(seconds=now.grace_seconds or 0)
    assert (now.state in PROBLEMS) == (CREATED + age > now.deadline)
    assert now.state not in PROBLEMS or then.state in PROBLEMS
    assert succeeded.state is Protection.PROTECTED


@given(names=st.lists(st.sampled_from(["orders", "sales", "scratch", "web", "orders-restored"]), unique=True))
def test_each_listed_database_has_at_least_one_row(names: list[str]) -> None:
    rules = Rules((every("0 2 * * *", "orders", "!scratch"), SUSPENDED), rehearsals=("*-restored",))
    listed = {DatabaseName(name) for name in names}

    assert {one.database for one in judge(KnownDatabases(listed=listed), rules, CREATED)} == listed


def test_exclusions_alone_select_all_other_databases() -> None:
    assert selects(["!scratch"], ORDERS)
    assert not selects(["!Orders"], ORDERS)
