"""neo4j.conf of the servers, by version.

Neo4j does not start with a setting that it does not know, so each version gets its own names. The file is the same for
all servers: the advertised addresses, which differ, come from each pod's environment (`server.environment`). The number
of servers is in the file, but changing it restarts no server: see `lasting`.
"""

import re
from collections.abc import Iterator, Mapping

from backup_agent.k8s.memory_recommendation import recommendation
from backup_agent.k8s.names import BACKUP_PORT, BOLT, DISCOVERY, HTTP, HTTPS, METRICS, RAFT, ROUTING, server_hosts
from backup_agent.k8s.spec import Certificate, ClusterSpec, memory_bytes

LAST_5 = (5, 26)
ADVERTISED_BACKUP = (2025, 5)
"""First version with server.backup.advertised_address (manual, configuration settings)."""
SERVER_SEEDS = (2026, 4)
"""First version that knows ServerSeedProvider. An older version does not start if it is configured."""
SEEDS = "/data/seeds"
"""Folder of server seeds, on the data volume. A restore creates it, and removes the seeds afterwards."""

TLS_FOLDER = "/run/secrets/tls"

MIB = 1024 * 1024

# JVM options of the neo4j.conf that Neo4j ships. They are repeated, because the rendered file replaces that file.
JVM = (
    "-XX:+UseG1GC",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:+TrustFinalNonStaticFields",
    "-XX:+DisableExplicitGC",
    "-Djdk.nio.maxCachedBufferSize=1024",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djdk.tls.ephemeralDHKeySize=2048",
    "-Djdk.tls.rejectClientInitiatedRenegotiation=true",
    "-XX:FlightRecorderOptions=stackdepth=256",
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:+DebugNonSafepoints",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "-Dlog4j2.disable.jmx=true",
)

ADVERTISED = {
    # Setting -> port of the advertised address; None for a host name without a port.
    "server.default_advertised_address": None,
    "server.bolt.advertised_address": BOLT,
    "server.cluster.advertised_address": DISCOVERY,
    "server.cluster.raft.advertised_address": RAFT,
    "server.routing.advertised_address": ROUTING,
    "server.backup.advertised_address": BACKUP_PORT,
}

ENDPOINTS = {True: "dbms.cluster.discovery.v2.endpoints", False: "dbms.cluster.endpoints"}
"""Whether the version is 5.26 -> the setting that lists the servers."""

MANAGED = frozenset(
    {
        *ADVERTISED,
        *ENDPOINTS.values(),
        "dbms.cluster.discovery.resolver_type",
        "dbms.cluster.discovery.version",
        "dbms.cluster.minimum_initial_system_primaries_count",
        "dbms.databases.seed_from_uri_providers",
        "initial.dbms.automatically_enable_free_servers",
        "initial.dbms.default_primaries_count",
        "initial.dbms.default_secondaries_count",
        "server.backup.enabled",
        "server.backup.listen_address",
        "server.bolt.listen_address",
        "server.bolt.tls_level",
        "server.cluster.listen_address",
        "server.cluster.raft.listen_address",
        "server.default_listen_address",
        "server.directories.data",
        "server.directories.seeds",
        "server.http.enabled",
        "server.http.listen_address",
        "server.https.enabled",
        "server.https.listen_address",
        "server.routing.listen_address",
    }
)
"""Settings of any version that follow from the spec, in addition to the TLS policies."""


PROMETHEUS = {
    "server.metrics.prometheus.enabled": "true",
    "server.metrics.prometheus.endpoint": f"0.0.0.0:{METRICS}",
}

PASSING = (
    *ENDPOINTS.values(),
    "dbms.cluster.discovery.resolver_type",
    "dbms.cluster.discovery.version",
    "dbms.cluster.minimum_initial_system_primaries_count",
    "initial.",
)
"""Beginnings of the lines that require no restart: a running server learns its peers from the others."""


def advertised(spec: ClusterSpec) -> dict[str, int | None]:
    """Return the settings for advertised addresses that this version knows, with their ports."""
    unknown = () if spec.at >= ADVERTISED_BACKUP else ("server.backup.advertised_address",)
    return {name: port for name, port in ADVERTISED.items() if name not in unknown}


def settings(spec: ClusterSpec) -> dict[str, str]:
    """Return all settings, including those of `server.config`, except the options of the JVM."""
    own = {key: _written(value) for key, value in spec.server.config.items()}
    return {**_defaults(spec), **own, **managed(spec)}


