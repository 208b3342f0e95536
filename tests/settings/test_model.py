from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.requests.notices import ReceiverKind
from backup_agent.settings.model import ScheduleType, Settings
from backup_agent.settings.notify import Receiver
from tests.builders import settings_with


def test_only_cluster_and_uri_are_required() -> None:
    plain = settings_with()

    assert plain.storage.root == Path("/backups")
    assert plain.requests.folder == Path("/backup-requests")
    assert plain.limits.run_timeout == timedelta(hours=6)
    assert plain.retention is None


def test_without_schedules_there_is_a_full_backup_at_two_in_utc() -> None:
    (name, schedule), *more = settings_with().schedules.items()

    assert (name, more) == ("default", [])
    assert (schedule.cron, schedule.timezone, schedule.type) == ("0 2 * * *", "UTC", ScheduleType.FULL)


def test_an_empty_mapping_of_schedules_switches_the_default_off() -> None:
    assert settings_with(schedules={}).schedules == {}


def test_settings_go_to_a_child_process_as_json_and_come_back_equal() -> None:
    sent = settings_with(
        neo4j={"uri": "neo4j://x:7687", "heap": "96MiB", "backup_addresses": {"server-0": "backup-0:6362"}},
        storage={
            "destinations": {"offsite": {"bucket": "backups", "bandwidth": "50MiB", "put_options": {"Tagging": "a=b"}}}
        },
        retention={"daily": 14, "within": "48h"},
        schedules={"hourly": {"cron": "15 * * * *", "jitter": "60s", "databases": ["orders*"]}},
    )

    assert Settings.model_validate_json(sent.model_dump_json()) == sent
    assert Settings.model_validate(sent.model_dump(mode="json")) == sent


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings_with().cluster = "other"  # type: ignore[misc]  # that is the point


def test_http_addresses_consist_of_host_and_port() -> None:
    assert (settings_with().http.listen_address, settings_with().http.probes_address) == (
        ("0.0.0.0", 8080),
        ("0.0.0.0", 8081),
    )
    assert settings_with().http.page_address == ("127.0.0.1", 8082)
    assert settings_with(http={"listen": "[::1]:0", "probes": "[::1]:0"}).http.listen_address == ("::1", 0)


def test_sets_of_schedules_are_declared_as_well() -> None:
    declared = settings_with(
        sets=["release"], schedules={"weekly": {"cron": "@weekly", "path": "weekly"}}
    ).declared_sets

    assert declared == {"default", "release", "weekly"}


def test_a_timetable_knows_its_schedule_and_its_cluster() -> None:
    table = settings_with(
        schedules={"hourly": {"cron": "15 * * * *", "jitter": "60s", "misfire": "skip"}}
    ).timetables()["hourly"]

    assert (table.name, table.seed, table.jitter, table.misfire) == ("hourly", "demo", timedelta(seconds=60), "skip")


@pytest.mark.parametrize(
    ("retention", "rules"),
    [
        ({"within": "48h", "last": 3, "timezone": "Europe/Berlin"}, {"last": 3, "within": "2d"}),
        ({"min_chains": 2, "last": None}, {}),
    ],
)
def test_a_policy_names_its_rules_as_they_are_written(retention: dict[str, Any], rules: dict[str, Any]) -> None:
    found = settings_with(retention=retention).retention

    assert found is not None
    assert found.rules == rules


def test_a_destination_that_may_not_delete_has_no_retention() -> None:
    destination = {"bucket": "aaa", "deletes": False}
    (accepted,) = settings_with(storage={"destinations": {"a": destination}}).storage.destinations.values()
    assert not accepted.deletes

    with pytest.raises(ValidationError, match="no retention with `deletes: false`"):
        settings_with(storage={"destinations": {"a": {**destination, "retention": {"last": 1}}}})


def test_the_identity_of_a_destination_depends_on_its_location() -> None:
    places = settings_with(
        storage={"destinations": {"a": {"bucket": "aaa"}, "b": {"bucket": "aaa", "prefix": "b"}}}
    ).storage

    assert {one.identity for one in places.destinations.values()} == {"s3:/aaa/", "s3:/aaa/b"}


def test_the_text_of_a_validation_error_does_not_contain_the_input() -> None:
    with pytest.raises(ValidationError) as refused:
        settings_with(neo4j={"uri": "x", "password": "hunter2", "password_file": "hunter2"})

    assert "hunter2" not in str(refused.value)


def test_a_destination_overrides_single_keys_of_verify() -> None:
    cold = {"bucket": "cold", "verify": {"every": "90d"}}
    never = {"bucket": "never", "verify": {"every": None, "bandwidth": "1MiB"}}
    settings = settings_with(
        verify={"bandwidth": "10MiB"},
        storage={"destinations": {"cold": cold, "never": never, "plain": {"bucket": "plain"}}},
    )

    found = {name: settings.verify_at(PlaceName(name)) for name in ("local", "plain", "cold", "never")}

    assert found["local"] == found["plain"] == settings.verify
    assert (found["cold"].every, found["cold"].bandwidth) == (timedelta(days=90), settings.verify.bandwidth)
    assert found["never"].every is None
    assert found["never"].bandwidth != settings.verify.bandwidth


@pytest.mark.parametrize(
    ("place", "destinations", "expected"),
    [
        pytest.param(None, (), "local", id="volume-alone"),
        pytest.param(None, ("offsite", "archive"), "offsite", id="first-destination"),
        pytest.param("archive", ("offsite", "archive"), "archive", id="destination-of-the-setting"),
        pytest.param("local", ("offsite", "archive"), "local", id="volume-of-the-setting"),
    ],
)
def test_drills_prove_the_place_of_the_setting_or_else_the_first_destination(
    place: str | None, destinations: tuple[str, ...], expected: str
) -> None:
    storage = {"destinations": {name: {"type": "s3", "bucket": name} for name in destinations}}

    assert settings_with(drill={"place": place}, storage=storage).drilled_place == expected


def test_drills_prove_a_place_that_exists() -> None:
    storage = {"destinations": {"offsite": {"bucket": "backups"}}}
    with pytest.raises(ValidationError, match=r"one of the places as drill\.place: local, offsite; not archive"):
        settings_with(drill={"place": "archive"}, storage=storage)


@pytest.mark.parametrize(
    ("receiver", "expected"),
    [
        pytest.param({"kind": "ping", "schedules": ["hourly"]}, "only names of `schedules`", id="unknown-schedule"),
        pytest.param({"kind": "slack", "schedules": ["nightly"]}, "unless kind is ping", id="schedule-of-a-webhook"),
    ],
)
def test_a_receiver_follows_schedules_of_the_settings_if_it_is_pinged(receiver: dict[str, Any], expected: str) -> None:
    schedules = {"nightly": {"cron": "@daily"}}
    with pytest.raises(ValidationError, match=expected):
        settings_with(schedules=schedules, notify={"a": {"url_file": "/u", **receiver}})


@pytest.mark.parametrize(
    ("schedules", "followed"),
    [
        ((), [("nightly", "backup"), ("drills", "drill"), (None, "backup")]),
        (("nightly",), [("nightly", "backup")]),
    ],
)
def test_a_receiver_follows_all_schedules_and_backups_or_those_it_names(
    schedules: tuple[str, ...], followed: list[tuple[str | None, str]]
) -> None:
    receiver = Receiver(kind=ReceiverKind.PING, url_file=Path("/u"), schedules=schedules)
    runs = [("nightly", "backup"), ("drills", "drill"), (None, "backup"), (None, "prune")]

    assert [run for run in runs if receiver.follows(*run)] == followed
