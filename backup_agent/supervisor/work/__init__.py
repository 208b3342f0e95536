"""The work of the supervisor and its order: backups, maintenance of places, orders."""
