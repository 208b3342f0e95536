"""Discovery with a real Neo4j Community, without and with TLS. It has no roles, no lag and only one server."""

from collections.abc import Callable, Iterable
from importlib import resources
from itertools import product
from typing import Any

import neo4j
import pytest
from neo4j.exceptions import Neo4jError

from backup_agent.cluster.bolt import Endpoint, LoginRefusedError, discover
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.escaping import cypher_name, cypher_string
from backup_agent.core.neo4j.topology import Addressing, sources
from backup_agent.core.reasons import Failure, PermanentError
from backup_agent.core.restore.plan import plan
from tests.cli.restores import AT, BESIDE, HOSTS, PODS, REPLACE, known, record, source
from tests.components.neo4j_community import CommunityServer
from tests.core import hostile

Community = Callable[[str], CommunityServer]


def endpoint(server: CommunityServer, scheme: str, *, password: str | None = None) -> Endpoint:
    uri = server.tls_uri.replace("bolt+s", scheme) if "+" in scheme else server.uri.replace("bolt", scheme)
    return Endpoint(uri, server.username, password or server.password, ca_file=str(server.ca_file))


@pytest.mark.parametrize("scheme", ["bolt", "neo4j", "bolt+s", "neo4j+s", "bolt+ssc", "neo4j+ssc"])
def test_the_topology_of_a_real_server_is_read(community_server: Community, neo4j_version: str, scheme: str) -> None:
    server = community_server(neo4j_version)

    found = discover(endpoint(server, scheme))

    assert {"neo4j", "system"} <= set(found.topology.databases())
    assert found.topology.versions == (neo4j_version,)
    for copy in found.topology.copies:
        assert (copy.role, copy.writer, copy.address, copy.status) == ("primary", True, server.address, "online")
        assert (copy.last_committed_txn, copy.replication_lag) == (None, 0)
        assert copy.database_id is not None
        assert len(copy.database_id) == 64
    assert not [note for note in found.notes if note.startswith("definitions")]
    newer = not neo4j_version.startswith("5.")
    assert found.topology.definitions[DatabaseName("neo4j")] == Definition(
        default_language="CYPHER 5" if newer else None, access="read-write"
    )
    assert found.topology.excluded() == {}
    assert found.clock_offset_seconds is not None
    assert abs(found.clock_offset_seconds) < 2
    [source] = sources(found.topology, DatabaseName("neo4j"), Addressing())
    assert (source.address, source.role) == ("127.0.0.1:6362", "writer")


def test_a_real_server_refuses_a_wrong_password(community_server: Community, neo4j_version: str) -> None:
    server = community_server(neo4j_version)

    with pytest.raises(LoginRefusedError, match=r"refused the login of 'neo4j': wrong user name or password"):
        discover(endpoint(server, "neo4j", password="not-the-password"))


def test_a_real_servers_certificate_needs_its_ca(community_server: Community, neo4j_version: str) -> None:
    server = community_server(neo4j_version)

    with pytest.raises(PermanentError, match="from a CA that is not trusted here"):
        discover(Endpoint(server.tls_uri, server.username, server.password))


def test_a_real_parser_accepts_the_script_of_the_role(community_server: Community, neo4j_version: str) -> None:
    """Community has no roles: it must refuse each statement because of its edition, and none because of its syntax."""
    server = community_server(neo4j_version)
    script = (resources.files("backup_agent.cluster") / "role.cypher").read_text()
    lines = [line for line in script.splitlines() if not line.startswith("//")]
    statements = [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]

    answers = {}
    with neo4j.GraphDatabase.driver(server.uri, auth=(server.username, server.password)) as driver:
        for statement in statements:
            # Community has users, and other tests use this server: EXPLAIN does not create one.
            text = f"EXPLAIN {statement}" if statement.startswith("CREATE USER") else statement
            try:
                driver.execute_query(neo4j.Query(text), password="for-tests-only", database_="system")
                answers[statement] = "accepted"
            except Neo4jError as error:
                answers[statement] = str(error)

    assert len(statements) >= 6
    for statement, answer in answers.items():
        assert "Syntax" not in answer, statement
        assert answer == "accepted" or "nsupported" in answer, statement


def test_a_real_server_reads_quoted_names_and_strings_as_their_text(
    community_server: Community, neo4j_version: str
) -> None:
    server = community_server(neo4j_version)
    texts = [*hostile.PIECES, "".join(hostile.PIECES), "\\" * 3, "\\'", "'\\u0041\\\\u0041"]
    row = {f"{number} {text}".replace("\\", "/"): text for number, text in enumerate(texts)}
    returned = ", ".join(f"{cypher_string(text)} AS {cypher_name(name)}" for name, text in row.items())
    for prefix in ("",) if neo4j_version.startswith("5.") else ("", "CYPHER 5 ", "CYPHER 25 "):
        assert server.query(f"{prefix}RETURN {returned}") == [row]
    for name in row:
        assert server.query(f"SHOW DATABASE {cypher_name(name)} YIELD name") == []


def test_a_real_parser_accepts_the_statements_of_plans(community_server: Community, neo4j_version: str) -> None:
    """Community has one database: it must refuse statements because of its edition, and none because of its syntax."""
    server = community_server(neo4j_version)
    statements = [*statements_of_plans(neo4j_version)]
    filled = {"<PRIMARIES>": "3", "<SECONDARIES>": "1", "<USER>": "reader"}
    with neo4j.GraphDatabase.driver(server.uri, auth=(server.username, server.password)) as driver:

        def answer(text: str) -> str:
            try:
                driver.execute_query(neo4j.Query(text.removesuffix(";")), database_="system")
            except Neo4jError as error:
                return str(error)
            return "accepted"

        for statement in statements:
            text = statement
            for placeholder, value in filled.items():
                text = text.replace(placeholder, value)
            assert "Syntax" not in answer(text), statement
            assert (text != statement) == ("Syntax" in answer(statement)), "a placeholder must not be accepted"

    assert len(statements) >= 20


def statements_of_plans(version: str) -> Iterable[str]:
    """Return the statements of all plans for servers of a version, except those that read data."""
    cuts: list[dict[str, Any]] = [{}, {"until": AT}, {"before_tx": 7}, {"chain": (record(definition=None),)}]
    found: dict[str, None] = {}
    for place, cut, wanted, machines in product(("local", "offsite"), cuts, (BESIDE, REPLACE), (PODS, HOSTS[:1], ())):
        made = plan(source(place, **cut), known(version, machines), wanted)
        assert not isinstance(made, Failure)
        for block in made.blocks:
            found |= dict.fromkeys(block.lines) if block.language == "cypher" else {}
    return [statement for statement in found if not statement.startswith("MATCH")]
