"""`backup-agent history` and `audit`, and what commands write into the audit log."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_agent.catalog.audit_log import AuditLog
from backup_agent.catalog.record_notes import digest_of
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.artifacts.records import Record
from backup_agent.core.audit.lines import AuditKind, AuditLine, recorded
from tests.builders import ATTRIBUTION, a_record
from tests.catalog.places import filled
from tests.cli.conftest import Place

Change = Callable[[list[bytes], bytes], list[bytes]]
PLAN = {"place": VOLUME, "plan": "0123", "why": "no rule keeps it"}


@pytest.fixture(name="records")
def _records(place: Place) -> tuple[Record, Record]:
    """Two artifacts that were recorded, of which the first was deleted."""
    log = AuditLog(place.root)
    volume = filled(place.root)
    log.append(AuditLine(kind=AuditKind.STARTED, facts={"version": "0.2.0"}))
    old, new = (
        a_record(hour, finished=datetime.now(UTC), audit_head=log.head().digest, **ATTRIBUTION) for hour in (0, 24)
    )
    for record in (old, new):
        volume.add(record)
        log.append(recorded(record, digest_of(record.to_json())))
    log.append(AuditLine(kind=AuditKind.DELETING, key=old.key, **PLAN))
    volume.remove(old)
    log.append(AuditLine(kind=AuditKind.DELETED, key=old.key, **PLAN))
    return old, new


def test_the_history_shows_what_was_done_why_and_who_claims_to_have_asked(
    place: Place, records: tuple[Record, Record]
) -> None:
    old, new = records
    whole = place.run("history").out.splitlines()
    deleted = place.run("history", "--kind", "deleted").out

    assert [line.split()[1] for line in whole] == ["begun", "started", "recorded", "recorded", "deleting", "deleted"]
    assert f"{new.key}  type=FULL" in whole[3]
    assert "request nightly-1  claimed by the DBA  : before the upgrade" in whole[3]
    assert f"  at local  {old.key}  plan 0123  : no rule keeps it\n" in deleted


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (["--database", "orders", "--kind", "deleting"], ["deleting"]),
        (["--database", "web"], []),
        (["--plan", "0123"], ["deleting", "deleted"]),
        (["--request", "nightly-1"], ["recorded", "recorded"]),
        (["--to", "2026-01-01"], []),
        (["--artifact", a_record(24).key], ["recorded"]),
    ],
)
@pytest.mark.usefixtures("records")
def test_the_history_is_filtered(place: Place, words: list[str], kinds: list[str]) -> None:
    assert [line.split()[1] for line in place.run("history", *words).out.splitlines()] == kinds


def test_a_place_without_a_log_has_no_history_and_filters_without_a_match_are_reported(place: Place) -> None:
    nothing = place.run("history")
    AuditLog(place.root).append(AuditLine(kind=AuditKind.STARTED))
    without = place.run("history", "--kind", "deleted")

    assert (nothing.code, nothing.err.splitlines()[0]) == (1, "backup-agent: local: there is no audit log")
    assert (without.code, without.out, without.err) == (0, "", "no line of the log at local matches\n")


@pytest.mark.usefixtures("records")
def test_the_history_as_json_has_each_line_as_it_is_stored(place: Place) -> None:
    stored = (place.root / ".agent" / "audit" / "open.jsonl").read_text()

    assert len(place.run("history", "--json").out.splitlines()) == len(stored.splitlines())
    assert place.run("history", "--from", "yesterday").code == 2


@pytest.mark.usefixtures("records")
def test_a_whole_log_is_examined(place: Place) -> None:
    result = place.run("audit")
    head = place.run("audit", "--json").json["head"]["digest"]

    assert result.code == 0
    assert "local: 6 lines in 1 segment, from 20" in result.out
    assert f"head: line 6, {head}\n" in result.out
    assert place.run("audit", "--head", head).code == 0
    assert f"REMOVED: {'0' * 64}: no line has this digest" in place.run("audit", "--head", "0" * 64).out


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda lines, _: [*lines[:2], *lines[3:]], "ALTERED: open.jsonl:3: it does not follow the line before"),
        (lambda lines, _: lines[:4], "MISSING: default/orders/orders-2026-11-23T02-00-00.backup: it was recorded"),
        (lambda lines, record: [*lines, record], "ALTERED: open.jsonl:7: it is not a line of the log"),
    ],
    ids=["removed", "tail", "no line"],
)
@pytest.mark.usefixtures("records")
def test_a_changed_log_exits_with_1(place: Place, change: Change, finding: str) -> None:
    file = place.root / ".agent" / "audit" / "open.jsonl"
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True), b"{}\n")))

    result = place.run("audit")

    assert result.code == 1
    assert finding in result.out


def test_a_copy_in_a_folder_is_examined_like_the_place(place: Place, records: tuple[Record, Record]) -> None:
    copy = place.folder / "copy"
    shutil.copytree(place.root, copy)
    shutil.rmtree(place.root)
    (copy / record_key(records[1].key)).write_bytes(b"{}")

    result = place.run("audit", "--folder", str(copy))

    assert (result.code, "UNEXPLAINED: " in result.out) == (1, True)


def test_a_place_without_a_log_has_a_gap(place: Place) -> None:
    place.record()

    result = place.run("audit")

    assert (result.code, result.out.splitlines()[0]) == (3, "local: there is no audit log")


def test_commands_that_change_something_write_lines(place: Place, tmp_path: Path) -> None:
    volume = filled(place.root)
    accepted = volume.add(a_record(0), recognised=False)
    discarded = volume.add(a_record(24), recognised=False)
    place.run("catalog", "accept", accepted.key)
    place.run("catalog", "accept", "--discard", "--yes", discarded.key)
    assert place.run("fetch", accepted.key, "--to", str(tmp_path / "out")).code == 0

    lines = [line.split() for line in place.run("history").out.splitlines()]

    assert [words[1] for words in lines] == ["begun", "accepted", "deleting", "deleted", "fetched"]
    assert {words[4] for words in lines[1:]} <= {accepted.key, discarded.key}
    assert all("request cli@" in " ".join(words) for words in lines[1:])


def test_a_fetch_on_a_machine_without_the_volume_writes_nothing(place: Place, tmp_path: Path) -> None:
    record = filled(place.root).add(a_record(0))
    shutil.rmtree(place.root / ".agent")

    assert place.run("fetch", record.key, "--to", str(tmp_path / "out")).code == 3
    assert not (place.root / ".agent" / "audit").exists()


PERIOD = ("--from", "2026-11-01", "--to", "2300-01-01")


def test_a_report_is_made_from_the_records_and_the_log(place: Place, records: tuple[Record, Record]) -> None:
    first, second = place.run("report", *PERIOD), place.run("report", *PERIOD)

    assert first == second
    assert first.code == 0
    assert "# Backups of demo, 2026-11-01T00:00:00Z to 2300-01-01" in first.out
    assert f"| {records[1].key} | FULL | 2026-11-24T02:00:00Z |" in first.out
    assert f"| local | {records[0].key} | - | - | no rule keeps it | 0123 | - |" in first.out
    assert "the log ends before the period" in first.out


def test_a_report_as_json_has_objectives_and_what_is_not_known(place: Place, records: tuple[Record, Record]) -> None:
    place.settings["objectives"] = [{"databases": "orders", "rpo": "1h", "copies": 1}]
    found = place.run("report", *PERIOD, "--json").json
    none = place.run("report", *PERIOD, "--format", "json", "--database", "web").json

    [orders] = found["databases"]
    assert (orders["rpo_seconds"], orders["fulls"], orders["copies_met"]) == (3600, 2, True)
    assert [point["key"] for point in orders["points"]] == [records[1].key]
    assert found["versions"] == {"agent": ["0.2.0"]}
    assert found["sources"]["gaps"]
    assert (none["databases"], none["deletions"]) == ([], [])


def test_a_report_of_a_log_that_was_changed_exits_with_1(place: Place) -> None:
    log = AuditLog(place.root)
    log.append(AuditLine(kind=AuditKind.STARTED))
    (log.folder / "open.jsonl").write_bytes(b"{}\n" + (log.folder / "open.jsonl").read_bytes())

    assert place.run("report", *PERIOD).code == 1
    assert place.run("report", "--from", "2026-11-02", "--to", "2026-11-01").code == 2
