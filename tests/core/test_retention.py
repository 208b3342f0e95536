"""Retention plans: worked examples in letters, properties, and comparison with an independent oracle."""

import gc
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.retention.plan import Fate, Plan, PlannedDeletion, Rule, expired_sets, plan
from backup_agent.core.retention.policy import Policy
from tests.builders import an_entry, record_of
from tests.core.letters import START, entries, names
from tests.core.retention_cases import case, faults
from tests.examples import examples

LATER = START + timedelta(days=60)
DAY = timedelta(days=1)


def daily(text: str, every: timedelta = DAY) -> list[Entry]:
    """Return artifacts in letters, one taken each day."""
    return list(entries(text, every))


def made(text: str, *, now: datetime = LATER, every: timedelta = DAY, force: bool = True, **more: Any) -> Plan:
    """Return a plan for the artifacts in `text`. Arguments that `plan` lacks are fields of the policy."""
    names = {"held", "damaged", "unreadable", "owed", "forgotten"}
    given: dict[str, Any] = {name: [f"default/orders/{key}" for key in value.split()] if isinstance(value, str) else value
            for name, value in more.items() if name in names}  # fmt: skip
    if isinstance(given.get("held"), list):
        given["held"] = dict.fromkeys(given["held"])
    policy = Policy(**{name: value for name, value in more.items() if name not in names})
    return plan(daily(text, every), policy, now, force=force, **given)


def kept(planned: Plan) -> str:
    return names(planned.keep)


def deleted(planned: Plan) -> str:
    return names(deletion.key for deletion in planned.delete)


def reasons(planned: Plan, name: str) -> list[str]:
    return [str(reason) for reason in planned.keep[f"default/orders/{name}"]]


WEEK = "F1[1-10] D1[11-20] D2[21-30] F2[1-31] D3[32-40] D4[41-50] F3[1-50]"


@pytest.mark.parametrize(
    ("text", "policy", "expected"),
    [
        pytest.param(WEEK, {}, WEEK, id="no policy keeps everything"),
        pytest.param(WEEK, {"min_chains": 2, "min_age": DAY}, WEEK, id="floors alone are not a policy"),
        pytest.param(WEEK, {"last": 1}, "F3", id="the newest"),
        pytest.param(WEEK, {"last": 2}, "F2 D3 D4 F3", id="parents follow"),
        pytest.param(WEEK, {"last": 3}, "F2 D3 D4 F3", id="a parent that is picked too"),
        pytest.param(WEEK, {"last": 99}, WEEK, id="a number larger than that of the points"),
        pytest.param(WEEK, {"daily": 2}, "F2 D3 D4 F3", id="days"),
        pytest.param(
            "F1[1-10]~1 F2[1-11]~2 F3[1-12]~30 F4[1-13]~31", {"daily": 2}, "F2 F4", id="the newest of each day"
        ),
        pytest.param(
            "F1[1-9]~0 F2[1-9]~400 F3[1-9]~900", {"daily": 2}, "F2 F3", id="only days that have a point count"
        ),
        pytest.param(WEEK + " F4[1-60]", {"weekly": 2}, "F3 F4", id="a week ends on Sunday"),
        pytest.param("F1[1-9]~0 F2[1-9]~672 F3[1-9]~696", {"monthly": 2}, "F2 F3", id="months"),
        pytest.param("F1[1-9]~0 F2[1-9]~1415 F3[1-9]~1439", {"yearly": 2}, "F2 F3", id="years"),
        pytest.param("F1[1-9]~0 F2[1-9]~1 F3[1-9]~2", {"hourly": 2}, "F2 F3", id="hours"),
        pytest.param(WEEK, {"within": 2 * DAY}, "F2 D3 D4 F3", id="close to the newest"),
        pytest.param(WEEK, {"last": 1, "min_chains": 2}, "F2 D3 D4 F3", id="two whole chains"),
        pytest.param(WEEK, {"last": 1, "min_chains": 9}, "F1 D1 D2 F2 D3 D4 F3", id="as many chains as there are"),
        pytest.param(WEEK, {"last": 1, "min_age": DAY}, "F3", id="just old enough to be deleted"),
        pytest.param(
            WEEK, {"last": 1, "min_age": DAY + timedelta(seconds=1)}, "F2 D3 D4 F3", id="too young to be deleted"
        ),
        pytest.param(WEEK, {"last": 1, "weekly": 1}, "F3", id="rules are counted each by itself"),
    ],
)
def test_rules_pick_points_and_their_parents_are_kept(text: str, policy: dict[str, Any], expected: str) -> None:
    assert kept(made(text, **policy)) == re.sub(r"\[[^ ]*", "", expected)


