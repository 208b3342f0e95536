"""The supervisor: small, long-lived, owns all state. It imports neither neo4j nor boto3: its children do."""
