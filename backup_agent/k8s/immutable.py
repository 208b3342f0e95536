"""Fields of a StatefulSet that Kubernetes does not let one change, and the commands that change them nevertheless."""

from collections.abc import Iterator

from backup_agent.k8s.names import Object, fields_of, part_of, replicas_of
from backup_agent.k8s.spec import memory_bytes

CHANGEABLE = frozenset(
    {
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    }
)
"""Fields of a StatefulSet's spec that Kubernetes lets one change. All others are immutable."""

CLAIMS = "volumeClaimTemplates"

REFUSED = "{fields} of the StatefulSet {name} changed, which Kubernetes does not allow. Before you apply:"

LARGER = """\
  for claim in {claims}; do kubectl patch pvc -n {namespace} $claim -p '{patch}'; done
  (the StorageClass must have allowVolumeExpansion: true)"""

NEW_ONLY = """\
  (no claim becomes smaller or changes its class or access mode: {claims} stay as they are, and only
  new claims are as the spec says. docs/runbooks/new-claim.md moves a server or the agent to a new claim)"""

RELABELLED = "  (the labels of {claims} stay as they are: kubectl label pvc changes them)"


def steps(old: Object, new: Object) -> Iterator[str]:
    """Yield the steps for changed fields of a StatefulSet that are immutable, as one text."""
    name, namespace = new["metadata"]["name"], part_of(new, "metadata", "namespace")
    was, becomes = (fields_of(one, "spec") for one in (old, new))
    fixed = {field for field in was.keys() | becomes.keys() if was.get(field) != becomes.get(field)} - CHANGEABLE
    if not fixed:
        return
    lines = [REFUSED.format(fields=", ".join(sorted(fixed)), name=name)]
    if fixed == {CLAIMS}:
        numbers = range(replicas_of(old))
        for claim, pair in _claims(was, becomes):
            lines += _claim_steps(pair, namespace, " ".join(f"{claim}-{name}-{number}" for number in numbers))
    ends = "selector" in fixed
    kept = "its pods end, its claims are kept" if ends else "its pods run on, and are taken over again"
    lines.append(f"  kubectl delete statefulset -n {namespace} {name}{'' if ends else ' --cascade=orphan'}    # {kept}")
    yield "\n".join(lines)


def _claims(was: Object, becomes: Object) -> list[tuple[str, tuple[Object, Object]]]:
    """Return the claim templates that both StatefulSets have, by name."""
    old, new = ({part_of(one, "metadata", "name"): one for one in spec.get(CLAIMS, ())} for spec in (was, becomes))
    return [(name, (old[name], new[name])) for name in sorted(old.keys() & new.keys())]


def _claim_steps(pair: tuple[Object, Object], namespace: str, claims: str) -> Iterator[str]:
    sizes = [part_of(one, "spec", "resources", "requests", "storage") for one in pair]
    was, becomes = (_bytes(size) for size in sizes)
    rest = [{**fields_of(one, "spec"), "resources": None} for one in pair]
    if becomes > was:
        patch = f'{{"spec":{{"resources":{{"requests":{{"storage":"{sizes[1]}"}}}}}}}}'
        yield LARGER.format(claims=claims, namespace=namespace, patch=patch)
    if becomes < was or rest[0] != rest[1]:
        yield NEW_ONLY.format(claims=claims)
    if part_of(pair[0], "metadata", "labels") != part_of(pair[1], "metadata", "labels"):
        yield RELABELLED.format(claims=claims)


def _bytes(size: object) -> int:
    try:
        return memory_bytes(str(size))
    except ValueError:
        return 0