def test_a_plan_lists_all_reasons_of_an_artifact() -> None:
    planned = made(WEEK, last=2, daily=3, within=3 * DAY)

    assert reasons(planned, "F3") == [
        "within 3d of the newest", "last 1 of 2", "daily 1 of 3 (2026-11-08)", "newest point that can be restored",
    ]  # fmt: skip
    assert reasons(planned, "D3") == [
        "within 3d of the newest",
        "daily 3 of 3 (2026-11-06)",
        "needed by default/orders/D4",
    ]
    assert planned.why("default/orders/F2") == ("within 3d of the newest", "needed by default/orders/D4")
    assert planned.why("default/orders/D1") == ("no rule keeps it, and nothing kept needs it",)
    with pytest.raises(KeyError, match="default/orders/none"):
        planned.why("default/orders/none")


def test_the_oldest_chain_is_deleted_first_each_from_its_newest_link_to_its_full() -> None:
    planned = made("F1[1-10] D1[11-20] E1 D2[21-30] F2[1-31] D3[32-40] F3[1-50]", last=1)

    assert deleted(planned) == "E1 D2 D1 F1 D3 F2"
    assert planned.freed == 240
    assert planned.delete[0] == PlannedDeletion("default/orders/E1", Fate.UNNEEDED, 10)


def test_a_differential_that_may_continue_two_chains_is_deleted_with_the_older() -> None:
    planned = made("F1[1-10] D1[11-15] F2[1-20] D2[16-25] F3[1-30]", last=1)

    assert deleted(planned) == "D2 D1 F1 F2"


def test_a_full_is_deleted_after_its_differential_even_if_the_clock_was_set_back() -> None:
    planned = made("D1[11-15]~3 F1[1-10]~9 F2[1-30]~20", last=1)

    assert deleted(planned) == "D1 F1"


@pytest.mark.parametrize(
    ("text", "more", "expected", "broken"),
    [
        pytest.param("F1[1-9] F2[1-9] F3[1-9]", {"last": 2, "damaged": "F3"}, "F1 F2 F3", "F3", id="damaged"),
        pytest.param("F1[1-9] F2[1-9] F3[1-9]", {"last": 2, "damaged": "F1"}, "F2 F3", "F1", id="damaged, and old"),
        pytest.param(
            "F1[1-9] F2[1-9] D1[10-12]<F2 F3[1-9]", {"last": 2, "damaged": "F2"}, "F1 F2 D1 F3", "F2 D1", id="a differential of a damaged full"
        ),
        pytest.param("F1[1-9] D2[13-15] F2[1-20]", {"last": 2}, "F1 D2 F2", "D2", id="a hole"),
        pytest.param("F1[1-9] D2[13-15] F2[1-20] F3[1-30]", {"last": 2}, "F2 F3", "D2", id="a hole, and old"),
        pytest.param("D2[13-15] D3[16-18]", {"last": 1}, "D2 D3", "D2 D3", id="no restorable point"),
        pytest.param("D2[13-15] D3[16-18]", {"within": DAY}, "D2 D3", "D2 D3", id="no restorable point, by time"),
        pytest.param("F1[1-9] E1<gone F2[1-9]", {"last": 1}, "F2", "E1", id="an empty one without its parent"),
    ],
)  # fmt: skip
def test_a_broken_point_fills_no_bucket_and_is_kept_as_long_as_a_sound_one(
    text: str, more: dict[str, Any], expected: str, broken: str
) -> None:
    planned = made(text, **more)

    assert kept(planned) == expected
    assert names(planned.broken) == broken


