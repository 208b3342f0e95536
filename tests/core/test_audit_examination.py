"""Examining an audit log: the faults that are found, and harmless states that are not faults."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import pytest

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.audit.examination import AuditFault, Examination, RecordFacts
from backup_agent.core.audit.lines import START, AuditKind, AuditLine, Head, expired
from tests.builders import OFFSITE, TAKEN, a_record
from tests.core.audits import DIGEST, VOLUME, backed_up, begun, chain, deleted, line, name_of

Content = bytes | tuple[str, bytes]
"""A segment, with its name if the name does not follow from its lines."""
NOON = TAKEN + timedelta(minutes=2)
OLD = a_record(0)
NEW = a_record(24)


def records_at(*records: str, finished: datetime = NOON, head: str | None = None) -> list[RecordFacts]:
    return [RecordFacts(key, DIGEST, finished, head) for key in records]


def faults_in(
    segments: Iterable[Content],
    records: Iterable[RecordFacts] = (),
    *,
    place: PlaceName = OFFSITE,
    heads: Iterable[str] = (),
) -> list[tuple[AuditFault, str]]:
    records = list(records)
    examination = Examination(place)
    examination.expect([*(record.head for record in records), *heads])
    for one in segments:
        name, content = one if isinstance(one, tuple) else (name_of(one), one)
        examination.segment(name, content)
    return [(one.fault, one.where) for one in examination.findings(records)]


def whole_log() -> tuple[bytes, Head]:
    return chain([begun(), *backed_up(0, 24), *deleted(OLD)])


def test_a_whole_log_explains_every_record_and_every_deletion() -> None:
    content, head = whole_log()

    assert faults_in([content], records_at(NEW.key, head=head.digest)) == []


def test_a_log_in_several_segments_is_whole() -> None:
    first, head = chain([begun(), *backed_up(0)])
    second, head = chain(backed_up(24), head, minute=10)

    assert faults_in([first, second], records_at(OLD.key, NEW.key, head=head.digest)) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines: [*lines[:2], lines[2].replace(b"offsite", b"onsite"), *lines[3:]], id="altered"),
        pytest.param(lambda lines: [*lines[:2], *lines[3:]], id="removed"),
        pytest.param(lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], id="reordered"),
        pytest.param(lambda lines: [*lines[:2], lines[1], *lines[2:]], id="repeated"),
        pytest.param(lambda lines: [*lines[:2], b"{}\n", *lines[2:]], id="not a line"),
    ],
)
def test_a_line_that_was_changed_is_found(change: Callable[[list[bytes]], list[bytes]]) -> None:
    content, _ = whole_log()

    faults = faults_in([b"".join(change(content.splitlines(keepends=True)))], records_at(NEW.key))

    assert AuditFault.ALTERED in {fault for fault, _ in faults}


def test_a_line_with_a_number_out_of_order_is_found() -> None:
    first, head = chain([begun(), *backed_up(0)])
    second, _ = chain(backed_up(24), head._replace(n=7))

    assert (AuditFault.ALTERED, "x:4") in faults_in([("x", first + second)], records_at(OLD.key, NEW.key))


def test_a_log_that_begins_after_its_first_line_is_found() -> None:
    content, _ = chain(backed_up(0), Head(4, 1, ""))

    assert faults_in([content], records_at(OLD.key)) == [(AuditFault.ALTERED, f"{name_of(content)}:1")]


def test_a_segment_that_is_missing_in_the_middle_is_found() -> None:
    first, head = chain([begun(), *backed_up(0)])
    _, head = chain(backed_up(24), head)
    third, _ = chain(deleted(OLD), head, minute=10)

    faults = faults_in([first, third], records_at(NEW.key))

    assert (AuditFault.REMOVED, f"{name_of(third)}:1") in faults
    assert (AuditFault.UNEXPLAINED, NEW.key) in faults


def test_a_missing_tail_is_found_by_the_record_that_names_it() -> None:
    first, head = chain([begun(), *backed_up(0)])
    _, head = chain(backed_up(24), head)
    later = records_at(NEW.key, finished=NOON + timedelta(hours=1), head=head.digest)

    assert faults_in([first], [*records_at(OLD.key), *later]) == [(AuditFault.TAIL, OFFSITE)]


def test_a_missing_tail_is_found_by_an_artifact_that_was_deleted_in_it() -> None:
    first, _ = chain([begun(), *backed_up(0, 24)])

    assert faults_in([first], records_at(NEW.key)) == [(AuditFault.MISSING, OLD.key)]


def test_a_rewritten_log_is_found_by_the_heads_of_records() -> None:
    content, _ = whole_log()

    assert faults_in([content], records_at(NEW.key, head="00" * 32)) == [(AuditFault.REMOVED, NEW.key)]


def test_an_announced_deletion_may_have_happened_or_not() -> None:
    content, _ = chain([begun(), *backed_up(0, 24), next(deleted(OLD))])

    assert faults_in([content], records_at(NEW.key)) == []
    assert faults_in([content], records_at(OLD.key, NEW.key)) == []


def test_a_deletion_without_an_announcement_or_without_a_plan_is_found() -> None:
    unannounced, _ = chain([begun(), *backed_up(0), line(AuditKind.DELETED, OLD.key, OFFSITE)])
    unplanned, _ = chain([begun(), *backed_up(0), line(AuditKind.DELETING, OLD.key, OFFSITE)])

    assert faults_in([unannounced]) == [(AuditFault.UNPLANNED, f"{name_of(unannounced)}:4")]
    assert faults_in([unplanned]) == [(AuditFault.UNPLANNED, f"{name_of(unplanned)}:4")]


def test_deletions_of_files_that_were_never_recorded_need_no_plan() -> None:
    lines = [line(kind, "default/x/x.backup", OFFSITE) for kind in (AuditKind.DELETING, AuditKind.DELETED)]

    assert faults_in([chain([begun(), *lines])[0]]) == []


def test_a_record_that_no_line_names_or_that_differs_is_found() -> None:
    content, _ = whole_log()
    replaced = RecordFacts(NEW.key, "cd" * 32, NOON, None)

    assert faults_in([content], [replaced, *records_at("default/x/x.backup")]) == [
        (AuditFault.UNEXPLAINED, NEW.key),
        (AuditFault.UNEXPLAINED, "default/x/x.backup"),
    ]


def test_a_copy_whose_line_is_not_stored_yet_is_reported_as_newer_than_the_log() -> None:
    content, _ = chain([begun(), *backed_up(0), line(AuditKind.RECORDED, NEW.key)])

    assert faults_in([content], records_at(OLD.key, NEW.key, finished=TAKEN)) == [(AuditFault.TAIL, OFFSITE)]


def test_each_place_is_explained_by_its_own_lines() -> None:
    content, _ = whole_log()

    assert faults_in([content], records_at(OLD.key, NEW.key), place=VOLUME) == []


def test_the_first_lines_may_have_expired() -> None:
    _, old = chain([begun(), *backed_up(0)])
    content, _ = chain([expired(OFFSITE, old), *backed_up(24)], old, minute=60)
    ancient = records_at(OLD.key, finished=TAKEN)

    assert faults_in([content], [*records_at(NEW.key, finished=TAKEN + timedelta(minutes=61)), *ancient]) == []


def test_records_that_are_older_than_the_log_are_a_gap() -> None:
    content, _ = chain([begun(), *backed_up(24)], minute=60)
    new = records_at(NEW.key, finished=TAKEN + timedelta(minutes=61))

    assert faults_in([content], [*new, *records_at(OLD.key, finished=TAKEN)]) == [(AuditFault.GAP, OFFSITE)]


def test_a_line_that_was_cut_off_is_a_gap() -> None:
    content, _ = whole_log()
    lines = [begun(), line(AuditKind.TORN, facts={"file": "torn-2", "bytes": 6})]

    assert faults_in([("x", content + b"{9")], records_at(NEW.key)) == [(AuditFault.GAP, "x:8")]
    assert faults_in([chain(lines)[0]]) == [(AuditFault.GAP, f"{name_of(chain(lines)[0])}:2")]


def forked() -> tuple[bytes, bytes, bytes, bytes]:
    """Return a shared segment, one segment of each branch (theirs, ours), and the first one of the next epoch."""
    shared, head = chain([begun(), *backed_up(0)])
    theirs, their_head = chain(backed_up(24), head, minute=10)
    ours, our_head = chain([line(AuditKind.STARTED)], head, minute=20)
    above = Head(their_head.n, 2, our_head.digest)
    again, _ = chain([begun("forked", local=our_head, offsite=their_head)], above, minute=30)
    return shared, theirs, ours, again


def test_a_fork_is_a_gap_and_both_branches_explain_their_artifacts() -> None:
    shared, theirs, ours, again = forked()
    segments: list[Content] = [shared, (name_of(ours, "0123abcd"), ours), theirs, again]

    assert faults_in(segments, records_at(OLD.key, NEW.key)) == [(AuditFault.GAP, f"{name_of(again)}:1")]


def test_a_branch_that_an_epoch_names_and_that_is_missing_is_found() -> None:
    shared, _, ours, again = forked()

    faults = faults_in([shared, (name_of(ours, "0123abcd"), ours), again], records_at(OLD.key))

    assert (AuditFault.REMOVED, f"{name_of(again)}:1") in faults


def test_a_branch_that_nothing_names_is_found() -> None:
    shared, head = chain([begun(), *backed_up(0)])
    theirs, _ = chain(backed_up(24), head, minute=10)
    ours, _ = chain([line(AuditKind.STARTED)], head, minute=20)

    assert faults_in([shared, ours, theirs], records_at(OLD.key, NEW.key)) == [(AuditFault.BRANCH, "line 4")]


def test_a_log_that_a_new_volume_continues_has_a_gap() -> None:
    theirs, their_head = chain([begun(), *backed_up(0)])
    ours, our_head = chain([begun(), line(AuditKind.STARTED)], minute=20)
    above = Head(their_head.n, 2, our_head.digest)
    again, _ = chain([begun("taken_up", local=our_head, offsite=their_head), *backed_up(24)], above, minute=30)
    segments: list[Content] = [(name_of(ours, "0123abcd"), ours), theirs, again]

    assert faults_in(segments, records_at(OLD.key, NEW.key)) == [(AuditFault.GAP, f"{name_of(again)}:1")]
    assert faults_in([ours, again], records_at(NEW.key), place=VOLUME) == [(AuditFault.GAP, f"{name_of(again)}:1")]


def test_the_last_line_is_that_with_the_highest_number() -> None:
    shared, theirs, ours, _ = forked()
    examination = Examination(OFFSITE)
    for content in (shared, theirs, ours, b""):
        examination.segment("x", content)

    assert examination.head is not None
    assert examination.head.n == 5


def test_an_expected_line_that_is_missing_is_reported() -> None:
    content, head = whole_log()
    examination = Examination(OFFSITE)
    examination.expect([head.digest, "00" * 32])
    examination.segment("x", content)

    assert (examination.misses(head.digest), examination.misses("00" * 32)) == (False, True)
    assert (examination.lines, examination.head, examination.first) == (7, head, TAKEN)


@pytest.mark.parametrize("heads", ["x", {"offsite": "x"}, {"offsite": {"digest": 7}}])
def test_an_epoch_with_hostile_heads_names_nothing(heads: object) -> None:
    content, _ = chain([line(AuditKind.BEGUN, why="first", facts={"heads": heads}), *backed_up(0)])

    assert {fault for fault, _ in faults_in([content], records_at(OLD.key))} <= {AuditFault.REMOVED}


def test_a_log_without_a_line_explains_nothing() -> None:
    assert faults_in([], records_at(OLD.key)) == [(AuditFault.TAIL, OFFSITE)]
    assert faults_in([("x", AuditLine(n=1, epoch=1, kind=AuditKind.BEGUN).to_json())]) == []
    assert START.n == 0
