"""Backs up a whole Neo4j Enterprise cluster from one small pod."""

import sys
from types import ModuleType

__version__ = "0.2.0"


def _without_plugins() -> None:
    """Let pydantic find no plugins. Searching for them imports importlib.metadata, email, zipfile and csv.

    That is a seventh of the time in which a child starts, and 2 MiB of each process. The agent has no plugins, and one
    that another program has installed must not change what the agent reads. PYDANTIC_DISABLE_PLUGINS forbids plugins,
    but not the imports.
    """
    loader = ModuleType("pydantic.plugin._loader")
    vars(loader)["get_plugins"] = tuple
    sys.modules.setdefault(loader.__name__, loader)


_without_plugins()
