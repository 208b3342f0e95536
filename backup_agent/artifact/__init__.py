"""Reads artifacts without a JVM: only the header, or in one pass the whole container with its checksums."""
