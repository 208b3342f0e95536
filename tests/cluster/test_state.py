"""Whether a cluster is settled, read over Bolt from a simulated cluster with faults and from a real Neo4j Community."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.cluster import bolt
from backup_agent.core.neo4j.cluster_state import ClusterState, Readiness
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.events import ClusterStateTold, DiscoveryFailed
from backup_agent.core.requests.tasks import ClusterStateTask
from backup_agent.jobs.cluster_state import see
from backup_agent.settings.model import Neo4j
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.cluster import BoltFault, Cluster, User, three_servers
from tests.components.neo4j_community import CommunityServer

PASSWORD = "sesame-open-42"
OF_SYSTEM = "Neo.TransientError.General.DatabaseUnavailable"


def ask_state(
    uri: str, folder: Path, password: str = PASSWORD, servers: int | None = 3
) -> ClusterStateTold | DiscoveryFailed:
    file = folder / "password"
    file.write_text(password)
    neo4j = Neo4j.model_validate({"uri": uri, "username": "neo4j", "password_file": str(file)})
    return see(ClusterStateTask(settings={}, servers=servers, timeout=60), neo4j, {})


@pytest.fixture(name="state")
def _state(bolt_server: Callable[..., BoltServer], tmp_path: Path) -> Callable[[Cluster], ClusterState]:
    """Return a function that starts a cluster and asks it for its state."""

    def ask(cluster: Cluster) -> ClusterState:
        up = next(server.name for server in cluster.servers if server.up)
        found = ask_state(bolt_server(cluster).uri(up, scheme="neo4j"), tmp_path)
        assert isinstance(found, ClusterStateTold), found
        return found.state

    return ask


State = Callable[[Cluster], ClusterState]


def test_a_healthy_cluster_is_settled(state: State) -> None:
    found = state(three_servers().with_database("orders", type="standard"))

    assert (found.readiness, found.databases) == (Readiness.SETTLED, 3)
    assert [(one.state, one.health, one.hosting, one.requested, one.version) for one in found.servers] == [
        ("Enabled", "Available", 3, 3, "2026.09.0")
    ] * 3


@pytest.mark.parametrize(
    ("cluster", "reasons"),
    [
        pytest.param(
            three_servers().with_server_down("server-2"), ["is Unavailable, not Available"], id="a server restarts"
        ),
        pytest.param(
            three_servers().with_copy("orders", "server-0", status="starting"),
            ["does not host yet: orders", "orders on 127.0.0.1:"],
            id="a database starts",
        ),
        pytest.param(
            three_servers().with_server_down("server-1").with_server_down("server-2"),
            [
                "is Unavailable",
                "is Unavailable",
                "no server accepts writes to neo4j, orders, system: no leader is elected",
            ],
            id="the majority is lost",
        ),
        pytest.param(
            three_servers().with_server("server-1", state="Cordoned"),
            ["2 servers are Enabled, and 3 are expected", "is Cordoned, not Enabled"],
            id="a server is cordoned",
        ),
        pytest.param(
            three_servers().with_status("orders", "quarantined"),
            ["does not host yet: orders"] * 3 + ["orders on 127.0.0.1:"] * 3 + ["no server accepts writes to orders"],
            id="a database is quarantined",
        ),
    ],
)
def test_a_cluster_that_is_not_settled_has_reasons_to_wait(state: State, cluster: Cluster, reasons: list[str]) -> None:
    found = state(cluster)

    assert found.readiness is Readiness.WAIT
    assert len(found.reasons) == len(reasons), found.reasons
    for reason, part in zip(found.reasons, reasons, strict=True):
        assert part in reason


def test_a_stopped_database_does_not_stop_a_restart(state: State) -> None:
    assert state(three_servers().with_status("orders", "offline")).readiness is Readiness.SETTLED


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (User("neo4j", PASSWORD, show_servers=False), "SHOW SERVERS is not granted: GRANT SHOW SERVERS ON DBMS TO"),
        (
            User("neo4j", PASSWORD, databases=("neo4j",)),
            "SHOW DATABASES does not list orders although servers host them",
        ),
    ],
)
def test_facts_that_the_role_may_not_see_are_named(state: State, user: User, expected: str) -> None:
    found = state(three_servers().with_users(user))

    assert found.readiness is Readiness.UNKNOWN
    assert expected in found.unseen[0]


def test_a_statement_that_is_refused_for_another_reason_is_named_by_its_code(state: State) -> None:
    fault = BoltFault("fail", statement="SHOW SERVERS", code="Neo.ClientError.Statement.SyntaxError", message="secret")

    assert state(three_servers().with_bolt_faults(fault)).unseen == (
        "SHOW SERVERS is refused: Neo.ClientError.Statement.SyntaxError",
    )


@pytest.mark.patience
def test_a_server_that_does_not_answer_is_a_transient_failure(
    bolt_server: Callable[..., BoltServer], tmp_path: Path
) -> None:
    fault = BoltFault("fail", statement="SHOW SERVERS", code=OF_SYSTEM, message="starting")
    server = bolt_server(three_servers().with_bolt_faults(fault))

    found = ask_state(server.uri("server-0", scheme="bolt"), tmp_path)

    assert isinstance(found, DiscoveryFailed)
    assert (found.failure.reason, found.permanent) == (Reason.SOURCE_UNREACHABLE, False)


def test_a_wrong_password_is_a_permanent_failure(bolt_server: Callable[..., BoltServer], tmp_path: Path) -> None:
    server = bolt_server(three_servers().with_users(User("neo4j", PASSWORD)))

    found = ask_state(server.uri("server-0", scheme="neo4j"), tmp_path, "another-password")

    assert isinstance(found, DiscoveryFailed)
    assert found.permanent
    assert "refused the login" in found.failure.error


def test_more_copies_than_the_agent_supports_are_a_failure_and_not_left_out(
    bolt_server: Callable[..., BoltServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bolt, "MOST_COPIES", 5)
    server = bolt_server(three_servers())

    found = ask_state(server.uri("server-0", scheme="bolt"), tmp_path)

    assert isinstance(found, DiscoveryFailed)
    assert isinstance(found.failure, Failure)
    assert "more than 5 copies of databases" in found.failure.error


def test_the_state_of_a_real_community_edition_is_unknown(
    community_server: Callable[[str], CommunityServer], neo4j_version: str, tmp_path: Path
) -> None:
    server = community_server(neo4j_version)

    found = ask_state(server.uri, tmp_path, server.password, servers=None)

    assert isinstance(found, ClusterStateTold)
    assert found.state.unseen == ("SHOW SERVERS is not supported: this is Neo4j Community, which forms no cluster",)
    assert found.state.reasons == ()
    assert found.state.databases >= 2
