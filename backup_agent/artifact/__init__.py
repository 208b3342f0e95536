"""Artifacts, read without a JVM: the header, the container walked to its end, the checksums of one reading pass."""
