"""Every statement of a plan runs on the scripted cluster of its version, and the databases are online then.

Seeds are found in a folder; no data is restored. `tests/community/test_restores.py` runs whole plans with data.
"""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from neo4j import Query

from backup_agent.core.artifacts.records import Definition
from backup_agent.core.reasons import Failure
from backup_agent.core.restore.facts import Wanted
from backup_agent.core.restore.machines import servers
from backup_agent.core.restore.plan import RestorePlan, plan
from backup_agent.core.restore.scene import Block
from backup_agent.core.restore.ways import Way
from backup_agent.standins.bolt import Restoring
from backup_agent.standins.bolt.seeds import Folder, LocalFolder
from backup_agent.standins.bolt.statements import PROVIDERS, SEEDS
from backup_agent.standins.cluster import Cluster, User, one_server, three_servers
from tests.cli.restores import AT, BESIDE, REPLACE, known, record, source
from tests.polling import until
from tests.standins.conftest import Simulation, create
from tests.standins.served import AUTH, Served

pytestmark = pytest.mark.process

VERSIONS = ["5.26.31", "2025.01.0", "2025.04.0", "2026.03.0", "2026.09.0"]
MARKED = [
    pytest.param(version, marks=[] if version in (VERSIONS[0], VERSIONS[-1]) else pytest.mark.nightly)
    for version in VERSIONS
]
CUTS: tuple[dict[str, Any], ...] = ({}, {"until": AT}, {"before_tx": 15})
GRANT = "GRANT ACCESS ON DATABASE `orders` TO `readers`"
AS_IT_WAS = Definition(
    primaries=2, secondaries=1, access="read-only", options={"txLogEnrichment": "FULL"}, aliases=("sales",)
)


@dataclass(frozen=True)
class Backups:
    """A full and a differential of `orders` with the names that the records of plans have."""

    simulation: Simulation

    @property
    def folder(self) -> Path:
        return self.simulation.target

    def open(self, location: str) -> tuple[Folder, str]:
        """Open what a bucket would have."""
        return LocalFolder(self.folder), location.rpartition("/")[2]


@pytest.fixture(name="backups")
def _backups(tmp_path: Path) -> Backups:
    simulation = create("5.26.31", tmp_path)
    for clock, kind in (("01:59", "FULL"), ("02:59", "DIFF")):
        (simulation.folder / "clock").write_text(f"2026-11-23T{clock}:00")
        simulation.artifact(f"--type={kind}")
        simulation.commit(5)
    return Backups(simulation)


def cluster(version: str, backups: Backups, *, standalone: bool) -> Cluster:
    """Return a cluster with `orders` as the records describe it."""
    made = one_server(version) if standalone else three_servers(version)
    for server in made.servers:
        settings = {PROVIDERS: "CloudSeedProvider,ServerSeedProvider", SEEDS: str(backups.folder)}
        made = made.with_server(server.name, backup=f"{server.name}.example.com:6362")
        made = made.with_settings(server.name, settings)
    copies = made.database("orders").copies
    if not standalone:
        made = made.with_copy("orders", next(one.server for one in copies if not one.writer), role="secondary")
    made = made.with_database("orders", access=AS_IT_WAS.access, options=dict(AS_IT_WAS.options))
    user = User(AUTH[0], AUTH[1], manages_databases=True, home="orders")
    return made.with_alias("sales", "orders").with_users(user).with_privileges(GRANT)


def made_plan(now: Cluster, place: str, cut: dict[str, Any], wanted: Wanted) -> RestorePlan:
    """Return the plan of a restore on a cluster."""
    machines = servers("demo", [(server.backup.partition(":")[0], server.id) for server in now.servers])
    chain = tuple(record("orders", hour, definition=AS_IT_WAS) for hour in (2, 3))
    found = plan(source(place, chain=chain, **cut), known(now.version, machines), wanted)
    assert not isinstance(found, Failure), found
    return found


class Shell:
    """A served cluster, and a connection to it like that of cypher-shell."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._driver = served.driver()

    def ask(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement on `system` and return its rows."""
        text = Query(statement.removesuffix(";"))
        return [record.data() for record in self._driver.execute_query(text, database_="system").records]


