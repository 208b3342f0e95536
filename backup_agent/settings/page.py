"""Where the agent of a settings file answers, and how it is recognised, read without checking the other settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backup_agent.settings.addresses import PAGE, split_address
from backup_agent.settings.written import merge, read

DEFAULT_ROOT = "/backups"
"""The default of `storage.root`."""


@dataclass(frozen=True)
class AgentAddress:
    """Where an agent answers, and what its answer must say."""

    host: str
    port: int
    cluster: str | None
    root: Path | None


def agent_address(path: Path | None, environ: Mapping[str, str]) -> AgentAddress | None:
    """Return where the agent answers; None if `http.page` is not written as it must be.

    Raise SettingsError if the file cannot be read. `load` finds all other faults.
    """
    file, content = read(path, environ)
    written = merge(content, environ, str(file), ("cluster", "http", "storage")).merged
    http = written.get("http", {})
    page = http.get("page", PAGE) if isinstance(http, dict) else None
    try:
        host, port = split_address(page) if isinstance(page, str) else ("", None)
    except ValueError:
        return None
    if port is None:
        return None
    storage, cluster = written.get("storage", {}), written.get("cluster")
    root = storage.get("root", DEFAULT_ROOT) if isinstance(storage, dict) else None
    return AgentAddress(
        host, port, cluster if isinstance(cluster, str) else None, Path(root) if isinstance(root, str) else None
    )
