"""docs/settings.md and the JSON Schema describe every key, and agree with the settings."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_agent.settings.load import parse
from backup_agent.settings.model import RESTART_ONLY
from backup_agent.settings.schema import schema

DOCUMENT = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
ROW = re.compile(
    r"^\| `(?P<key>[a-zA-Z0-9_.]+)` \| (?P<default>.+?) \| `(?P<example>.+?)` \| (?P<meaning>.+) \|$", re.MULTILINE
)
ROWS = {row["key"]: row for row in ROW.finditer(DOCUMENT)}

DESIGN = """
cluster: demo
neo4j:
  uri: neo4j://demo-client:7687
  username: neo4j                      # or username_file
  password_file: /run/secrets/neo4j/password
  ca_file: null                        # own CA for +s
  backup_port: 6362
  servers: []                          # host:port, used when Bolt does not answer
  backup_addresses: null
  backup_tls: null
  additional_config: null              # passed on to neo4j-admin
  include_metadata: all
  admin: null                          # path of neo4j-admin; else $NEO4J_HOME/bin, then PATH
  launch: auto                         # auto | script | direct
  heap: null                           # else derived from the cgroup; pagecache: likewise
  max_topology_age: 24h
databases: ["*"]                       # what "all" means, globs, "!name" excludes
sets: []
requests:
  folder: /backup-requests
  allow: {prune_force: true, drop_owed: true, forget: true, release: true, adopt_root: true, pause: true}
storage:
  root: /backups
  destinations:
    offsite: {type: s3, bucket: backups, prefix: neo4j, endpoint_url: null, region: eu-central-1, path_style: false, ca_file: null, bandwidth: null,
              single_writer: false, deletes: true, put_options: {ServerSideEncryption: AES256}, retention: {daily: 30, monthly: 12}, verify: {every: 90d}}
retention: {last: 7, daily: 14, weekly: 8, min_chains: 1, timezone: Europe/Berlin}     # for storage.root
chain: {max_links: 24, max_age: 7d, max_diff_share: 0.5}
schedules:
  nightly: {cron: "0 2 * * *", timezone: Europe/Berlin, type: FULL}
  hourly:  {cron: "15 * * * *", type: DIFF, databases: ["orders*"], misfire: skip, jitter: 60s}
limits: {parallel: 1, run_timeout: 6h, stall_timeout: 15m, keep_answers: 30d, keep_adhoc: 7d, shutdown_grace: 5m}
http: {listen: "0.0.0.0:8080", probes: "0.0.0.0:8081", page: "127.0.0.1:8082"}
log: {format: auto, level: info}
"""


def sections(node: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the definitions a property is made of."""
    for key, value in node.items():
        if key == "$ref":
            yield value.rsplit("/", 1)[1]
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict) and key in {"anyOf", "allOf", "additionalProperties"}:
                yield from sections(inner)


def keys(properties: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every key that has a value, with its description in the schema."""
    definitions = SCHEMA["$defs"]
    for name, node in properties.items():
        below = [definitions[one] for one in sections(node) if "properties" in definitions[one]]
        is_map = any("additionalProperties" in one for one in (node, *node.get("anyOf", ())))
        if prefix and name in ("retention", "verify"):  # described once, at the top
            below = []
        for section in below:
            yield from keys(section["properties"], f"{prefix}{name}.{'NAME.' if is_map else ''}")
        if not below:
            yield prefix + name, node


SCHEMA = schema()
KEYS = dict(keys(SCHEMA["properties"]))


def test_the_document_has_a_row_for_every_key_and_no_other_rows() -> None:
    assert sorted(ROWS) == sorted(KEYS)


def default_in_document(key: str) -> dict[str, Any]:
    cell = ROWS[key]["default"]
    return {"required": {}, "-": {"default": None}}.get(cell, {"default": yaml.safe_load(cell.strip("`"))})


def test_the_document_has_the_default_of_every_key() -> None:
    read = {key: default_in_document(key) for key in KEYS}

    assert read == {
        key: {name: value for name, value in node.items() if name == "default"} for key, node in KEYS.items()
    }


def with_example(key: str) -> bytes:
    """Return a settings file in which a key has the example of the document."""
    tree: dict[str, Any] = {
        "cluster": "demo",
        "neo4j": {"uri": "neo4j+s://x:7687", "backup_tls": {"ca_file": "/c", "cert_file": "/c", "key_file": "/k"}},
        "storage": {"destinations": {"name": {"bucket": "backups"}, "offsite": {"bucket": "elsewhere"}}},
        "schedules": {"name": {"cron": "@daily"}, "nightly": {"cron": "@daily"}},
        "notify": {"name": {"kind": "ping", "url_file": "/u"}},
        "doctor": {"accept": {"plain_bolt": {"reason": "known", "until": "2027-01-01"}}},
    }
    section = tree
    *parents, last = key.replace("accept.NAME", "accept.plain_bolt").replace("NAME", "name").split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = yaml.safe_load(ROWS[key]["example"])
    return json.dumps(tree).encode()


def test_the_example_of_every_key_is_accepted() -> None:
    for key in KEYS:
        assert parse(with_example(key), {}, f"example of {key}").settings


@pytest.mark.parametrize("text", [*re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL), DESIGN])
def test_whole_files_in_documents_are_accepted(text: str) -> None:
    assert parse(text.encode(), {}, "docs").settings.cluster == "demo"


def test_the_document_names_the_keys_that_change_at_restart_only() -> None:
    assert (
        ", ".join(f"`{key}`" for key in RESTART_ONLY[:-1]) + f" and `{RESTART_ONLY[-1]}` change at restart only"
        in DOCUMENT
    )


def test_the_schema_describes_every_key() -> None:
    every = [SCHEMA, *SCHEMA["$defs"].values()]
    undescribed = [
        name for one in every for name, node in one.get("properties", {}).items() if "description" not in node
    ]

    assert undescribed == []


def test_the_schema_shows_defaults_as_the_file_has_them() -> None:
    assert KEYS["limits.run_timeout"]["default"] == "6h"
    assert KEYS["storage.root"]["default"] == "/backups"
