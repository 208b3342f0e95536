"""Where the settings file is."""

from pathlib import Path

DEFAULT_PATH = Path("/etc/backup-agent/config.yaml")
PREFIX = "BACKUP_AGENT_"
"""The names of all variables that set a value begin with this."""
PATH_VARIABLE = PREFIX + "CONFIG"


def hint(source: str) -> str:
    """Return a hint if the settings file `source` does not exist, else an empty string."""
    if Path(source).exists():
        return ""
    return f"write it, or name another with --config or ${PATH_VARIABLE}"
