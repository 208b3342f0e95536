"""Neo4j: its topology, which databases to back up from which servers, how to call neo4j-admin, and its result."""
