"""A faulty spec is refused with all its faults, each with its path and what to write instead."""

import json
import time
from typing import Any

import pytest
import yaml

from backup_agent.k8s.alone import schema
from backup_agent.k8s.reading import SpecError, read
from backup_agent.settings.faults import Fault
from tests.k8s.specs import NAMES, SMALLEST, parsed, text


def changed(path: str, value: Any, base: str = SMALLEST) -> bytes:
    """Return a spec with one key set."""
    tree = yaml.safe_load(base)
    *parents, last = path.split("/")
    section = tree
    for key in parents:
        section = section.setdefault(key, {})
    section[last] = value
    return json.dumps(tree).encode()


def faults(content: bytes) -> tuple[Fault, ...]:
    with pytest.raises(SpecError) as caught:
        read(content, "spec.yaml")
    return caught.value.faults


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        pytest.param("cluster", "Demo", "cluster: expected lower-case", id="cluster"),
        pytest.param("cluster", "d" * 41, "cluster: expected at most 40 characters", id="long-cluster"),
        pytest.param("cluster", "1st", "cluster: expected lower-case", id="service-name-begins-with-a-letter"),
        pytest.param("version", 5.26, "version: expected text, in quotes", id="version-read-as-number"),
        pytest.param("version", "5.25.1", "version: expected a version of Neo4j: 5.26.x, or 2025.01", id="old-version"),
        pytest.param("accept_license", False, "accept_license: expected yes or eval", id="license"),
        pytest.param("topology", {"primaries": 3, "secondaries": 2}, "write topology: {servers: 5}", id="roles"),
        pytest.param("topology", {"servers": 4, "primaries": 3}, "write topology: {servers: 4}", id="roles-and-servers"),
        pytest.param("topology/servers", 0, "topology.servers: expected at least 1", id="no-servers"),
        pytest.param("topology", {"servers": 3, "default_secondaries": 1}, "no more than the 3 servers", id="copies"),
        pytest.param("topology", {"servers": 3, "default_primaries": 5}, "no more than the 3 servers", id="primaries"),
        pytest.param("auth/password", "x", "no secret belongs in this file: a spec names Secrets", id="password"),
        pytest.param("server/memory", "1Gi", "server.memory: expected at least 2Gi", id="small-server"),
        pytest.param("server/memory", "4GB", "server.memory: expected a quantity such as 512Mi", id="unit"),
        pytest.param("backup/memory", "255Mi", "backup.memory: expected at least 256Mi", id="small-agent"),
        pytest.param("server/config", {"server.bolt.listen_address": ":1"}, "it follows from the rest", id="managed"),
        pytest.param("server/config", {"dbms.ssl.policy.bolt.enabled": True}, "write it as tls", id="tls-by-hand"),
        pytest.param("server/config", {"initial.server.mode_constraint": "PRIMARY"}, "servers are alike", id="mode"),
        pytest.param("server/config", {"a.b": "x\ny=z"}, "expected one line", id="a-line-smuggled-in"),
        pytest.param("server/jvm_additional", ["-Xmx1g -Xms1g"], "expected one option of java", id="two-options"),
        pytest.param("server/jvm_additional", ["-Xmx8g"], "server.jvm_additional[0]: leave it out: the heap is", id="xmx"),
        pytest.param("server/jvm_additional", ["-Xms1g"], "server.config, server.memory.heap.max_size", id="xms"),
        pytest.param("server/jvm_additional", ["-XX:MaxHeapSize=1"], "[0]: leave it out: the heap", id="heap-in-words"),
        pytest.param("server/jvm_additional", ["-XX:MaxRAMPercentage=80"], "[0]: leave it out", id="heap-by-share"),
        pytest.param(
            "server/config",
            {"server.memory.heap.initial_size": "2g", "server.memory.heap.max_size": "1g"},
            "heap.initial_size: expected at most server.memory.heap.max_size",
            id="initial-above-largest-heap",
        ),
        pytest.param(
            "server/config",
            {"server.memory.heap.max_size": "3g", "server.memory.pagecache.size": "1g"},
            "heap.max_size: does not fit into server.memory together with server.memory.pagecache.size",
            id="heap-and-page-cache-too-large-together",
        ),
        pytest.param(
            "server/config",
            {"server.memory.heap.max_size": "4g"},
            "heap.max_size: leaves no memory for the page cache",
            id="all-heap",
        ),
        pytest.param(
            "server/config",
            {"server.memory.heap.initial_size": "4g"},
            "heap.initial_size: leaves no memory for the page cache",
            id="all-initial-heap",
        ),
        pytest.param(
            "server/config",
            {"server.memory.pagecache.size": "5g"},
            "pagecache.size: leaves no memory for the heap",
            id="all-page-cache",
        ),
        pytest.param(
            "server/config",
            {"server.metrics.csv.enabled": True},
            "set server.directories.metrics too",
            id="metrics-into-the-image",
        ),
        pytest.param("network/clients", [{"cidr": "10.0.0.1"}], "a range of addresses", id="an-address"),
        pytest.param("network/clients", [{"cidr": "999.0.0.0/8"}], "a range of addresses", id="no-address"),
        pytest.param("network/clients", [{"cidr": "10.0.0.0/255.0.0.0"}], "in its usual form", id="a-mask"),
        pytest.param("network/clients", [{"cidr": "2001:DB8::/32"}], "in its usual form", id="capitals"),
        pytest.param("network/clients", [{"cidr": "::ffff:a00:0/104"}], "in its usual form", id="old-address-in-a-new-one"),
        pytest.param("network/clients", [{"cidr": "fe80::%1/64"}], "in its usual form", id="address-of-a-zone"),
        pytest.param("cluster_domain", "a" * 85, "cluster_domain: ", id="server-names-too-long-for-dns"),
        pytest.param("auth/password_key", "..", "a key of the Secret", id="no-file-name"),
        pytest.param("backup/image", "https://registry.example.com/agent", "the name of an image", id="image-by-url"),
        pytest.param("backup/image", "registry.example.com/Agent:1", "the name of an image", id="image-in-capitals"),
        pytest.param("server/data", {"size": "999999999Ti"}, "a quantity such as", id="more-than-there-is"),
        pytest.param("server/termination_grace", "0s", "a duration of at least 1s", id="killed-at-once"),
        pytest.param("server/placement/node_selector", {"a..b/c": "d"}, "the name of a label", id="no-domain"),
        pytest.param("monitoring/interval", "0s", "a duration of at least 1s", id="no-interval"),
        pytest.param("monitoring/runbooks", "https://{{ $labels.x }}", "the address of a folder", id="a-template"),
        pytest.param("network/clients", [{}], "expected namespaces, pods or both; or cidr alone", id="no-clients"),
        pytest.param("apiVersion", "neo4j.neo4j.com/v1beta1", "a spec is not a Kubernetes object", id="custom-resource"),
        pytest.param("backup/keep_everything", False, "say what is kept", id="neither retention nor keep_everything"),
        pytest.param("backup/settings", {"retention": {}}, "keeps everything without one of last, hourly", id="no-rule"),
        pytest.param("backup/settings", {"retention": {"min_age": "3d", "last": None}}, "keeps everything", id="a-floor"),
        pytest.param("backup/settings", {"retention": {"last": 1}}, "set this or backup.settings.retention, not both", id="both"),
        pytest.param("backup/settings", {"cluster": "demo"}, "leave it out: it is the spec's cluster", id="written-twice"),
        pytest.param("backup/settings", {"neo4j": {"uri": 1}}, "backup.settings.neo4j.uri: leave it out", id="uri-twice"),
        pytest.param("backup/settings", {"neo4j": 5}, "backup.settings.neo4j: expected keys and values", id="no-section"),
        pytest.param("backup/settings", {"schedules": {"n": {"cron": "0 2 * *"}}}, "schedules.n.cron: expected five", id="cron"),
        pytest.param("backup/settings", {"retenton": {}}, "did you mean retention?", id="misspelt-setting"),
        pytest.param("backup/settings", {"storage": {"root": "/x"}}, "it is /backups", id="root"),
    ],
)  # fmt: skip
def test_a_fault_names_its_path_and_what_to_write(path: str, value: Any, text: str) -> None:
    assert text in "\n".join(str(fault) for fault in faults(changed(path, value)))


