"""What the supervisor writes into the audit log: starts, changes of the settings, and actions that it carries out."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from backup_agent import __version__, durable
from backup_agent.catalog.audit_log import AuditLog
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.requests.answers import Answer
from backup_agent.settings.model import Settings

MOST_CHANGED = 500
"""Largest number of changed keys that a line names. The number of all is in the line, too."""

log = structlog.get_logger()


class SettingsDigests(StoredValue):
    """The settings in force, so that the log can name what changes: key -> digest of its value."""

    digests: dict[str, str]


class Audit:
    """The audit log, as the supervisor writes it. A line that cannot be written is logged as an error."""

    def __init__(self, root: Path) -> None:
        """Read and write nothing yet."""
        self._log = AuditLog(root)
        self._settings = self._log.folder / "settings.json"

    def note(self, *lines: AuditLine) -> None:
        """Append lines."""
        try:
            self._log.append(*lines)
        except OSError as error:
            log.error(  # noqa: TRY400  what failed is known
                "audit line not written", kinds=[line.kind for line in lines], error=error.strerror
            )

    def asked(self, kind: AuditKind, answer: Answer, *keys: str, **facts: str) -> None:
        """Append a line for what a request asks for, and who says so."""
        asked = answer.asked
        if asked.until is not None:
            facts["until"] = asked.until.isoformat()
        self.note(
            AuditLine(
                kind=kind,
                key=keys[0] if keys else None,
                request=answer.id,
                claimed=asked.requested_by,
                why=asked.reason,
                facts=facts,
            )
        )

    def started(self, settings: Settings) -> None:
        """Append that the agent starts, and which settings have changed since it ran last."""
        self.note(AuditLine(kind=AuditKind.STARTED, facts={"version": __version__, "cluster": settings.cluster}))
        self.settings_in_force(settings)

    def settings_in_force(self, settings: Settings) -> None:
        """Append which keys of the settings differ from those that the log knows. Values are not written."""
        now = {key: _digest(value) for key, value in _flat(settings.model_dump(mode="json"))}
        before = self._before()
        changed = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key))
        if not changed:
            return
        facts: dict[str, Any] = {"changed": len(changed), "keys": changed[:MOST_CHANGED]}
        if any(key.startswith("signing.") for key in changed):
            facts["trusted"], facts["revoked"] = sorted(settings.signing.trusted), sorted(settings.signing.revoked)
        self.note(AuditLine(kind=AuditKind.SETTINGS, why="first" if not before else None, facts=facts))
        try:
            durable.make_folder(self._settings.parent)
            durable.write(self._settings, SettingsDigests(digests=now).to_json())
        except OSError as error:
            log.warning("digests of the settings not written", error=error.strerror)

    def _before(self) -> dict[str, str]:
        try:
            return SettingsDigests.from_json(durable.read(self._settings)).digests
        except (OSError, ValueError):
            return {}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  values of JSON
    """Yield each key of the settings, as docs/settings.md names it, with its value."""
    if isinstance(value, Mapping) and value:
        for name, below in value.items():
            yield from _flat(below, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _digest(value: Any) -> str:  # noqa: ANN401  the same
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
