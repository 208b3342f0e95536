"""`list`: its table fits a terminal, its options restrict and sort it, a misspelt database is an error."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.evidence import notes_at
from backup_agent.catalog.place import place_of
from backup_agent.cli import listing, printing
from backup_agent.cli.listing import Sought
from backup_agent.core.artifacts.keys import damage_key, hold_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.records import Record
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.restore.asked import artifact_id
from backup_agent.settings.load import load
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store
from tests.builders import TAKEN, a_record
from tests.catalog.places import filled
from tests.cli.conftest import Place, local_time_zone


@pytest.fixture(name="terminal")
def _terminal(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Run the commands as at a terminal of 80 columns."""
    monkeypatch.setattr(printing, "terminal_size", lambda: (80, 24))
    return place


def hold(place: Place, record: Record, **changes: Any) -> None:
    mark = Hold(key=record.key, since=TAKEN, reason="audit", request="r", **changes)
    (place.root / hold_key(record.key)).write_bytes(mark.to_json())


def keys(place: Place, *arguments: str) -> list[str]:
    """Return the keys that `list` lists."""
    return [one["key"] for one in place.run("list", "--json", *arguments).json["artifacts"]]


def test_a_row_has_the_id_the_age_and_the_copies_and_not_the_key(place: Place) -> None:
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", "bucket": "backups"}}
    taken = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=30)
    record = place.record(stored=True)
    hour = round((taken - TAKEN).total_seconds()) // 3600
    young = place.record(hour, full=True, stored=True)
    place_of("offsite", load(place.config, {}).settings).record_notes.add(young.key, young.to_json())
    hold(place, young, until=datetime(2400, 1, 1, tzinfo=UTC))
    head, first, second, totals = place.run("list").out.splitlines()

    assert head.split() == ["SET/DATABASE", "ID", "TYPE", "SIZE", "TAKEN", "AGE", "COPIES", "NOTES"]
    assert first.split()[:7] == ["default/orders", artifact_id(record.key), "FULL", "135", "B", "2026-11-23", "02:00Z"]
    assert second.split()[-5:] == ["1d", "offsite", "held", "until", "2400-01-01"]
    assert totals == "2 artifacts of 1 database, 270 B, 1 held"


def test_at_a_terminal_every_line_fits_and_ids_and_times_are_whole(terminal: Place) -> None:
    terminal.settings["storage"]["destinations"] = {"offsite-in-another-region": {"type": "s3", "bucket": "backups"}}
    record = terminal.record(set_name="nightly-of-production", database="customers-of-the-whole-world")
    offsite = place_of("offsite-in-another-region", load(terminal.config, {}).settings)
    offsite.record_notes.add(record.key, record.to_json())
    hold(terminal, record)
    (terminal.root / damage_key(record.key)).write_bytes(b"{}")
    lines = terminal.run("list").out.splitlines()

    assert max(map(len, lines)) <= 80
    assert f"  {artifact_id(record.key)}  FULL  " in lines[1]
    assert "  2026-11-23 02:00Z  " in lines[1]
    assert max(map(len, terminal.run("list", "--wide").out.splitlines())) > 80


def test_without_a_terminal_nothing_is_cut(place: Place) -> None:
    record = place.record(database="customers-of-the-whole-world" * 3)

    assert f"default/{record.database}  " in place.run("list").out


def test_times_are_local_with_their_offset_or_in_utc(place: Place) -> None:
    record = place.record()
    with local_time_zone("Asia/Kolkata"):
        assert "  2026-11-23 07:30+05:30  " in place.run("list").out
        assert "  2026-11-23 02:00Z  " in place.run("list", "--utc").out
    with local_time_zone("Europe/Berlin"):
        assert "2026-11-23T03:00:00+01\n" in place.run("show", record.key).out
        assert place.run("list", "--json").json["artifacts"][0]["header"]["taken"] == "2026-11-23T02:00:00Z"


def test_artifacts_whose_last_drill_passed_are_listed(place: Place) -> None:
    good, bad, _ = (place.record(hour, stored=True) for hour in range(3))
    notes = notes_at(place_of("local", load(place.config, {}).settings))
    for record, outcome in ((good, DrillOutcome.PASSED), (bad, DrillOutcome.ARTIFACT_FAILED)):
        notes.add(
            Evidence(
                key=record.key, since=TAKEN, place="local", level=Level.READ, reached=Level.READ, outcome=outcome,
                started=TAKEN, size=1, chain={}, proven=True,
            ),
            b"{}",
        )  # fmt: skip

    assert keys(place, "--drilled") == [good.key]
    assert place.run("list", "--drilled", "--database", "web*").out.endswith(", database web*, drilled\n")


def test_an_artifact_that_cannot_be_restored_is_noted_and_wide_says_why(place: Place) -> None:
    bad, _ = place.record(stored=True), place.record(24, stored=True)
    (place.root / damage_key(bad.key)).write_bytes(b"{}")
    _, *rows, totals, more = place.run("list").out.splitlines()

    assert [row.endswith("not restorable") for row in rows] == [True, False]
    assert totals.endswith(", 1 not restorable")
    assert more == "`backup-agent list --damaged --wide` shows why they cannot be restored"
    assert keys(place, "--damaged") == [bad.key]
    assert place.run("list", "--damaged", "--wide").out.splitlines()[1].endswith("it is marked as damaged")


