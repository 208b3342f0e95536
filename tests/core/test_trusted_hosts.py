"""Which of the listed hosts get the Bolt password."""

from typing import Any

import pytest

from backup_agent.core.neo4j.topology import Addressing
from backup_agent.core.neo4j.trusted_hosts import trusted_hosts

TEMPLATE = {"backup_addresses": "{name}.demo-headless:6362"}
MAP = {"backup_addresses": {"db-1.example.com:7687": "10.0.0.1:6362", "0e5b": "db-2.internal:6362"}}


@pytest.mark.parametrize(
    ("uri_host", "settings", "address", "expected"),
    [
        pytest.param("demo", {}, "demo:7687", True, id="host-of-the-uri"),
        pytest.param("Demo", {}, "DEMO.:7687", True, id="case-and-final-dot-do-not-matter"),
        pytest.param("::1", {}, "[::1]:7687", True, id="ipv6"),
        pytest.param("demo", {}, "elsewhere:7687", False, id="another-host"),
        pytest.param("demo.example.com", {}, "db-0.demo.example.com:7687", True, id="below-the-host-of-the-uri"),
        pytest.param("demo.example.com", {}, "other.example.com:7687", False, id="beside-the-host-of-the-uri"),
        pytest.param("demo.example.com", {}, "evil-demo.example.com:7687", False, id="a-name-that-ends-alike"),
        pytest.param("demo-client.graphs.svc", {}, "a.demo-headless.graphs.svc:7687", True, id="same-namespace"),
        pytest.param("demo-client.graphs.svc", {}, "a.headless.others.svc:7687", False, id="another-namespace"),
        pytest.param("demo-client.graphs.svc.a.b", {}, "x.graphs.svc.a.b:7687", True, id="namespace-with-a-domain"),
        pytest.param("demo", {"servers": ("db-0:6362",)}, "db-0:7687", True, id="a-host-of-servers"),
        pytest.param("demo", MAP, "db-1.example.com:7687", True, id="a-key-of-the-map"),
        pytest.param("demo", MAP, "10.0.0.1:7687", True, id="a-value-of-the-map"),
        pytest.param("demo", MAP, "db-3.example.com:7687", False, id="not-in-the-map"),
        pytest.param("demo", TEMPLATE, "demo-server-0.demo-headless:7687", True, id="domain-of-the-template"),
        pytest.param("demo", TEMPLATE, "demo-headless.example.com:7687", False, id="not-the-templates-domain"),
        pytest.param("demo", {"backup_addresses": "{host}:6362"}, "db-0:7687", False, id="template-without-a-domain"),
        pytest.param("demo", {"backup_addresses": "proxy:6362"}, "proxy:7687", True, id="template-of-one-host"),
    ],
)
def test_a_listed_host_is_trusted(uri_host: str, settings: dict[str, Any], address: str, *, expected: bool) -> None:
    assert (address in trusted_hosts(uri_host, Addressing(**settings))) is expected


def test_hosts_of_the_routing_table_are_added() -> None:
    trusted = trusted_hosts("demo", Addressing()).with_hosts(["DB-0", "::1"])

    assert "db-0:7687" in trusted
    assert "[::1]:7687" in trusted
    assert "db-1:7687" not in trusted
