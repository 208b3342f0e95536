"""What the tests of the Bolt stand-in share: a running cluster, a driver that does not wait long, and its answers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import neo4j

from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.cluster import Cluster, save

AUTH = ("neo4j", "secret-password")


@contextmanager
def started(folder: Path, cluster: Cluster, **options: Any) -> Iterator[BoltServer]:
    """Serve a cluster out of a folder."""
    save(cluster, folder)
    with BoltServer(folder, **options) as server:
        yield server


@contextmanager
def connected(uri: str, **options: Any) -> Iterator[neo4j.Driver]:
    """Connect the real driver, which else retries for 30 s."""
    quick: dict[str, Any] = {"auth": AUTH, "connection_timeout": 2.0, "max_transaction_retry_time": 0.0}
    with neo4j.GraphDatabase.driver(uri, **(quick | options)) as driver:
        yield driver


def asked(driver: neo4j.Driver, statement: str, database: str = "system", **parameters: Any) -> list[dict[str, Any]]:
    """Ask a statement; return its rows."""
    records = driver.execute_query(statement, parameters, database_=database).records
    return [record.data() for record in records]


def columns(driver: neo4j.Driver, statement: str) -> list[str]:
    """Ask a statement; return the names of its columns."""
    return list(driver.execute_query(statement, database_="system").keys)


def by_server(rows: list[dict[str, Any]], addresses: Mapping[str, str], name: str) -> dict[str, dict[str, Any]]:
    """Return the rows of one database by the server they are of."""
    names = {address: server for server, address in addresses.items()}
    return {names[row["address"]]: row for row in rows if row["name"] == name and row["address"]}
