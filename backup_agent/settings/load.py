"""Reading the settings from file, environment and defaults, with the origin of each value."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backup_agent.settings.faults import SettingsError
from backup_agent.settings.model import Settings
from backup_agent.settings.written import Keys, Written, merge, read

FROM_FILE = "file"
FROM_DEFAULT = "default"


@dataclass(frozen=True)
class SettingInForce:
    """One value in force, in the form of the settings file, with its origin."""

    path: str
    value: Any
    origin: str
    """`file`, `default`, or `environment NAME`."""


@dataclass(frozen=True)
class Loaded:
    """Settings in force, with the origin of each value."""

    settings: Settings
    provenance: dict[str, str]
    """Origin of each value in force, by path."""
    digest: str
    """SHA-256 of the file's content, or of empty content if there is no file."""
    source: str
    """The name of the file, for messages."""


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read the settings; raise SettingsError with every fault.

    If `path` is None, the file is $BACKUP_AGENT_CONFIG or, if that is not set, /etc/backup-agent/config.yaml. Only this
    default file may be missing.
    """
    file, content = read(path, environ)
    try:
        return parse(content, environ, str(file))
    except SettingsError as error:
        if content or file.exists():
            raise
        raise SettingsError(str(file), error.faults, no_file=True) from None


def parse(content: bytes, environ: Mapping[str, str], source: str) -> Loaded:
    """Check the content of a file together with the environment; raise SettingsError with every fault."""
    found = merge(content, environ, source, Settings.model_fields)
    # Add the section `neo4j` if it is missing: the fault then names the missing key neo4j.uri, not `neo4j`.
    tree = {"neo4j": {}, **found.merged}
    try:
        settings = Settings.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        from backup_agent.settings.fault_texts import faults_of  # noqa: PLC0415  needed for faults only

        raise SettingsError(source, (*found.faults, *faults_of(error, found.origins))) from None
    if found.faults:
        raise SettingsError(source, found.faults)

    provenance = {".".join(keys): _origin(keys, found) for keys, _ in _leaves(settings)}
    return Loaded(settings, provenance, digest(content), source)


def digest(content: bytes) -> str:
    """Return a digest of the file's content, to find out whether it has changed."""
    return sha256(content).hexdigest()


def in_force(loaded: Loaded) -> list[SettingInForce]:
    """Return every value in force, in the order of the model, with its origin."""
    paths = ((".".join(keys), value) for keys, value in _leaves(loaded.settings))
    return [SettingInForce(path, value, loaded.provenance.get(path, FROM_DEFAULT)) for path, value in paths]


def _leaves(settings: Settings) -> Iterator[tuple[Keys, Any]]:
    def walk(value: object, keys: Keys) -> Iterator[tuple[Keys, Any]]:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield from walk(item, (*keys, key))
        else:
            yield keys, value

    return walk(settings.model_dump(mode="json"), ())


def _origin(keys: Keys, found: Written) -> str:
    for end in range(len(keys), 0, -1):
        if keys[:end] in found.origins:
            return found.origins[keys[:end]]
    tree: object = found.file
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return FROM_DEFAULT
        tree = tree[key]
    return FROM_FILE