def test_the_reason_of_a_broken_point_says_that_it_is_broken() -> None:
    planned = made("F0[1-9] F1[1-9] D2[13-15] F2[1-20] F3[1-30]", last=1, daily=2, damaged="F0 F3")

    assert planned.why("default/orders/F3") == ("broken, kept for healing by: last, daily",)
    assert planned.why("default/orders/F0") == ("damaged, and no rule would keep it if it were whole",)
    assert planned.why("default/orders/D2") == ("broken, kept for healing by: daily",)
    assert planned.broken == {
        "default/orders/F0": Fate.DAMAGED,
        "default/orders/D2": Fate.INCOMPLETE,
        "default/orders/F3": Fate.DAMAGED,
    }


@pytest.mark.parametrize(
    ("text", "policy", "expected"),
    [
        pytest.param("F1[1-9] D1[10-12] E1 E2 E3", {"last": 1}, "F1 D1 E3", id="the newest one is a point"),
        pytest.param("F1[1-9] E1 F2[1-9]", {"last": 2}, "F1 E1 F2", id="older ones are points"),
        pytest.param("F1[1-9] E1 D1[10-12]", {"last": 1}, "F1 D1", id="nothing needs it"),
        pytest.param("E1 F1[1-9]", {"last": 1}, "F1", id="without a full"),
    ],
)
def test_an_empty_differential_is_a_point_that_nothing_needs(text: str, policy: dict[str, Any], expected: str) -> None:
    assert kept(made(text, **policy)) == expected


IDLE = " ".join(f"F{day}[1-10]" for day in range(30))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        pytest.param("D1[11-15]<F29", "F29 D1", id="the stated parent decides"),
        pytest.param(
            "D1[11-15]", " ".join(f"F{day}" for day in range(30)) + " D1", id="without a stated parent each is kept"
        ),
        pytest.param(
            "D1[11-15]<gone", " ".join(f"F{day}" for day in range(30)) + " D1", id="the stated parent does not exist"
        ),
    ],
)
def test_a_differential_needs_only_its_stated_parent_among_equal_fulls(last: str, expected: str) -> None:
    assert kept(made(f"{IDLE} {last}", last=1)) == expected


def test_a_parent_that_is_only_possible_is_kept() -> None:
    planned = made("F1[1-10] D1[11-15] F2[1-20] D2[16-25]@5.26.31", last=1, held="D2")

    assert kept(planned) == "F1 D1 F2 D2"
    assert names(planned.broken) == "D2"


OVERLAPPED = "F1[1-20] D1[16-25]@5.26.31 F2[1-30]"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param({"last": 2}, "F1 D1 F2", id="as long as a rule keeps the differential"),
        pytest.param({"last": 1}, "F2", id="no longer"),
        pytest.param({"last": 1, "held": "D1"}, "F1 D1 F2", id="as long as the differential is held"),
        pytest.param({"last": 2, "forgotten": {"orders": START}}, "F1 D1 F2", id="although the full was forgotten"),
        pytest.param({"last": 2, "forgotten": {"orders": START + DAY}}, "F2", id="not if both were forgotten"),
    ],
)
def test_a_full_is_kept_for_a_differential_that_overlaps_it_although_its_version_should_not_overlap(
    policy: dict[str, Any], expected: str
) -> None:
    planned = made(OVERLAPPED, **policy)

    assert kept(planned) == expected
    assert planned.broken == {"default/orders/D1": Fate.INCOMPLETE}
    assert "F1" not in expected or reasons(planned, "F1")[-1:] == ["needed by default/orders/D1"]


