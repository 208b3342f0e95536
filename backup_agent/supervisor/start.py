"""Starting the agent: settings, log, loop."""

from collections.abc import Mapping
from pathlib import Path

from backup_agent import logs
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.agent import Agent


def start(path: Path | None, environ: Mapping[str, str]) -> int:
    """Run the agent; return its exit code. Raise SettingsError for a faulty file, BackupError where it must not run."""
    reloader = Reloader(path, environ)
    settings = reloader.loaded.settings
    logs.configure(settings.log.format, settings.log.level, cluster=settings.cluster)
    return Agent(reloader).run()
