"""The notes that `render` prints beside the objects."""

import pytest

from backup_agent.k8s.notes import notes
from tests.k8s.specs import SMALLEST, parsed


@pytest.mark.parametrize(
    ("memory", "settings", "expected"),
    [
        pytest.param("256Mi", "{}", None, id="the-smallest-profile"),
        pytest.param("1Gi", "{limits: {parallel: 4}}", None, id="as-small-for-each"),
        pytest.param(
            "256Mi", "{limits: {parallel: 2}}", "is less than 256Mi for each of the 2 at once", id="two-in-one"
        ),
        pytest.param("1Gi", "{neo4j: {heap: 512MiB, pagecache: 256MiB}}", None, id="by-hand"),
        pytest.param("1Gi", "{neo4j: {heap: 1GiB}}", "do not fit into backup.memory, 1Gi", id="a-heap-too-large"),
        pytest.param("1Gi", "{neo4j: {heap: 512MiB}, limits: {parallel: 2}}", "do not fit", id="two-heaps-too-large"),
    ],
)
def test_too_little_memory_is_noted(memory: str, settings: str, expected: str | None) -> None:
    found = notes(parsed(f"{SMALLEST}  memory: {memory}\n  settings: {settings}\n"))
    about_memory = [note for note in found if "backup.memory" in note]

    assert len(about_memory) == (expected is not None)
    assert expected is None or expected in about_memory[0]


def notes_of(more: str) -> str:
    return "\n".join(notes(parsed(f"{SMALLEST}{more}\n")))


@pytest.mark.parametrize(
    ("more", "expected", "unexpected"),
    [
        ("client_service: {type: LoadBalancer}", "LoadBalancer without tls.bolt and tls.https", ""),
        ("client_service: {type: LoadBalancer}", "without client_service.source_ranges: every address", ""),
        ("client_service: {type: LoadBalancer, source_ranges: [10.0.0.0/8]}", "without tls.bolt", "source_ranges:"),
        (
            "client_service: {type: LoadBalancer}\ntls: {bolt: {secret: x}}",
            "LoadBalancer without tls.https",
            "tls.bolt and",
        ),
        ("client_service: {type: LoadBalancer}\ntls: {bolt: {secret: x}, https: {secret: x}}", "", "unencrypted"),
        ("", "", "LoadBalancer"),
    ],
)
def test_a_load_balancer_without_protection_is_noted(more: str, expected: str, unexpected: str) -> None:
    assert expected in notes_of(more)
    assert not unexpected or unexpected not in notes_of(more)


def test_a_setting_that_looks_like_a_secret_is_noted_without_its_value() -> None:
    key = "dbms.security.ldap.authorization.system_password"
    found = "\n".join(notes(parsed(SMALLEST.replace("server: {", f"server: {{config: {{{key}: hunter2}}, "))))

    assert f"server.config.{key} looks like a secret" in found
    assert "hunter2" not in found


def test_every_object_that_is_needed_and_not_rendered_is_named() -> None:
    found = notes_of("image_pull_secrets: [registry]\nmonitoring: {service_monitor: true, rules: true}\n") + notes_of(
        "  s3: {ca_config_map: corporate-ca}\n  placement: {priority_class: high}\n"
        "  requests: {size: 1Gi, storage_class: fast}"
    )

    for named in (
        "Secrets of the registry registry (type kubernetes.io/dockerconfigjson)",
        "ConfigMap corporate-ca (ca.crt)",
        "PriorityClass high",
        "StorageClass fast",
        "CustomResourceDefinition prometheusrules.monitoring.coreos.com, servicemonitors.monitoring.coreos.com",
    ):
        assert named in found


@pytest.mark.parametrize(
    ("version", "key", "expected"),
    [
        (
            "2026.09.0",
            "dbms.memory.heap.max_size",
            "write server.memory.heap.max_size. A server reads it with a warning",
        ),
        ("5.26.0", "dbms.tx_log.rotation.size", "write db.tx_log.rotation.size."),
        ("2026.09.0", "dbms.connector.bolt.thread_pool_max_size", "write server.bolt.thread_pool_max_size."),
        ("2026.09.0", "dbms.allow_upgrade", "leave it out, nothing replaced it. A server ignores it with a warning"),
        ("2026.09.0", "causal_clustering.a", "A server with strict validation does not start with it"),
        (
            "2026.09.0",
            "metrics.enabled",
            "write server.metrics.enabled. A server with strict validation does not start",
        ),
        ("2026.09.0", "server.memory.off_heap.transaction_max_size", "leave it out"),
        ("5.26.0", "server.memory.off_heap.transaction_max_size", None),
        ("5.26.0", "dbms.tx_state.max_off_heap_memory", "write server.memory.off_heap.transaction_max_size"),
        ("2026.09.0", "db.tx_log.rotation.size", None),
    ],
)
def test_a_setting_of_earlier_versions_is_noted_with_the_one_that_replaced_it(
    version: str, key: str, expected: str | None
) -> None:
    text = SMALLEST.replace("server: {", f"server: {{config: {{{key}: 1g}}, ").replace("2026.09.0", version)
    found = [note for note in notes(parsed(text)) if "of earlier versions" in note]

    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]
