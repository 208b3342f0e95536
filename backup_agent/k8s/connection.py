"""How the agent reaches the servers: those that are rendered, or those that exist already."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from backup_agent.k8s.alone import AloneSpec, Spec
from backup_agent.k8s.names import BACKUP_PORT, BOLT, client_name, server_hosts
from backup_agent.k8s.spec import LoginSecret
from backup_agent.settings.addresses import split_address


@dataclass(frozen=True)
class Connection:
    """Addresses of the servers, and the Secrets with which the agent connects to them."""

    uri: str
    servers: tuple[str, ...]
    """host:port of each server's backup listener."""
    backup_addresses: dict[str, str] | str | None
    auth: LoginSecret
    ca_secret: str | None
    """Secret with the CA of the Bolt certificates; None for public CAs, or if Bolt is not encrypted."""
    backup_tls_secret: str | None
    """Secret with the agent's certificate for the backup port."""


def connection(spec: Spec) -> Connection:
    """Return how the agent of a spec reaches the servers."""
    if isinstance(spec, AloneSpec):
        given = spec.neo4j
        return Connection(
            given.uri, given.servers, given.backup_addresses, spec.agent_auth, given.ca_secret, given.backup_tls_secret
        )
    bolt, backup = spec.tls.bolt, spec.tls.backup
    return Connection(
        uri=f"{'neo4j+s' if bolt else 'neo4j'}://{client_name(spec)}:{BOLT}",
        servers=tuple(f"{host}:{BACKUP_PORT}" for host in server_hosts(spec)),
        backup_addresses=None,
        auth=spec.agent_auth,
        ca_secret=bolt.secret if bolt and bolt.own_ca else None,
        backup_tls_secret=backup.agent_secret if backup else None,
    )


def server_ports(spec: Spec) -> tuple[int, ...]:
    """Return the ports of the servers to which the agent connects: of Bolt and of the backup listeners."""
    used = connection(spec)
    _, bolt = split_address(urlsplit(used.uri).netloc)
    listeners = (split_address(address)[1] for address in used.servers)
    return tuple(sorted({bolt or BOLT, BOLT, BACKUP_PORT, *(port for port in listeners if port)}))
