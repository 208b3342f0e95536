"""Reading a spec from YAML. One error reports all faults, each with its path and what to write instead."""

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from backup_agent.k8s import agent_settings
from backup_agent.k8s.alone import AloneSpec, Spec
from backup_agent.k8s.neo4j_conf import MANAGED, MOST_HEAP, PROMETHEUS, memory_faults
from backup_agent.k8s.spec import ClusterSpec, ServerSpec, memory_bytes
from backup_agent.settings.fault_texts import faults_of
from backup_agent.settings.faults import Fault, SettingsError
from backup_agent.settings.section import Retention
from backup_agent.settings.yaml_reader import YamlError, read_yaml

SECRETS_BELONG = (
    "a spec names Secrets (auth.secret, tls.bolt.secret, backup.s3.credentials_secret) and never contains their values"
)

ROLES = ("primaries", "secondaries")

RESOURCE_KEYS = ("apiVersion", "kind", "metadata", "spec")

CONFIG = "server.config"

ALONE = "neo4j"
"""The key of a spec of an agent alone."""

SERVERS_ONLY = {
    "auth": "; write the agent's account as backup.auth",
    "client_service": "",
    "cluster_domain": "",
    "network.clients": "",
    "server": "",
    "tls": f"; write the Secrets as {ALONE}.ca_secret and {ALONE}.backup_tls_secret",
    "topology": "",
}
"""Keys of a spec with servers -> what to write instead for an agent alone."""

METRICS_CSV, METRICS_FOLDER = "server.metrics.csv.enabled", "server.directories.metrics"


class SpecError(SettingsError):
    """The spec cannot be rendered. Its text has a line for each fault."""

    def __str__(self) -> str:
        return super().__str__().replace(" in the settings (", " in the spec (", 1)


KEPT = (
    "say what is kept: backup.settings.retention, such as {last: 7, daily: 14, weekly: 8}, "
    "or backup.keep_everything: true"
)


def read(content: bytes, source: str) -> Spec:
    """Return the spec; raise SpecError with every fault."""
    try:
        tree = read_yaml(content)
    except YamlError as error:
        raise SpecError(source, (Fault("", str(error)),)) from None
    if not isinstance(tree, dict):
        raise SpecError(source, (Fault("", "expected keys and values, such as cluster: demo"),))
    spec, found = _checked(tree)
    found = (*found, *_more_faults(spec, tree))
    if spec is None or found:
        raise SpecError(source, found)
    return spec


def _checked(tree: dict[str, Any]) -> tuple[Spec | None, tuple[Fault, ...]]:
    model: type[Spec] = AloneSpec if ALONE in tree else ClusterSpec
    try:
        return model.model_validate_json(json.dumps(tree), strict=True), ()
    except ValidationError as error:
        return None, tuple(_with_advice(fault, tree) for fault in faults_of(error, {}, model, SECRETS_BELONG))


def _with_advice(fault: Fault, tree: dict[str, Any]) -> Fault:
    """Return the fault. If its key belongs in another kind of file, the message says what to write instead."""
    if ALONE in tree and fault.path in SERVERS_ONLY:
        return Fault(fault.path, f"leave it out: with {ALONE}, no servers are rendered{SERVERS_ONLY[fault.path]}")
    if fault.path == "server" and "server" not in tree:
        return Fault(fault.path, f"{fault.text}; for an agent alone, write {ALONE}: {{uri: …}} instead (docs/alone.md)")
    topology, _, role = fault.path.partition(".")
    if topology == "topology" and role in ROLES:
        asked = tree["topology"]
        counts = [asked.get(name, 0) for name in ROLES]
        servers = asked.get("servers") or (sum(counts) if all(type(count) is int for count in counts) else None)
        return Fault(
            fault.path,
            f"servers have no fixed roles: write topology: {{servers: {servers if type(servers) is int else 5}}}; "
            f"default_{role} sets on how many of them a new database starts",
        )
    if fault.path in RESOURCE_KEYS:
        return Fault(
            fault.path, "a spec is not a Kubernetes object: its keys are at the top level, such as cluster: demo"
        )
    return fault


