"""Real Neo4j Community servers behind the scripted cluster: they load, check and serve the fulls of its restored databases.

Community has one database, and cannot apply a differential. So there is one server for each full, whatever the name
of the restored database; the servers of a cluster share it.
"""

import hashlib
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import neo4j
from neo4j.exceptions import Neo4jError

from backup_agent.standins.bolt.faults import Failure, Refused
from backup_agent.standins.bolt.seeds import SeedError
from backup_agent.standins.bolt.statements import Answer
from tests.components.neo4j_community import CommunityHome, CommunityServer


class CommunityDatabases:
    """Keeps a server for each full that was loaded. `close` ends them."""

    def __init__(self, version: str, folder: Path) -> None:
        self._version = version
        self._folder = folder
        self._lock = threading.Lock()
        self._servers: dict[str, CommunityServer] = {}
        self._names: dict[str, CommunityServer] = {}
        self.loads: list[str] = []
        """Names of the databases for which a full was handed over, in order."""

    def load(self, database: str, full: Path) -> None:
        """Load a full, check it and start its server, unless this was done earlier. Raise SeedError if Neo4j refuses it."""
        self.loads.append(database)
        digest = hashlib.sha256(full.read_bytes()).hexdigest()[:12]
        with self._lock:
            if digest not in self._servers:
                try:
                    self._servers[digest] = self._serve(full, self._folder / f"{digest}-{len(self.loads)}")
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    raise SeedError(f"Neo4j Community did not start: {error}") from error
            self._names[database] = self._servers[digest]

    def _serve(self, full: Path, folder: Path) -> CommunityServer:
        home = CommunityHome.create(self._version, folder)
        for done in (home.load(full), home.check()):
            if done.returncode != 0:
                raise SeedError(f"Neo4j refuses {full.name}: {done.stdout}{done.stderr}")
        return CommunityServer(home, open_to_all=True).start()

    def drop(self, database: str) -> None:
        """Forget a database."""
        self._names.pop(database, None)

    def query(self, database: str, text: str, parameters: Mapping[str, Any]) -> Answer:
        """Run a statement on the server that has the data of a database."""
        try:
            rows = self._names[database].query(text, **parameters)
        except Neo4jError as error:
            raise Refused(Failure(str(error.code), str(error.message))) from error
        return Answer(tuple(rows[0]) if rows else (), tuple(tuple(row.values()) for row in rows))

    def refusal(self, text: str) -> str:
        """Return how Community's `system` refuses a statement, for its syntax or its edition; empty if it does not."""
        server = next(iter(self._servers.values()))
        with neo4j.GraphDatabase.driver(server.uri) as driver, driver.session(database="system") as session:
            try:
                session.run(neo4j.Query(text.removesuffix(";"))).consume()
            except Neo4jError as error:
                return str(error)
        return ""

    def close(self) -> None:
        """End all servers."""
        for server in self._servers.values():
            server.stop()
