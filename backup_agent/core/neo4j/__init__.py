"""Neo4j: its topology, what to back up from where, the command line of neo4j-admin, and the verdict on what it did."""
