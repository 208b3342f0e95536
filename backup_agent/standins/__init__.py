"""Stand-ins for what is not freely available: Neo4j Enterprise's `neo4j-admin` and a cluster that speaks Bolt.

The output of each stand-in says that it is one. Only the demo and the tests import this package, never the agent.
"""
