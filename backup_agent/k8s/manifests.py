"""All objects of a cluster, sorted, as values and as YAML. The same spec always gives the same bytes."""

import re
from typing import Any

import yaml

from backup_agent.k8s import agent_settings, backup, drill_job, network, server
from backup_agent.k8s.alone import AloneSpec, Spec
from backup_agent.k8s.names import Object

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/._-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
"""Words that some YAML parsers do not read as text."""


class _Dumper(yaml.SafeDumper):
    """Quotes all text that a reader of YAML 1.1 or 1.2 might read as a number or a keyword.

    PyYAML writes `1e3` without quotes, since it reads that as text; Kubernetes reads it as a number.
    """

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401  PyYAML's signature
        """Write everything in full: an alias is hard to read and to compare."""
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists below their key."""
        del indentless
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, "|" if "\n" in value else style)


_Dumper.add_representer(str, _text)


def objects(spec: Spec) -> list[Object]:
    """Return all objects, sorted by kind and name."""
    settings_file = to_yaml(agent_settings.document(spec))
    servers = [] if isinstance(spec, AloneSpec) else server.objects(spec)
    found = [*servers, *backup.objects(spec, settings_file), *drill_job.objects(spec), *network.objects(spec)]
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


def files(spec: Spec) -> dict[str, str]:
    """Return file name -> content: one file for each object, and a Kustomization that lists these files.

    Kustomize accepts the file name `Kustomization` without a suffix, and `kubectl apply -f FOLDER` ignores that file.
    """
    manifests = {f"{one['kind'].lower()}-{one['metadata']['name']}.yaml": to_yaml(one) for one in objects(spec)}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(manifests),
    }
    return {**manifests, "Kustomization": to_yaml(kustomization)}


def stream(spec: Spec) -> str:
    """Return all objects as one text, for `kubectl apply -f -`."""
    return "---\n".join(to_yaml(one) for one in objects(spec))


def to_yaml(value: Object) -> str:
    """Return a value as YAML, keys sorted."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, width=10**6, default_flow_style=False)
