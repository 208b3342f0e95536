"""What a person must know or do in addition to applying the objects: Secrets, certificates, removing servers."""

import re
from collections.abc import Iterable, Iterator

from backup_agent.k8s import agent_settings, former_settings
from backup_agent.k8s.alone import AloneSpec, Spec
from backup_agent.k8s.connection import connection, server_ports
from backup_agent.k8s.names import (
    BACKUP,
    SECRETS,
    admission_name,
    backup_name,
    client_name,
    drill_name,
    selector,
    server_domain,
    server_hosts,
    server_name,
)
from backup_agent.k8s.neo4j_conf import ADVERTISED_BACKUP, MUTUAL, SEEDS, SERVER_SEEDS, has_server_seeds, policies
from backup_agent.k8s.spec import SMALLEST_AGENT, ClusterSpec, memory_bytes

DEALLOCATION = """{running} servers become {wanted}: {going} must give up what they host before these
objects are applied, or databases lose copies, and perhaps their majority. On the system database, in this order:
  1. SHOW SERVERS YIELD name, address, state, hosting WHERE {addresses};
  2. for each name: DRYRUN DEALLOCATE DATABASES FROM SERVER 'name';
     (refused where a database has more copies than servers would remain: ALTER DATABASE ... SET TOPOLOGY first)
  3. for each name: DEALLOCATE DATABASES FROM SERVER 'name';
  4. wait until SHOW SERVERS says Deallocated, and hosting is nothing but system
  5. for each name: DROP SERVER 'name';
  6. apply these objects, and wait until the pods are gone
  7. kubectl delete pvc -n {namespace} {claims}
     (a server that was dropped never comes back with its old files)
  8. render once more with --running {wanted}: until then, each rendering prints these steps"""
"""The steps of the manual (clustering, managing servers)."""


EXISTING = """these objects change nothing on the servers. What must be true there:
  1. neo4j.conf of each server: server.backup.enabled=true and server.backup.listen_address=0.0.0.0:6362. The default,
     127.0.0.1:6362, refuses other pods
  2. {addresses}
  3. the agent's pod reaches the ports {ports} of each server. If a NetworkPolicy selects the servers, it must admit
     the pods {pods} of the namespace {namespace}{admission}
  4. {tls}
  5. the account in the Secret {auth} has the privileges of backup_agent/cluster/role.cypher
  6. the servers run the version line of the agent's image, {version}
  7. for restores, the servers can read the buckets (another identity, read only), or have a folder for seeds
  Check: kubectl exec -n {namespace} {agent}-0 -- backup-agent doctor"""
"""What the agent needs of servers that are not rendered (docs/alone.md)."""

UNNAMED = (
    "the Bolt host of each server leads to its port 6362 too, or the server advertises another address "
    "(server.backup.\n     advertised_address, from {oldest} on), or neo4j.backup_addresses has it"
)
NAMED = (
    "each address of neo4j.servers leads to one server. A Service in front of several servers does not do: a backup "
    "comes\n     from the server that hosts the database"
)

ENCRYPTED = (
    "the certificate of the backup port is of the CA in the Secret {secret}, and names\n     the backup listeners"
)
PLAIN = "the backup port has no certificate (dbms.ssl.policy.backup): neo4j.backup_tls_secret is not set"


def notes(spec: Spec, running: int | None = None) -> list[str]:
    """Return the notes; `running` is the number of servers before the spec is applied, or None if unknown."""
    if isinstance(spec, AloneSpec):
        return [*_needed(spec, _agent_secrets(spec)), _existing(spec), *_kept(spec), *_memory(spec), *_drills(spec)]
    return [
        *_shrinking(spec, running),
        *_needed(spec, [*_server_secrets(spec), *_agent_secrets(spec)]),
        _account(spec),
        *_certificates(spec),
        *_kept(spec),
        *_one_server(spec),
        *_offline(spec),
        *_exposed(spec),
        *_passwords(spec),
        *_former(spec),
        *_memory(spec),
        *_drills(spec),
        *_versions(spec),
    ]


