"""A world in which a printed plan of a restore can be run: an agent with backups, a scripted cluster, machines, a shell.

The scripted cluster is a stand-in, since Neo4j Enterprise is not available. It fetches each seed, from the bucket with a key that
can only read, and has a real Neo4j Community load, check and serve the full of it. Differentials are fetched and read
through, but Community cannot apply them: the data is that of the full.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import neo4j

from backup_agent.standins import cluster as simulated
from backup_agent.standins.bolt import Restoring
from backup_agent.standins.bolt.s3_seeds import S3Access
from backup_agent.standins.bolt.statements import PROVIDERS, SEEDS
from backup_agent.standins.neo4j_admin.restore import SERVER
from tests.agent.bucket import destination
from tests.agent.live import PASSWORD, Live
from tests.community.databases import CommunityDatabases
from tests.components.seaweedfs import KEYS, READ_ONLY, SeaweedFS
from tests.polling import until

HOSTS = {f"127.0.0.{number + 1}": f"server-{number}" for number in range(3)}
"""Address of a machine -> the server on it."""

GRANT = "GRANT ACCESS ON DATABASE `orders` TO `readers`"

SSH = """#!/bin/sh
shift
exec /bin/sh -c "$*"
"""
"""Instead of ssh: the machines share a file system, and one address of each is an address of this one."""

CYPHER_SHELL = """
import sys
import neo4j

uri, arguments = sys.argv[1], sys.argv[2:]
parameters = {}
if "--param" in arguments:
    name, _, value = arguments[arguments.index("--param") + 1].partition(" => ")
    parameters[name] = value.strip("'")
with neo4j.GraphDatabase.driver(uri, auth=("neo4j", "secret-password")) as driver:
    for statement in sys.stdin.read().split(";"):
        if statement.strip():
            driver.execute_query(statement, parameters, database_=arguments[arguments.index("-d") + 1])
"""
"""Instead of cypher-shell, as far as plans use it: statements on standard input, `-d` and one `--param`."""


@dataclass
class World:
    """An agent with a full and a differential of `orders`, on its volume and in a bucket."""

    live: Live
    databases: CommunityDatabases
    cluster: simulated.Cluster
    folder: Path
    keys: list[str] = field(default_factory=list)
    """The full, and the differential that continues it."""
    entered: list[tuple[str, str]] = field(default_factory=list)
    """Every statement of the plans that were entered, and its database."""

    def reset(self) -> None:
        """Bring the cluster back to its state at the time of the backups. Its databases then have no data."""
        assert self.live.bolt is not None
        for database in self.live.cluster.databases:
            if database.name != "system":
                self.run(f"DROP DATABASE `{database.name}` CASCADE ALIASES")
        self.live.bolt.change(self.cluster)

    def plan(self, key: str, *options: str) -> dict[str, Any]:
        """Return the plan of a restore of an artifact, as `restore --json` prints it."""
        plan: dict[str, Any] = self.live.command("restore", key, *options)
        return plan

    def run(self, statement: str, database: str = "system") -> list[dict[str, Any]]:
        """Run a statement on the scripted cluster, as cypher-shell does."""
        assert self.live.bolt is not None
        with (
            neo4j.GraphDatabase.driver(self.live.bolt.uri("server-0"), auth=("neo4j", PASSWORD)) as driver,
            driver.session(database=database) as session,
        ):
            return session.run(neo4j.Query(statement.removesuffix(";"))).data()

    def definition(self, database: str) -> dict[str, Any]:
        """Return what a restore must bring back: topology, options, access, aliases, privileges and home users."""
        columns = "requestedPrimariesCount, requestedSecondariesCount, options, access, aliases"
        rows = self.run(f"SHOW DATABASE `{database}` YIELD {columns}")
        commands = self.run(f"SHOW ALL PRIVILEGES AS COMMANDS YIELD command WHERE command CONTAINS '`{database}`'")
        homes = self.run(f"SHOW USERS YIELD user, home WHERE home = '{database}'")
        return {
            **rows[0],
            "copies": len(rows),
            "privileges": [row["command"] for row in commands],
            "home of": [row["user"] for row in homes],
        }

    def last_transactions(self, database: str) -> set[int]:
        """Return the last transaction of each copy."""
        return {row["lastCommittedTxn"] for row in self.run(f"SHOW DATABASE `{database}` YIELD lastCommittedTxn")}

    def enter(self, plan: dict[str, Any]) -> "Entered":
        """Enter every line of a plan in order, where its step says. Do what the titles ask a person to do."""
        entered = Entered(self, {})
        for step in plan["steps"]:
            entered.step(step["where"], step["title"], step["lines"], step["language"])
        return entered


@dataclass
class Entered:
    """The lines of a plan that were entered so far, and their output."""

    world: World
    filled_in: dict[str, str]
    """Texts that the plan asks to replace."""
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Statement -> its rows; of a statement that is repeated the last ones."""
    kept: list[str] = field(default_factory=list)
    """The statements of privileges in the kept output."""

    @property
    def counts(self) -> list[int]:
        """The counts that the plan's queries returned, in order."""
        return [row["count(n)"] for rows in self.answers.values() for row in rows if "count(n)" in row]

    def step(self, where: str, title: str, lines: list[str], language: str) -> None:
        """Enter the lines of one step."""
        lines = [self._filled(line) for line in lines]
        if language == "sh":
            self._shell(where, lines)
            return
        database = shlex.split(where)[-1]
        if title.startswith("Give back what the kept output names"):
            lines = [*self.kept, *(line.replace("<USER>", "neo4j") for line in lines)]
        for line in lines:
            rows = until(partial(self._finished, line, database, title), f"{title}: {line}")
            self.world.entered.append((line, database))
            self.answers[f"{database}: {line}"] = rows[0]
            self.kept += [row["command"] for row in rows[0] if "command" in row]
            if "server.directories.seeds" in line:
                self.filled_in["/<server.directories.seeds>"] = rows[0][0]["value"]

    def _finished(self, line: str, database: str, title: str) -> tuple[list[dict[str, Any]]] | None:
        """Run a statement; return its rows, unless the title says to repeat it."""
        rows = self.world.run(line, database)
        if not line.startswith("SHOW DATABASE "):
            return (rows,)
        wanted = "offline" if "when it is offline" in title else "online"
        if "no longer listed" in title:
            return (rows,) if not rows else None
        if "Repeat" in title or "when it is" in title:
            states = [(row["requestedStatus"], row["currentStatus"]) for row in rows]
            assert ("online", "offline") not in states, self._debug_log()
            return (rows,) if states and set(states) == {(wanted, wanted)} else None
        return (rows,)

    def _shell(self, where: str, lines: list[str]) -> None:
        server = HOSTS.get(where.partition(",")[0], "server-0")
        path = f"{self.world.folder / 'programs'}:{self.world.live.home}:{os.environ['PATH']}"
        environment = {**os.environ, **KEYS, "PATH": path, SERVER: server}
        script = "\n".join(lines)
        done = subprocess.run(
            ["/bin/sh", "-ec", script],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

    def _filled(self, line: str) -> str:
        line = line.replace("/var/tmp/restore-", f"{self.world.folder}/restore-")
        for old, new in self.filled_in.items():
            line = line.replace(old, new)
        return line

    def _debug_log(self) -> str:
        return (self.world.live.cluster_folder / "debug.log").read_text()


@contextmanager
def a_world(version: str, folder: Path, seaweedfs: SeaweedFS, servers: int = 3) -> Iterator[World]:
    """Start an agent, and let it take a full and a differential of `orders`."""
    databases = CommunityDatabases(version, folder / "community")
    access = S3Access(seaweedfs.endpoint_url, "us-east-1", READ_ONLY.access_key, READ_ONLY.secret_key)
    cluster = _cluster(version, folder, servers)
    restoring = Restoring({"s3": access.opener}, databases)
    with Live(folder / "agent", cluster, restoring=restoring) as live:
        live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, folder)}
        live.environ = KEYS
        world = World(live, databases, cluster, folder)
        _install(world)
        live.start()
        try:
            _back_up(world)
            yield world
        finally:
            databases.close()


