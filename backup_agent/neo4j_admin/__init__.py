"""Running neo4j-admin: finding, starting, watching and ending it. The core decides on its arguments."""
