"""The address of the status page, read without checking the rest of the settings."""

from collections.abc import Mapping
from pathlib import Path

from backup_agent.settings.addresses import PAGE, split_address
from backup_agent.settings.written import merge, read


def page_address(path: Path | None, environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Return host and port of `http.page`; None if they are not written as they must be.

    Raise SettingsError if the file cannot be read. `load` finds all other faults.
    """
    file, content = read(path, environ)
    section = merge(content, environ, str(file), ("http",)).merged.get("http", {})
    page = section.get("page", PAGE) if isinstance(section, dict) else None
    try:
        host, port = split_address(page) if isinstance(page, str) else ("", None)
    except ValueError:
        return None
    return None if port is None else (host, port)
