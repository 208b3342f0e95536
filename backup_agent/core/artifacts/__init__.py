"""Artifacts and what is recorded of them: names, records, marks, chains, drift."""