def _more_faults(spec: Spec | None, tree: dict[str, Any]) -> tuple[Fault, ...]:
    """Return the faults of combinations of keys. A valid section is checked even if other sections are not valid."""
    backup, server = _section(tree, "backup"), _section(tree, "server")
    given, config = backup.get("settings", {}), server.get("config", {})
    found: tuple[Fault, ...] = ()
    if isinstance(config, dict):
        found += tuple(_config_faults(config))
        found += tuple(_memory_faults(config, server.get("memory", ServerSpec.model_fields["memory"].default)))
    found += tuple(_heap_options(server.get("jvm_additional")))
    found += tuple(_key_faults(backup, server, alone=ALONE in tree))
    if isinstance(given, dict):
        found += agent_settings.faults(spec, given, alone=ALONE in tree)
        keeps = given.get("retention") is not None
        if backup and not keeps and backup.get("keep_everything") is not True:
            found += (Fault("backup.settings.retention", f"required: {KEPT}"),)
        if keeps and not _has_rule(given["retention"]):
            found += (
                Fault(
                    "backup.settings.retention",
                    f"retention keeps everything without one of {', '.join(Retention.RULES)}; {KEPT}",
                ),
            )
        if keeps and backup.get("keep_everything") is True:
            found += (Fault("backup.keep_everything", "set this or backup.settings.retention, not both"),)
    return found


def _key_faults(backup: dict[str, Any], server: dict[str, Any], *, alone: bool) -> Iterator[Fault]:
    """Yield the faults of keys that contradict each other."""
    if backup.get("use_servers_account") is True:
        if alone:
            yield Fault("backup.use_servers_account", "leave it out: no servers are rendered that have an account")
        elif backup.get("auth") is not None:
            yield Fault("backup.use_servers_account", "set this or backup.auth, not both")
    config = server.get("config")
    if server.get("metrics") is True and isinstance(config, dict):
        yield from (
            Fault(f"{CONFIG}.{key}", "leave it out: it follows from server.metrics")
            for key in PROMETHEUS
            if key in config
        )
    mounts = server.get("secret_mounts")
    paths = [one.get("path") if isinstance(one, dict) else None for one in mounts] if isinstance(mounts, list) else []
    for number, path in enumerate(paths):
        if isinstance(path, str) and (path in paths[:number] or _is_taken(path)):
            yield Fault(f"server.secret_mounts[{number}].path", "another path: this one is used already")


TAKEN = ("/conf", "/data", "/logs", "/run/secrets", "/startup", "/tmp", "/var/lib/neo4j/conf", "/var/lib/neo4j/run")  # noqa: S108  the container's own
"""Folders of a server's container in which or above which nothing else is mounted."""


def _is_taken(path: str) -> bool:
    return any(f"{path}/".startswith(f"{one}/") or f"{one}/".startswith(f"{path}/") for one in TAKEN)


def _has_rule(retention: object) -> bool:
    # The model of the agent's settings reports a value that is not a mapping.
    return not isinstance(retention, dict) or any(retention.get(rule) is not None for rule in Retention.RULES)


def _section(tree: dict[str, Any], key: str) -> dict[str, Any]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


_HEAP_OPTION = re.compile(
    r"-Xm[sx].*|-XX:(?:Max|Initial)HeapSize=.*|-XX:(?:Max|Min|Initial)RAMPercentage=.*|-XX:MaxRAM=.*"
)


def _memory_faults(config: dict[str, Any], memory: object) -> Iterator[Fault]:
    try:
        limit = memory_bytes(memory) if isinstance(memory, str) else None
    except ValueError:  # the model of the spec reports this fault
        return
    if limit is not None:
        yield from (Fault(f"{CONFIG}.{key}", text) for key, text in memory_faults(config, limit))
    if str(config.get(METRICS_CSV)).lower() == "true" and METRICS_FOLDER not in config:
        yield Fault(
            f"{CONFIG}.{METRICS_CSV}",
            f"set {METRICS_FOLDER} too, such as /data/metrics: its default is in the image, which is read-only",
        )


def _heap_options(options: object) -> Iterator[Fault]:
    for number, option in enumerate(options if isinstance(options, list) else ()):
        if isinstance(option, str) and _HEAP_OPTION.fullmatch(option):
            text = f"leave it out: the heap is set by server.config, {MOST_HEAP}, or follows from server.memory"
            yield Fault(f"server.jvm_additional[{number}]", text)


def _config_faults(config: dict[str, Any]) -> list[Fault]:
    found = []
    for key in config:
        if key == "server.jvm.additional":
            found.append(Fault(f"{CONFIG}.{key}", "write it as server.jvm_additional, a list"))
        elif key.startswith("dbms.ssl.policy."):
            found.append(Fault(f"{CONFIG}.{key}", "write it as tls"))
        elif key == "initial.server.mode_constraint":
            found.append(Fault(f"{CONFIG}.{key}", "leave it out: all servers are alike, and Neo4j assigns the roles"))
        elif key in MANAGED or key.startswith(("dbms.cluster.discovery.", "dbms.kubernetes.")):
            found.append(Fault(f"{CONFIG}.{key}", "leave it out: it follows from the rest of the spec"))
    return found
