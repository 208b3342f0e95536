"""Queries to the scratch server of a drill. No result leaves this module, only whether it is the expected one.

The driver has no timeout for reading, so each conversation runs in a thread that is abandoned at its deadline. The
thread ends with the server.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

import neo4j
from neo4j.exceptions import DriverError, Neo4jError

from backup_agent.core.artifacts.names import SYSTEM, DatabaseName
from backup_agent.core.drill.evidence import EntityCounts
from backup_agent.core.drill.outcomes import DrillStoppedError, StopCause
from backup_agent.core.neo4j.scratch import LOOPBACK

logging.getLogger("neo4j").addHandler(logging.NullHandler())  # otherwise each retry prints a line on stderr

Scalar = bool | int | float | str | None
T = TypeVar("T")

_CONNECT_SECONDS = 5.0
_STATUS_SECONDS = 10.0

_NO_PLUGIN = ("Neo.ClientError.Procedure.ProcedureNotFound", "Unknown function")
"""Code of an unknown procedure, and text of an unknown function (its code is that of any syntax error)."""


class ScratchBolt:
    """The Bolt listener of a scratch server, and its restored database."""

    def __init__(self, port: int, database: DatabaseName) -> None:
        self._uri = f"bolt://{LOOPBACK}:{port}"
        self._database = database

    def is_online(self) -> bool:
        """Return whether the database answers. Raise DrillStoppedError if the server could not start it."""
        try:
            return self._within(_STATUS_SECONDS, self._online)
        except (DriverError, Neo4jError, FutureTimeoutError, OSError):
            return False

    def version(self) -> str | None:
        """Return the version of the server, or None if it is not known."""
        try:
            rows = self._within(_STATUS_SECONDS, self._components)
        except (DriverError, Neo4jError, FutureTimeoutError, OSError):
            return None
        return next((str(versions[0]) for name, versions in rows if name == "Neo4j Kernel" and versions), None)

    def counts(self, seconds: float) -> EntityCounts:
        """Return the numbers of nodes and relationships. Raise DrillStoppedError if the server does not answer."""
        nodes = self._scalar("MATCH (n) RETURN count(n)", seconds)
        relationships = self._scalar("MATCH ()-[r]->() RETURN count(r)", seconds)
        return EntityCounts.model_validate({"nodes": nodes, "relationships": relationships})

    def is_expected(self, cypher: str, expected: Scalar, seconds: float) -> bool:
        """Return whether a query returns one row with one value, the expected one.

        Raise DrillStoppedError if the query cannot be run: it is wrong, needs a plugin, or takes too long.
        """
        found = self._scalar(cypher, seconds)
        return type(found) is type(expected) and found == expected

    def _scalar(self, cypher: str, seconds: float) -> object:
        """Return the value of the only row and column; a text that is no value of Neo4j if there are several."""
        try:
            return self._within(seconds, lambda driver: self._only(driver, cypher, seconds))
        except FutureTimeoutError:
            raise DrillStoppedError(StopCause.TIMEOUT, f"no answer within {seconds:.0f} s") from None
        except Neo4jError as error:
            missing = any(text in (error.code or "") or text in (error.message or "") for text in _NO_PLUGIN)
            # The message may quote the query and the data: only the code is shown.
            raise DrillStoppedError(
                StopCause.PLUGIN_MISSING if missing else StopCause.QUERY_FAILED, f"the server answers {error.code}"
            ) from None
        except DriverError as error:
            raise DrillStoppedError(StopCause.NO_SERVER, f"the connection broke: {type(error).__name__}") from None

    def _only(self, driver: neo4j.Driver, cypher: str, seconds: float) -> object:
        with driver.session(database=self._database, default_access_mode=neo4j.READ_ACCESS) as session:
            rows = session.run(neo4j.Query(cypher, timeout=seconds)).fetch(2)
        return rows[0].values()[0] if len(rows) == 1 and len(rows[0].values()) == 1 else _SEVERAL

    def _online(self, driver: neo4j.Driver) -> bool:
        with driver.session(database=SYSTEM) as session:
            found = session.run("SHOW DATABASES YIELD name, currentStatus, statusMessage").fetch(100)
        status = {str(name).lower(): (state, message) for name, state, message in (row.values() for row in found)}
        state, message = status.get(self._database.lower(), ("", ""))
        if state != "online" and message:
            raise DrillStoppedError(
                StopCause.NOT_ONLINE, f"the server could not start the database: {str(message)[:500]}"
            )
        if state != "online":
            return False
        self._only(driver, "RETURN 1", _STATUS_SECONDS)
        return True

    def _components(self, driver: neo4j.Driver) -> list[tuple[object, list[object]]]:
        with driver.session(database=SYSTEM) as session:
            rows = session.run("CALL dbms.components() YIELD name, versions").fetch(10)
        return [(name, versions) for name, versions in (row.values() for row in rows)]

    def _within(self, seconds: float, ask: Callable[[neo4j.Driver], T]) -> T:
        pool = ThreadPoolExecutor(1, thread_name_prefix="scratch query")
        try:
            return pool.submit(self._converse, ask).result(seconds)
        finally:
            pool.shutdown(wait=False)

    def _converse(self, ask: Callable[[neo4j.Driver], T]) -> T:
        with neo4j.GraphDatabase.driver(
            self._uri, connection_timeout=_CONNECT_SECONDS, max_transaction_retry_time=0
        ) as driver:
            return ask(driver)


class _Several:
    """Stands for a result of several rows or columns, which is never the expected one."""


_SEVERAL = _Several()
