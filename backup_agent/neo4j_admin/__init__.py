"""Running neo4j-admin: finding it, starting it, watching it, ending it. What it was told is decided in core."""
