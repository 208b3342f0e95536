"""Signs records and marks with ed25519, and verifies their signatures.

Only child processes and commands sign or verify. `cryptography` is imported by the functions that need it, so a process
that only reads recognised records never loads it.
"""
