"""What is to be done, and in which order: backups, maintenance of places, orders."""
