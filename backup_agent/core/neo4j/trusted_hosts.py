"""The hosts to which the agent sends the Bolt password.

SHOW DATABASES lists addresses that each server's own settings advertise. A listed host is queried only if it is
also in the settings, the cluster's domain or the routing table, so that no wrong or forged address gets the password.
"""

from collections.abc import Iterable

from backup_agent.core.artifacts.records import Value
from backup_agent.core.neo4j.topology import Addressing, split

SERVICE = "svc"
"""The label after the namespace in the name of a Kubernetes service: `demo-client.graphs.svc.cluster.local`."""


class TrustedHosts(Value):
    """Hosts, and domains whose hosts are trusted too. Both are in lower case; a domain begins with a dot."""

    hosts: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    def __contains__(self, address: str) -> bool:
        """Return whether the host of `host:port` is trusted."""
        host = _host(address)
        return host in self.hosts or any(host.endswith(domain) for domain in self.domains)

    def with_hosts(self, hosts: Iterable[str]) -> "TrustedHosts":
        """Return the trusted hosts with `hosts` added."""
        return TrustedHosts(hosts=self.hosts | {_host(host) for host in hosts}, domains=self.domains)


def trusted_hosts(uri_host: str, addressing: Addressing) -> TrustedHosts:
    """Return the hosts that the settings name: those of `neo4j.uri`, `servers` and `backup_addresses`.

    Hosts below the host of `neo4j.uri` are trusted too, and if that host is a Kubernetes service, all hosts of its
    namespace. A template of backup addresses adds the domain or host after its last placeholder.

    >>> "demo-server-0.demo-headless.graphs.svc:7687" in trusted_hosts("demo-client.graphs.svc", Addressing())
    True
    """
    chosen = addressing.backup_addresses
    named = {uri_host, *addressing.static, *(chosen if isinstance(chosen, dict) else ())}
    domains = {f".{uri_host}", _namespace(uri_host)}
    if isinstance(chosen, str):
        host = split(chosen.rpartition("}")[2])[0]
        (domains if host.startswith(".") else named).add(host)
    return TrustedHosts(
        hosts=frozenset(map(_host, named)) - {""},
        domains=frozenset(domain.lower().rstrip(".") for domain in domains) - {""},
    )


def _namespace(host: str) -> str:
    """Return the domain of a Kubernetes service's namespace, or an empty string if the host is not a service.

    >>> _namespace("demo-client.graphs.svc.cluster.local"), _namespace("demo.example.com")
    ('.graphs.svc.cluster.local', '')
    """
    labels = host.lower().rstrip(".").split(".")
    return "." + ".".join(labels[1:]) if labels[2:3] == [SERVICE] else ""


def _host(address: str) -> str:
    return split(address)[0].lower().rstrip(".")
