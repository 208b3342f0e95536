"""Finds, starts, watches and ends neo4j-admin. `backup_agent.core` chooses the arguments."""