@pytest.mark.parametrize(("argument", "rule"), [("held", "held"), ("owed", "a copy is missing")], ids=lambda word: word)
def test_an_artifact_that_is_held_or_lacks_a_copy_is_kept_with_everything_it_needs(argument: str, rule: str) -> None:
    more: dict[str, Any] = {argument: "D1 gone"}
    planned = made(WEEK, last=1, **more)

    assert kept(planned) == "F1 D1 F3"
    assert reasons(planned, "D1") == [rule]
    assert reasons(planned, "F1") == ["needed by default/orders/D1"]


def test_a_hold_with_an_end_keeps_its_artifact_until_then_and_no_longer() -> None:
    until = LATER + DAY
    held: dict[str, datetime | None] = {"default/orders/D1": until}

    planned = made(WEEK, last=1, held=held, now=until)
    assert kept(planned) == "F1 D1 F3"
    assert reasons(planned, "D1") == ["held until 2027-01-02T02:00:00Z"]
    assert kept(made(WEEK, last=1, held=held, now=until + timedelta(seconds=1))) == "F3"


def test_store_ids_without_a_format_version_are_compared_as_a_whole() -> None:
    full = an_entry("F1", taken=START, store_id="one")
    gone = an_entry("D2", taken=START + DAY, lowest=11, highest=20, store_id="two", parent="gone", version=None)
    planned = plan([full, gone], Policy(last=1), START + 2 * DAY)

    assert names(planned.broken) == "D2"


def test_a_database_with_an_unreadable_record_or_mark_keeps_everything() -> None:
    planned = made(WEEK + " default/people/F8[1-9] default/people/F9[1-9]", last=1, unreadable=[("default", "orders")])

    assert reasons(planned, "F1")[0] == "a record or mark of its database cannot be read"
    assert deleted(planned) == "people/F8"


def test_an_artifact_from_the_future_is_kept_and_reported_but_is_not_a_point_yet() -> None:
    planned = made("F1[1-9] F2[1-9] F3[1-9] D4[10-12]<F3", last=1, now=START + DAY)

    assert kept(planned) == "F2 F3 D4"
    assert reasons(planned, "D4") == ["taken in the future"]
    assert reasons(planned, "F2")[-1] == "newest point that can be restored"
    assert names(planned.future) == "F3 D4"


def test_ages_are_measured_from_the_newest_restorable_point_and_not_from_now() -> None:
    soon, late = (made(WEEK, within=2 * DAY, min_age=3 * DAY, now=LATER + years * 365 * DAY) for years in (0, 9))

    assert soon == late


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param({"last": 2}, "F4", id="everything taken before is deleted"),
        pytest.param({"last": 2, "min_chains": 2, "min_age": 9 * DAY}, "F4", id="floors do not apply"),
        pytest.param({"last": 2, "held": "D1"}, "F1 D1 F4", id="holds apply"),
        pytest.param({"last": 2, "owed": "D1"}, "F1 D1 F4", id="missing copies apply"),
        pytest.param({}, "F1 D1 D2 F2 D3 D4 F3 F4", id="without a policy nothing is deleted"),
    ],
)
def test_a_forgotten_database_is_deleted_and_a_later_one_of_its_name_is_kept(
    policy: dict[str, Any], expected: str
) -> None:
    planned = made(f"{WEEK} F4[1-9]", forgotten={"orders": START + 6 * DAY}, **policy)

    assert kept(planned) == expected
    assert {deletion.fate for deletion in planned.delete} <= {Fate.FORGOTTEN}


@pytest.mark.parametrize(
    ("share", "count", "refused"),
    [
        pytest.param(0.5, 5, True, id="more than the share"),
        pytest.param(0.8, 5, False, id="exactly the share"),
        pytest.param(0.29, 100, True, id="far more"),
        pytest.param(0.99, 100, False, id="no rounding"),
    ],
)
def test_a_plan_that_exceeds_max_delete_share_deletes_nothing_of_the_set(
    share: float, count: int, refused: bool
) -> None:
    text = " ".join(f"F{number}[1-9]" for number in range(count)) + " other/x/F1[1-9] other/x/F2[1-9]"
    planned = made(text, every=timedelta(hours=1), last=1, max_delete_share=share, force=False)

    assert bool([one for one in planned.refused if one.set == "default"]) == refused
    assert (f"default/orders/F{count - 2}" in planned.keep) == refused


