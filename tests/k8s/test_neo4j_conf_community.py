"""Neo4j's own validation reads the neo4j.conf that is rendered, as far as the Community Edition knows its settings."""

import os
import subprocess
from collections.abc import Callable

import pytest

from backup_agent.k8s import neo4j_conf
from tests.components.neo4j_community import CommunityHome
from tests.k8s.specs import parsed, text

ENTERPRISE = (
    "dbms.cluster.",
    "dbms.databases.seed_from_uri_providers",
    "initial.dbms.",
    "server.backup.",
    "server.cluster.",
    "server.metrics.",
    "server.routing.advertised_address",
)
"""What the Community Edition does not know. Their names are those of the manual, and no Neo4j here has read them."""


@pytest.mark.components
def test_neo4j_takes_every_setting_that_it_knows(
    community_home: Callable[[str], CommunityHome], neo4j_version: str
) -> None:
    home = community_home(neo4j_version)
    found = parsed(text("everything").replace("2025.04.0", neo4j_version))
    advertised = [f"{name}=demo-server-0:{port or 7687}" for name, port in neo4j_conf.advertised(found).items()]
    lines = [*neo4j_conf.text(found).splitlines(), *advertised]
    known = [line for line in lines if not line.startswith(ENTERPRISE)]
    (home.folder / "conf/neo4j.conf").write_text("\n".join([*known, ""]))

    done = subprocess.run(
        (str(home.script), "server", "validate-config"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **home.environment},
        timeout=120,
    )

    assert done.returncode == 0, done.stdout
    assert len(known) > 35
