"""The plans of restores, by version, place and target: golden files, and properties of every plan."""

import hashlib
import json
import re
import shlex
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_agent.cli.restore_text import document, text
from backup_agent.core.artifacts.names import DatabaseName, database_name
from backup_agent.core.artifacts.records import Record
from backup_agent.core.capabilities import Version
from backup_agent.core.escaping import cypher_name, cypher_string
from backup_agent.core.reasons import Failure
from backup_agent.core.restore.blocks import blocks_of
from backup_agent.core.restore.facts import Known, Source, Wanted
from backup_agent.core.restore.machines import RECEIVE, Machine, Server, agent_of, servers
from backup_agent.core.restore.plan import RestorePlan, free_name, plan
from backup_agent.core.restore.scene import Scene
from backup_agent.core.restore.ways import Way
from tests.cli.restores import (
    AS_IT_WAS,
    AT,
    BESIDE,
    CASES,
    GOLDEN,
    HOSTS,
    PODS,
    REPLACE,
    known,
    planned,
    record,
    source,
)
from tests.core.hostile import CANARY, NAMES, TEXTS
from tests.examples import examples

VERSIONS = ["5.26.31", "2025.01.0", "2025.02.0", "2025.04.0", "2025.06.0", "2026.03.0", "2026.04.0", "2026.09.0"]


@pytest.mark.parametrize("name", CASES)
def test_a_plan_matches_the_golden_file(name: str) -> None:
    assert (GOLDEN / f"restore-{name}.txt").read_text() == text(planned(name))


def test_every_golden_file_is_used() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"restore-{name}.txt" for name in CASES}


def lines_of(found: RestorePlan, language: str) -> list[str]:
    return [line for block in found.blocks if block.language == language for line in block.lines]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("database", ["orders", "system"])
def test_every_situation_has_a_plan_or_a_refusal(version: str, database: str) -> None:
    cuts: list[dict[str, Any]] = [{}, {"until": AT}, {"before_tx": 7}]
    targets = [BESIDE, REPLACE, Wanted(name="orders-2"), *(Wanted(replace=True, way=way) for way in Way)]
    sources = [source(place, database, **cut) for place, cut in product(("local", "offsite"), cuts)]
    clusters = [known(version, machines, cluster=machines != HOSTS[:1]) for machines in (PODS, HOSTS, HOSTS[:1], ())]
    for origin, facts, wanted in product(sources, clusters, targets):
        found = plan(origin, facts, wanted)
        if isinstance(found, Failure):
            assert database == "system" or wanted.way is not None
            assert found.advice
        else:
            check(found)


def check(found: RestorePlan) -> None:
    """Check the properties that every plan has."""
    scene, printed = found.scene, text(found)
    cypher, shell = lines_of(found, "cypher"), "\n".join(lines_of(found, "sh"))
    assert not re.search(r"\baws\b|mktemp|\$PWD|\bcp -- ", printed)
    assert "--overwrite-destination=true" not in shell or scene.way in (Way.STANDALONE, Way.SYSTEM)
    creates = [line for line in cypher if re.search("CREATE (OR REPLACE )?DATABASE", line)]
    assert all(("TOPOLOGY" in line) == scene.known.cluster for line in creates)
    assert all("seedURI" in line or "existingDataSeedServer" in line for line in creates if scene.known.cluster)
    if scene.way is Way.SYSTEM:
        assert not creates
        return
    cut = scene.source.until or scene.source.before_tx
    assert bool(cut) == bool(re.search("seedRestoreUntil|--restore-until", printed))
    first = next(i for i, line in enumerate(cypher) if "CREATE" in line)
    destroying = [i for i, line in enumerate(cypher) if re.search("REPLACE|DROP|STOP|recreateDatabase", line)]
    assert bool(destroying) == (scene.rehearsal is not None)
    if scene.rehearsal is not None:
        assert cypher_name(scene.rehearsal) in cypher[first]
        assert min(destroying) > first
        assert cypher[max(destroying)] == f"DROP DATABASE {cypher_name(scene.rehearsal)};"
        assert found.lost
        asked = next(i for i, block in enumerate(found.blocks) if "before-restore" in "".join(block.lines))
        assert not any(re.search("REPLACE|DROP|STOP", "".join(block.lines)) for block in found.blocks[:asked])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(name="Orders"), "the name of an existing database or alias"),
        (Wanted(name="SALES"), "the name of an existing database or alias"),
        (Wanted(name="ab"), "not a name that Neo4j allows"),
        (Wanted(name="1orders"), "not a name that Neo4j allows"),
        (Wanted(name="system-2"), "not a name that Neo4j allows"),
        (Wanted(name="x" * 64), "not a name that Neo4j allows"),
        (Wanted(name="a b c"), "not a name that Neo4j allows"),
        (Wanted(way=Way.RECREATE), "not possible by --way recreate"),
    ],
    ids=["exists", "is an alias", "short", "a digit first", "reserved", "long", "a space", "a way for replacing"],
)
def test_a_name_or_way_that_is_not_possible_is_refused(wanted: Wanted, expected: str) -> None:
    found = plan(source(), known("2026.09.0"), wanted)

    assert isinstance(found, Failure)
    assert expected in found.error