def _existing(spec: AloneSpec) -> str:
    given, oldest = spec.neo4j, "{}.{:02}".format(*ADVERTISED_BACKUP)
    admits = given.pods is not None and given.pods.admit
    return EXISTING.format(
        addresses=NAMED if given.servers else UNNAMED.format(oldest=oldest),
        ports=", ".join(str(port) for port in server_ports(spec)),
        pods=",".join(f"{key}={value}" for key, value in selector(spec, BACKUP).items()),
        namespace=spec.namespace,
        admission=f":\n     the rendered policy {admission_name(spec)} does" if admits else "",
        tls=ENCRYPTED.format(secret=given.backup_tls_secret) if given.backup_tls_secret else PLAIN,
        auth=spec.agent_auth.secret,
        version=".".join(spec.version.split(".")[:2]),
        agent=backup_name(spec),
    )


def _shrinking(spec: ClusterSpec, running: int | None) -> list[str]:
    wanted = spec.topology.servers
    if running is None or running <= wanted:
        return []
    numbers = range(wanted, running)
    going = f"server {wanted}" if len(numbers) == 1 else f"servers {wanted} to {running - 1}"
    hosts = (f"{server_name(spec)}-{number}.{server_domain(spec)}" for number in numbers)
    addresses = " OR ".join(f"address STARTS WITH '{host}'" for host in hosts)
    claims = " ".join(f"data-{server_name(spec)}-{number}" for number in numbers)
    facts = {"going": going, "addresses": addresses, "claims": claims, "namespace": spec.namespace}
    return [DEALLOCATION.format(running=running, wanted=wanted, **facts)]


Needed = tuple[str, tuple[str, ...]]
"""The name of a Secret or ConfigMap, and the keys that it must have."""


def _server_secrets(spec: ClusterSpec) -> Iterator[Needed]:
    yield spec.auth.secret, (spec.auth.password_key,)
    for scope, tls in policies(spec).items():
        yield tls.secret, ("tls.crt", "tls.key", *(("ca.crt",) if scope in MUTUAL else ()))
    for name in spec.server.env_from:
        yield name, ()
    for one in spec.server.secret_mounts:
        yield one.secret, ()
    if spec.server.s3 and spec.server.s3.credentials_secret:
        yield spec.server.s3.credentials_secret, ("credentials",)


def _agent_secrets(spec: Spec) -> Iterator[Needed]:
    used = connection(spec)
    yield used.auth.secret, (used.auth.username_key, used.auth.password_key)
    if used.ca_secret:
        yield used.ca_secret, ("ca.crt",)
    if used.backup_tls_secret:
        yield used.backup_tls_secret, ("ca.crt", "tls.crt", "tls.key")
    if spec.backup.signing_secret:
        yield spec.backup.signing_secret, ("key.pem",)
    if spec.backup.notify_secret:
        yield spec.backup.notify_secret, _receivers(spec)
    if spec.backup.s3 and spec.backup.s3.credentials_secret:
        yield spec.backup.s3.credentials_secret, ("credentials",)
    if spec.backup.drill_job and spec.backup.drill_job.credentials_secret:
        yield spec.backup.drill_job.credentials_secret, ("credentials",)
    if spec.backup.drill_job and spec.backup.drill_job.signing_secret:
        yield spec.backup.drill_job.signing_secret, ("key.pem",)


def _receivers(spec: Spec) -> tuple[str, ...]:
    """Return the keys of the Secret that the receivers of the settings read."""
    files = (one.url_file for one in agent_settings.settings(spec).notify.values())
    return tuple(sorted({file.name for file in files if str(file.parent) == f"{SECRETS}/notify"}))


