"""The requests folder: dropped files, the ledger, answers and their expiry, the reserve, and the watch."""