def managed(spec: ClusterSpec) -> dict[str, str]:
    """Return the settings that follow from the spec and that `server.config` must not have."""
    return {
        "server.default_listen_address": "0.0.0.0",  # noqa: S104  NetworkPolicies restrict access
        "server.bolt.listen_address": f":{BOLT}",
        "server.http.enabled": _written(spec.tls.https is None),
        "server.http.listen_address": f":{HTTP}",
        "server.https.enabled": _written(spec.tls.https is not None),
        "server.https.listen_address": f":{HTTPS}",
        "server.cluster.listen_address": f":{DISCOVERY}",
        "server.cluster.raft.listen_address": f":{RAFT}",
        "server.routing.listen_address": f":{ROUTING}",
        "server.backup.enabled": "true",
        # In full: this setting does not inherit the default address, and its own default is 127.0.0.1.
        "server.backup.listen_address": f"0.0.0.0:{BACKUP_PORT}",
        "server.directories.data": "/data",
        **(PROMETHEUS if spec.server.metrics else {}),
        **_seeds(spec),
        **_discovery(spec),
        **_tls(spec),
    }


def text(spec: ClusterSpec) -> str:
    """Return the content of the file."""
    lines = [f"{key}={value}" for key, value in sorted(settings(spec).items())]
    return "\n".join([*lines, *(f"server.jvm.additional={option}" for option in _jvm(spec)), ""])


def restart_lines(spec: ClusterSpec) -> str:
    """Return the lines of the file that require a restart if they change.

    The list of servers is omitted, since a running server learns it from its peers, and so are settings that apply only
    at the first start. Adding servers therefore restarts no server.
    """
    return "\n".join(line for line in text(spec).splitlines() if not line.startswith(PASSING))


def _discovery(spec: ClusterSpec) -> dict[str, str]:
    endpoints = ",".join(f"{host}:{DISCOVERY}" for host in server_hosts(spec))
    old = spec.at == LAST_5
    return {
        "dbms.cluster.discovery.resolver_type": "LIST",
        "dbms.cluster.minimum_initial_system_primaries_count": str(min(3, spec.topology.servers)),
        "initial.dbms.automatically_enable_free_servers": "true",
        "initial.dbms.default_primaries_count": str(spec.topology.primaries),
        "initial.dbms.default_secondaries_count": str(spec.topology.default_secondaries),
        ENDPOINTS[old]: endpoints,
        **({"dbms.cluster.discovery.version": "V2_ONLY"} if old else {}),
    }


def _defaults(spec: ClusterSpec) -> dict[str, str]:
    """Return the settings that `server.config` may change."""
    balanced = {"dbms.routing.default_router": "SERVER"}  # clients outside cannot reach the servers' own names
    return {
        **memory(spec.server.config, memory_bytes(spec.server.memory)),
        # The files would be written to a folder of the image, which is read-only.
        "server.metrics.csv.enabled": "false",
        **(balanced if spec.client_service.type == "LoadBalancer" else {}),
    }


INITIAL_HEAP, MOST_HEAP, PAGECACHE = (
    "server.memory.heap.initial_size",
    "server.memory.heap.max_size",
    "server.memory.pagecache.size",
)

SMALLEST_SHARE = 128 * MIB
"""Smallest heap and smallest page cache, in bytes."""


