"""What a person must know or do in addition to applying the objects: Secrets, certificates, removing servers."""

from backup_agent.k8s import agent_settings
from backup_agent.k8s.names import backup_name, client_name, server_domain, server_hosts, server_name
from backup_agent.k8s.neo4j_conf import MUTUAL, SEEDS, SERVER_SEEDS, has_server_seeds, policies
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
     (a server that was dropped never comes back with its old files)"""
"""The steps of the manual (clustering, managing servers)."""


def notes(spec: ClusterSpec, running: int | None = None) -> list[str]:
    """Return the notes; `running` is the number of servers before the spec is applied, or None if unknown."""
    return [
        *_shrinking(spec, running),
        *_secrets(spec),
        *_certificates(spec),
        *_kept(spec),
        *_memory(spec),
        *_versions(spec),
    ]


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


def _secrets(spec: ClusterSpec) -> list[str]:
    wanted: dict[str, set[str]] = {}

    def add(name: str, *keys: str) -> None:
        wanted.setdefault(name, set()).update(keys)

    add(spec.auth.secret, spec.auth.password_key)
    add(spec.agent_auth.secret, spec.agent_auth.username_key, spec.agent_auth.password_key)
    for scope, tls in policies(spec).items():
        add(tls.secret, "tls.crt", "tls.key", *(("ca.crt",) if scope in MUTUAL else ()))
    if spec.tls.bolt and spec.tls.bolt.own_ca:
        add(spec.tls.bolt.secret, "ca.crt")
    if spec.tls.backup:
        add(spec.tls.backup.agent_secret, "ca.crt", "tls.crt", "tls.key")
    if spec.backup.signing_secret:
        add(spec.backup.signing_secret, "key.pem")
    for access in (spec.server.s3, spec.backup.s3):
        if access and access.credentials_secret:
            add(access.credentials_secret, "credentials")
    listed = "; ".join(f"{name} ({', '.join(sorted(keys))})" for name, keys in sorted(wanted.items()))
    return [f"needed in namespace {spec.namespace}, and not rendered: Secrets {listed}"]


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


def _kept(spec: ClusterSpec) -> list[str]:
    settings = agent_settings.settings(spec)
    found = []
    if spec.backup.keep_everything:
        found.append(f"{backup_name(spec)} deletes nothing on its volume of {spec.backup.storage.size}, which fills up")
    found += [
        f"backup.settings.storage.destinations.{name} has no retention: everything is kept there"
        for name, destination in sorted(settings.storage.destinations.items())
        if destination.retention is None and not spec.backup.keep_everything
    ]
    if spec.topology.servers == 1:
        found.append(f"one server, {server_hosts(spec)[0]}: no other server has a copy while it is down")
    return found


def _memory(spec: ClusterSpec) -> list[str]:
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
