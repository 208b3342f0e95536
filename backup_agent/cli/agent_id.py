"""The id of the agent of a settings file. It is kept apart from the catalog, because `status` does not load that."""

from pathlib import Path

from backup_agent import durable
from backup_agent.core.json_reader import read_json


def owner_id(root: Path) -> str | None:
    """Return the id in the `owner.json` of a volume; None if it cannot be read here."""
    try:
        content = read_json(durable.read(root / "owner.json"))
    except (OSError, ValueError):
        return None
    found = content.get("id") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None