def _needed(spec: Spec, secrets: Iterable[Needed]) -> list[str]:
    """Return what the objects refer to and `render` does not write, in the namespace and in the whole cluster."""
    maps = spec.backup.s3.ca_config_map if spec.backup.s3 else None
    pulls = sorted(set(spec.image_pull_secrets))
    inside = [
        f"Secrets {_listed(secrets)}",
        *([f"ConfigMap {maps} (ca.crt)"] if maps else []),
        *([f"Secrets of the registry {', '.join(pulls)} (type kubernetes.io/dockerconfigjson)"] if pulls else []),
    ]
    outside = [f"{kind} {', '.join(sorted(names))}" for kind, names in _cluster_wide(spec).items() if names]
    found = [f"needed in namespace {spec.namespace}, and not rendered: {'; '.join(inside)}"]
    return [*found, *([f"needed in the Kubernetes cluster: {'; '.join(outside)}"] if outside else [])]


def _listed(needed: Iterable[Needed]) -> str:
    wanted: dict[str, set[str]] = {}
    for name, keys in needed:
        wanted.setdefault(name, set()).update(keys)
    return "; ".join(f"{name} ({', '.join(sorted(keys))})" if keys else name for name, keys in sorted(wanted.items()))


def _cluster_wide(spec: Spec) -> dict[str, set[str]]:
    servers = [] if isinstance(spec, AloneSpec) else [spec.server]
    placements = [spec.backup.placement, *(one.placement for one in servers)]
    claims = [spec.backup.storage, spec.backup.requests, *(one.data for one in servers)]
    return {
        "PriorityClass": {one.priority_class for one in placements if one.priority_class},
        "StorageClass": {one.storage_class for one in claims if one.storage_class},
        "CustomResourceDefinition": {
            f"{kind}.monitoring.coreos.com"
            for kind, rendered in {
                "servicemonitors": spec.monitoring.service_monitor,
                "prometheusrules": spec.monitoring.rules,
            }.items()
            if rendered
        },
    }


ACCOUNT = (
    "the agent logs in with the account in the Secret {secret}. Create the account once the servers run, with "
    "backup_agent/cluster/role.cypher (docs/kubernetes.md): there are no backups before"
)


def _account(spec: ClusterSpec) -> str:
    if spec.backup.use_servers_account:
        return "backup.use_servers_account: the agent logs in as an administrator of the cluster"
    return ACCOUNT.format(secret=spec.agent_auth.secret)


def _certificates(spec: ClusterSpec) -> list[str]:
    hosts = f"*.{server_domain(spec)}"
    names = {
        "bolt": (client_name(spec), f"{client_name(spec)}.{spec.namespace}.svc.{spec.cluster_domain}", hosts),
        "https": (client_name(spec), f"{client_name(spec)}.{spec.namespace}.svc.{spec.cluster_domain}", hosts),
        "cluster": (hosts,),
        "backup": (hosts,),
    }
    found = [f"the certificate of tls.{scope} must name: {', '.join(names[scope])}" for scope in policies(spec)]
    if "cluster" in policies(spec):
        found.append("the certificate of tls.cluster must be good for servers and for clients (extended key usage)")
    return found


def _kept(spec: Spec) -> list[str]:
    settings = agent_settings.settings(spec)
    found = []
    if spec.backup.keep_everything:
        found.append(f"{backup_name(spec)} deletes nothing on its volume of {spec.backup.storage.size}, which fills up")
    found += [
        f"backup.settings.storage.destinations.{name} has no retention: everything is kept there"
        for name, destination in sorted(settings.storage.destinations.items())
        if destination.retention is None and not spec.backup.keep_everything
    ]
    return found


def _one_server(spec: ClusterSpec) -> list[str]:
    if spec.topology.servers > 1:
        return []
    return [f"one server, {server_hosts(spec)[0]}: no other server has a copy while it is down"]


def _exposed(spec: ClusterSpec) -> Iterator[str]:
    service = spec.client_service
    if service.type != "LoadBalancer":
        return
    plain = [name for name, tls in (("bolt", spec.tls.bolt), ("https", spec.tls.https)) if tls is None]
    if plain:
        missing = " and ".join(f"tls.{name}" for name in plain)
        yield (
            f"client_service.type: LoadBalancer without {missing}: passwords and data leave the Kubernetes cluster "
            "unencrypted"
        )
    if not service.source_ranges:
        yield "client_service.type: LoadBalancer without client_service.source_ranges: every address may connect"


