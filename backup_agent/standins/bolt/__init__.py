"""A Bolt server that answers the statements of a backup agent and of its restore plans as an Enterprise cluster would.

It is a stand-in, written from Neo4j's manuals and the answers of Neo4j Community; it was never compared with an
Enterprise server. It holds no data and runs no Cypher: `grammar` and `commands` list the statements that it supports.
A restored database has data if real Neo4j Community servers are given, which load the full of its seed.

    with BoltServer(folder) as server:               # one listener for each server of folder/cluster.json
        neo4j.GraphDatabase.driver(server.uri("server-0", scheme="neo4j"))
        server.change(server.cluster.with_leader("orders", "server-2"))
"""

from backup_agent.standins.bolt.administration import RealDatabases, Restoring
from backup_agent.standins.bolt.server import BoltServer, Heard, Login

__all__ = ["BoltServer", "Heard", "Login", "RealDatabases", "Restoring"]