def test_a_database_that_does_not_exist_is_restored_under_its_own_name_with_its_aliases() -> None:
    gone = known("2026.09.0", databases={database_name("neo4j")}, aliases=())
    found = plan(source(), gone, BESIDE)
    replaced = plan(source(), gone, REPLACE)

    assert not isinstance(found, Failure)
    assert (found.scene.target, found.scene.rehearsal) == ("orders", None)
    assert "CREATE ALIAS `sales` IF NOT EXISTS FOR DATABASE `orders`;" in lines_of(found, "cypher")
    assert isinstance(replaced, Failure)
    assert replaced.error == "orders is not listed, so there is nothing to replace"


def test_a_name_is_not_refused_if_the_existing_databases_are_unknown() -> None:
    found = plan(source(), known("2026.09.0", databases=(), aliases=(), seen=None), Wanted(name="orders"))

    assert not isinstance(found, Failure)
    assert found.scene.target == "orders"


def test_an_older_server_is_refused() -> None:
    found = plan(source(chain=(record(admin_version="2026.09.0"),)), known("5.26.31"), BESIDE)

    assert isinstance(found, Failure)
    assert "5.26.31 cannot restore the backup of a newer version" in found.error


@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}", fullmatch=True), taken=st.integers(0, 3))
def test_a_free_name_is_legal_and_free(name: str, taken: int) -> None:
    database, names = database_name(name.lower()), set[Any]()
    for _ in range(taken):
        names.add(free_name(database, names))
    found = free_name(database, names)

    assert found not in names
    assert re.fullmatch("[a-z][a-z0-9.-]{2,62}", found)
    assert not found.startswith("system")


def test_the_document_has_every_step() -> None:
    found = document(planned("2026.09-bucket-moment-replace"))

    assert (found["target"], found["rehearsal"], found["way"]) == ("orders", "orders-restored", "seed")
    assert found["until"] == "2026-11-23T02:30:00Z"
    assert {step["language"] for step in found["steps"]} == {"sh", "cypher"}


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (None, "which may differ from yours"),
        (-0.4, "which agreed with that of the agent"),
        (90.0, "which were 90 s ahead of that of the agent"),
        (-90.0, "which were 90 s behind that of the agent"),
    ],
)
def test_a_moment_has_a_note_on_the_clocks(offset: float | None, expected: str) -> None:
    found = plan(source(until=AT, chain=(record(), record(hour=3, clock_offset=offset))), known("2026.09.0"), BESIDE)

    assert not isinstance(found, Failure)
    assert any(expected in note for note in found.notes)


def test_a_version_newer_than_the_manual_gets_a_note() -> None:
    newer = plan(source(), replace(known("2026.09.0"), version=Version(2027, 1)), BESIDE)
    same = plan(source(), replace(known("2026.09.0"), version=Version(2026, 9, 4)), BESIDE)

    assert not isinstance(newer, Failure | None)
    assert not isinstance(same, Failure)
    assert any("newer than the manual" in note for note in newer.notes)
    assert not any("newer than the manual" in note for note in same.notes)


# The pods that `render` makes.

RENDERED = Path(__file__).parents[2] / "k8s/demo"


