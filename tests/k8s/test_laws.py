"""The laws hold for any spec, and each of them can be broken."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_agent.k8s import manifests
from backup_agent.k8s.names import Object
from backup_agent.k8s.reading import read
from backup_agent.k8s.spec import Spec
from tests.examples import examples
from tests.k8s.laws import LAWS
from tests.k8s.specs import NAMES, spec

names = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
secrets = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
label_values = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
labels = st.dictionaries(
    st.from_regex(r"([a-z]{1,8}\.[a-z]{2,3}/)?[a-z]{1,12}", fullmatch=True), label_values, max_size=2
)
memory = st.integers(2, 512).map(lambda size: f"{size}Gi")
versions = st.sampled_from(["5.26.0", "5.26.31", "2025.01.0", "2025.05.0", "2026.03.2", "2026.04.0", "2026.09.0"])
claims = st.fixed_dictionaries({"size": memory}, optional={"storage_class": secrets})
peers = st.one_of(
    st.fixed_dictionaries({"namespaces": labels}, optional={"pods": labels}),
    st.fixed_dictionaries({"pods": labels}),
    st.just({"cidr": "10.0.0.0/8"}),
)
tls = st.fixed_dictionaries({"secret": secrets})
placements = st.fixed_dictionaries(
    {},
    optional={
        "node_selector": labels,
        "priority_class": secrets,
        "tolerations": st.just([{"operator": "Exists"}]),
    },
)
s3 = st.fixed_dictionaries({}, optional={"credentials_secret": secrets, "region": st.just("eu-central-1")})
agent_settings = st.fixed_dictionaries(
    {},
    optional={
        "databases": st.just(["*", "!scratch"]),
        "schedules": st.sampled_from([{}, {"nightly": {"cron": "0 2 * * *", "type": "FULL"}}]),
        "limits": st.integers(0, 3600).map(lambda seconds: {"shutdown_grace": f"{seconds}s"}),
        "storage": st.just({"destinations": {"offsite": {"bucket": "backups"}}}),
    },
)
trees = st.fixed_dictionaries(
    {
        "cluster": names,
        "version": versions,
        "accept_license": st.sampled_from(["yes", "eval"]),
        "auth": tls,
        "topology": st.fixed_dictionaries(
            {"servers": st.integers(1, 100)}, optional={"spread": st.sampled_from(["prefer", "require"])}
        ),
        "server": st.fixed_dictionaries(
            {"data": claims},
            optional={
                "memory": memory,
                "cpu_limit": st.sampled_from(["1000m", 2, "1.5"]),
                "s3": s3,
                "placement": placements,
                "config": st.dictionaries(
                    st.from_regex(r"db\.[a-z]{1,8}\.[a-z_]{1,8}", fullmatch=True),
                    st.one_of(st.integers(), st.booleans(), label_values),
                    max_size=3,
                ),
            },
        ),
        "backup": st.fixed_dictionaries(
            {
                "image": st.just("registry.example.com/agent:1"),
                "storage": claims,
                "keep_everything": st.just(True),
                "settings": agent_settings,
            },
            optional={
                "auth": tls,
                "memory": memory,
                "cpu_limit": st.just("100m"),
                "requests": claims,
                "s3": s3 | st.just({"ca_config_map": "corporate-ca"}),
                "placement": placements,
            },
        ),
    },
    optional={
        "namespace": names,
        "image_pull_secrets": st.lists(secrets, max_size=2),
        "tls": st.fixed_dictionaries(
            {},
            optional={
                "bolt": tls | st.just({"secret": "public", "own_ca": False}),
                "https": tls,
                "cluster": tls,
                "backup": st.fixed_dictionaries({"secret": secrets, "agent_secret": secrets}),
            },
        ),
        "client_service": st.sampled_from([{}, {"type": "LoadBalancer", "source_ranges": ["10.0.0.0/8"]}]),
        "network": st.fixed_dictionaries(
            {}, optional={"clients": st.lists(peers, max_size=2), "prometheus": st.lists(peers, max_size=2)}
        ),
        "monitoring": st.just({"service_monitor": True}),
    },
)


def read_tree(tree: dict[str, Any]) -> Spec:
    return read(json.dumps(tree).encode(), "spec.yaml")


@given(trees)
@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
def test_the_laws_hold_for_any_spec(tree: dict[str, Any]) -> None:
    found = manifests.objects(read_tree(tree))

    assert [(law.__name__, fault) for law in LAWS for fault in law(found)] == []


@given(trees)
@settings(deadline=None, max_examples=examples(15), suppress_health_check=[HealthCheck.too_slow])
def test_the_text_says_what_the_objects_say_and_is_the_same_each_time(tree: dict[str, Any]) -> None:
    first = manifests.stream(read_tree(tree))
    turned = dict(reversed(tree.items()))

    assert list(yaml.safe_load_all(first)) == manifests.objects(read_tree(tree))
    assert first == manifests.stream(read_tree(turned))


@pytest.mark.parametrize("value", ["1e3", "y", "off", "0x1F", "12:30", "1_000", "~", "null", ".5", "7215e83"])
def test_what_another_reader_takes_for_no_text_stands_in_quotes(value: str) -> None:
    assert manifests.to_yaml({"name": value}) == f'name: "{value}"\n'


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_the_laws_hold_for_the_examples(name: str, law: Callable[[list[Object]], Iterator[str]]) -> None:
    assert list(law(manifests.objects(spec(name)))) == []


BREAKS: dict[str, Callable[[dict[str, Object]], Any]] = {
    "names_fit": lambda found: found["StatefulSet/shop-server"]["metadata"].update(name="s" * 60),
    "selectors_match_templates": lambda found: found["Service/shop-client"]["spec"]["selector"].pop("neo4j.com/component"),
    "service_names_exist": lambda found: found["Service/shop-backup"]["spec"].pop("clusterIP"),
    "mounted_names_exist": lambda found: found["StatefulSet/shop-backup"]["spec"]["template"]["spec"]["volumes"].pop(),
    "port_names_resolve": lambda found: found["Service/shop-backup"]["spec"]["ports"][0].update(targetPort="metrics"),
    "list_keys_are_unique": lambda found: found["StatefulSet/shop-server"]["spec"]["template"]["spec"][
        "imagePullSecrets"
    ].append({"name": "registry"}),
    "one_agent": lambda found: found["StatefulSet/shop-backup"]["spec"].update(replicas=2),
    "secrets_are_references": lambda found: found["StatefulSet/shop-backup"]["spec"]["template"]["spec"]["containers"][0][
        "env"
    ].append({"name": "NEO4J_PASSWORD", "value": "hunter2"}),
    "pods_are_restricted": lambda found: found["StatefulSet/shop-backup"]["spec"]["template"]["spec"].pop(
        "automountServiceAccountToken"
    ),
    "containers_are_restricted": lambda found: found["StatefulSet/shop-server"]["spec"]["template"]["spec"]["containers"][
        0
    ]["securityContext"].pop("readOnlyRootFilesystem"),
    "configured_paths_are_mounted": lambda found: found["ConfigMap/shop-backup"]["data"].update(
        {"config.yaml": "neo4j: {ca_file: /elsewhere/ca.crt}"}
    ),
    "claims_are_not_the_operators": lambda found: found["StatefulSet/shop-server"]["spec"]["selector"]["matchLabels"].update(
        {"app.kubernetes.io/name": "neo4j", "app.kubernetes.io/instance": "shop"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_each_law_sees_what_breaks_it(law: Callable[[list[Object]], Iterator[str]]) -> None:
    found = json.loads(json.dumps(manifests.objects(spec("everything"))))
    BREAKS[law.__name__]({f"{one['kind']}/{one['metadata']['name']}": one for one in found})

    assert list(law(found))
