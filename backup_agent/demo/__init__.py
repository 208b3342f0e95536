"""The demo: a day of the real agent on one machine, with stand-ins for Neo4j Enterprise and a real S3 server.

Only this package of the agent imports the stand-ins.
"""
