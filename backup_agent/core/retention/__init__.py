"""Retention: which artifacts are kept, until when, and which are verified next."""
