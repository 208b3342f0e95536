"""The Bolt stand-in, as edition `community`, compared with real Neo4j Community servers."""

from collections.abc import Callable
from typing import Any

import neo4j
import pytest
from neo4j.exceptions import Neo4jError

from backup_agent.standins.cluster import User, one_server
from tests.components.neo4j_community import CommunityServer
from tests.standins.served import Served, connected

STATEMENTS = [
    ("system", "SHOW DATABASES"),
    ("system", "SHOW DATABASES YIELD *"),
    ("system", "SHOW DATABASE neo4j YIELD name, role, writer, currentStatus, lastCommittedTxn, replicationLag, type"),
    ("system", "SHOW DATABASES YIELD name, access, requestedPrimariesCount, options WHERE name = 'system'"),
    ("system", "SHOW DATABASES YIELD nope"),
    ("system", "SHOW HOME DATABASE"),
    ("system", "SHOW DATABASE nope"),
    ("system", "SHOW SERVERS"),
    ("system", "SHOW ALIASES FOR DATABASE"),
    ("system", "SHOW SETTINGS 'server.backup.enabled'"),
    ("system", "SHOW SETTINGS 'server.directories.data' YIELD name, isDynamic, defaultValue"),
    ("system", "CALL dbms.components()"),
    ("system", "CALL dbms.components() YIELD name RETURN name"),
    ("system", "CALL db.info() YIELD name"),
    ("neo4j", "CALL db.info() YIELD name"),
    ("system", "RETURN datetime()"),
    ("neo4j", "RETURN 1, 'text' AS text"),
    ("neo4j", "BOGUS"),
    ("neo4j", "CALL dbms.cluster.overview()"),
    ("nope", "RETURN 1"),
]
DIFFERS = {"databaseID", "serverID", "address", "creationTime", "lastStartTime"}
"""Columns whose values differ between servers."""


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_the_stand_in_answers_as_a_real_server_does(
    community_server: Callable[[str], CommunityServer], serve: Callable[..., Served], neo4j_version: str, scheme: str
) -> None:
    real = community_server(neo4j_version)
    auth = (real.username, real.password)
    cluster = one_server(neo4j_version, databases=["neo4j"]).with_edition("community").with_users(User(*auth))
    with connected(f"{scheme}://{real.address}", auth=auth) as driver:
        info = driver.get_server_info()
        expected = {statement: _said(driver, *statement) for statement in STATEMENTS}
    driver = serve(cluster).driver(scheme=scheme, auth=auth)
    ours = driver.get_server_info()
    answers = {statement: _said(driver, *statement) for statement in STATEMENTS}

    assert (ours.agent, ours.protocol_version) == (info.agent, info.protocol_version)
    assert answers == expected


def _said(driver: neo4j.Driver, database: str, statement: str) -> Any:
    """Return columns and rows, or the error; of a syntax error without the message, which names a position."""
    try:
        result = driver.execute_query(statement, database_=database)
    except Neo4jError as error:
        text = "" if str(error.code).endswith(("SyntaxError", "ProcedureNotFound")) else error.message
        return error.code, error.gql_status, text
    rows = [{key: value for key, value in record.data().items() if key not in DIFFERS} for record in result.records]
    return list(result.keys), sorted(rows, key=repr)
