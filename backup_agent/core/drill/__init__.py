"""Drills: what a drill proves, how it can end, and which database is drilled next."""
