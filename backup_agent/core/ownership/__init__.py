"""Whose a place is: its owner and its lease."""