def test_a_refused_set_lists_its_deletions_and_other_sets_are_pruned() -> None:
    text = "F1[1-9] F2[1-9] F3[1-9] other/x/F1[1-9] other/x/F2[1-9]"
    planned = made(text, last=1, force=False)

    (refusal,) = planned.refused
    assert str(refusal) == ("default: 2 of 3 artifacts would be deleted, more than max_delete_share (0.5) allows")
    assert [deletion.key for deletion in refusal.deletions] == ["default/orders/F1", "default/orders/F2"]
    assert reasons(planned, "F1") == ["its deletion is refused: no rule keeps it, and nothing kept needs it"]
    assert [deletion.key for deletion in planned.delete] == ["other/x/F1"]
    assert made(text, last=1, force=True).refused == ()


def test_rules_count_each_set_and_database_separately() -> None:
    planned = made("F1[1-9] F2[1-9] default/people/F3[1-9] other/orders/F4[1-9]", last=1)

    assert list(planned.keep) == ["default/orders/F2", "default/people/F3", "other/orders/F4"]


@pytest.mark.parametrize(
    ("zone", "moments", "policy", "kept_places"),
    [
        pytest.param(
            "Europe/Berlin", ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"], {"hourly": 3}, [0, 1, 2],
            id="the repeated hour counts as two",
        ),
        pytest.param(
            "Europe/Berlin", ["2026-10-24T22:30", "2026-10-25T22:30", "2026-10-25T23:30"], {"daily": 2}, [1, 2],
            id="a day of 25 hours",
        ),
        pytest.param(
            "Europe/Berlin", ["2026-03-28T22:30", "2026-03-28T23:30", "2026-03-29T22:30"], {"daily": 2}, [1, 2],
            id="a day of 23 hours",
        ),
        pytest.param(
            "UTC", ["2026-03-28T22:30", "2026-03-28T23:30", "2026-03-29T22:30"], {"daily": 2}, [1, 2],
            id="the same in UTC",
        ),
        pytest.param(
            "America/New_York", ["2026-12-31T23:00", "2027-01-01T04:59", "2027-01-01T05:00"], {"yearly": 2}, [1, 2],
            id="New Year is later in New York",
        ),
        pytest.param(
            "UTC", ["2026-12-27T12:00", "2026-12-28T12:00", "2027-01-03T12:00", "2027-01-04T12:00"], {"weekly": 3}, [0, 2, 3],
            id="a week across New Year is one",
        ),
        pytest.param(
            "Pacific/Apia", ["2011-12-30T09:00", "2011-12-30T11:00"], {"daily": 2}, [0, 1], id="a day that does not exist"
        ),
        pytest.param(
            "America/St_Johns", ["2006-10-29T02:20", "2006-10-29T02:30", "2006-10-29T02:45"], {"daily": 2}, [1, 2],
            id="a midnight that is repeated",
        ),
    ],
)  # fmt: skip
def test_buckets_follow_the_time_zone_of_the_policy(
    zone: str, moments: list[str], policy: dict[str, Any], kept_places: list[int]
) -> None:
    taken = [datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in moments]
    made_ = [one._replace(taken=moment) for one, moment in zip(daily(IDLE), taken, strict=False)]
    planned = plan(made_, Policy(timezone=zone, **policy), LATER + 99 * DAY, force=True)

    assert [place for place, one in enumerate(made_) if one.key in planned.keep] == kept_places


