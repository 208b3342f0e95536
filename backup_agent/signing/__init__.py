"""Signatures of records and marks, by ed25519.

Only child processes and commands sign or verify. `cryptography` is imported by the functions that need it, so a process
that only reads recognised records never loads it.
"""
