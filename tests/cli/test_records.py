"""`list` and `show`, without an agent."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from backup_agent.catalog import evidence
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.keys import evidence_key, hold_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, DatabaseResult, Deletion, Outcome, PlaceResult, State
from backup_agent.core.restore.asked import artifact_id
from backup_agent.settings.load import load
from backup_agent.signing.keyring import Keyring
from tests import memory
from tests.builders import ATTRIBUTION, TAKEN, an_answer
from tests.cli.conftest import Place, local_time_zone


def test_an_empty_volume_has_nothing_recorded(place: Place) -> None:
    result = place.run("list")

    assert (result.code, result.out) == (0, f"no artifact is recorded at {place.root}\n")


def test_artifacts_are_listed_oldest_first(place: Place) -> None:
    diff, full = place.record(1), place.record(0)
    lines = place.run("list", "--wide").out.splitlines()

    assert [line.split()[0] for line in lines[:-1]] == ["ARTIFACT", full.key, diff.key]
    facts = [
        diff.key,
        artifact_id(diff.key),
        "DIFF",
        str(diff.size),
        "B",
        "2026-11-23T03:00:00Z",
        "11-20",
        "chain_continues",
        "-",
    ]
    assert lines[2].split()[: len(facts)] == facts


def test_the_list_is_json_for_programs(place: Place) -> None:
    record = place.record()
    listed = place.run("list", "--json").json

    assert listed["unreadable"] == []
    assert [one["key"] for one in listed["artifacts"]] == [record.key]
    assert listed["artifacts"][0]["schema"] == 1


def test_the_list_can_be_restricted_to_a_set_or_database(place: Place) -> None:
    kept, other = place.record(), place.record(set_name="test")

    assert other.key not in (out := place.run("list", "--set", "default", "--wide").out)
    assert kept.key in out
    assert kept.key in place.run("list", "--database", "ORDERS", "--wide").out
    assert place.run("list", "--set", "nope").out == f"no artifact is recorded at {place.root}, set nope\n"


def test_a_confirmed_copy_is_shown_with_its_destination(place: Place) -> None:
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", "bucket": "backups"}}
    record = place.record()
    assert place.run("list", "--json").json["artifacts"][0]["copies"] == {"offsite": "not stored"}
    assert "offsite: not stored" in place.run("show", record.key).out

    place_of("offsite", load(place.config, {}).settings).record_notes.add(record.key, record.to_json())

    assert "  offsite  " in place.run("list").out.splitlines()[1]
    assert place.run("show", record.key, "--json").json["copies"] == {"offsite": "stored"}


def test_a_held_artifact_is_shown_as_held(place: Place) -> None:
    held, other = place.record(0), place.record(1)
    mark = Hold(key=held.key, since=TAKEN, reason="audit 2026", requested_by="ann", request="r")
    (place.root / hold_key(held.key)).write_bytes(mark.to_json())
    head, *rows, _ = place.run("list", "--wide").out.splitlines()
    column = head.index("HELD")

    assert [row[column:].split()[0] for row in rows] == ["yes", "-"]
    assert [one["held"] for one in place.run("list", "--json").json["artifacts"]] == [True, False]
    assert "\nheld          local: since 2026-11-23T02:00:00Z by ann: audit 2026\n" in place.run("show", held.key).out
    assert place.run("show", held.key, "--json").json["places"]["local"]["hold"]["reason"] == "audit 2026"
    assert "held" not in place.run("show", other.key).out


def test_held_artifacts_are_listed_with_requester_and_reason(place: Place) -> None:
    held, _ = place.record(0), place.record(1)
    mark = Hold(key=held.key, since=TAKEN, reason="audit 2026", requested_by="ann", request="r")
    (place.root / hold_key(held.key)).write_bytes(mark.to_json())

    [listed] = place.run("list", "--held", "--json").json["artifacts"]
    assert (listed["key"], listed["hold"]) == (
        held.key,
        {"since": "2026-11-23T02:00:00Z", "reason": "audit 2026", "requested_by": "ann", "request": "r"},
    )
    assert "\n1 artifact of 1 database, " in place.run("list", "--held").out
    assert "held since 2026-11-23T02:00:00Z by ann: audit 2026\n" in place.run("why", held.key).out
    assert "held since 2026-11-23T02:00:00Z by ann: audit 2026" in place.run("plan").out


def test_a_hold_that_is_only_wanted_at_a_destination_is_shown_there(place: Place) -> None:
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", "bucket": "backups"}}
    record = place.record()
    offsite = place_of("offsite", load(place.config, {}).settings)
    offsite.record_notes.add(record.key, record.to_json())
    offsite.wanted_holds.hold(Hold(key=record.key, since=TAKEN, reason="audit", request="r"))
    result = place.run("show", record.key)

    assert "\nheld          offsite: since 2026-11-23T02:00:00Z: audit\n" in result.out
    assert "held          local" not in result.out


def test_an_artifact_says_when_it_was_verified_and_drilled_at_each_place(place: Place) -> None:
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", "bucket": "backups"}}
    read, other = place.record(0), place.record(1)
    settings = load(place.config, {}).settings
    volume, offsite = place_of("local", settings), place_of("offsite", settings)
    offsite.record_notes.add(read.key, read.to_json())
    volume.reread_log.note(read.key, TAKEN)
    proof = Evidence(
        key=read.key, since=TAKEN, place="local", level=Level.CHECK, reached=Level.CHECK, outcome=DrillOutcome.PASSED,
        started=TAKEN, restore_seconds=62.0, size=1, chain={}, proven=True,
    )  # fmt: skip
    evidence.write(volume, Keyring(settings), proof)
    known, unknown = place.run("show", read.key), place.run("show", other.key)

    assert "\nverified      local: 2026-11-23T02:00:00Z (" in known.out
    assert "\nverified      offsite: not since it was stored\n" in known.out
    assert "\ndrilled       local: check passed 2026-11-23T02:00:00Z (" in known.out
    assert " ago), restored in 1m 2s\n" in known.out
    assert "\ndrilled       offsite: never\n" in known.out
    assert "\nverified      local: not since it was stored\ndrilled       local: never\n" in unknown.out
    places = place.run("show", read.key, "--json").json["places"]
    assert (places["local"]["verified"], places["local"]["drilled"]["outcome"]) == (
        "2026-11-23T02:00:00+00:00",
        "passed",
    )
    assert places["offsite"] == {"stored": True, "verified": None, "drilled": None, "drill_fault": None, "hold": None}


def test_evidence_that_another_program_wrote_is_not_believed(place: Place) -> None:
    record = place.record()
    settings = load(place.config, {}).settings
    volume = place_of("local", settings)
    proof = Evidence(
        key=record.key, since=TAKEN, place="local", level=Level.CHECK, reached=Level.CHECK, outcome=DrillOutcome.PASSED,
        started=TAKEN, size=1, chain={}, proven=True,
    )  # fmt: skip
    volume.store.swap(evidence_key(record.key), proof.to_json(), None)

    assert "\ndrilled       local: its evidence is not recognised\n" in place.run("show", record.key).out


def test_the_end_of_a_hold_is_shown(place: Place) -> None:
    place.settings["retention"] = {"last": 1}
    held, over = place.record(0), place.record(1)
    for key, until in ((held.key, datetime(2400, 1, 1, tzinfo=UTC)), (over.key, TAKEN)):
        mark = Hold(key=key, since=TAKEN, reason="audit", request="r", until=until)
        (place.root / hold_key(key)).write_bytes(mark.to_json())
    head, *rows, _ = place.run("list", "--wide").out.splitlines()
    column = head.index("HELD")

    assert [row[column:].split("  ")[0] for row in rows] == ["until 2400-01-01T00:00:00Z", "-"]
    listed = place.run("list", "--json").json["artifacts"]
    assert [(one["held"], one["held_until"]) for one in listed] == [(True, "2400-01-01T00:00:00Z"), (False, None)]
    assert "local: since 2026-11-23T02:00:00Z until 2400-01-01T00:00:00Z: audit\n" in place.run("show", held.key).out
    assert " until 2026-11-23T02:00:00Z: audit (ended)\n" in place.run("show", over.key).out
    assert "  held since 2026-11-23T02:00:00Z until 2400-01-01T00:00:00Z: audit\n" in place.run("why", held.key).out
    assert "held" not in place.run("why", over.key).out
    with local_time_zone("America/New_York"):
        assert ", held until 2399-12-31\n" in place.run("list").out
    with local_time_zone("Europe/Berlin"):
        assert ": since 2026-11-23T03:00:00+01 until 2400-01-01T01:00:00+01: audit\n" in place.run("show", held.key).out


def test_an_unreadable_record_is_a_warning_and_the_others_are_listed(place: Place) -> None:
    good, bad = place.record(0), place.record(1)
    (place.root / f"{bad.key}.json").write_text("{")
    result = place.run("list", "--wide")

    assert result.code == 3
    assert good.key in result.out
    assert result.err.startswith(f"unreadable: {bad.key}.json: ")
    assert place.run("list", "--json").json["unreadable"][0].startswith(bad.key)
    assert "the record cannot be read" in (shown := place.run("show", bad.key)).err
    assert shown.code == 1


def test_a_folder_named_like_a_record_is_skipped(place: Place) -> None:
    record = place.record()
    folder = (place.root / record.key).parent
    (folder / "link.backup.json").symlink_to(folder / f"{record.files[0].name}.json")
    (folder / "folder.backup.json").mkdir()
    os.mkfifo(folder / "pipe.backup.json")

    assert place.run("list", "--json").json["unreadable"] == []


def test_artifacts_are_listed_by_the_labels_of_their_requests(place: Place) -> None:
    gold = place.record(labels={"tier": "gold", "ticket": "CHG-42"})
    other = place.record(24, labels={"tier": "silver"})
    place.record(48)

    def listed(*labels: str) -> list[str]:
        options = [option for label in labels for option in ("--label", label)]
        return [one["key"] for one in place.run("list", "--json", *options).json["artifacts"]]

    assert listed("tier") == [gold.key, other.key]
    assert listed("tier=gold") == listed("tier", "ticket=CHG-42") == [gold.key]
    assert listed("tier=") == listed("tier=silver", "ticket") == []
    assert "label tier=bronze" in place.run("list", "--label", "tier=bronze").out


def test_an_artifact_is_shown_with_the_labels_of_its_request(place: Place) -> None:
    record = place.record(labels={"tier": "gold", "ticket": "CHG-42"})
    out = place.run("show", record.key).out

    assert [line.split()[-1] for line in out.splitlines() if "=" in line] == ["tier=gold", "ticket=CHG-42"]


def test_an_artifact_is_shown_with_the_definition_of_its_database(place: Place) -> None:
    definition = Definition(
        primaries=3, default_language="CYPHER 25", options={"txLogEnrichment": "FULL"}, aliases=("shop", "till")
    )
    record = place.record(definition=definition, last_committed_tx=42)
    out = [line.split(maxsplit=1) for line in place.run("show", record.key).out.splitlines()]

    assert ["committed", "at least up to transaction 42"] in out
    at = out.index(["defined", "primaries: 3"])
    assert [" ".join(line) for line in out[at + 1 : at + 4]] == [
        "default language: CYPHER 25",
        "options: txLogEnrichment=FULL",
        "aliases: shop, till",
    ]
    shown = place.run("show", record.key, "--json").json
    assert (shown["definition"]["primaries"], shown["last_committed_tx"]) == (3, 42)


def test_an_artifact_is_shown_by_key_path_record_or_name(place: Place) -> None:
    record = place.record()
    shown = place.run("show", record.key)

    assert shown.code == 0
    assert shown.out.splitlines()[0].split() == ["artifact", record.key]
    for name in (f"{place.root}/{record.key}", f"{record.key}.json", record.files[0].name):
        assert place.run("show", name) == shown


@pytest.mark.parametrize(("field", "value"), ATTRIBUTION.items())
def test_an_artifact_is_shown_with_the_attribution_of_its_request(place: Place, field: str, value: object) -> None:
    out = place.run("show", place.record(**ATTRIBUTION).key).out
    texts = [f"{key}={text}" for key, text in value.items()] if isinstance(value, dict) else [value]

    assert [line for line in out.splitlines() for text in texts if line == f"{field.replace('_', ' '):<14}{text}"]


def test_a_differential_is_shown_with_its_whole_chain(place: Place) -> None:
    full = place.record(0)
    diff = place.record(1, parent=full.key)
    out = place.run("show", diff.key).out

    assert [line.split()[-1] for line in out.splitlines() if full.key in line] == [full.key, full.key]
    assert "\nchain         default/" in out
    assert "\nfor           request nightly-1\n" in out
    assert place.run("show", diff.key, "--json").json["chain"] == [full.key, diff.key]


def test_an_ambiguous_file_name_is_refused_with_the_keys(place: Place) -> None:
    one, other = place.record(), place.record(set_name="test")
    result = place.run("show", one.files[0].name)

    assert result.code == 1
    assert one.key in result.err
    assert other.key in result.err
    assert "HINT: give the whole key" in result.err


def test_an_unknown_name_is_not_found(place: Place) -> None:
    for name in ("nothing", "default/orders/nothing", "../config.yaml", ".spool"):
        result = place.run("show", name)

        assert (result.code, result.out) == (1, "")
        assert f"{name}: neither an artifact nor an answered request has that name" in result.err


def test_the_error_of_show_says_if_no_agent_has_taken_the_request(place: Place) -> None:
    (place.requests / "x.request").write_text("{}")

    assert (
        "no agent has taken the request of that name yet: is `backup-agent run` running here?"
        in place.run("show", "x").err
    )


def save(place: Place, answer: Answer) -> None:
    folder = place.requests / "answers"
    folder.mkdir(exist_ok=True)
    (folder / f"{answer.id}.json").write_bytes(answer.to_json())


def test_an_answer_is_shown_with_every_line_of_its_errors(place: Place) -> None:
    failure = Failure(Reason.DISK_FULL, "no room\nlast line of neo4j-admin", "make some")
    answer = an_answer(
        id="all",
        state=State.RUNNING,
        files=("all.request",),
        started=TAKEN,
        set="default",
        request={"type": "FULL"},
        databases={
            "customers": DatabaseResult().failed(failure, TAKEN),
            "orders": DatabaseResult(
                outcome=Outcome.SUCCEEDED, type="FULL", type_reason="asked", artifact="k", size=1, copies={"s3": "owed"}
            ),
        },
    ).concluded(TAKEN + timedelta(minutes=1))
    save(place, answer)

    result = place.run("show", "all")

    assert result.code == 0
    assert (
        result.out
        == """\