@pytest.mark.parametrize("wrong", [{"daily": 0}, {"within": timedelta(0)}, {"min_chains": 0}, {"max_delete_share": 0}])
def test_a_rule_that_would_keep_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Policy(**wrong)


def test_durations_are_written_as_in_the_settings() -> None:
    spans = [timedelta(days=2), timedelta(hours=5), timedelta(minutes=90), timedelta(seconds=61)]

    texts = [reasons(made(WEEK, within=span), "F3")[0] for span in spans]

    assert texts == [f"within {span} of the newest" for span in ("2d", "5h", "90m", "61s")]


def test_records_and_their_entries_give_the_same_plan() -> None:
    found = daily(WEEK)

    assert plan(map(record_of, found), Policy(last=2), LATER) == plan(found, Policy(last=2), LATER)


ADHOC = "test/orders/F1[1-9]~0 test/people/F2[1-9]~1 tmp/orders/F3[1-9]~100"


def expired(text: str, *, now: datetime = START + 30 * DAY, **more: Any) -> Plan:
    return expired_sets(daily(text), {"default"}, 7 * DAY, now, **{"keep_safety": 14 * DAY, "used": {}, **more})


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        pytest.param(
            f"{ADHOC} default/orders/F8[1-9] default/people/F9[1-9]", {}, "test/orders/F1 test/people/F2 tmp/orders/F3",
            id="as a whole, if declared sets have a point of each database",
        ),
        pytest.param(
            f"{ADHOC} default/orders/F8[1-9]", {}, "test/orders/F1 tmp/orders/F3", id="except the newest chain of a database without one"
        ),
        pytest.param(ADHOC, {}, "test/orders/F1", id="the newest chain may be in any ad hoc set"),
        pytest.param("a/orders/F1[1-9]~9 b/orders/F2[1-9]~1", {}, "b/orders/F2", id="the newest chain is listed first"),
        pytest.param(
            f"{ADHOC} default/orders/F8[1-9]", {"damaged": ["default/orders/F8"]}, "test/orders/F1",
            id="a damaged artifact is not a point",
        ),
        pytest.param(
            f"{ADHOC} default/orders/D8[10-12] default/people/F9[1-9]", {}, "test/orders/F1 test/people/F2",
            id="an incomplete artifact is not a point",
        ),
        pytest.param(
            f"{ADHOC} default/orders/F8[1-9] default/people/F9[1-9]", {"now": START + 7 * DAY + timedelta(minutes=59)}, "",
            id="not before seven days after its newest artifact",
        ),
        pytest.param(
            f"{ADHOC} default/orders/F8[1-9]~1 default/people/F9[1-9]~1", {"now": START + 7 * DAY + timedelta(hours=1)},
            "test/orders/F1 test/people/F2", id="each set by itself",
        ),
        pytest.param(
            "before-restore/orders/F1[1-9] before-restore/orders/F2[1-9]~9 default/orders/F8[1-9]~10",
            {"now": START + 14 * DAY + timedelta(hours=1), "used": {"before-restore": START + 14 * DAY}},
            "before-restore/orders/F1", id="before a restore, each artifact by itself, whatever is requested since",
        ),
        pytest.param(
            f"{ADHOC} default/orders/F8[1-9] default/people/F9[1-9]", {"used": {"test": START + 24 * DAY}}, "tmp/orders/F3",
            id="requested since",
        ),
        pytest.param(
            f"{ADHOC} default/orders/F8[1-9] default/people/F9[1-9]",
            {"held": {"test/orders/F1": None}, "unreadable": [("test", "people")], "owed": ["tmp/orders/F3"]}, "",
            id="held, unreadable, copy missing",
        ),
        pytest.param("test/orders/D1[11-12]", {}, "test/orders/D1", id="no restorable artifact"),
        pytest.param("test/orders/F1[1-9]~9999 default/orders/F2[1-9]", {}, "", id="from the future"),
    ],
)  # fmt: skip
def test_an_ad_hoc_set_is_deleted_as_a_whole_some_time_after_its_last_use(
    text: str, more: dict[str, Any], expected: str
) -> None:
    planned = expired(text, **more)

    assert [deletion.key for deletion in planned.delete] == expected.split()
    fates = {Fate.SAFETY if one.key.startswith("before-restore/") else Fate.EXPIRED for one in planned.delete}
    assert {deletion.fate for deletion in planned.delete} == fates
    assert not [key for key in planned.keep if key.startswith("default/")]


