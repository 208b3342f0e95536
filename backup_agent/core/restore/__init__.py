"""Restoring: which restore point, and how it gets to a server."""
