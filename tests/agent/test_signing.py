"""A live agent with a signing key: the volume is lost, the key is missing, a stranger signs a record."""

import json
import shutil
from pathlib import Path
from typing import Any

from backup_agent.core.artifacts.records import Record
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from tests.agent.bucket import content, destination, stored
from tests.agent.live import Live
from tests.builders import a_record, settings_with
from tests.components.seaweedfs import BUCKET, KEYS, SeaweedFS
from tests.polling import until


def noted(live: Live) -> set[str]:
    """Return the keys of the artifacts at the destination that have a note on the volume."""
    folders = (live.root / ".agent" / "recorded").glob("offsite@*")
    return {path.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*.backup")}


def signer(document: dict[str, Any]) -> str | None:
    return None if document["signature"] is None else str(document["signature"]["key"])


def put_forged(seaweedfs: SeaweedFS, tmp_path: Path) -> str:
    """Put an artifact, with a record that a stranger has signed, into the bucket. Return its key."""
    key_file.create(tmp_path / "stranger.pem")
    keyring = Keyring(settings_with(signing={"key_file": str(tmp_path / "stranger.pem")}))
    record = keyring.sign(a_record(24 * 400))
    place = f"{tmp_path.name}/demo/"
    client = seaweedfs.client()
    client.put_object(Bucket=BUCKET, Key=place + record.key, Body=b"x" * record.files[0].size)
    client.put_object(Bucket=BUCKET, Key=f"{place}{record.key}.json", Body=record.to_json())
    return record.key


def test_after_a_lost_volume_records_signed_by_the_agent_are_recognised_and_those_of_a_stranger_are_not(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    own = key_file.create(tmp_path / "key.pem")
    live.settings["signing"] = {"key_file": str(tmp_path / "key.pem")}
    live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path, retention={"last": 9})}
    live.environ = KEYS
    live.start()
    assert live.ask(database="orders")["state"] == "succeeded"
    live.commit()
    assert live.ask(database="orders", type="DIFF")["state"] == "succeeded"
    kept = {record["key"] for record in live.records()}
    assert {own} == {signer(record) for record in live.records()}
    copies = [json.loads(content(seaweedfs, tmp_path, f"{key}.json")) for key in kept]
    assert {own} == {signer(copy) for copy in copies}
    assert all(copy["fencing"] is not None for copy in copies)
    assert live.end() == 0

    shutil.rmtree(live.root)
    forged = put_forged(seaweedfs, tmp_path)
    live.start()

    until(lambda: kept <= noted(live), "notes on the copies", patience=60)
    until(lambda: live.metric("neo4j_backup_unrecognised_records", place="offsite") == 1, "count of the forged record")
    assert forged not in noted(live)
    found = live.command("catalog", "unrecognised", "--place", "offsite", code=3)["unrecognised"]
    assert [forged] == [one["artifact"] for one in found]
    signed = live.command("signing", "check", "--place", "offsite")
    assert {"signed": {own: 2}, "unsigned": []}.items() <= signed.items()
    assert live.ask("hold", action="hold", artifact=max(kept), reason="kept")["state"] == "succeeded"
    assert f"{forged}.json" in stored(seaweedfs, tmp_path)


def test_without_its_key_the_agent_continues_and_warns_until_the_key_exists(live: Live, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    fault = f"{key}: the signing key cannot be read: No such file or directory"
    live.settings["signing"] = {"key_file": str(key)}
    live.start()

    assert [fault] == [line["because"] for line in live.events("records are not signed")]
    answer = live.ask(database="orders")
    assert (answer["state"], f"the record is not signed: {fault}") == (
        "succeeded_with_warnings",
        answer["databases"]["orders"]["warnings"][-1],
    )
    assert [None] == [signer(record) for record in live.records()]
    assert (1, fault) == (live.metric("neo4j_backup_signing_fault"), live.status()["signing_fault"])
    assert len(live.events("records are not signed")) == 1

    own = key_file.create(key)
    live.commit()
    assert live.ask("again", database="orders", type="FULL")["state"] == "succeeded"

    unsigned, signed = live.records()
    assert (None, own) == (signer(unsigned), signer(signed))
    assert own == Keyring(settings_with(signing={"trusted": [own]})).signer(
        Record, signed["key"], (live.root / f"{signed['key']}.json").read_bytes()
    )
    assert live.metric("neo4j_backup_signing_fault") == 0
    assert len(live.events("records are signed again")) == 1


def test_a_copy_that_was_made_without_the_key_is_signed_by_a_later_pass(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    live.settings["signing"] = {"key_file": str(tmp_path / "key.pem")}
    live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path, retention={"last": 9})}
    live.environ = KEYS
    live.start()
    key = live.ask(database="orders")["databases"]["orders"]["artifact"]
    before = json.loads(content(seaweedfs, tmp_path, f"{key}.json"))
    assert signer(before) is None

    own = key_file.create(tmp_path / "key.pem")
    assert live.ask("p", action="prune", place="offsite")["state"] == "succeeded"

    after = json.loads(content(seaweedfs, tmp_path, f"{key}.json"))
    assert (own, before) == (signer(after), {**after, "signature": None})
    assert live.metric("neo4j_backup_signing_fault") == 0
    assert live.ask("v", action="verify", place="offsite", all=True)["state"] == "succeeded"


def test_a_damage_mark_of_another_program_makes_no_restore_point_unusable(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path, retention={"last": 9})}
    live.environ = KEYS
    live.start()
    key = live.ask(database="orders")["databases"]["orders"]["artifact"]
    forged = json.dumps({"schema": 1, "key": key, "since": "2026-11-23T02:00:00Z", "found": "forged"}).encode()
    seaweedfs.client().put_object(Bucket=BUCKET, Key=f"{tmp_path.name}/demo/{key}.damaged.json", Body=forged)

    (listed,) = live.command("list", "--place", "offsite")["artifacts"]
    answer = live.ask("v", action="verify", place="offsite")

    assert (key, None) == (listed["key"], listed.get("fault"))
    result = answer["places"]["offsite"]
    assert (1, []) == (result["verified"], result["damaged"])
    assert "Its damage mark is ignored" in json.dumps(result["warnings"])
    assert live.status()["places"]["offsite"].get("damaged", []) == []
