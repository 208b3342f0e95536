"""Reading the settings again after the file has changed.

If the changed file has faults, the last good settings stay in force. Files are compared by content, not by mtime: the
kubelet writes new files for a changed ConfigMap, and replaces a symbolic link. This module has no clock and no thread:
the caller decides how often to call `check`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from backup_agent.settings.faults import SettingsError
from backup_agent.settings.load import Loaded, digest, load, parse
from backup_agent.settings.model import RESTART_ONLY, Settings
from backup_agent.settings.written import read


@dataclass(frozen=True)
class Change:
    """The effect of a changed file."""

    loaded: Loaded
    """The settings in force; the last good ones if there is a fault."""
    fault: str | None = None
    """All faults of the file, one per line; None if the file is in force."""
    waiting: tuple[str, ...] = ()
    """Keys whose new value takes effect at a restart."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings


class Reloader:
    """One settings file, with the settings in force."""

    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        """Read the file and put it in force. Raise SettingsError if it is faulty."""
        self._path = path
        self._environ = dict(environ)
        self.loaded = load(path, environ)
        self._seen = self.loaded.digest

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    def check(self) -> Change | None:
        """Read the file again; return None if it has not changed since the last call."""
        try:
            file, content = read(self._path, self._environ)
        except SettingsError as error:
            return self._refused(error, str(error))
        seen = digest(content)
        if seen == self._seen:
            return None
        try:
            new = parse(content, self._environ, str(file))
        except SettingsError as error:
            return self._refused(error, seen)
        self._seen = seen
        loaded, waiting = _kept_until_restart(self.loaded, new)
        self.loaded = loaded
        return Change(loaded, waiting=waiting)

    def _refused(self, error: SettingsError, seen: str) -> Change | None:
        """Return the fault as a Change, or None if the same content or the same read error was reported before."""
        if seen == self._seen:
            return None
        self._seen = seen
        return Change(self.loaded, fault=str(error))


def _kept_until_restart(old: Loaded, new: Loaded) -> tuple[Loaded, tuple[str, ...]]:
    """Return the new settings with the old values of RESTART_ONLY, and the keys whose values differ."""
    before, after = old.settings, new.settings
    settings = after.model_copy(
        update={
            "cluster": before.cluster,
            "requests": after.requests.model_copy(update={"folder": before.requests.folder}),
            "storage": after.storage.model_copy(update={"root": before.storage.root}),
            "http": before.http,
        }
    )
    waiting = tuple(key for key in RESTART_ONLY if attrgetter(key)(settings) != attrgetter(key)(after))
    kept = tuple(path for path in new.provenance if path.startswith(waiting))
    provenance = {**new.provenance, **{path: old.provenance[path] for path in kept}}
    return replace(new, settings=settings, provenance=provenance), waiting
