"""`plan`, `why` and `forget`: what retention would do, shown without an agent."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from backup_agent.core.restore.asked import artifact_id
from tests.cli.conftest import Place, an_agent, local_time_zone

DAY = 24


@pytest.fixture(name="kept")
def _kept(place: Place) -> Place:
    """Return a volume with four fulls of one database, a day apart, and a retention that keeps two."""
    place.settings["retention"] = {"last": 2, "max_delete_share": 1}
    for day in range(4):
        place.record(DAY * (day - 5), stored=True)
    return place


def key(day: int) -> str:
    taken = datetime(2026, 11, 23, 2, 0, tzinfo=UTC) + timedelta(days=day - 5)
    return f"default/orders/orders-{taken:%Y-%m-%dT%H-%M-%S}.backup"


def test_a_plan_has_a_reason_for_each_artifact_and_deletes_nothing(kept: Place) -> None:
    result = kept.run("plan")
    rows = [line.split() for line in result.out.splitlines()[1:5]]

    assert result.code == 0
    assert [row[:4] for row in rows] == [
        [what, "default/orders", artifact_id(key(day)), key(day)[-26:-16]]
        for day, what in enumerate(("delete", "delete", "keep", "keep"))
    ]
    assert "no rule keeps it" in result.out
    assert "2 of 4 artifacts would be deleted" in result.out
    assert len(list((kept.root / "default" / "orders").glob("*.backup"))) == 4


def test_a_plan_names_by_id_the_artifact_that_needs_another(place: Place) -> None:
    place.settings["retention"] = {"last": 1}
    place.record(0, stored=True)
    diff = place.record(1, stored=True)

    assert f"  needed by {artifact_id(diff.key)}\n" in place.run("plan").out
    assert place.run("plan", "--json").json["keep"][0]["reasons"] == [f"needed by {diff.key}"]


def test_a_plan_shows_its_deletions_alone(kept: Place) -> None:
    rows = kept.run("plan", "--deletes").out.splitlines()[1:]
    plan = kept.run("plan", "--deletes", "--json").json

    assert [row.split()[0] for row in rows] == ["delete", "delete", "plan"]
    assert (len(plan["delete"]), plan["keep"]) == (2, [])


def test_a_plan_is_json_for_programs(kept: Place) -> None:
    plan = kept.run("plan", "--json").json

    assert [one["key"] for one in plan["delete"]] == [key(0), key(1)]
    assert [one["key"] for one in plan["keep"]] == [key(2), key(3)]
    assert all(one["reasons"] for one in plan["keep"])


def test_a_plan_that_deletes_too_much_exits_4_until_it_is_forced(kept: Place) -> None:
    kept.settings["retention"] = {"last": 1}
    refused = kept.run("plan")

    assert (refused.code, "3 of 4 artifacts would be deleted" in refused.err) == (4, True)
    assert kept.run("plan", "--force").code == 0


def test_a_plan_shows_what_forgetting_a_database_would_delete(kept: Place) -> None:
    assert "4 of 4 artifacts would be deleted" in kept.run("plan", "--forget", "orders").out


def test_a_plan_includes_databases_that_were_forgotten(kept: Place) -> None:
    orders = kept.root / ".agent" / "orders.json"
    orders.parent.mkdir(exist_ok=True)
    order = {"since": "2026-11-23T10:00:00Z", "request": "f"}
    orders.write_text(json.dumps({"schema": 1, "forgotten": {"orders": order}}))

    assert "4 of 4 artifacts would be deleted" in kept.run("plan").out


def test_why_shows_the_rule_and_the_date_of_deletion(kept: Place) -> None:
    explained = kept.run("why", key(3), "--json").json

    assert explained["key"] == key(3)
    assert any("last" in reason for reason in explained["reasons"])
    assert datetime.fromisoformat(explained["when"]) > datetime(2026, 11, 21, tzinfo=UTC)


def test_the_end_of_a_reason_is_in_local_time_and_in_json_in_utc(place: Place) -> None:
    place.settings["limits"] = {"keep_adhoc": "36500d"}
    place.record(stored=True)
    adhoc = place.record(set_name="test", stored=True)
    end = adhoc.finished + timedelta(days=36_500)
    reason = f"ad hoc set, kept until {end:%Y-%m-%dT%H:%M:%S}Z"

    assert place.run("why", adhoc.key, "--json").json["reasons"] == [reason]
    assert {"key": adhoc.key, "reasons": [reason]} in place.run("plan", "--json").json["keep"]
    with local_time_zone("Asia/Kolkata"):
        local = f"ad hoc set, kept until {end + timedelta(hours=5.5):%Y-%m-%dT%H:%M:%S}+05:30"
        assert local in place.run("why", adhoc.key).out
        assert local in " ".join(place.run("plan").out.split())


def test_why_accepts_a_path_and_shows_that_it_will_be_deleted(kept: Place) -> None:
    result = kept.run("why", str(kept.root / key(0)))

    assert result.code == 0
    assert "no rule keeps it" in result.out


def test_why_of_an_unknown_artifact_is_not_found(kept: Place) -> None:
    result = kept.run("why", "default/orders/orders-2020-01-01T00-00-00.backup")

    assert (result.code, "no artifact of that name is recorded at local" in result.err) == (1, True)


def test_forget_first_shows_what_will_be_deleted(kept: Place) -> None:
    with an_agent(kept):
        result = kept.run("forget", "Orders", "--reason", "dropped", "--timeout", "0", "--yes")

    assert "local: 4 of 4 artifacts will be deleted" in result.out
    assert "its database was forgotten" in result.out
    [request] = kept.requests.glob("*.request")
    assert json.loads(request.read_text())["action"] == "forget"


@pytest.mark.process
def test_an_unreadable_place_does_not_prevent_forgetting(kept: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    kept.settings["storage"]["destinations"] = {
        "s3": {"type": "s3", "bucket": "backups", "endpoint_url": "http://127.0.0.1:1"}
    }
    with an_agent(kept):
        result = kept.run("forget", "orders", "--reason", "dropped", "--timeout", "0", "--yes")

    assert "s3: what will be deleted there cannot be shown" in result.err
    assert len(list(kept.requests.glob("*.request"))) == 1
