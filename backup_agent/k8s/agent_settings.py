"""The agent's settings file: the settings in the spec, those that follow from the spec, and all schedules in full.

The file is checked with the agent's own model, so that `render` reports a fault before a pod fails to start.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from backup_agent.k8s.alone import Spec
from backup_agent.k8s.connection import connection
from backup_agent.k8s.names import (
    AGENT_HTTP,
    AGENT_PROBES,
    BACKUP_PORT,
    BACKUPS,
    REQUESTS,
    SECRETS,
)
from backup_agent.settings.fault_texts import faults_of
from backup_agent.settings.faults import Fault
from backup_agent.settings.model import Settings

BELOW = "backup.settings"

WRITTEN = {
    "cluster": "it is the spec's cluster",
    "requests.folder": f"it is {REQUESTS}, a claim of its own",
    "http": f"the Service names port {AGENT_HTTP}, the probes port {AGENT_PROBES}",
    "storage.root": f"it is {BACKUPS}, the claim of backup.storage",
    "neo4j.uri": "it follows from cluster and tls.bolt",
    "neo4j.username": "it is in the Secret of auth, or of backup.auth",
    "neo4j.username_file": "it is in the Secret of auth, or of backup.auth",
    "neo4j.password_file": "it is in the Secret of auth, or of backup.auth",
    "neo4j.ca_file": "it follows from tls.bolt",
    "neo4j.backup_port": f"it is {BACKUP_PORT}, where the servers listen",
    "neo4j.servers": "they follow from topology.servers",
    "neo4j.backup_addresses": "the servers advertise them",
    "neo4j.backup_tls": "it follows from tls.backup",
    "signing.key_file": "it is in the Secret of backup.signing_secret",
    "neo4j.additional_config": "no such file is mounted",
}
"""Keys of the settings that the renderer sets itself -> where their values come from."""

WRITTEN_ALONE = {
    **{path: reason for path, reason in WRITTEN.items() if path != "neo4j.backup_port"},
    "neo4j.uri": "write it as neo4j.uri",
    "neo4j.ca_file": "write its Secret as neo4j.ca_secret",
    "neo4j.servers": "write them as neo4j.servers",
    "neo4j.backup_addresses": "write them as neo4j.backup_addresses",
    "neo4j.backup_tls": "write its Secret as neo4j.backup_tls_secret",
}
"""The same for an agent alone."""

S3_CA_FILE = f"{SECRETS}/s3-ca/ca.crt"


def faults(spec: Spec | None, given: dict[str, Any], *, alone: bool = False) -> tuple[Fault, ...]:
    """Return the faults of the settings in a spec; `spec` is None if the rest of the spec is faulty."""
    written = WRITTEN_ALONE if alone else WRITTEN
    twice = tuple(
        Fault(f"{BELOW}.{path}", f"leave it out: {reason}") for path, reason in _written_twice(given, written)
    )
    try:
        Settings.model_validate_json(json.dumps(_completed(spec, given)), strict=True)
    except ValidationError as error:
        found = (Fault(f"{BELOW}.{fault.path}", fault.text) for fault in faults_of(error, {}))
        named = {fault.path for fault in twice}
        return (*twice, *(fault for fault in found if fault.path not in named))
    return twice


def settings(spec: Spec) -> Settings:
    """Return the agent's settings; raise ValidationError if they have faults."""
    return Settings.model_validate_json(json.dumps(_completed(spec, spec.backup.settings)), strict=True)


def document(spec: Spec) -> dict[str, Any]:
    """Return the settings file: all values that are set, and every schedule in full."""
    checked = settings(spec)
    schedules = {name: one.model_dump(mode="json", exclude_none=True) for name, one in checked.schedules.items()}
    return {**checked.model_dump(mode="json", exclude_unset=True), "schedules": schedules}


def _written_twice(given: dict[str, Any], written: dict[str, str]) -> Iterator[tuple[str, str]]:
    for path, reason in written.items():
        *parents, last = path.split(".")
        section: Any = given
        for key in parents:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and last in section:
            yield path, reason
    for name, destination in _destinations(given).items():
        if isinstance(destination, dict) and "ca_file" in destination:
            yield f"storage.destinations.{name}.ca_file", "it follows from backup.s3.ca_config_map"


def _destinations(given: dict[str, Any]) -> dict[str, Any]:
    storage = given.get("storage")
    found = storage.get("destinations") if isinstance(storage, dict) else None
    return found if isinstance(found, dict) else {}


def _completed(spec: Spec | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the values that follow from the spec.

    A section that is not a mapping is left as it is, and is reported later.
    """
    follows = _follows(spec) if spec else {"cluster": "demo", "neo4j": {"uri": "neo4j://demo-client:7687"}}
    found = copy.deepcopy(given)
    for key, value in follows.items():
        if not isinstance(value, dict):
            found[key] = value
        elif isinstance(found.setdefault(key, {}), dict):
            found[key] |= value
    if spec and spec.backup.s3 and spec.backup.s3.ca_config_map:
        for destination in _destinations(found).values():
            # Not for AWS itself: the file would replace the public CAs, which AWS needs.
            if isinstance(destination, dict) and destination.get("endpoint_url"):
                destination["ca_file"] = S3_CA_FILE
    return found


def _follows(spec: Spec) -> dict[str, Any]:
    used = connection(spec)
    neo4j: dict[str, Any] = {
        "uri": used.uri,
        "username_file": f"{SECRETS}/neo4j/username",
        "password_file": f"{SECRETS}/neo4j/password",
        "servers": list(used.servers),
    }
    if used.backup_addresses:
        neo4j["backup_addresses"] = used.backup_addresses
    if used.ca_secret:
        neo4j["ca_file"] = f"{SECRETS}/bolt-ca/ca.crt"
    if used.backup_tls_secret:
        names = {"ca_file": "ca.crt", "cert_file": "tls.crt", "key_file": "tls.key"}
        neo4j["backup_tls"] = {key: f"{SECRETS}/backup-tls/{name}" for key, name in names.items()}
    signing = {"signing": {"key_file": f"{SECRETS}/signing/key.pem"}} if spec.backup.signing_secret else {}
    return {
        "cluster": spec.cluster,
        "neo4j": neo4j,
        **signing,
        "storage": {"root": BACKUPS},
        "requests": {"folder": REQUESTS},
        "http": {"listen": f"0.0.0.0:{AGENT_HTTP}", "probes": f"0.0.0.0:{AGENT_PROBES}"},
    }