@pytest.mark.parametrize("value", ["x\ny=z", ["x"], None, {}], ids=repr)
def test_a_value_that_may_be_of_several_types_has_one_fault(value: Any) -> None:
    (fault,) = faults(changed("server/config", {"a.b": value}))

    assert str(fault).startswith("server.config.a.b: expected one line of text, a number, true or false")


def test_all_faults_of_spec_and_settings_are_reported_at_once() -> None:
    tree = yaml.safe_load(SMALLEST) | {"cluster": "Demo", "namespace": "?"}
    tree["server"]["config"] = {"server.backup.enabled": False}
    tree["backup"] = {"memory": "1Mi", "settings": {"chain": {"max_links": 0}, "neo4j": {"launch": "?"}}}

    assert {fault.path for fault in faults(json.dumps(tree).encode())} == {
        "cluster",
        "namespace",
        "server.config.server.backup.enabled",
        "backup.image",
        "backup.memory",
        "backup.storage",
        "backup.settings.chain.max_links",
        "backup.settings.neo4j.launch",
        "backup.settings.retention",
    }


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_a_spec_nested_without_end_is_refused_at_once(opening: str) -> None:
    begun = time.process_time()
    (fault,) = faults((opening * 3000).encode())

    assert str(fault).endswith("nested more than 64 levels deep")
    assert time.process_time() - begun < 1


def test_no_fault_quotes_a_value_that_may_be_a_secret() -> None:
    found = faults(changed("auth/password", "hunter2")) + faults(changed("auth/secret", "hunter2!"))

    assert "hunter2" not in " ".join(str(fault) for fault in found)


@pytest.mark.parametrize("content", [b"", b"- a", b"a: [", b"\xff", b"a: 1\na: 2"], ids=repr)
def test_a_spec_that_is_not_a_mapping_is_refused(content: bytes) -> None:
    assert len(faults(content)) == 1


def test_the_error_names_the_spec_and_not_the_settings() -> None:
    with pytest.raises(SpecError, match=r"^1 fault in the spec \(spec.yaml\):\n  version: "):
        read(changed("version", "4.4"), "spec.yaml")


def test_an_unquoted_yes_accepts_the_license() -> None:
    assert parsed(SMALLEST.replace('"eval"', "yes")).accept_license == "yes"


def test_settings_of_the_agent_that_do_not_follow_from_the_spec_may_be_changed() -> None:
    found = read(changed("backup/settings", {"neo4j": {"include_metadata": "none"}}), "spec.yaml")

    assert found.backup.settings["neo4j"] == {"include_metadata": "none"}


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_spec_is_in_the_schema(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    tree = json.loads(json.dumps(yaml.safe_load(text(name))))
    tree["accept_license"] = "yes"

    jsonschema.Draft202012Validator(schema()).validate(tree)


def test_the_schema_describes_every_key() -> None:
    found = schema()
    sections = found["$defs"].values()

    assert [
        name for one in sections for name, key in one.get("properties", {}).items() if "description" not in key
    ] == []
