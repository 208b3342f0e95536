"""Neo4j's own validation reads the neo4j.conf that is rendered, as far as the Community Edition knows its settings."""

import os
import subprocess
from collections.abc import Callable

import pytest

from backup_agent.k8s import former_settings, neo4j_conf, server
from backup_agent.k8s.spec import ClusterSpec
from tests.components.neo4j_community import CommunityHome
from tests.k8s.specs import parsed, text

ENTERPRISE = (
    "dbms.cluster.",
    "dbms.databases.seed_from_uri_providers",
    "initial.dbms.",
    "server.backup.",
    "server.cluster.",
    "server.directories.seeds",
    "server.metrics.",
    "server.routing.advertised_address",
)
"""Settings that the Community Edition does not know. Their names are from the manual and were not tried."""


def from_environment(spec: ClusterSpec) -> list[str]:
    """Return the settings that the entrypoint of Neo4j's image makes of a server's environment."""
    return [
        one["name"].removeprefix("NEO4J_").replace("_", ".").replace("..", "_")
        + "="
        + one["value"].replace("$(POD_NAME)", "shop-server-0")
        for one in server.environment(spec)
        if one["name"].startswith("NEO4J_server_")
    ]


def test_the_environment_becomes_the_settings_of_advertised_addresses() -> None:
    found = parsed(text("everything").replace("2025.04.0", "2026.09.0"))

    assert from_environment(found)[:2] == [
        "server.default_advertised_address=shop-server-0.shop-headless.graphs.svc.example.internal",
        "server.bolt.advertised_address=shop-server-0.shop-headless.graphs.svc.example.internal:7687",
    ]
    assert {line.partition("=")[0] for line in from_environment(found)} == neo4j_conf.ADVERTISED.keys()


@pytest.mark.components
def test_neo4j_accepts_every_setting_that_it_knows(
    community_home: Callable[[str], CommunityHome], neo4j_version: str
) -> None:
    home = community_home(neo4j_version)
    found = parsed(text("everything").replace("2025.04.0", neo4j_version))
    lines = [*neo4j_conf.text(found).splitlines(), *from_environment(found)]
    known = [line for line in lines if not line.startswith(ENTERPRISE)]
    (home.folder / "conf/neo4j.conf").write_text("\n".join([*known, ""]))

    completed = subprocess.run(
        (str(home.script), "server", "validate-config"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **home.environment},
        timeout=120,
    )

    assert completed.returncode == 0, completed.stdout
    assert len(known) > 35


REFUSED = "Unrecognized setting. No declared setting with name: {name}."


@pytest.mark.components
def test_neo4j_migrates_or_drops_each_setting_of_earlier_versions(
    community_home: Callable[[str], CommunityHome], neo4j_version: str
) -> None:
    assert "No declared setting" not in validated(community_home(neo4j_version), *former_settings.names())


@pytest.mark.components
def test_neo4j_refuses_a_setting_that_it_does_not_migrate(
    community_home: Callable[[str], CommunityHome], neo4j_version: str
) -> None:
    found = validated(community_home(neo4j_version), "causal_clustering.minimum_core_cluster_size_at_formation")

    assert REFUSED.format(name="causal_clustering.minimum_core_cluster_size_at_formation") in found


@pytest.mark.components
def test_neo4j_knows_the_settings_that_replaced_those_of_earlier_versions(
    community_home: Callable[[str], CommunityHome], neo4j_version: str
) -> None:
    at = tuple(int(part) for part in neo4j_version.split(".")[:2])
    found = (former_settings.former(name, at) for name in former_settings.names())

    assert "No declared setting" not in validated(
        community_home(neo4j_version), *sorted({one.new for one in found if one and one.new})
    )


def validated(home: CommunityHome, *names: str) -> str:
    """Return the settings that Neo4j reports as unknown in a neo4j.conf with these settings, all empty."""
    (home.folder / "conf/neo4j.conf").write_text("".join(f"{name}=\n" for name in names))
    completed = subprocess.run(
        (str(home.script), "server", "validate-config"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **home.environment},
        timeout=120,
    )
    return completed.stdout


@pytest.mark.components
@pytest.mark.parametrize("memory", [4, 16, 64, 128])
def test_heap_and_page_cache_are_those_that_neo4j_recommends(
    community_home: Callable[[str], CommunityHome], neo4j_version: str, memory: int
) -> None:
    completed = community_home(neo4j_version).admin("server", "memory-recommendation", f"--memory={memory}g")
    recommended = dict(
        line.split("=", 1) for line in completed.stdout.splitlines() if line.startswith("server.memory.")
    )
    ours = neo4j_conf.memory({}, memory * 1024**3)

    assert completed.returncode == 0, completed.stderr
    assert {key: neo4j_conf.size_of(value) for key, value in ours.items()} == {
        key: neo4j_conf.size_of(value) for key, value in recommended.items()
    }
