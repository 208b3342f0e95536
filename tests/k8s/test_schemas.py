"""Every object is valid by the schemas of the last three versions of Kubernetes."""

from typing import Any

import kubernetes_validate
import pytest

from backup_agent.k8s import manifests
from tests.examples import examples
from tests.k8s.specs import ALONE, NAMES, alone, rendered, spec

VERSIONS = ("1.35", "1.36", "1.37")[-examples(3) :]
"""Versions of Kubernetes. The fast tests use only the newest."""

# Kinds of the Prometheus operator, with the fields of its definitions. test_api_server.py uses the definitions themselves.
OPERATORS = {
    "ServiceMonitor": {
        "selector": {"matchLabels": dict},
        "endpoints": [{"port": str, "path": str, "scheme": str, "interval": str}],
    },
    "PrometheusRule": {
        "groups": [
            {
                "name": str,
                "rules": [{"alert": str, "expr": str, "for": str, "labels": dict, "annotations": dict}],
            }
        ]
    },
}


def conforms(value: Any, shape: Any) -> bool:
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and value.keys() <= shape.keys()
            and all(conforms(value[key], shape[key]) for key in value)
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(conforms(item, shape[0]) for item in value)
    return isinstance(value, shape)


@pytest.mark.patience
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*NAMES, *ALONE])
def test_every_object_is_valid_by_the_schemas(name: str, version: str) -> None:
    for one in manifests.objects(alone(name) if name in ALONE else spec(name)):
        if one["kind"] not in OPERATORS:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("kind", OPERATORS)
def test_an_object_of_the_prometheus_operator_has_the_fields_of_its_definition(kind: str) -> None:
    assert conforms(rendered(spec("everything"))[f"{kind}/shop-backup"]["spec"], OPERATORS[kind])


def test_the_schemas_refuse_unknown_fields_and_wrong_types() -> None:
    one = rendered(spec("smallest"))["StatefulSet/demo-backup"]
    one["spec"]["replica"] = 1

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