def test_artifacts_are_listed_by_type(place: Place) -> None:
    full, diff = place.record(0), place.record(1)

    assert (keys(place, "--type", "full"), keys(place, "--type", "DIFF")) == ([full.key], [diff.key])


def test_artifacts_are_listed_by_when_they_were_taken(place: Place) -> None:
    first, second, third = place.record(0), place.record(1), place.record(24)

    assert keys(place, "--since", "2026-11-23T03:00:00Z") == [second.key, third.key]
    assert keys(place, "--until", "2026-11-23") == [first.key, second.key]
    assert keys(place, "--since", "2026-11-24", "--until", "2026-11-24") == [third.key]
    assert place.run("list", "--until", "2026-11-22").out.endswith(", until 2026-11-22T23:59:59Z\n")


def test_a_time_may_be_a_duration_before_now(place: Place) -> None:
    old = place.record()
    young = place.record(round((datetime.now(UTC) - TAKEN).total_seconds()) // 3600)
    wrong = place.run("list", "--since", "7 days")

    assert (keys(place, "--since", "2h"), keys(place, "--until", "2h")) == ([young.key], [old.key])
    assert wrong.code == 2
    assert "a duration before now, such as 7d, or a day, as 2026-11-23, or an ISO 8601 time" in wrong.err


def test_the_last_matching_artifacts_of_each_database_are_listed_oldest_first(place: Place) -> None:
    orders = [place.record(hour, labels={"odd": str(hour % 2)}) for hour in range(6)]
    web = place.record(0, database="web", labels={"odd": "0"})

    assert keys(place, "--last", "2") == [orders[4].key, orders[5].key, web.key]
    assert keys(place, "--last", "2", "--label", "odd=1") == [orders[3].key, orders[5].key]
    assert keys(place, "--last", "1", "--type", "FULL") == [orders[0].key, web.key]
    assert len(keys(place, "--last", "100")) == 7


def test_artifacts_are_sorted_by_time_or_size_over_all_databases(place: Place) -> None:
    late, early, middle = place.record(48), place.record(0, database="web", parts=1), place.record(24, set_name="test")

    assert keys(place) == [late.key, early.key, middle.key]
    assert keys(place, "--sort", "taken") == [early.key, middle.key, late.key]
    assert keys(place, "--sort", "size")[-1] == early.key
    assert "3 artifacts of 3 databases" in place.run("list", "--sort", "taken").out


def test_records_are_read_while_earlier_ones_are_listed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [place.record(hour) for hour in range(6)]
    reads: list[str] = []
    read = listing._read

    def noted(store: Store, key: str) -> Record | str | None:
        reads.append(key)
        return read(store, key)

    monkeypatch.setattr(listing, "_read", noted)
    monkeypatch.setattr(listing, "AT_ONCE", 2)
    at = place_of("local", load(place.config, {}).settings)
    found = listing.artifacts(at, Sought(), datetime.now(UTC), seen=set(), faults=[])
    first = next(found)

    assert first.record == records[0]
    assert set(reads) <= {one.key for one in records[:2]}
    assert len(list(found)) == 5


def test_databases_are_chosen_by_names_globs_and_exclusions(place: Place) -> None:
    orders, old, web = (place.record(database=name) for name in ("orders", "orders-2024", "web"))

    assert keys(place, "--database", "ORDERS*") == [orders.key, old.key]
    assert keys(place, "--database", "ord?rs", "--database", "web") == [orders.key, web.key]
    assert keys(place, "--database", "!orders*") == [web.key]
    assert keys(place, "--database", "*", "--database", "!web") == [orders.key, old.key]
    assert place.run("list", "--database", "none*").code == 0
    assert place.run("list", "--database", "or ders").code == 2


def test_a_name_that_no_database_has_is_an_error_with_a_suggestion(place: Place) -> None:
    place.record()
    place.record(set_name="test", database="web")
    wrong, unlike = place.run("list", "--database", "order"), place.run("list", "--database", "x", "--database", "web")

    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err == "backup-agent: no database order; did you mean orders?\nHINT: local has orders, web\n"
    assert (unlike.code, unlike.out) == (1, "")
    assert unlike.err.startswith("backup-agent: no database x\n")
    assert "no database web in set default\n" in place.run("list", "--set", "default", "--database", "web").err


def test_a_misspelt_database_of_a_destination_is_reported_after_all_of_it_was_listed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").mkdir()
    offsite = filled(place.root, LocalStore(tmp_path / "bucket", "offsite"), "offsite")
    orders, _ = offsite.add(a_record()), offsite.add(a_record(database="web"))
    monkeypatch.setattr("backup_agent.cli.list.place_of", lambda *_: offsite.place)
    both = place.run("list", "--place", "offsite", "--json", "--database", "orders", "--database", "wep")

    assert (both.code, [one["key"] for one in both.json["artifacts"]]) == (1, [orders.key])
    assert json.loads(both.err)["error"] == "no database wep; did you mean web?"
    assert place.run("list", "--place", "offsite", "--database", "wep").out == ""
    assert keys(place, "--place", "offsite", "--database", "o*", "--last", "1") == [orders.key]


def test_a_database_is_an_error_if_nothing_is_recorded(place: Place) -> None:
    result = place.run("list", "--database", "orders")

    assert (result.code, result.err) == (1, "backup-agent: no database orders\nHINT: local has no artifact\n")
