"""A day of the agent on one laptop: the real agent, against the stand-ins for Neo4j Enterprise, with a real S3 server.

This is the only room that knows the stand-ins.
"""