def _cluster(version: str, folder: Path, servers: int) -> simulated.Cluster:
    made = simulated.three_servers if servers > 1 else simulated.one_server
    cluster = made(version, ("neo4j", "orders")).with_alias("sales", "orders")
    for host, name in list(HOSTS.items())[:servers]:
        cluster = cluster.with_server(name, bolt=f"{host}:0")
        if version >= "2026.04":
            seeds = folder / name / "seeds"
            settings = {SEEDS: str(seeds), PROVIDERS: "CloudSeedProvider,ServerSeedProvider"}
            cluster = cluster.with_settings(name, settings)
    user = simulated.User("neo4j", PASSWORD, manages_databases=True, home="orders")
    cluster = cluster.with_database("orders", options={"txLogEnrichment": "DIFF"})
    return cluster.with_users(user).with_privileges(GRANT)


def _install(world: World) -> None:
    """Write the programs that printed lines call."""
    assert world.live.bolt is not None
    folder = world.folder / "programs"
    folder.mkdir()
    (folder / "cypher_shell.py").write_text(CYPHER_SHELL)
    uri = world.live.bolt.uri("server-0")
    agent = f"{sys.executable} -m backup_agent"
    programs = {
        "ssh": SSH,
        "backup-agent": f'#!/bin/sh\nBACKUP_AGENT_CONFIG={world.live.config} exec {agent} "$@"\n',
        "cypher-shell": f'#!/bin/sh\nexec {sys.executable} {folder}/cypher_shell.py {uri} "$@"\n',
    }
    for name, program in programs.items():
        (folder / name).write_text(program)
        (folder / name).chmod(0o755)


def _back_up(world: World) -> None:
    live = world.live
    for kind in ("FULL", "DIFF"):
        answer = live.ask(kind.lower(), type=kind, database="orders")
        assert answer["state"] == "succeeded", answer
        live.commit("orders", 5)
    world.cluster = live.cluster
    artifacts = live.command("list")["artifacts"]
    world.keys = sorted(one["key"] for one in artifacts)
