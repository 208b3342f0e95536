"""Strategies: specs of every shape, as trees of plain values."""

import json
from typing import Any

from hypothesis import strategies as st

from backup_agent.k8s.reading import read
from backup_agent.k8s.spec import ClusterSpec

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
            {"servers": st.integers(1, 100)},
            optional={key: st.sampled_from(["prefer", "require"]) for key in ("spread", "zones")},
        ),
        "server": st.fixed_dictionaries(
            {"data": claims},
            optional={
                "memory": memory,
                "cpu_limit": st.sampled_from(["1000m", 2, "1.5"]),
                "s3": s3,
                "placement": placements,
                "env_from": st.lists(secrets, max_size=2, unique=True),
                "secret_mounts": st.lists(
                    st.fixed_dictionaries({"secret": secrets, "path": st.sampled_from(["/licenses", "/trust/store"])}),
                    max_size=2,
                    unique_by=lambda one: one["path"],
                ),
                "metrics": st.booleans(),
                "pod_labels": st.just({"team": "graphs"}),
                "update": st.sampled_from(["automatic", "supervised"]),
                "offline_maintenance": st.booleans(),
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
        "labels": st.just({"example.com/team": "graphs"}),
        "annotations": st.just({"example.com/owner": "dba"}),
        "pod_user": st.sampled_from(["fixed", "assigned"]),
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
            {},
            optional={
                "clients": st.lists(peers, max_size=2),
                "egress": st.lists(peers, max_size=2),
                "prometheus": st.lists(peers, max_size=2),
            },
        ),
        "monitoring": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("service_monitor", "rules", "dashboard"), st.just(True))
        ),
    },
)


def read_tree(tree: dict[str, Any]) -> ClusterSpec:
    """Return the spec of a tree."""
    found = read(json.dumps(tree).encode(), "spec.yaml")
    assert isinstance(found, ClusterSpec)
    return found