def memory(config: Mapping[str, object], limit: int) -> dict[str, str]:
    """Return the settings for heap and page cache that `config` lacks; `limit` is the memory of a server in bytes.

    The sizes are those of `neo4j-admin server memory-recommendation`. A value in `config` changes the others: Neo4j
    does not start with an initial heap above the largest one, or with a heap and a page cache that together do not fit.
    If the given size is large, less is left free than Neo4j recommends, but at least an eighth.
    """
    heap, pagecache = (size_of(config.get(key)) for key in (MOST_HEAP, PAGECACHE))
    if MOST_HEAP not in config:
        heap = size_of(config.get(INITIAL_HEAP))
    free, recommended = recommendation(limit)
    room = limit - min(free, limit // 8)
    if heap is None:
        heap = max(0, min(recommended, room - (pagecache or 0)))
    if pagecache is None:
        pagecache = max(0, limit - free - heap, min(limit - free - recommended, room - heap))
    same = next((_written(config[key]) for key in (MOST_HEAP, INITIAL_HEAP) if key in config), f"{heap // MIB}m")
    found = {INITIAL_HEAP: same, MOST_HEAP: same, PAGECACHE: f"{pagecache // MIB}m"}
    return {key: value for key, value in found.items() if key not in config}


def memory_faults(config: Mapping[str, object], limit: int) -> Iterator[tuple[str, str]]:
    """Yield the settings of memory in `config` that contradict each other or the server's memory, and why.

    Values that are not sizes are skipped: Neo4j reports them.
    """
    found = {**config, **memory(config, limit)}
    initial, heap, pagecache = (size_of(found[key]) for key in (INITIAL_HEAP, MOST_HEAP, PAGECACHE))
    if initial is not None and heap is not None and initial > heap:
        yield INITIAL_HEAP, f"expected at most {MOST_HEAP}, or leave it out: it is then the same"
    if heap is None or pagecache is None:
        return
    heap_key = MOST_HEAP if MOST_HEAP in config else INITIAL_HEAP
    if PAGECACHE not in config and pagecache < SMALLEST_SHARE:
        yield heap_key, "leaves no memory for the page cache: raise server.memory"
    elif heap_key not in config and heap < SMALLEST_SHARE:
        yield PAGECACHE, "leaves no memory for the heap: raise server.memory"
    elif heap + pagecache >= limit:
        yield heap_key, f"does not fit into server.memory together with {PAGECACHE}: raise server.memory"


def size_of(value: object) -> int | None:
    """Return a size as Neo4j reads it, in bytes; None if it is not a size.

    >>> size_of("8g"), size_of("512 MiB"), size_of(1024), size_of("half")
    (8589934592, 536870912, 1024, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    found = re.fullmatch(r"([0-9]{1,18})\s*(?:([kmgtp])(?:i?b)?|b)?", str(value).strip(), re.IGNORECASE)
    return int(found[1]) * 1024 ** (" kmgtp".index((found[2] or " ").lower())) if found else None


def has_server_seeds(spec: ClusterSpec) -> bool:
    """Return whether the servers read seeds from a folder of their own. An older version does not start with it."""
    return spec.server.seeds and spec.at >= SERVER_SEEDS


def _seeds(spec: ClusterSpec) -> dict[str, str]:
    """Return the seed providers that this version knows, and the folder of server seeds.

    CloudSeedProvider reads from S3, URLConnectionSeedProvider over HTTP, ServerSeedProvider from the folder, whose
    default is on the read-only root file system. S3SeedProvider is not used: it is deprecated, and requires access
    keys.
    """
    name = "dbms.databases.seed_from_uri_providers"
    if not has_server_seeds(spec):
        return {name: "CloudSeedProvider,URLConnectionSeedProvider"}
    return {
        name: "CloudSeedProvider,URLConnectionSeedProvider,ServerSeedProvider",
        "server.directories.seeds": SEEDS,
    }


def policies(spec: ClusterSpec) -> dict[str, Certificate]:
    """Return the certificates that the spec gives, by scope."""
    scopes = {scope: getattr(spec.tls, scope) for scope in ("backup", "bolt", "cluster", "https")}
    return {scope: tls for scope, tls in scopes.items() if tls is not None}


MUTUAL = ("backup", "cluster")
"""Scopes in which both sides have a certificate, and each checks the other's."""


def _tls(spec: ClusterSpec) -> dict[str, str]:
    given = policies(spec)
    found = {"server.bolt.tls_level": "REQUIRED" if "bolt" in given else "DISABLED"}
    for scope in given:
        policy = f"dbms.ssl.policy.{scope}"
        found |= {
            f"{policy}.enabled": "true",
            f"{policy}.base_directory": f"{TLS_FOLDER}/{scope}",
            f"{policy}.private_key": "tls.key",
            f"{policy}.public_certificate": "tls.crt",
            f"{policy}.client_auth": "REQUIRE" if scope in MUTUAL else "NONE",
            f"{policy}.tls_versions": "TLSv1.3,TLSv1.2",
        }
        if scope in MUTUAL:
            found |= {f"{policy}.trust_all": "false", f"{policy}.verify_hostname": _written(scope == "cluster")}
    return found


def _jvm(spec: ClusterSpec) -> tuple[str, ...]:
    s3 = spec.server.s3
    path_style = ("-Daws.s3.forcePathStyle=true",) if s3 and s3.path_style else ()
    own = spec.server.jvm_additional
    # Java refuses two garbage collectors.
    other = any(re.fullmatch(r"-XX:\+Use\w+GC", option) for option in own)
    return (*(option for option in JVM if not (other and option == "-XX:+UseG1GC")), *path_style, *own)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
