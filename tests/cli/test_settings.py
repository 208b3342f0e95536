"""`config`, `schema` and `schedules`."""

from typing import Any

import pytest

from backup_agent.catalog import drill_notes
from backup_agent.catalog.place import place_of
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.core.drill.levels import Level
from tests.builders import settings_with
from tests.cli.conftest import Place


def test_every_setting_is_shown_with_its_value_and_origin(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_AGENT_LIMITS__PARALLEL", "3")
    lines = place.run("config").out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}

    assert rows["cluster"] == ["file", "demo"]
    assert rows["limits.parallel"] == ["environment", "BACKUP_AGENT_LIMITS__PARALLEL", "3"]
    assert rows["databases"] == ["default", '["*"]']
    assert rows["neo4j.ca_file"] == ["default", "-"]
    assert rows["schedules.default.suspend"] == ["default", "false"]


def test_settings_are_json_for_programs(place: Place) -> None:
    printed = place.run("config", "--json").json

    assert printed["file"] == str(place.config)
    assert {"path": "cluster", "value": "demo", "from": "file"} in printed["settings"]
    assert {"path": "neo4j.ca_file", "value": None, "from": "default"} in printed["settings"]


def test_a_cycle_of_drills_is_computed_from_measured_durations(place: Place) -> None:
    place.settings |= {
        "schedules": {"drills": {"cron": "0 10 * * *", "type": "DRILL"}},
        "objectives": [{"databases": "*", "drilled_every": "1d"}],
        "drill": {"level": "read", "budget": "1h"},
    }
    for database in ("orders", "sales", "neo4j"):
        drills = DatabaseDrills(place="local", set="default", database=database, took={Level.READ: 1801.0})
        drill_notes.remember(place_of("local", settings_with(storage={"root": str(place.root)})), drills)

    assert place.run("config").err == (
        "warning: schedule drills: a cycle of drills takes 3d (3 measured at local, level read), longer than "
        "drilled_every, 1d: raise drill.budget, or drill more often\n"
    )


@pytest.mark.parametrize(
    ("what", "field"),
    [("config", "neo4j"), ("request", "action"), ("record", "files"), ("answer", "state")],
    ids=["config", "request", "record", "answer"],
)
def test_each_file_has_a_json_schema(place: Place, what: str, field: str) -> None:
    result = place.run_bare("schema", what)

    assert result.code == 0
    assert field in result.json["properties"]


NIGHTLY: dict[str, Any] = {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "type": "FULL"}


def test_the_next_runs_are_shown_in_their_own_zone_and_in_utc(place: Place) -> None:
    place.settings["schedules"] = {"nightly": NIGHTLY}
    result = place.run("schedules", "--count", "2")

    rows = [line.split() for line in result.out.splitlines()]
    assert [row[0] for row in rows] == ["SCHEDULE", "nightly", "nightly"]
    assert " 02:00:00 CE" in result.out
    assert rows[1][-1].endswith((":00:00Z", ":00:00Z"))


def test_the_next_runs_are_json_for_programs(place: Place) -> None:
    place.settings["schedules"] = {"nightly": NIGHTLY}
    printed = place.run("schedules", "--json").json

    assert printed["nightly"]["cron"] == "0 2 * * *"
    assert len(printed["nightly"]["next_runs"]) == 5


def test_a_suspended_schedule_is_named(place: Place) -> None:
    place.settings["schedules"] = {"nightly": {**NIGHTLY, "suspend": True}}

    assert place.run("schedules").out == "nightly: suspended, so it has no next run\n"


def test_having_no_schedules_is_shown(place: Place) -> None:
    place.settings["schedules"] = {}

    assert place.run("schedules").out == "no schedules: backups are made only on request\n"
