"""Reading the settings from file, environment and defaults, with the origin of each value."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backup_agent import durable
from backup_agent.settings.faults import Fault, SettingsError, faults_of
from backup_agent.settings.model import Settings
from backup_agent.settings.yaml_reader import LARGEST, YamlError, read_yaml

DEFAULT_PATH = Path("/etc/backup-agent/config.yaml")
PREFIX = "BACKUP_AGENT_"
PATH_VARIABLE = PREFIX + "CONFIG"

DEEPEST_KEY = 16
"""Largest number of nested keys in the name of a variable."""

LONGEST_ORIGIN = 200

FROM_FILE = "file"
FROM_DEFAULT = "default"

Keys = tuple[str, ...]


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
    return parse(content, environ, str(file))


def read(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, bytes]:
    """Return the path and the content of the settings file. The content is empty if the default file is missing.

    Raise SettingsError if the file cannot be read.
    """
    named = path or (Path(environ[PATH_VARIABLE]) if environ.get(PATH_VARIABLE) else None)
    file = named or DEFAULT_PATH
    try:
        return file, durable.read(file, LARGEST, follow=True)
    except FileNotFoundError:
        if named is None:
            return file, b""
        raise SettingsError(str(file), (Fault("", "no such file"),)) from None
    except durable.TooLargeError:
        raise SettingsError(
            str(file), (Fault("", f"expected at most {LARGEST} bytes: is this the settings file?"),)
        ) from None
    except OSError as error:
        raise SettingsError(str(file), (Fault("", f"cannot be read: {error.strerror}"),)) from None


def parse(content: bytes, environ: Mapping[str, str], source: str) -> Loaded:
    """Check the content of a file together with the environment; raise SettingsError with every fault."""
    try:
        written = {} if (tree := read_yaml(content)) is None else tree
    except YamlError as error:
        raise SettingsError(source, (Fault("", str(error)),)) from None
    if not isinstance(written, dict):
        raise SettingsError(source, (Fault("", "expected keys and values, such as cluster: demo"),))

    # Add an empty section if there is none: the fault then names the missing key neo4j.uri, not `neo4j`.
    merged = {"neo4j": {}, **copy.deepcopy(written)}
    origins: dict[Keys, str] = {}
    faults: tuple[Fault, ...] = ()
    for keys, variable in _variables(environ):
        origin = f"environment {variable}"
        if len(keys) > DEEPEST_KEY:
            text = f"expected at most {DEEPEST_KEY} keys with '__' between them (got {len(keys)})"
            faults += (Fault("", text, origin[:LONGEST_ORIGIN]),)
            continue
        try:
            origins[_put(merged, keys, read_yaml(environ[variable].encode(errors="replace")))] = origin
        except YamlError as error:
            faults += (Fault("", f"{error}; a value with such characters needs quotes inside the variable", origin),)
    try:
        settings = Settings.model_validate_json(json.dumps(merged), strict=True)
    except ValidationError as error:
        raise SettingsError(source, (*faults, *faults_of(error, origins))) from None
    if faults:
        raise SettingsError(source, faults)

    provenance = {".".join(keys): _origin(keys, written, origins) for keys, _ in _leaves(settings)}
    return Loaded(settings, provenance, digest(content), source)


def digest(content: bytes) -> str:
    """Return a digest of the file's content, to find out whether it has changed."""
    return sha256(content).hexdigest()


def in_force(loaded: Loaded) -> list[SettingInForce]:
    """Return every value in force, in the order of the model, with its origin."""
    paths = ((".".join(keys), value) for keys, value in _leaves(loaded.settings))
    return [SettingInForce(path, value, loaded.provenance.get(path, FROM_DEFAULT)) for path, value in paths]


def _variables(environ: Mapping[str, str]) -> list[tuple[Keys, str]]:
    """Return (keys, variable) for each variable that sets a value. Sections come before the keys in them.

    A name without `__` that is not a key is ignored: Kubernetes sets BACKUP_AGENT_SERVICE_HOST and the like.
    """
    found = []
    for variable in environ:
        keys = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if variable.startswith(PREFIX) and (len(keys) > 1 or keys[0] in Settings.model_fields):
            found.append((keys, variable))
    return sorted(found, key=lambda item: (len(item[0]), item))


def _put(tree: dict[str, Any], keys: Keys, value: object) -> Keys:
    """Set a value in the tree; return the keys as they are in the tree.

    If the tree has the key `off-site`, OFF_SITE in a variable's name means this key.
    """
    *parents, last = keys
    actual: Keys = ()
    for key in parents:
        actual += (_key(tree, key),)
        if not isinstance(tree.get(actual[-1]), dict):
            tree[actual[-1]] = {}
        tree = tree[actual[-1]]
    actual += (_key(tree, last),)
    tree[actual[-1]] = value
    return actual


def _key(tree: dict[str, Any], key: str) -> str:
    return next((name for name in tree if re.sub(r"[^a-z0-9]", "_", name.lower()) == key), key)


def _leaves(settings: Settings) -> Iterator[tuple[Keys, Any]]:
    def walk(value: object, keys: Keys) -> Iterator[tuple[Keys, Any]]:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield from walk(item, (*keys, key))
        else:
            yield keys, value

    return walk(settings.model_dump(mode="json"), ())


def _origin(keys: Keys, written: dict[str, Any], origins: Mapping[Keys, str]) -> str:
    for end in range(len(keys), 0, -1):
        if keys[:end] in origins:
            return origins[keys[:end]]
    tree: object = written
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return FROM_DEFAULT
        tree = tree[key]
    return FROM_FILE
