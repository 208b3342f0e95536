"""`restore` and `show --restore`: the restore point, its place, and refused restores."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from backup_agent.catalog.place import place_of
from backup_agent.cluster.saved_topology import save_topology
from backup_agent.core.artifacts.keys import damage_key, record_key
from backup_agent.core.artifacts.names import database_name
from backup_agent.core.artifacts.records import Record
from backup_agent.core.neo4j.topology import Copy, Topology
from backup_agent.core.restore.asked import artifact_id
from backup_agent.settings.model import Settings
from backup_agent.stores.s3 import S3Store
from tests.builders import TAKEN, a_header
from tests.cli.conftest import Place, an_agent
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.stores.files import ignore


def chain(place: Place, **changes: Any) -> tuple[Record, Record]:
    """Put a full and the differential that continues it on the volume."""
    return back_up(place, 0, **changes), back_up(place, 1, **changes)


def back_up(place: Place, hour: int, **changes: Any) -> Record:
    return place.record(hour, stored=True, **{"admin_version": "2026.09.0", **changes})


def test_the_newest_point_of_a_database_is_planned_with_its_chain(place: Place) -> None:
    full, differential = chain(place)
    plans = [place.run("restore", name, "--json").json for name in ("orders", "ORDERS@latest", differential.key)]

    assert plans[0]["artifacts"] == [full.key, differential.key]
    assert (plans[0]["place"], plans[0]["target"], plans[0]["until"]) == ("local", "orders-restored", None)
    assert plans[0] == plans[1] == plans[2]


def test_a_plan_restores_nothing_and_says_what_it_restores(place: Place) -> None:
    _, differential = chain(place)
    result = place.run("restore", "orders")

    assert result.code == 0
    assert result.out.startswith("# Restore orders as orders-restored: the state at about 2026-11-23 03:00:00 UTC\n")
    assert f"fetch '{differential.key}' --from 'local' --to -" in result.out
    assert result.out == place.run("show", differential.key, "--restore").out


@pytest.mark.process
def test_the_printed_line_brings_the_artifacts_to_the_server(place: Place, tmp_path: Path) -> None:
    records = chain(place)
    place.settings["neo4j"]["servers"] = ["neo4j.example.com:6362"]
    steps = place.run("restore", "orders", "--json").json["steps"]
    [lines] = [step["lines"] for step in steps if "--to -" in "".join(step["lines"])]
    folder = tmp_path / "server" / "restore"
    text = re.sub(r"/var/tmp/restore-[0-9a-f]{8}", str(folder), "\n".join(lines))
    programs = {
        "ssh": '#!/bin/sh\nshift\nexec /bin/sh -c "$*"\n',
        "backup-agent": f'#!/bin/sh\nexec {sys.executable} -m backup_agent --config {place.config} "$@"\n',
    }
    for name, program in programs.items():
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["/bin/sh", "-c", text], check=True, capture_output=True, env={**os.environ, "PATH": path})

    expected = {file.name: (place.root / record.key).read_bytes() for record in records for file in record.files}
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == expected


@pytest.mark.parametrize("named", ["key", "name", "path", "record", "id"])
def test_a_point_can_be_named_by_key_path_file_name_or_id(place: Place, named: str) -> None:
    full, _ = chain(place)
    path = str(place.root / full.key)
    names = {"key": full.key, "name": full.files[0].name, "path": path, "record": f"{path}.json"}
    given = {**names, "id": place.run("list", "--json").json["artifacts"][0]["id"]}[named]

    assert place.run("restore", "--json", given).json["artifacts"] == [full.key]


@pytest.mark.parametrize(
    ("given", "links", "until"),
    [
        (("--at", "2026-11-23T02:30:00Z"), 2, "2026-11-23T02:30:00Z"),
        (("--at", "2026-11-23 03:30 Europe/Berlin"), 2, "2026-11-23T02:30:00Z"),
        (("--at", "2026-11-23T03:30:00Z"), 3, "2026-11-23T03:30:00Z"),
    ],
    ids=["inside the first differential", "in local time", "inside the second"],
)
def test_a_moment_is_cut_from_the_first_differential_after_it(
    place: Place, given: tuple[str, ...], links: int, until: str
) -> None:
    chain(place)
    back_up(place, 2)
    found = place.run("restore", "orders", *given, "--json").json

    assert (len(found["artifacts"]), found["until"], found["lacking_since"]) == (links, until, None)


def test_a_moment_is_repeated_in_utc_and_in_its_own_zone(place: Place) -> None:
    chain(place)
    out = place.run("restore", "orders", "--at", "2026-11-23 03:30 Europe/Berlin").out

    assert "every transaction before 2026-11-23 02:30:00 UTC (2026-11-23 03:30:00 Europe/Berlin)" in out.replace(
        "\n#  ", ""
    )


def test_a_differential_that_continues_two_fulls_says_which_one_it_needs(place: Place) -> None:
    first, _ = chain(place)
    second = back_up(place, 2, header=a_header(2, full=True, highest=30))
    back_up(place, 3, header=a_header(3, lowest=21))
    earlier = place.run("restore", "orders", "--at", "2026-11-23T03:30:00Z", "--json").json
    later = place.run("restore", "orders", "--at", "2026-11-23T04:30:00Z", "--json").json

    assert (earlier["artifacts"][0], later["artifacts"][0]) == (first.key, second.key)
    assert [note for note in earlier["notes"] if f"also continues {second.key}" in note]
    assert not [note for note in later["notes"] if "also continues" in note]
    lines = ["\n".join(line for step in one["steps"] for line in step["lines"]) for one in (earlier, later)]
    assert "fetch 'orders' --set 'default' --at '2026-11-23T03:30:00Z' --from 'local' --to -" in lines[0]
    assert f"fetch '{later['artifacts'][-1]}' --from 'local' --to -" in lines[1]


def test_a_transaction_is_cut_from_the_differential_that_contains_it(place: Place) -> None:
    for hour, last in enumerate((100, 200)):
        back_up(place, hour, last_committed_tx=last)
    found = place.run("restore", "orders", "--before-tx", "150", "--json").json

    assert (len(found["artifacts"]), found["before_tx"]) == (2, 150)


def test_a_moment_before_everything_is_refused_with_the_nearest_point(place: Place) -> None:
    full, _ = chain(place)
    result = place.run("restore", "orders", "--at", "2026-11-22T00:00:00Z")

    assert (result.code, result.out) == (1, "")
    assert f"it is before the first restore point; the nearest restore points are {full.key}" in result.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("orders", "--at", "2999-01-01T00:00:00Z"), "2999-01-01 00:00:00 UTC is in the future"),
        (("orders", "--at", "2026-11-23 02:30 Europe/Berlim"), "'Europe/Berlim' is not"),
        (("orders", "--at", "2026-11-23 02:30"), "has no time zone"),
        (("orders", "--as", "x", "--replace"), "--as and --replace exclude each other"),
        (("orders@2026-11-23T02:30:00Z", "--before-tx", "7"), "give one of DATABASE@TIME, --at and --before-tx"),
        (("default/orders/orders-2026-11-23T02-00-00.backup", "--before-tx", "7"), "not with an artifact"),
        (("default/orders/orders-2026-11-23T02-00-00.backup", "--history", "x"), "belongs to one history"),
        (("$(id)",), "names neither a database nor an artifact"),
    ],
    ids=[
        "the future",
        "an unknown zone",
        "no zone",
        "two targets",
        "two cuts",
        "a cut artifact",
        "its history",
        "none",
    ],
)
def test_wrong_usage_is_refused_before_anything_is_read(
    place: Place, arguments: tuple[str, ...], expected: str
) -> None:
    result = place.run("restore", *arguments)

    assert (result.code, result.out) == (2, "")
    assert expected in result.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--as", "sales"), "the name of an existing database or alias"),
        (("--as", "a"), "not a name that Neo4j allows"),
        (("--neo4j-version", "5.26.31"), "cannot restore the backup of a newer version"),
        (("--way", "standalone"), "not possible by --way standalone"),
    ],
    ids=["a name that exists", "a name that is not allowed", "older servers", "a way that is not possible"],
)
def test_a_restore_that_the_servers_do_not_support_is_refused(
    place: Place, arguments: tuple[str, ...], expected: str
) -> None:
    chain(place)
    save_topology(place.root, cluster("orders", "sales"))
    result, with_json = place.run("restore", "orders", *arguments), place.run("restore", "orders", *arguments, "--json")

    assert (result.code, result.out) == (with_json.code, with_json.out) == (4, "")
    assert expected in result.err
    assert "HINT: " in result.err
    assert expected in json.loads(with_json.err)["error"]


def cluster(*names: str) -> Topology:
    """Return a rendered cluster of three servers with these databases."""
    hosts = [f"demo-server-{number}.demo-headless.prod.svc.cluster.local:7687" for number in range(3)]
    copies = [
        Copy(database=database_name(name), address=host, server_id=f"id-{number}")
        for name in names
        for number, host in enumerate(hosts)
    ]
    return Topology(seen=TAKEN, copies=tuple(copies), versions=("2026.09.2", "2026.09.1"))


def test_the_last_topology_names_pods_servers_version_and_existing_databases(place: Place) -> None:
    chain(place)
    save_topology(place.root, cluster("orders", "orders-restored"))
    found = place.run("restore", "orders", "--json").json
    lines = "\n".join(line for step in found["steps"] for line in step["lines"])

    assert (found["version"], found["target"], found["way"]) == ("2026.09.1", "orders-restored-2", "server_seed")
    assert "kubectl exec -n 'prod' 'demo-backup-0' -c backup -- backup-agent fetch" in lines
    assert "server://id-0/" in lines


def test_a_single_server_is_no_cluster(place: Place) -> None:
    chain(place)
    place.settings["neo4j"]["servers"] = ["neo4j.example.com:6362"]

    assert place.run("restore", "orders", "--json").json["way"] == "standalone"


def test_a_newer_artifact_that_is_damaged_is_passed_over_and_named(place: Place) -> None:
    full, differential = chain(place)
    (place.root / damage_key(differential.key)).write_bytes(b"{}")
    newest = place.run("restore", "orders")
    itself = place.run("restore", differential.key)

    assert newest.code == 0
    assert f"fetch '{full.key}' --from 'local' --to -" in newest.out
    assert f"NOTE: {differential.key} is newer and cannot be" in newest.out
    assert (itself.code, itself.out) == (1, "")
    assert f"the newest restore point there is {full.key}" in itself.err
    assert "verify --heal" in itself.err


def test_a_hole_in_a_chain_is_named(place: Place) -> None:
    back_up(place, 0)
    later = back_up(place, 2)
    result = place.run("restore", later.key)

    assert (result.code, result.out) == (1, "")
    assert "a part of its chain is missing or damaged: it starts at append index 21" in result.err


def test_the_present_history_is_restored_and_an_older_one_on_request(place: Place) -> None:
    first, _ = chain(place)
    replaced = back_up(place, 24, header=a_header(24, database_id=UUID(int=8)))
    present = place.run("restore", "orders", "--json").json
    older = re.search(r"Another one is ([0-9a-f]{8})", " ".join(present["notes"]))
    assert older is not None
    wanted = place.run("restore", "orders", "--history", older[1], "--json").json
    unknown = place.run("restore", "orders", "--history", "ffffffff")
    moment = ("restore", "orders", "--at", "2026-11-23T02:30:00Z")

    assert present["artifacts"] == [replaced.key]
    assert wanted["artifacts"][0] == first.key
    assert [place.run(*moment).code, place.run(*moment, "--history", older[1]).code] == [1, 0]
    assert (unknown.code, unknown.out) == (1, "")
    assert "there is no history 'ffffffff' of this database" in unknown.err


def test_unrecognised_records_are_used_last_and_the_plan_begins_with_a_warning(place: Place) -> None:
    chain(place)
    shutil.rmtree(place.root / ".agent")
    result = place.run("restore", "orders")

    assert result.code == 3
    assert result.out.startswith("# ORIGIN NOT PROVEN: ")
    assert place.run("restore", "orders", "--json").json["origin_proven"] is False


def test_an_unrecognised_record_is_not_the_newest_point(place: Place) -> None:
    full, _ = chain(place)
    later = back_up(place, 24)
    place_of("local", Settings.model_validate(place.settings)).record_notes.give_up(later.key)
    by_database, by_key = place.run("restore", "orders", "--json"), place.run("restore", later.key, "--json")

    assert (by_database.code, by_database.json["artifacts"][0]) == (0, full.key)
    assert (by_key.code, by_key.json["artifacts"]) == (3, [later.key])


@pytest.mark.parametrize("fault", ["damaged", "missing", "cut"])
def test_a_point_whose_full_is_damaged_or_missing_is_refused(place: Place, fault: str) -> None:
    full, differential = chain(place)
    if fault == "damaged":
        (place.root / damage_key(full.key)).write_bytes(b"{}")
    elif fault == "missing":
        (place.root / full.key).unlink()
    else:
        (place.root / full.key).write_bytes(b"cut")
    result = place.run("restore", differential.key)

    assert (result.code, result.out) == (1, "")
    assert "a part of its chain is missing or damaged" in result.err


@pytest.mark.parametrize("named", [True, False], ids=["which says what it was taken after", "which does not"])
def test_an_empty_differential_restores_the_artifact_before_it(place: Place, named: bool) -> None:
    full, first = chain(place)
    empty = back_up(place, 2, header=a_header(2, lowest=0, highest=0), parent=first.key if named else None)
    later = back_up(place, 3, header=a_header(3, lowest=first.header.highest + 1))
    out = place.run("restore", empty.key, "--json").out
    (place.root / damage_key(first.key)).write_bytes(b"{}")

    assert [one.key in out for one in (full, first, later)] == [True, True, False]
    assert place.run("restore", empty.key).code == 1


@pytest.mark.parametrize(("fault", "expected"), [("damaged", "marked as damaged"), ("missing", "its file is missing")])
def test_list_show_and_why_give_the_same_reason_as_show_restore(place: Place, fault: str, expected: str) -> None:
    full, differential = chain(place)
    sound = [one["fault"] for one in place.run("list", "--json").json["artifacts"]]
    if fault == "damaged":
        (place.root / damage_key(full.key)).write_bytes(b"{}")
    else:
        (place.root / full.key).unlink()
    listed = place.run("list", "--wide").out.splitlines()
    shown = [place.run("show", one.key).out for one in (full, differential)]

    assert sound == [None, None]
    assert expected in listed[1]
    assert listed[2].endswith("a part of its chain is missing or damaged")
    assert expected in shown[0]
    assert (
        f"  cannot be restored: {place.run('why', '--json', full.key).json['fault']}\n"
        in place.run("why", full.key).out
    )
    assert expected in place.run("why", full.key).out
    assert "cannot be restored from the volume: a part of its chain is missing or damaged" in shown[1]


def test_an_unknown_version_must_be_given(place: Place) -> None:
    full, _ = chain(place, admin_version=None)
    refused = place.run("restore", full.key)
    given = place.run("restore", full.key, "--neo4j-version", "5.26.31")

    assert (refused.code, refused.out) == (1, "")
    assert "the record has no version" in refused.err
    assert "--neo4j-version 5.26.31" in refused.err
    assert "# for Neo4j 5.26.31" in given.out


def test_an_unknown_artifact_cannot_be_restored(place: Place) -> None:
    assert place.run("restore", "nightly").code == 1


def test_a_misspelt_database_is_answered_with_the_nearest_name(place: Place) -> None:
    chain(place)
    place.record(set_name="weekly", database="ordres")

    result = place.run("restore", "ordrs")

    assert result.code == 1
    assert "no artifact of ordrs is recorded in the set default; did you mean orders?\n" in result.err


def test_restoring_from_an_unknown_place_is_an_error(place: Place) -> None:
    full, _ = chain(place)
    result = place.run("restore", full.key, "--from", "offsite")

    assert result.code == 1
    assert "there is no such place" in result.err


@pytest.fixture(name="bucket")
def _bucket(place: Place, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    ADMIN.use(monkeypatch)
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", **seaweedfs.place(place.folder.name)}}
    return S3Store(**seaweedfs.place(f"{place.folder.name}/demo"))


def copy(place: Place, bucket: S3Store, *records: Record) -> None:
    """Copy artifacts to the bucket and write their copy notes, as the agent does."""
    notes = place_of("offsite", Settings.model_validate(place.settings)).record_notes
    for record in records:
        for file in record.files:
            key = f"{record.set}/{record.database}/{file.name}"
            bucket.put_artifact(key, place.root / key, file, ignore)
        bucket.create(record_key(record.key), record.to_json())
        notes.add(record.key, record.to_json())


def test_an_artifact_that_only_a_bucket_has_is_restored_from_there(place: Place, bucket: S3Store) -> None:
    full, differential = chain(place)
    copy(place, bucket, full, differential)
    both = place.run("restore", "orders")
    (place.root / full.key).unlink()
    by_itself = place.run("restore", "orders")
    (place.root / record_key(full.key)).unlink()
    (place.root / record_key(differential.key)).unlink()
    without_volume = place.run("restore", "orders")
    uri = f"s3://{BUCKET}/{place.folder.name}/demo/{differential.key}"

    assert (by_itself.code, by_itself.out) == (0, without_volume.out)
    assert f"{differential.key} ({artifact_id(differential.key)}) at offsite: 2 artifacts" in by_itself.out
    assert f"seedURI: '{uri}'" in by_itself.out
    assert "NOTE: offsite has these artifacts too: with --from offsite, the servers read them" in both.out
    assert "seedURI: 's3:" not in both.out


def test_the_settings_and_a_bucket_are_enough(place: Place, bucket: S3Store) -> None:
    copy(place, bucket, *chain(place))
    shutil.rmtree(place.root)
    result = place.run("restore", "orders")

    assert result.code == 3
    assert result.out.startswith("# ORIGIN NOT PROVEN: ")
    assert "seedURI: 's3:" in result.out
    assert not place.root.exists()


def test_a_given_place_is_used_even_if_the_volume_has_the_chain(place: Place, bucket: S3Store) -> None:
    full, differential = chain(place)
    copy(place, bucket, full)
    local = place.run("restore", "--json", full.key)
    asked = place.run("restore", "--json", full.key, "--from", "offsite")
    lacking = place.run("restore", differential.key, "--from", "offsite")

    assert (local.json["place"], asked.json["place"]) == ("local", "offsite")
    assert (lacking.code, lacking.out) == (1, "")


def test_a_place_with_every_transaction_before_the_moment_is_preferred(place: Place, bucket: S3Store) -> None:
    full, differential = chain(place)
    copy(place, bucket, full, differential)
    moment = ("restore", "orders", "--at", "2026-11-23T02:30:00Z", "--json")
    both = place.run(*moment).json
    (place.root / record_key(differential.key)).unlink()
    other = place.run(*moment).json
    copy_lost = place.run(*moment, "--from", "local").json

    assert [both["place"], other["place"], copy_lost["place"]] == ["local", "offsite", "local"]
    assert [one["lacking_since"] for one in (both, other, copy_lost)] == [None, None, "2026-11-23T02:00:00Z"]


def test_a_bucket_without_rights_is_named_only_if_it_is_needed(
    place: Place, bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, differential = chain(place)
    copy(place, bucket, full, differential)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    local = place.run("restore", "orders")
    needed = place.run("restore", "orders", "--from", "offsite")

    assert local.code == 0
    assert (needed.code, needed.out) == (1, "")
    assert "HINT: check the access key: the store refuses the one that boto3 found" in needed.err


def test_show_takes_an_id_and_list_prints_it(place: Place) -> None:
    full, _ = chain(place)
    listed = place.run("list").out.splitlines()

    assert listed[1].startswith(f"default/orders  {artifact_id(full.key)}")
    assert full.key in place.run("show", artifact_id(full.key)).out


def test_why_and_hold_take_an_id_or_a_file_name(place: Place) -> None:
    full, _ = chain(place)
    identity, name = artifact_id(full.key), full.files[0].name
    with an_agent(place):
        place.run("hold", identity, "--reason", "audit", "--timeout", "0")
        place.run("verify", name, "--timeout", "0")
    asked = [json.loads(path.read_text()) for path in sorted(place.requests.glob("*.request"))]

    assert [place.run("why", "--json", one).json["key"] for one in (identity, name)] == [full.key] * 2
    assert [one["artifact"] for one in asked] == [full.key] * 2


def test_a_file_name_that_two_sets_have_is_ambiguous(place: Place) -> None:
    full, _ = chain(place)
    other = back_up(place, 0, set_name="weekly")
    refused = [place.run(name, full.files[0].name) for name in ("restore", "why", "show")]

    assert [(one.code, one.out) for one in refused] == [(1, "")] * 3
    assert all(f"names several artifacts: {full.key}, {other.key}" in one.err for one in refused)
