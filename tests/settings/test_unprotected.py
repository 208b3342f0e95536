"""Which settings leave a connection unprotected."""

from typing import Any

import pytest

from backup_agent.settings.model import Neo4j
from backup_agent.settings.unprotected import KINDS, unprotected

TLS = {"ca_file": "/tls/ca.crt", "cert_file": "/tls/tls.crt", "key_file": "/tls/tls.key"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"uri": "neo4j+s://demo-client"}, [], id="checked"),
        pytest.param({"uri": "neo4j://demo-client"}, ["plain_bolt"], id="plain"),
        pytest.param({"uri": "bolt://demo-client:7687"}, ["plain_bolt"], id="plain-direct"),
        pytest.param({"uri": "bolt://127.0.0.1:7687"}, [], id="plain-on-this-machine"),
        pytest.param({"uri": "bolt+ssc://demo-client"}, ["unchecked_bolt"], id="unchecked"),
        pytest.param({"uri": "bolt+s://demo-client", "backup_tls": TLS}, [], id="checked-backup"),
        pytest.param(
            {"uri": "bolt+s://demo-client", "backup_tls": {**TLS, "verify_hostname": False}},
            ["backup_hostname"],
            id="unchecked-backup",
        ),
    ],
)
def test_each_unprotected_connection_is_found(settings: dict[str, Any], expected: list[str]) -> None:
    found = unprotected(Neo4j.model_validate(settings))

    assert list(found) == expected
    assert set(found) <= set(KINDS)


def test_the_warning_names_the_uri_to_set() -> None:
    assert "set bolt+s:// and neo4j.ca_file" in unprotected(Neo4j(uri="bolt+ssc://demo-client"))["unchecked_bolt"]
