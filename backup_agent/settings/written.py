"""The settings as they are written: the file and the environment merged, and not checked.

Apart from `load`, because the models take two thirds of the time of `backup-agent status`, which needs one address.
"""

import copy
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_agent import durable
from backup_agent.settings.faults import Fault, SettingsError
from backup_agent.settings.location import DEFAULT_PATH, PATH_VARIABLE, PREFIX
from backup_agent.settings.yaml_reader import LARGEST, YamlError, read_yaml

DEEPEST_KEY = 16
"""Largest number of nested keys in the name of a variable."""

LONGEST_ORIGIN = 200

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """What file and environment say."""

    file: dict[str, Any]
    """The content of the file."""
    merged: dict[str, Any]
    """The file, with the values of the environment in place of its own."""
    origins: dict[Keys, str]
    """Keys -> `environment NAME`, for each value from the environment."""
    faults: tuple[Fault, ...]
    """Variables that cannot be read."""


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


def merge(content: bytes, environ: Mapping[str, str], source: str, sections: Collection[str]) -> Written:
    """Read the content of a file, and put the values of the environment into it. `sections` are the top level's keys.

    Raise SettingsError if the content is not a mapping in YAML.
    """
    try:
        written = {} if (tree := read_yaml(content)) is None else tree
    except YamlError as error:
        raise SettingsError(source, (Fault("", str(error)),)) from None
    if not isinstance(written, dict):
        raise SettingsError(source, (Fault("", "expected keys and values, such as cluster: demo"),))

    merged = copy.deepcopy(written)
    origins: dict[Keys, str] = {}
    faults: tuple[Fault, ...] = ()
    for keys, variable in _variables(environ, sections):
        origin = f"environment {variable}"
        if len(keys) > DEEPEST_KEY:
            text = f"expected at most {DEEPEST_KEY} keys with '__' between them (got {len(keys)})"
            faults += (Fault("", text, origin[:LONGEST_ORIGIN]),)
            continue
        try:
            origins[_put(merged, keys, read_yaml(environ[variable].encode(errors="replace")))] = origin
        except YamlError as error:
            faults += (Fault("", f"{error}; a value with such characters needs quotes inside the variable", origin),)
    return Written(written, merged, origins, faults)


def _variables(environ: Mapping[str, str], sections: Collection[str]) -> list[tuple[Keys, str]]:
    """Return (keys, variable) for each variable that sets a value. Sections come before the keys in them.

    A name without `__` that is not a key is ignored: Kubernetes sets BACKUP_AGENT_SERVICE_HOST and the like.
    """
    found = []
    for variable in environ:
        keys = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if variable.startswith(PREFIX) and (len(keys) > 1 or keys[0] in sections):
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
