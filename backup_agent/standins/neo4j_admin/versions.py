"""Neo4j versions as tuples, such as (5, 26, 31) and (2026, 9, 0), that compare in the order of release."""

Version = tuple[int, ...]


def parse(text: str) -> Version:
    """Return a version such as `2026.09.0` as (2026, 9, 0). Raise ValueError if `text` is not a version."""
    return tuple(int(part) for part in text.partition("-")[0].split("."))
