"""Connections that the settings leave without encryption or without a check of the server's certificate."""

from urllib.parse import urlsplit

from backup_agent.core.doctor.checks import Check
from backup_agent.core.neo4j.topology import LOOPBACK
from backup_agent.settings.model import Neo4j

PLAIN = Check.PLAIN_BOLT.value
UNCHECKED = Check.UNCHECKED_BOLT.value
BACKUP_HOSTNAME = Check.BACKUP_HOSTNAME.value
KINDS = (PLAIN, UNCHECKED, BACKUP_HOSTNAME)


def unprotected(neo4j: Neo4j) -> dict[str, str]:
    """Return the unprotected connections: kind -> what is at risk, and what to change.

    Plain Bolt to a loopback address does not count as unprotected.
    """
    found: dict[str, str] = {}
    uri = urlsplit(neo4j.uri)
    if "+" not in uri.scheme and uri.hostname not in LOOPBACK:
        found[PLAIN] = (
            f"neo4j.uri has {uri.scheme}://, so the password is sent without encryption: set {uri.scheme}+s:// once "
            "dbms.ssl.policy.bolt is enabled on the servers"
        )
    if uri.scheme.endswith("+ssc"):
        found[UNCHECKED] = (
            f"neo4j.uri has {uri.scheme}://, so any server gets the password: set "
            f"{uri.scheme.removesuffix('sc')}:// and neo4j.ca_file"
        )
    if neo4j.backup_tls is not None and not neo4j.backup_tls.verify_hostname:
        found[BACKUP_HOSTNAME] = (
            "neo4j.backup_tls.verify_hostname is false, so a backup is accepted from any host with a certificate of "
            "the CA: issue certificates that name the backup addresses"
        )
    return found
