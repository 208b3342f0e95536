"""Stand-ins for what cannot be had freely: Neo4j Enterprise's neo4j-admin and its cluster over Bolt.

Each is honest about being one. The agent never imports this room; only the demo does, when it is called.
"""
