"""What is known of a cluster at one moment, and which server should serve a backup."""

from datetime import datetime

from backup_agent.core.records import Value


class Copy(Value):
    """One row of SHOW DATABASES: one database on one server. Every column but the name may be null."""

    database: str
    type: str | None = None
    role: str | None = None
    writer: bool | None = None
    address: str | None = None
    """The server's advertised Bolt address, host:port."""
    server_id: str | None = None
    database_id: str | None = None
    status: str | None = None
    last_committed_txn: int | None = None
    replication_lag: int | None = None


class Topology(Value):
    """What Bolt said, and when. Kept on the volume (`<root>/.agent/topology.json`) for the day Bolt is silent."""

    seen: datetime
    copies: tuple[Copy, ...]
    aliases: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    """Versions of the Neo4j kernel, as dbms.components() says."""
    backup_addresses: dict[str, str] = {}
    """Bolt address of a server -> host:port of its backup listener, where the server itself told it."""
