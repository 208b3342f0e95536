"""Which backups are expected of each database, whether they exist, and the health of the whole agent."""
