"""The lines of the audit log, the names of its segments, and spans of time."""

from datetime import UTC, datetime

import pytest

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.audit.lines import (
    LONGEST_LINE,
    MOST_KEYS,
    START,
    AuditKind,
    AuditLine,
    copied,
    digest_of_line,
    drilled,
    head_of,
    recorded,
    verified,
)
from backup_agent.core.audit.period import Period, begin_of, end_of
from backup_agent.core.audit.segments import Segment, foreign, listed
from tests.builders import ATTRIBUTION, OFFSITE, ORDERS, TAKEN, a_record


def test_a_line_says_what_was_recorded_and_who_claims_to_have_asked() -> None:
    record = a_record(**ATTRIBUTION)
    line = recorded(record, "ab" * 32)

    assert (line.kind, line.key, line.claimed, line.why) == ("recorded", record.key, "the DBA", "before the upgrade")
    assert line.facts["sha256"] == record.files[0].sha256
    assert "server_version" not in line.facts
    assert copied(record, OFFSITE, "ab" * 32).place == OFFSITE


def test_each_line_covers_the_line_before_it() -> None:
    first = AuditLine(kind=AuditKind.BEGUN).chained(START, TAKEN, "pod-0")
    second = AuditLine(kind=AuditKind.STARTED).chained(head_of(first.to_json()), TAKEN, "pod-0")

    assert (first.n, first.prev, second.n) == (1, "", 2)
    assert second.prev == digest_of_line(first.to_json()) == digest_of_line(first.to_json()[:-1])


def test_a_line_with_the_largest_number_of_keys_is_not_too_long() -> None:
    key = f"{'s' * 63}/{'d' * 128}/{'d' * 128}-2026-11-23T02-00-00.backup"
    [one, two] = verified(OFFSITE, [key] * (MOST_KEYS + 1), "nightly@20261123T010000Z")

    assert len(one.to_json()) < LONGEST_LINE
    assert (len(one.keys), len(two.keys)) == (MOST_KEYS, 1)


def test_a_line_is_about_the_databases_of_its_artifacts() -> None:
    key = a_record().key
    drill = drilled(OFFSITE, key, level="check", outcome="passed", facts={"seconds": 7.5})

    assert drill.facts == {"level": "check", "outcome": "passed", "seconds": 7.5}
    assert drill.is_of(ORDERS)
    assert not drill.is_of(DatabaseName("web"))
    assert AuditLine(kind=AuditKind.FORGOTTEN, facts={"database": "orders"}).is_of(ORDERS)
    assert not AuditLine(kind=AuditKind.DELETED, key="x").is_of(ORDERS)


def test_segments_are_listed_in_the_order_of_their_lines() -> None:
    fork = Segment(3, 4, "0123abcd")
    keys = [Segment(3, 9).key, fork.key, Segment(1, 2).key, Segment(1, 2).seal_key, "audit/x", "owner.json"]

    assert listed(keys) == (Segment(1, 2), fork, Segment(3, 9))
    assert fork.overlaps(Segment(4, 5))
    assert not fork.overlaps(Segment(5, 9))


def test_segments_that_another_volume_wrote_are_foreign() -> None:
    ours = [Segment(5, 6), Segment(7, 8)]

    assert foreign(ours, [Segment(1, 4), Segment(5, 6), Segment(7, 9), Segment(7, 8, "0123abcd")]) == (
        Segment(7, 9),
        Segment(7, 8, "0123abcd"),
    )
    assert foreign([], [Segment(1, 4)]) == (Segment(1, 4),)


def test_a_period_has_its_first_and_its_last_day() -> None:
    period = Period(begin_of("2026-10-01"), end_of("2026-10-31"))
    line = AuditLine(kind=AuditKind.STARTED, at=datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC))

    assert period.has_line(line)
    assert not period.has(datetime(2026, 11, 1, tzinfo=UTC))
    assert not period.has(datetime(2026, 9, 30, tzinfo=UTC))
    assert Period().has_line(line)
    assert not Period().has(None)
    assert begin_of("2026-10-01T02:00:00+02:00") == datetime(2026, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-13-01", "yesterday", "2026-10-01T02:00:00"])
def test_a_text_that_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a day"):
        begin_of(text)
