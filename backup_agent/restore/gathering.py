"""Gathering the facts of a plan: the artifacts, and what is known of the servers without asking them."""

from backup_agent.catalog.place import destinations
from backup_agent.cluster.saved_topology import load_topology
from backup_agent.core.artifacts.records import Record
from backup_agent.core.capabilities import Version
from backup_agent.core.neo4j.topology import Topology, split
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.restore.asked import AskedDatabase
from backup_agent.core.restore.facts import Known, Source
from backup_agent.core.restore.machines import agent_of, servers
from backup_agent.restore.finding import Asked, FoundPoint
from backup_agent.settings.model import Settings
from backup_agent.stores.kind import kind_of


def source_of(found: FoundPoint, asked: Asked) -> Source:
    """Return the artifacts of a restore point, and how servers read their place. `asked` is what a person named."""
    place, point = found.place, found.point
    access = place.destination and kind_of(place.destination).seed_access(place.destination, place.settings.cluster)
    return Source(
        chain=found.chain,
        place=place.name,
        proven=found.proven,
        by_cut=found.by_cut,
        history=found.history,
        uri=access.uri if access else "",
        server_needs=access.server_needs if access else (),
        moment=asked.moment if isinstance(asked, AskedDatabase) else None,
        until=point.until,
        before_tx=point.before_tx,
        lacking_since=point.lacking_since,
        remarks=(*found.remarks, *_other_places(found)),
    )


def known_servers(settings: Settings, record: Record, version: str | None) -> Known:
    """Return what the last topology on the volume and the settings say of the servers.

    `version` is the version of the servers if a person gives it. Raise PermanentError if the version is unknown.
    """
    topology = load_topology(settings.storage.root)
    addresses: list[tuple[str, str | None]] = [(split(address)[0], None) for address in settings.neo4j.servers]
    if topology is not None:
        listed = [(split(one.address)[0], one.server_id) for one in topology.copies if one.address is not None]
        addresses = listed or addresses
    machines = servers(settings.cluster, addresses)
    aliases = topology.aliases if topology else {}
    return Known(
        version=_version(record, version, topology),
        agent=agent_of(settings.cluster, machines),
        servers=machines,
        # A cluster if in doubt: its statements are safe on a single server, and not the other way round.
        cluster=len(machines) != 1,
        databases={*(one.database for one in topology.copies), *aliases} if topology else (),
        aliases=tuple(alias for alias, database in aliases.items() if database == record.database),
        seen=topology.seen if topology else None,
    )


def _version(record: Record, asked: str | None, topology: Topology | None) -> Version:
    """Return the version of the servers: the given one, the oldest that was seen, or that of the backup."""
    if asked is not None:
        if (given := Version.parse(asked)) is None:
            raise PermanentError(Reason.INVALID_REQUEST, f"{asked!r} is not a version of Neo4j", "write it as 5.26.31")
        return given
    seen = [found for text in (topology.versions if topology else ()) if (found := Version.parse(text))]
    version = min(seen) if seen else Version.parse(record.admin_version or record.server_version or "")
    if version is None:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{record.key}: the record has no version of Neo4j, and the plan depends on the version",
            "add --neo4j-version with the version of the servers that restore, such as --neo4j-version 5.26.31",
        )
    return version


def _other_places(found: FoundPoint) -> list[str]:
    """Return a remark for each destination that servers could read the artifacts from instead of the volume."""
    if not found.place.is_volume:
        return []
    return [
        f"{other.name} has these artifacts too: with --from {other.name}, the servers read them from there"
        for other in destinations(found.place.settings)
        if all(other.record_notes.has(record.key) for record in found.chain)
    ]