@contextmanager
def serving(folder: Path, now: Cluster, backups: Backups) -> Iterator[Shell]:
    folder.mkdir()
    with Served(folder, now, restoring=Restoring({"s3": backups.open})) as served:
        yield Shell(served)


def enter(shell: Shell, backups: Backups, block: Block, kept: list[str]) -> None:
    """Enter the lines of a block, as far as they concern servers."""
    if block.language == "sh":
        for line in block.lines:
            if "database restore" in line:
                restore_with_neo4j_admin(shell, backups, line)
        return
    lines = block.lines
    if "kept output" in block.title:
        lines = (*kept, *(line.replace("<USER>", AUTH[0]) for line in lines))
    for line in lines:
        if line.startswith("MATCH"):
            continue
        rows = shell.ask(line)
        kept += [row["command"] for row in rows if "command" in row]
        if line.startswith("SHOW DATABASE ") and "Repeat" in block.title:
            until(partial(is_online, shell, line), line)


def is_online(shell: Shell, statement: str) -> bool:
    rows = shell.ask(statement)
    assert rows
    return {row["currentStatus"] for row in rows} == {"online"}


def restore_with_neo4j_admin(shell: Shell, backups: Backups, line: str) -> None:
    words = shlex.split(line)
    _, file, name, *cut = words[words.index("-") + 1 :]
    options = [f"--restore-until={one}" for one in cut]
    options += re.findall("--overwrite-destination=true", line)
    on_server = Simulation(shell.served.folder, backups.simulation.program, backups.folder)
    completed = on_server.run("database", "restore", f"--from-path={backups.folder / file}", *options, name)
    assert completed.returncode == 0, completed.stderr


def what_belongs(shell: Shell) -> list[Any]:
    """Return everything of a database that a restore must bring back."""
    columns = "role, aliases, access, options"
    return [
        sorted(shell.ask(f"SHOW DATABASE orders YIELD {columns}"), key=repr),
        shell.ask("SHOW ALL PRIVILEGES AS COMMANDS YIELD command"),
        shell.ask("SHOW USERS YIELD user, home"),
    ]


@pytest.mark.parametrize("standalone", [False, True], ids=["cluster", "standalone"])
@pytest.mark.parametrize("version", MARKED)
def test_the_statements_of_every_plan_restore_the_database_as_it_was(
    backups: Backups, tmp_path: Path, version: str, *, standalone: bool
) -> None:
    now = cluster(version, backups, standalone=standalone)
    ways = set()
    for number, (place, cut, wanted) in enumerate(product(("local", "offsite"), CUTS, (BESIDE, REPLACE))):
        made = made_plan(now, place, cut, wanted)
        ways.add(made.scene.way)
        with serving(tmp_path / str(number), now, backups) as shell:
            before, kept = what_belongs(shell), list[str]()
            for block in made.blocks:
                enter(shell, backups, block, kept)
            restored = shell.ask(f"SHOW DATABASE `{made.scene.target}` YIELD role, lastCommittedTxn")

            # neo4j-admin's cut is checked only: nothing here applies a differential.
            cuts = "before_tx" in cut and made.scene.way is Way.SEED
            assert {row["lastCommittedTxn"] for row in restored} == {14 if cuts else 17}
            assert len(restored) == (1 if standalone else 3)
            assert what_belongs(shell) == before, (place, cut, wanted)
            assert {database.name for database in shell.served.cluster.databases} >= {made.scene.target}
            assert len(shell.served.cluster.databases) == len(now.databases) + (made.scene.rehearsal is None)

    assert ways == EXPECTED_WAYS[version, standalone]


SEEDED = {Way.SEED, Way.RECREATE, Way.ONE_SERVER}
EXPECTED_WAYS = {
    **{(version, True): {Way.STANDALONE} for version in VERSIONS},
    **{(version, False): SEEDED for version in VERSIONS},
    ("2026.09.0", False): {*SEEDED, Way.SERVER_SEED, Way.SERVER_RECREATE},
}
"""Version, and whether there is one server -> the ways of the plans."""
