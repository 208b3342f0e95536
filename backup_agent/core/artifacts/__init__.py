"""Artifacts: names, records, marks, chains, and drift between records and files."""