def test_an_ad_hoc_set_says_until_when_it_is_kept() -> None:
    planned = expired("test/orders/F1[1-9] test/orders/F2[1-9]", now=START + 2 * DAY)

    assert planned.why("test/orders/F1") == ("ad hoc set, kept until 2026-11-10T02:00:00Z",)
    assert planned.keep["test/orders/F2"][0].rule is Rule.NEWEST
    assert expired("test/orders/F1[1-9]").why("test/orders/F1") == ("newest point that can be restored",)


CASES = examples(20_000)
BATCHES = 20


@pytest.mark.parametrize("batch", range(BATCHES))
def test_plans_match_an_independent_oracle(batch: int) -> None:
    found = {seed: texts for seed in range(batch, CASES, BATCHES) if (texts := faults(case(seed)))}

    assert not found, json.dumps(dict(list(found.items())[:3]), indent=2)


@settings(deadline=None, max_examples=examples(300))
@given(st.integers(0, 2**64))
def test_the_order_of_the_artifacts_does_not_matter(seed: int) -> None:
    asked = case(seed)
    shuffled = Random(seed).sample(asked.entries, len(asked.entries))

    one, other = (
        plan(order, Policy(**asked.policy), asked.now, damaged=asked.damaged) for order in (asked.entries, shuffled)
    )

    assert one == other


@settings(deadline=None, max_examples=examples(300))
@given(st.integers(0, 2**64))
def test_after_a_plan_is_carried_out_the_next_deletes_nothing(seed: int) -> None:
    asked = case(seed)
    policy = Policy(**asked.policy)
    left = [one for one in asked.entries if one.key in plan(asked.entries, policy, asked.now, force=True).keep]

    assert plan(left, policy, asked.now, force=True).delete == ()


@settings(deadline=None, max_examples=examples(300))
@given(st.integers(0, 2**64), st.data())
def test_after_a_plan_is_cut_short_the_next_keeps_the_same_artifacts(seed: int, data: st.DataObject) -> None:
    asked = case(seed)
    policy = Policy(**asked.policy)
    first = plan(asked.entries, policy, asked.now, force=True)
    done = {deletion.key for deletion in first.delete[: data.draw(st.integers(0, len(first.delete)))]}
    second = plan([one for one in asked.entries if one.key not in done], policy, asked.now, force=True)

    assert set(second.keep) == set(first.keep)


def test_the_worked_example_in_the_documentation_is_correct() -> None:
    page = (Path(__file__).parents[2] / "docs" / "retention.md").read_text()
    rows = re.findall(r"^\| (\w\d) \| ([\d-]+ [\d:]+) \| (\S+) \| (kept|goes) \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) >= 10
    found = [
        one._replace(taken=datetime.fromisoformat(f"{taken}+00:00"))
        for name, taken, ranges, *_ in rows
        for one in daily(name if ranges == "-" else f"{name}{ranges}")
    ]
    planned = plan(found, Policy(last=2, daily=3, weekly=2, timezone="Europe/Berlin"), LATER)

    for name, _, _, fate, why in rows:
        key = f"default/orders/{name}"
        assert (key in planned.keep) == (fate == "kept"), name
        assert "; ".join(planned.why(key)).replace("default/orders/", "") == why
    assert f"`{deleted(planned)}`" in page


@pytest.mark.parametrize("on", [True, False])
def test_planning_leaves_the_garbage_collector_as_it_was(on: bool) -> None:
    before = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        plan([], Policy(), datetime(2026, 11, 23, tzinfo=UTC))

        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()
