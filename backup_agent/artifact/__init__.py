"""Reads artifacts without a JVM: only the header, or the whole container, once, with its checksums."""
