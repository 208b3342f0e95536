"""neo4j.conf: names of settings by version, and the restarts that changes of the spec cause."""

import json

import pytest

from backup_agent.k8s import neo4j_conf, server
from backup_agent.k8s.spec import ClusterSpec
from tests.k8s.specs import NAMES, SMALLEST, parsed, spec

HOST = "demo-server-{}.demo-headless.default.svc.cluster.local"


def of_version(version: str, servers: int = 3) -> ClusterSpec:
    return parsed(SMALLEST.replace("2026.09.0", version) + f"topology: {{servers: {servers}}}\n")


def with_servers(name: str, servers: int) -> ClusterSpec:
    found = spec(name)
    return found.model_copy(update={"topology": found.topology.model_copy(update={"servers": servers})})


@pytest.mark.parametrize(
    ("version", "there", "not_there"),
    [
        pytest.param(
            "5.26.31",
            {"dbms.cluster.discovery.version": "V2_ONLY"},
            {"dbms.cluster.endpoints"},
            id="5.26",
        ),
        pytest.param(
            "2025.01.0",
            {"dbms.cluster.discovery.resolver_type": "LIST"},
            {"dbms.cluster.discovery.version", "dbms.cluster.discovery.v2.endpoints"},
            id="2025.01",
        ),
        pytest.param(
            "2026.03.1",
            {"dbms.databases.seed_from_uri_providers": "CloudSeedProvider,URLConnectionSeedProvider"},
            {"dbms.cluster.discovery.version", "server.directories.seeds"},
            id="2026.03",
        ),
        pytest.param(
            "2026.04.0",
            {
                "dbms.databases.seed_from_uri_providers": "CloudSeedProvider,URLConnectionSeedProvider,"
                "ServerSeedProvider",
                "server.directories.seeds": "/data/seeds",
            },
            {"dbms.cluster.discovery.version"},
            id="2026.04",
        ),
    ],
)
def test_settings_have_the_names_of_their_version(version: str, there: dict[str, str], not_there: set[str]) -> None:
    found = neo4j_conf.settings(of_version(version))

    assert found.items() >= there.items()
    assert not found.keys() & not_there


def test_without_server_seeds_neither_their_provider_nor_their_folder_is_set() -> None:
    spec = of_version("2026.09.0")
    without = spec.model_copy(update={"server": spec.server.model_copy(update={"seeds": False})})
    found = neo4j_conf.settings(without)

    assert "ServerSeedProvider" not in found["dbms.databases.seed_from_uri_providers"]
    assert "server.directories.seeds" not in found


@pytest.mark.parametrize(
    ("version", "setting"),
    [
        pytest.param("5.26.0", "dbms.cluster.discovery.v2.endpoints", id="5.26"),
        pytest.param("2025.01.0", "dbms.cluster.endpoints", id="2025.01"),
        pytest.param("2026.09.0", "dbms.cluster.endpoints", id="2026.09"),
    ],
)
def test_discovery_lists_every_server_by_name_on_port_6000(version: str, setting: str) -> None:
    expected = ",".join(f"{HOST.format(number)}:6000" for number in range(5))

    assert neo4j_conf.settings(of_version(version, 5))[setting] == expected


@pytest.mark.parametrize(("version", "known"), [("5.26.31", False), ("2025.04.0", False), ("2025.05.0", True)])
def test_a_backup_address_is_advertised_if_the_version_supports_it(version: str, *, known: bool) -> None:
    assert ("server.backup.advertised_address" in neo4j_conf.advertised(of_version(version))) is known


@pytest.mark.parametrize(
    ("servers", "least", "primaries"), [(1, "1", "1"), (2, "2", "1"), (3, "3", "3"), (7, "3", "3")]
)
def test_three_servers_or_all_if_there_are_fewer_form_the_cluster(servers: int, least: str, primaries: str) -> None:
    found = neo4j_conf.settings(of_version("2026.09.0", servers))

    assert found["dbms.cluster.minimum_initial_system_primaries_count"] == least
    assert found["initial.dbms.default_primaries_count"] == primaries
    assert found["initial.dbms.automatically_enable_free_servers"] == "true"


def test_backups_are_served_to_other_hosts() -> None:
    found = neo4j_conf.settings(of_version("2026.09.0"))

    assert found["server.backup.enabled"] == "true"
    assert found["server.backup.listen_address"] == "0.0.0.0:6362"


@pytest.mark.parametrize("name", NAMES)
def test_every_written_setting_that_follows_from_the_spec_is_a_fault(name: str) -> None:
    follow = {key for key in neo4j_conf.managed(spec(name)) if not key.startswith("dbms.ssl.policy.")}

    assert follow - neo4j_conf.PROMETHEUS.keys() <= neo4j_conf.MANAGED


@pytest.mark.parametrize("name", ["smallest", "everything", "256Mi"])
def test_more_servers_change_no_running_pod(name: str) -> None:
    small, large = (server.stateful_set(with_servers(name, servers))["spec"] for servers in (3, 9))

    assert small["template"] == large["template"]
    assert small["volumeClaimTemplates"] == large["volumeClaimTemplates"]
    assert (small["replicas"], large["replicas"]) == (3, 9)


