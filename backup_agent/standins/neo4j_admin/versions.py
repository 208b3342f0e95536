"""Neo4j versions as tuples: (5, 26, 31) and (2026, 9, 0) compare as they were released."""

Version = tuple[int, ...]


def parse(text: str) -> Version:
    """Return `2026.09.0` as (2026, 9, 0); raise ValueError where it is no version."""
    return tuple(int(part) for part in text.partition("-")[0].split("."))