SECRET = re.compile(r"pass(word|phrase)?$|secret$|token$|credentials?$", re.IGNORECASE)


def _passwords(spec: ClusterSpec) -> list[str]:
    """Return a note for each setting that looks like a secret. Its value is not shown."""
    return [
        f"server.config.{key} looks like a secret: its value is in the ConfigMap {server_name(spec)}, which is no "
        "Secret. Use server.env_from, with a Secret whose key is the variable of the setting"
        for key in sorted(spec.server.config)
        if SECRET.search(key)
    ]


def _former(spec: ClusterSpec) -> Iterator[str]:
    for key in sorted(spec.server.config):
        found = former_settings.former(key, spec.at)
        if found is None:
            continue
        advice = f"write {found.new}" if found.new else "leave it out, nothing replaced it"
        if found.refused:
            effect = "a server with strict validation does not start with it"
        elif found.new:
            effect = "a server reads it with a warning, and not at all if the new setting is in neo4j.conf"
        else:
            effect = "a server ignores it with a warning"
        yield f"server.config.{key} is a setting of earlier versions: {advice}. {effect[0].upper()}{effect[1:]}"


def _offline(spec: ClusterSpec) -> list[str]:
    if not spec.server.offline_maintenance:
        return []
    return ["server.offline_maintenance: Neo4j does not run in new pods. Without this key, replace the pods once more"]


def _memory(spec: Spec) -> list[str]:
    settings, limit = agent_settings.settings(spec), memory_bytes(spec.backup.memory)
    share = limit // settings.limits.parallel
    asked = sum(size for size in (settings.neo4j.heap, settings.neo4j.pagecache) if size is not None)
    found = []
    if share < memory_bytes(SMALLEST_AGENT):
        found.append(
            f"backup.memory, {spec.backup.memory}, is less than {SMALLEST_AGENT} for each of the "
            f"{settings.limits.parallel} at once of limits.parallel: they may run out of it"
        )
    if asked >= share:
        found.append(
            f"neo4j.heap and neo4j.pagecache do not fit into backup.memory, {spec.backup.memory}: Kubernetes will end "
            "the agent together with its backup"
        )
    return found


def _drills(spec: Spec) -> Iterator[str]:
    job = spec.backup.drill_job
    if job is None:
        return
    yield (
        f"backup.drill_job: production data are on the node of the pod of {drill_name(spec)} while it drills. They are "
        "deleted with its scratch volume"
    )
    if job.egress is None:
        yield f"backup.drill_job without egress: {drill_name(spec)} may connect to port 443 of every address"
    settings = agent_settings.settings(spec)
    if job.place not in settings.storage.destinations:
        yield f"backup.drill_job.place: backup.settings has no destination {job.place}, so the job fails"
    if not settings.signing.trusted:
        yield (
            "backup.drill_job: without signing.trusted in backup.settings, the job recognises no record: it says "
            "ORIGIN NOT PROVEN, and fails with exit code 3"
        )
    if not (job.signing_secret and settings.drill.trusted):
        yield (
            "backup.drill_job: without signing_secret, and its fingerprint in drill.trusted of backup.settings, a "
            "failed drill of the job alerts, but a passed one proves nothing to the agent"
        )


def _versions(spec: ClusterSpec) -> list[str]:
    image, found = spec.server.image, []
    if has_server_seeds(spec):
        oldest = "{}.{:02}".format(*SERVER_SEEDS)
        found.append(
            f"server.seeds sets server.directories.seeds to {SEEDS}: changing it restarts the servers, and a server "
            f"older than {oldest} does not start with it"
        )
    if image is not None and spec.version not in image:
        found.append(
            f"server.image, {image}, does not name {spec.version}: a server refuses settings of another version"
        )
    return found