def test_the_plan_names_the_pods_containers_and_folders_that_render_makes() -> None:
    server, agent = (yaml.safe_load((RENDERED / f"statefulset-demo-{name}.yaml").read_text()) for name in MACHINES)
    [neo4j], [backup] = (one["spec"]["template"]["spec"]["containers"] for one in (server, agent))
    service = server["spec"]["serviceName"]
    [pod] = servers("demo", [(f"{server['metadata']['name']}-0.{service}.prod.svc.cluster.local", None)])
    machine = agent_of("demo", [pod])

    assert (pod.pod, pod.namespace, pod.container) == ("demo-server-0", "prod", neo4j["name"])
    assert (machine.pod, machine.container) == (f"{agent['metadata']['name']}-0", backup["name"])
    assert "PASSWORD" in [one["name"] for one in neo4j["env"]]
    mounts = {one["mountPath"]: one.get("readOnly", False) for one in neo4j["volumeMounts"]}
    assert mounts["/data"] is False
    assert planned("2026.09-volume").scene.folder.startswith("/data/")
    assert (mounts["/conf"], mounts["/var/lib/neo4j/conf"]) == (True, False)


MACHINES = ("server", "backup")


def test_system_keeps_the_pods_running_without_neo4j_and_then_takes_that_back() -> None:
    lines = lines_of(planned("2026.09-system"), "sh")
    [patch] = [json.loads(shlex.split(line)[-1]) for line in lines if line.startswith("kubectl patch")]
    [container] = patch["spec"]["template"]["spec"]["containers"]
    changes = [line.split()[1] for line in lines if re.match("kubectl (scale|patch|rollout|wait)", line)]

    assert container["name"] == "neo4j"
    assert [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")] == [None] * 3
    assert subprocess.run([*container["command"][:1], "-n", "-c", container["command"][2]], check=True).returncode == 0
    assert changes == ["scale", "wait", "patch", "scale", "rollout", "scale", "wait", "rollout", "scale", "rollout"]
    assert next(line for line in lines if "rollout undo" in line) == (
        "kubectl rollout undo statefulset -n 'prod' 'demo-server'"
    )


# Every line in a real shell.

ENTERS = """#!/bin/sh
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
[ $# -gt 0 ] || exit 0
shift
exec "$@"
"""
"""Instead of kubectl: run the command of `kubectl exec` here. Its other commands have no `--`."""

LOGS_IN = """#!/bin/sh
shift
exec /bin/sh -c "$*"
"""
"""Instead of ssh: run the command in a shell, as the other machine would."""

RECORDS = """#!/bin/sh
{ printf '%s\\0' "${0##*/}" "$@"; } > "$CALLS/$$"
"""
COMMANDS = ("rm", "mkdir", "tar", "sha256sum", "mv", "rmdir", "neo4j-admin", "cypher-shell", "backup-agent", CANARY)


@pytest.fixture(scope="module", name="stubs")
def _stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of commands that only record their arguments."""
    folder = tmp_path_factory.mktemp("stubs")
    programs = {"kubectl": ENTERS, "ssh": LOGS_IN, "sh": '#!/bin/sh\nexec /bin/sh "$@"\n'}
    for name, program in {**dict.fromkeys(COMMANDS, RECORDS), **programs}.items():
        (folder / name).write_text(program)
        (folder / name).chmod(0o755)
    return folder


def run(stubs: Path, lines: str) -> list[list[str]]:
    """Run lines in a shell that finds only the stubs. Return the arguments of each call."""
    with tempfile.TemporaryDirectory(dir=stubs) as name:
        calls = Path(name, "calls")
        calls.mkdir()
        environment = {"PATH": str(stubs), "CALLS": str(calls), "PASSWORD": "secret"}
        options: dict[str, Any] = {"capture_output": True, "cwd": name, "env": environment, "input": lines.encode()}
        parsed = subprocess.run(["/bin/sh", "-n"], check=False, **options)
        assert (parsed.returncode, parsed.stderr) == (0, b"")
        subprocess.run(["/bin/sh"], check=False, **options)
        assert [path.name for path in Path(name).iterdir()] == ["calls"]
        return [path.read_bytes().decode().split("\0")[:-1] for path in calls.iterdir()]


def hostile(hour: int, database: str, file: str) -> Record:
    """Return a record that no parser would accept: the lines must be safe even then."""
    one = record(hour=hour)
    files = (one.files[0].model_copy(update={"name": f"{file}{hour}"}),)
    return one.model_copy(update={"database": database, "key": f"{database}/{file}{hour}", "files": files})


def hostile_plan(way: Way, names: tuple[str, ...], *, pods: bool, replaces: bool) -> RestorePlan:
    """Return a plan in which every text from outside is hostile."""
    database, rehearsal, file, host, identity = names
    server = Server(host=host, id=identity, pod=host if pods else "", namespace=identity if pods else "")
    machine = Machine(pod=host, namespace=identity) if pods else Machine()
    facts = replace(known("2026.09.0", (server,)), agent=machine, cluster=way is not Way.STANDALONE)
    chain = (hostile(2, database, file), hostile(3, database, file))
    given = source(chain=chain, uri=f"s3://{file}", server_needs=(identity,))
    # Neither name is one that the types allow.
    target, before = cast("DatabaseName", database), cast("DatabaseName", rehearsal)
    scene = Scene(given, facts, way, target, before if replaces else None)
    shell = tuple(block for block in blocks_of(scene) if block.language == "sh")
    return RestorePlan(scene, shell, lost=names, room=(), duration=timedelta(), afterwards=names, notes=names)


@pytest.mark.process
@given(
    names=st.tuples(NAMES, NAMES, TEXTS, TEXTS, TEXTS),
    way=st.sampled_from(Way),
    pods=st.booleans(),
    replaces=st.booleans(),
)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_shell_line_passes_values_unchanged_and_runs_nothing_else(
    stubs: Path, names: tuple[str, ...], way: Way, *, pods: bool, replaces: bool
) -> None:
    found = hostile_plan(way, names, pods=pods, replaces=replaces)
    called = run(stubs, text(found))

    database, rehearsal, _, _, _ = names
    folder, file, key = found.scene.folder, found.scene.file, found.scene.source.last.key
    seeds, is_system = way in (Way.SERVER_SEED, Way.SERVER_RECREATE), way is Way.SYSTEM
    restored = [rehearsal, database] if replaces else [database]
    expected = [["cypher-shell", "-d", "system"]]
    if way not in (Way.SEED, Way.RECREATE):
        # The scripts stop here, because the folder was not really made.
        expected += [["backup-agent", "fetch", key, "--from", "local", "--to", "-"], ["rm", "-rf", f"{folder}.part"]]
        expected += [["mkdir", "-p", folder, f"{folder}.part"]]
        files = [one.files[0].name for one in found.scene.source.chain]
        expected += [["rm", "-f", f"{folder}/{one}"] for one in files] if seeds else [["rm", "-rf", folder]]
    if way in (Way.ONE_SERVER, Way.STANDALONE):
        for name in restored:
            over = ["--overwrite-destination=true"] * (way is Way.STANDALONE and name is database)
            over = over if replaces else []
            at = [f"--from-path={folder}/{file}", f"--temp-path={folder}/temp"]
            expected += [["rm", "-rf", f"{folder}/temp"], ["mkdir", f"{folder}/temp"]]
            expected += [["neo4j-admin", "database", "restore", *at, *over, name]]
    if replaces and not is_system:
        asked = ["--type", "FULL", "--database", database, "--set", "before-restore", "--wait"]
        expected += [["backup-agent", "request", *asked]]
    if not is_system and (not replaces or way in (Way.SEED, Way.ONE_SERVER)):
        expected += [
            ["backup-agent", "show", key, "--from", "local", "--metadata"],
            ["backup-agent", "fetch", key, "--from", "local", "--metadata", "-"],
        ]
        expected += [["cypher-shell", "-d", "system", "--param", f"database => {cypher_string(database)}"]]
    if is_system:
        archive = f"--archive-path={folder}.cluster-state"
        expected += [
            ["neo4j-admin", "dbms", "unbind-system-db", "--archive-cluster-state=true", archive],
            ["neo4j-admin", "database", "info", "system"],
            ["neo4j-admin", "backup", "aggregate", f"--from-path={folder}/{file}"],
            ["neo4j-admin", "database", "load", f"--from-path={folder}", "--overwrite-destination=true", "system"],
        ]
    assert sorted(called) == sorted(expected)


@given(names=st.tuples(NAMES, NAMES, TEXTS, TEXTS, TEXTS), way=st.sampled_from(Way), replaces=st.booleans())
@settings(max_examples=examples(50))
def test_each_cypher_line_has_values_only_in_quotes(names: tuple[str, ...], way: Way, *, replaces: bool) -> None:
    def lines(given: tuple[str, ...]) -> list[str]:
        scene = hostile_plan(way, given, pods=True, replaces=replaces).scene
        return [line for block in blocks_of(scene) if block.language == "cypher" for line in block.lines]

    database, rehearsal, file, _, identity = names
    values = [database, rehearsal, f"s3://{file}/{database}/{file}3", f"server://{identity}/{file}3", identity]
    quotes = {quote(value) for value in values for quote in (cypher_string, cypher_name) if "\\" not in value}
    quotes |= {cypher_string(value) for value in values}
    usual = ("orders", "beside", "file", "host", "id")
    frames = {re.sub(r"`[^`]*`|'(orders|beside|s3:[^']*|server:[^']*|id)'", "?", line) for line in lines(usual)}
    for line in lines(names):
        for value in sorted(quotes, key=len, reverse=True):
            line = line.replace(value, "?")  # noqa: PLW2901  leave the text around the values
        assert re.sub(r"`sales`", "?", line) in frames


# The pipe, with real programs.


def as_fetched(files: dict[str, bytes]) -> bytes:
    """Return what `fetch --to -` writes: a tar of the files that ends with their SHA-256."""
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in {**files, "SHA256SUMS": sums.encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return out.getvalue()


FILES = {"orders-2026-11-23T02-00-00.backup": b"full" * 9000, "orders-2026-11-23T03-00-00.backup": b"diff" * 9000}


@pytest.mark.process
@pytest.mark.parametrize("fault", ["", "cut in a file", "cut between files", "cut before the sums", "altered"])
def test_only_a_whole_and_checked_chain_gets_its_names(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "it's $(mine)" / "restore"
    sent = as_fetched(FILES)
    cuts = {"cut in a file": 20000, "cut between files": 512 + 36352, "cut before the sums": 2 * (512 + 36352)}
    sent = sent[: cuts.get(fault, len(sent))]
    if fault == "altered":
        sent = sent.replace(b"fullfull", b"fullfool", 1)
    line = Machine(host="server").script(RECEIVE, str(folder))
    for data in (sent, sent):  # the line can be entered again
        ran = subprocess.run(["/bin/sh", "-c", line], check=False, input=data, capture_output=True)

        assert (ran.returncode == 0) == (not fault), ran.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == ({} if fault else FILES)
    assert not folder.stat().st_mode & 0o077


def printed_of(origin: Source, facts: Known, wanted: Wanted) -> str:
    found = plan(origin, facts, wanted)
    assert isinstance(found, RestorePlan), found
    return text(found)


def source_with(**changes: Any) -> Source:
    return source("offsite", chain=(record(definition=AS_IT_WAS.model_copy(update=changes)),))


def test_a_read_only_database_becomes_read_only_again_and_other_options_are_named() -> None:
    printed = printed_of(source_with(access="read-only", options={"unheardOf": 1}), known("2026.09.0"), BESIDE)

    assert "ALTER DATABASE `orders-restored` SET ACCESS READ ONLY;" in printed
    assert "options that no statement here gives back: 'unheardOf'" in " ".join(printed.split())


def test_a_database_without_secondaries_is_restored_without_secondaries() -> None:
    printed = printed_of(source_with(primaries=1, secondaries=0), known("2026.09.0"), BESIDE)

    assert "TOPOLOGY 1 PRIMARY OPTIONS" in printed


def test_a_database_without_an_alias_is_replaced_without_dropping_one() -> None:
    without = AS_IT_WAS.model_copy(update={"aliases": ()})
    chain = tuple(record(hour=hour, definition=without) for hour in (2, 3))
    printed = printed_of(source("offsite", until=AT, chain=chain), known("2026.09.0", aliases=()), REPLACE)

    assert "DROP DATABASE" in printed
    assert "DROP ALIAS" not in printed


def test_a_full_of_system_alone_is_loaded_without_aggregating() -> None:
    chain = (record("system"),)

    assert "aggregate" not in printed_of(source(database="system", chain=chain), known("2026.09.0"), REPLACE)


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ({"until": AT}, "'orders' --set 'default' --history 'an-id' --at '2026-11-23T02:30:00Z' --from 'local'"),
        ({"before_tx": 7}, "'orders' --set 'default' --history 'an-id' --before-tx 7 --from 'local'"),
    ],
)
def test_a_chain_that_depends_on_the_cut_is_fetched_by_the_cut(cut: dict[str, Any], words: str) -> None:
    origin = source(by_cut=True, history="an-id", **cut)

    assert origin.fetched == words
    assert f"fetch {words}" in printed_of(origin, known("2026.09.0"), BESIDE)
