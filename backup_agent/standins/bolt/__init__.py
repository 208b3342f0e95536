"""A scripted Bolt server: answers the few statements a backup agent asks as an Enterprise cluster would.

It is a stand-in, written from Neo4j's manuals and from what real Community servers answered: no Enterprise server has
ever been compared with it. It holds no data and runs no Cypher; see `grammar` for the statements it knows.

    with BoltServer(folder) as server:               # one listener for each server of folder/cluster.json
        neo4j.GraphDatabase.driver(server.uri("server-0", scheme="neo4j"))
        server.change(server.cluster.with_leader("orders", "server-2"))
"""

from backup_agent.standins.bolt.server import BoltServer, Heard, Login

__all__ = ["BoltServer", "Heard", "Login"]
