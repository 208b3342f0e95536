"""The printed shell lines of restores run in containers in the shape of the rendered pods.

The mounts, the user and the read-only root are those of the rendered manifests. `kubectl` enters the named container
(tests/container/kubectl.py). In the servers' containers, neo4j-admin is that of Neo4j Community with stand-ins for what
only Enterprise has (tests/container/server). The statements for cypher-shell are not run here.
"""

import hashlib
import json
import re
import shlex
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.escaping import cypher_string
from backup_agent.core.reasons import Failure
from backup_agent.core.restore.blocks import blocks_of
from backup_agent.core.restore.plan import plan
from backup_agent.core.restore.scene import Scene
from backup_agent.core.restore.ways import Way
from tests.cli.restores import CASES, known, record, source
from tests.components.containers import Podman
from tests.container.world import AGENT_POD, DATABASE, SERVER, SERVER_POD, World
from tests.polling import until

Plan = dict[str, Any]


@pytest.fixture(scope="module", name="world")
def _world(podman: Podman, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start the pods of the agent and of one of three servers, with a full and a differential of two databases."""
    with World(podman, image, tmp_path_factory.mktemp("world"), servers=3) as world:
        for database in (DATABASE, "system"):
            world.back_up("--type", "FULL", "--database", database)
            world.commit(database)
            world.back_up("--type", "DIFF", "--database", database)
        yield world


def planned(world: World, *words: str) -> Plan:
    """Return the plan of a restore, made in the agent's pod."""
    completed = world.agent("restore", *words, "--json")
    assert completed.returncode == 0, completed.stderr
    found: Plan = json.loads(completed.stdout)
    return found


def run(world: World, plan: Plan) -> None:
    """Enter the shell lines of each step."""
    for step in plan["steps"]:
        if step["language"] == "sh":
            completed = world.sh("\n".join(step["lines"]))
            assert completed.returncode == 0, f"{step['title']}\n{completed.stdout}{completed.stderr}"


def test_the_containers_have_the_shape_of_the_rendered_pods(world: World) -> None:
    [server] = world.objects["StatefulSet/demo-server"]["spec"]["template"]["spec"]["containers"]
    seen = (
        "id -u; pwd; touch x /x 2>/dev/null || echo refused; command -v aws kubectl backup-agent; "
        "[ -e /backups ] || echo 'no volume of the agent'; echo ${HOME-no HOME}; awk '{print $2}' /proc/mounts"
    )
    found = world.sh(f"kubectl exec demo-server-0 -c neo4j -- sh -c {shlex.quote(seen)}").stdout.splitlines()
    agent = world.sh("kubectl exec demo-backup-0 -c backup -- sh -c 'command -v aws; touch /x; echo ${HOME-no HOME}'")

    assert found[:5] == ["7474", "/var/lib/neo4j", "refused", "no volume of the agent", "no HOME"]
    assert {one["mountPath"] for one in server["volumeMounts"]} <= set(found)
    assert (agent.stdout, "Read-only file system" in agent.stderr) == ("no HOME\n", True)


def test_the_lines_for_one_server_restore_a_database_beside_and_then_over_the_existing_one(world: World) -> None:
    before = world.inside(SERVER_POD, "ls -A /data")
    plan = planned(world, DATABASE, "--way", "one_server", "--replace")
    run(world, plan)

    assert "orders\norders-restored\n" in world.inside(SERVER_POD, "ls /data/databases")
    assert world.inside(SERVER_POD, "ls -A /data") == before
    calls = world.calls(SERVER_POD)
    assert sorted(call.argv[-1] for call in calls if call.argv[0] == "neo4j-admin") == ["orders", "orders-restored"]
    [script] = [call for call in calls if "--param" in call.argv]
    assert script.argv[-1] == "database => 'orders'"
    assert script.stdin.startswith("CREATE USER `clerk` ")
    answer = json.loads(world.agent("list", "--set", "before-restore", "--json").stdout)
    assert [one["database"] for one in answer["artifacts"]] == [DATABASE]


WAYS = [
    pytest.param((), "server_seed", id="a seed on one server"),
    pytest.param(("--replace",), "server_recreate", id="a seed over the database", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize(("options", "way"), WAYS)
def test_the_lines_of_a_plan_run_and_leave_nothing_behind(world: World, options: tuple[str, ...], way: str) -> None:
    before = world.inside(SERVER_POD, "ls -A /data")
    plan = planned(world, DATABASE, *options)
    steps = [step for step in plan["steps"] if step["language"] == "sh"]
    assert plan["way"] == way
    cleaned = steps.pop()
    run(world, {"steps": steps})
    if way.startswith("server"):
        files = [key.rpartition("/")[2] for key in plan["artifacts"]]
        recorded = world.inside(AGENT_POD, f"cd /backups/default/{DATABASE} && sha256sum {' '.join(files)}")
        assert world.inside(SERVER_POD, "cd /data/seeds && sha256sum *") == recorded
        assert world.inside(SERVER_POD, "cd /data/seeds && stat -c '%a %u' *") == "600 7474\n" * len(files)
    run(world, {"steps": [cleaned]})

    assert world.inside(SERVER_POD, "ls -A /data").replace("seeds\n", "") == before.replace("seeds\n", "")
    assert world.inside(SERVER_POD, "ls -A /data/seeds 2>/dev/null || true") == ""


@pytest.mark.nightly
def test_the_runbook_of_system_stops_the_pods_loads_it_on_each_and_starts_them(world: World) -> None:
    assert world.sh("kubectl scale statefulset demo-server --replicas=3").returncode == 0
    for number in range(3):
        until(partial(world.runs, f"{SERVER}-{number}-neo4j"), "server that runs", 60)
    plan = planned(world, "system", "--replace")
    lines = [step for step in plan["steps"] if step["language"] == "sh"]
    position = next(i for i, step in enumerate(lines) if "Start every server" in step["title"])
    run(world, {"steps": lines[:position]})
    calls = [world.calls(f"{SERVER}-{number}-neo4j") for number in range(3)]
    stopped = world.runs(SERVER_POD)
    run(world, {"steps": lines[position:]})

    assert not stopped
    until(lambda: world.runs(SERVER_POD), "server that runs", 60)
    for each in calls:
        commands = sorted(" ".join(call.argv[1:3]) for call in each)
        assert commands == ["backup aggregate", "database info", "database load", "dbms unbind-system-db"]
    assert re.fullmatch(r"restore-[0-9a-f]{8}\.cluster-state\n", world.inside(SERVER_POD, "ls /data | grep restore-"))


# Hostile names

RECORDER = """#!/bin/sh
mkdir -p /tmp/calls
printf '%s\\0' "${0##*/}" "$@" >"/tmp/calls/$$"
case "${0##*/} $*" in
    backup-agent*' --to -') cat /recorders/fetched.tar ;;
esac
"""
"""A program that records its arguments. As the agent's command it also writes artifacts, with names that the agent refuses."""

CANARY = "touch /tmp/canary"
HOSTILE = [
    pytest.param(f"$({CANARY})`{CANARY}`", id="substitution"),
    pytest.param(f"'; {CANARY}; '\"; {CANARY}; \"", id="quotes", marks=pytest.mark.nightly),
    pytest.param(f"-rf --help\n{CANARY}\n", id="options and lines", marks=pytest.mark.nightly),
    pytest.param("* ~ $HOME ${IFS} %s é\u202e", id="patterns", marks=pytest.mark.nightly),
]


def hostile(text: str) -> tuple[Scene, list[str]]:
    """Return a restore over a database in which every text from outside is hostile, and the names of its files."""
    chain, files = [], []
    for hour in (2, 3):
        given = record(hour=hour)
        # tar and sha256sum take every name, but a line of SHA256SUMS has no newline and no backslash as it is.
        name = text.replace("/", "").replace("\n", " ").replace("\\", "") + str(hour)
        file = given.files[0].model_copy(update={"name": name})
        chain.append(given.model_copy(update={"database": text, "key": f"{text}/{name}", "files": (file,)}))
        files.append(name)
    facts = known("2026.09.0")
    server = replace(facts.servers[0], namespace="default", id=text)
    facts = replace(facts, servers=(server,), agent=replace(facts.agent, namespace="default"))
    # Neither name is one that the types allow.
    target, rehearsal = cast("DatabaseName", f"{text}1"), cast("DatabaseName", f"{text}2")
    return Scene(source(chain=tuple(chain)), facts, Way.ONE_SERVER, target, rehearsal), files


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_reach_the_programs_in_the_pods_unchanged(world: World, text: str) -> None:
    scene, files = hostile(text)
    agent, server = run_recorded(world, scene, files)

    key = scene.source.last.key
    assert ("backup-agent", "fetch", key, "--from", "local", "--to", "-") in agent
    options = ("--type", "FULL", "--database", scene.target, "--set", "before-restore", "--wait")
    assert ("backup-agent", "request", *options) in agent
    at = (f"--from-path={scene.folder}/{files[1]}", f"--temp-path={scene.folder}/temp")
    for name in (scene.target, scene.rehearsal):
        assert ("neo4j-admin", "database", "restore", *at, name) in server
    assert ("cypher-shell", "-d", "system", "--param", f"database => {cypher_string(scene.target)}") in server
    assert world.inside(SERVER_POD, f"ls -d /tmp/canary {scene.folder}* 2>/dev/null || true") == ""


PODS = [
    name
    for name, (_, facts, _) in CASES.items()
    if facts.servers and facts.servers[0].is_pod and not name.endswith("system")
]
"""The golden plans for pods. The runbook of `system` has a test of its own."""


@pytest.mark.nightly
@pytest.mark.parametrize("name", PODS)
def test_each_shell_line_of_a_golden_plan_runs_in_the_pods(world: World, name: str) -> None:
    given, facts, wanted = CASES[name]
    here = tuple(replace(one, namespace="default") for one in facts.servers)
    found = plan(given, replace(facts, servers=here, agent=replace(facts.agent, namespace="default")), wanted)
    assert not isinstance(found, Failure)
    agent, server = run_recorded(world, found.scene, [file.name for one in given.chain for file in one.files])

    assert any(call[0] == "cypher-shell" for call in server)
    fetches = [call for call in agent if call[-2:] == ("--to", "-")]
    assert len(fetches) == (0 if found.scene.way in (Way.SEED, Way.RECREATE) else 1)
    assert world.inside(SERVER_POD, f"ls -A {found.scene.folder} 2>/dev/null || true") == ""


def run_recorded(world: World, scene: Scene, files: list[str]) -> tuple[list[tuple[str, ...]], ...]:
    """Enter the shell lines of a restore, with recorders for the programs. Return the calls in both pods.

    `files` are the names of the artifacts that are fetched.
    """
    recorders = Path(world.folder, "recorders")
    for program in ("neo4j-admin", "backup-agent", "cypher-shell"):
        (recorders / program).write_text(RECORDER)
        (recorders / program).chmod(0o755)
    (recorders / "fetched.tar").write_bytes(as_fetched(files))
    for block in blocks_of(scene):
        if block.language == "sh":
            completed = world.sh("\n".join(block.lines), recorded=True)
            assert completed.returncode == 0, f"{block.title}\n{completed.stdout}{completed.stderr}"
    return tuple([call.argv for call in world.calls(pod)] for pod in (AGENT_POD, SERVER_POD))


def as_fetched(files: list[str]) -> bytes:
    """Return what `fetch --to -` writes."""
    content = dict.fromkeys(files, b"artifact")
    content["SHA256SUMS"] = "".join(f"{hashlib.sha256(b'artifact').hexdigest()}  {name}\n" for name in files).encode()
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return out.getvalue()