request   {"type": "FULL"}
received  2026-11-23T02:00:00Z as all.request
started   2026-11-23T02:00:00Z
finished  2026-11-23T02:01:00Z
set       default

all: failed (disk_full)
  customers: failed (disk_full)
    no room
    last line of neo4j-admin
  orders: FULL (asked), 1 B, k, s3: owed
  HINT: make some
"""
    )
    assert place.run("show", "all", "--json").json["state"] == "failed"


PLANNED = PlaceResult(
    outcome=Outcome.SUCCEEDED,
    plan="f00d",
    kept=7,
    deletions=(Deletion(key="default/orders/a", size=2048, reason="old"),),
)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(
            PLANNED.model_copy(update={"deleted": 1, "freed": 0, "kept_versions": 2048}),
            [
                "local: 1 deleted, 0 B freed, 2.0 KiB stay as old versions; 7 artifacts kept, plan f00d",
                "  default/orders/a, 2.0 KiB: old",
            ],
            id="deleted as versions",
        ),
        pytest.param(
            PLANNED.model_copy(update={"deleted": 1, "freed": 2048}),
            ["local: 1 deleted, 2.0 KiB freed; 7 artifacts kept, plan f00d", "  default/orders/a, 2.0 KiB: old"],
            id="retention",
        ),
        pytest.param(
            PLANNED,
            ["local: 1 would be deleted; 7 artifacts kept, plan f00d", "  default/orders/a, 2.0 KiB: old"],
            id="retention, dry",
        ),
        pytest.param(
            PLANNED.model_copy(update={"deletions": (), "kept": 1, "dropped": 2}),
            ["local: 2 missing copies given up", "local: nothing to delete; 1 artifact kept, plan f00d"],
            id="missing copies given up",
        ),
        pytest.param(
            PlaceResult(outcome=Outcome.SUCCEEDED, verified=3, damaged=("a", "b"), healed=("b",)),
            ["local: 3 read again and undamaged, 2 damaged, 1 healed", "  healed: b"],
            id="verify",
        ),
    ],
)
def test_an_answer_shows_the_result_at_each_place(place: Place, result: PlaceResult, expected: list[str]) -> None:
    running = an_answer(id="p", state=State.RUNNING, action="prune", request={"action": "prune"})
    save(place, running.with_place(VOLUME, result).concluded(TAKEN))

    shown = place.run("show", "p").out
    assert "".join(f"\n  {line}" for line in expected) in shown


def test_an_unfinished_answer_shows_its_stage(place: Place) -> None:
    progress = {"database": "orders", "bytes": 1024, "total": 4096, "estimated_seconds": 61.0}
    answer = an_answer(id="n", state=State.RUNNING, schedule="nightly", started=TAKEN)
    save(place, answer.model_copy(update={"stage": "copy", "progress": progress}))

    out = place.run("show", "n").out

    assert "received  2026-11-23T02:00:00Z by schedule nightly\n" in out
    assert "state     running orders copy 1.0 KiB of 4.0 KiB, about 1m 1s left\n" in out


def test_an_unreadable_answer_is_an_error_that_names_it(place: Place) -> None:
    (place.requests / "answers").mkdir()
    (place.requests / "answers" / "x.json").write_text("{")

    result = place.run("show", "x")

    assert result.code == 1
    assert "the answer to x cannot be read" in result.err


@pytest.mark.parametrize("command", ["list", "show"])
def test_text_of_a_record_cannot_move_the_cursor_or_forge_a_line(place: Place, command: str) -> None:
    escapes = "x\x1b[1A\x1b[2K\r\nforged\x9b\u202e\u200b"
    record = place.record(
        reason=escapes, requested_by=escapes, source=escapes, type_reason=escapes, admin_version=escapes
    )
    lines = place.run(*{"list": ["list", "--wide"], "show": ["show", record.key]}[command]).out.splitlines()

    assert any("x\\x1b[1A\\x1b[2K\\r\\nforged\\x9b\\u202e\\u200b" in line for line in lines)
    assert all(line.isprintable() and not line.startswith("forged") for line in lines)


def test_an_error_cannot_move_the_cursor(place: Place) -> None:
    refused, wrong = place.run("show", "x\x1b[2K\r\x9b"), place.run("list", "--x\x1b[2K")

    assert (refused.code, wrong.code) == (1, 2)
    assert "x\\x1b[2K\\r\\x9b" in refused.err
    assert "\\x1b[2K" in wrong.err
    assert all(line.isprintable() for line in (refused.err + wrong.err).splitlines())


@pytest.mark.process
@pytest.mark.parametrize("command", [("list",), ("catalog", "diff"), ("plan",)], ids=" ".join)
def test_a_huge_record_is_unreadable_and_is_not_loaded(place: Place, command: tuple[str, ...]) -> None:
    place.record()
    name = "orders-2026-11-20T02-00-00.backup.json"
    memory.sparse(place.root / "default" / "orders" / name, 2**30)
    settings = load(place.config, {}).settings
    place_of(VOLUME, settings).record_notes.add(f"default/orders/{name.removesuffix('.json')}", b"the agent's record")

    ended = memory.run("backup_agent", *command, "--config", str(place.config))

    assert ended.mib < 150
    assert ended.code != 1, ended.err
    assert name in ended.out + ended.err
    assert "larger than 1048576 bytes" in ended.out + ended.err


@pytest.mark.patience
def test_a_huge_answer_is_unreadable_and_is_not_loaded(place: Place) -> None:
    (place.requests / "answers").mkdir()
    memory.sparse(place.requests / "answers" / "nightly.json", 2**30)
    place.run("list")  # writes the settings file

    ended = memory.run("backup_agent", "show", "nightly", "--config", str(place.config))

    assert ended.mib < 150
    assert ended.code == 1
    assert "larger than 16777216 bytes" in ended.err
