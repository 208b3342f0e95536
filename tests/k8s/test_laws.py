"""The properties of laws.py hold for any spec, and each of them can be violated."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from backup_agent.k8s import manifests
from backup_agent.k8s.names import Object
from tests.examples import examples
from tests.k8s.laws import LAWS
from tests.k8s.specs import ALONE, NAMES, alone, spec
from tests.k8s.trees import read_tree, trees


@given(trees)
@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
def test_the_laws_hold_for_any_spec(tree: dict[str, Any]) -> None:
    found = manifests.objects(read_tree(tree))

    assert [(law.__name__, fault) for law in LAWS for fault in law(found)] == []


@given(trees)
@settings(deadline=None, max_examples=examples(15), suppress_health_check=[HealthCheck.too_slow])
def test_the_text_contains_the_objects_and_is_always_the_same(tree: dict[str, Any]) -> None:
    first = manifests.stream(read_tree(tree))
    turned = dict(reversed(tree.items()))

    assert list(yaml.safe_load_all(first)) == manifests.objects(read_tree(tree))
    assert first == manifests.stream(read_tree(turned))


@pytest.mark.parametrize("value", ["1e3", "y", "off", "0x1F", "12:30", "1_000", "~", "null", ".5", "7215e83"])
def test_text_that_a_yaml_reader_could_take_for_another_type_is_quoted(value: str) -> None:
    assert manifests.to_yaml({"name": value}) == f'name: "{value}"\n'


@pytest.mark.parametrize("name", [*NAMES, *ALONE])
def test_the_laws_hold_for_the_examples(name: str) -> None:
    found = manifests.objects(alone(name) if name in ALONE else spec(name))

    assert [(law.__name__, fault) for law in LAWS for fault in law(found)] == []


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
    "no_list_is_empty": lambda found: found["NetworkPolicy/shop-backup"]["spec"].update(ingress=[]),
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_each_law_finds_its_violation(law: Callable[[list[Object]], Iterator[str]]) -> None:
    found = json.loads(json.dumps(manifests.objects(spec("everything"))))
    BREAKS[law.__name__]({f"{one['kind']}/{one['metadata']['name']}": one for one in found})

    assert list(law(found))