def test_new_servers_get_the_whole_list_of_servers() -> None:
    assert neo4j_conf.text(with_servers("smallest", 9)).count(":6000,") == 8


def test_a_setting_that_requires_a_restart_restarts_the_pods() -> None:
    before = server.stateful_set(parsed(SMALLEST))["spec"]["template"]["metadata"]
    config = "size: 100Gi}, config: {db.tx_log.rotation.size: 64m}}"
    after = server.stateful_set(parsed(SMALLEST.replace("size: 100Gi}}", config)))["spec"]["template"]["metadata"]

    assert before != after


def test_settings_written_in_the_spec_override_defaults_only() -> None:
    found = neo4j_conf.settings(spec("everything"))

    assert found["server.memory.pagecache.size"] == "6g"
    assert found["server.memory.heap.max_size"] == "5120m"
    assert found["dbms.usage_report.enabled"] == "false"


HEAP = ("server.memory.heap.initial_size", "server.memory.heap.max_size", "server.memory.pagecache.size")


def with_memory(memory: str, config: dict[str, str | int]) -> tuple[str, ...]:
    server_section = f"server: {{data: {{size: 100Gi}}, memory: {memory}, config: {json.dumps(config)}}}"
    found = neo4j_conf.settings(parsed(SMALLEST.replace("server: {data: {size: 100Gi}}", server_section)))
    return tuple(found[key] for key in HEAP)


@pytest.mark.parametrize(
    ("memory", "config", "expected"),
    [
        pytest.param("2Gi", {}, ("512m", "512m", "512m"), id="the-smallest"),
        pytest.param("4Gi", {}, ("2048m", "2048m", "512m"), id="the-default"),
        pytest.param("16Gi", {}, ("5120m", "5120m", "7168m"), id="16"),
        pytest.param("64Gi", {}, ("24576m", "24576m", "28672m"), id="64"),
        pytest.param("128Gi", {}, ("31744m", "31744m", "82944m"), id="the-largest-heap-with-compressed-references"),
        pytest.param("512Gi", {}, ("31744m", "31744m", "467968m"), id="far-beyond"),
        pytest.param("2Ti", {}, ("31744m", "31744m", "2034688m"), id="beyond-the-table"),
        pytest.param("4Gi", {HEAP[1]: "1g"}, ("1g", "1g", "1536m"), id="the-initial-heap-follows-a-smaller-one"),
        pytest.param("8Gi", {HEAP[1]: "5g"}, ("5g", "5g", "2048m"), id="the-initial-heap-follows-a-larger-one"),
        pytest.param("8Gi", {HEAP[0]: "6g"}, ("6g", "6g", "1024m"), id="the-largest-heap-follows-the-initial-one"),
        pytest.param("8Gi", {HEAP[0]: "1g", HEAP[1]: "3g"}, ("1g", "3g", "2560m"), id="both-stay-as-they-are"),
        pytest.param("8Gi", {HEAP[1]: "6g"}, ("6g", "6g", "1024m"), id="the-page-cache-makes-room-for-the-heap"),
        pytest.param("8Gi", {HEAP[2]: "5g"}, ("2048m", "2048m", "5g"), id="the-heap-makes-room-for-the-page-cache"),
        pytest.param("8Gi", {HEAP[2]: "1g"}, ("3584m", "3584m", "1g"), id="a small page cache changes nothing"),
        pytest.param("8Gi", {HEAP[1]: 6442450944}, ("6442450944", "6442450944", "1024m"), id="in-bytes"),
        pytest.param("8Gi", {HEAP[1]: "6 GiB"}, ("6 GiB", "6 GiB", "1024m"), id="in-another-unit-of-neo4j"),
        pytest.param("8Gi", {HEAP[1]: "$(cmd)"}, ("$(cmd)", "$(cmd)", "2048m"), id="an-invalid-size-is-left-to-neo4j"),
        pytest.param("100Gi", {HEAP[1]: "48g"}, ("48g", "48g", "40448m"), id="a-heap-of-the-spec-may-be-larger"),
    ],
)
def test_heap_and_page_cache_never_contradict_each_other(
    memory: str, config: dict[str, str | int], expected: tuple[str, ...]
) -> None:
    assert with_memory(memory, config) == expected


def test_one_garbage_collector_is_set() -> None:
    found = neo4j_conf.text(spec("everything"))

    assert "-XX:+UseZGC" in found
    assert "-XX:+UseG1GC" not in found


def test_servers_verify_each_others_certificates_and_clients_those_of_the_servers() -> None:
    found = neo4j_conf.settings(spec("everything"))
    auth = {scope: found[f"dbms.ssl.policy.{scope}.client_auth"] for scope in ("backup", "bolt", "cluster", "https")}

    assert auth == {"backup": "REQUIRE", "bolt": "NONE", "cluster": "REQUIRE", "https": "NONE"}
    assert found["dbms.ssl.policy.cluster.verify_hostname"] == "true"
    assert found["server.bolt.tls_level"] == "REQUIRED"
    assert (found["server.https.enabled"], found["server.http.enabled"]) == ("true", "false")
