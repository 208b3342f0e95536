"""Reading the settings: file, environment, defaults, and where each value came from.

YAML is read as if it were JSON: no dates, no tags, no key twice. Both `2026-01-01` as a date and the second of two
equal keys winning in silence are YAML's idea of help.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from backup_agent.settings.faults import Fault, SettingsError, faults_of
from backup_agent.settings.model import Settings

DEFAULT_PATH = Path("/etc/backup-agent/config.yaml")
PREFIX = "BACKUP_AGENT_"
PATH_VARIABLE = PREFIX + "CONFIG"
LARGEST_FILE = 1024 * 1024

FROM_FILE = "file"
FROM_DEFAULT = "default"

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One value in force: as the file would have it, and where it came from."""

    path: str
    value: Any
    origin: str
    """`file`, `default`, or `environment NAME`."""


@dataclass(frozen=True)
class Loaded:
    """Settings in force, with the place each value came from."""

    settings: Settings
    provenance: dict[str, str]
    """Origin of each value in force, by path."""
    digest: str
    """SHA-256 of the file's content; of nothing where there is none."""
    source: str
    """What was read, for messages."""


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read the settings; raise SettingsError with every fault.

    Without a path the file is $BACKUP_AGENT_CONFIG, then /etc/backup-agent/config.yaml; only the last may be missing.
    """
    file, content = read(path, environ)
    return parse(content, environ, str(file))


def read(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, bytes]:
    """Return the settings file and its content, empty where the last resort does not exist; raise SettingsError."""
    named = path or (Path(environ[PATH_VARIABLE]) if environ.get(PATH_VARIABLE) else None)
    file = named or DEFAULT_PATH
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        if named is None:
            return file, b""
        raise SettingsError(str(file), (Fault("", "no such file"),)) from None
    except OSError as error:
        raise SettingsError(str(file), (Fault("", f"cannot be read: {error.strerror}"),)) from None
    if len(content) > LARGEST_FILE:
        raise SettingsError(str(file), (Fault("", f"expected at most {LARGEST_FILE} bytes"),))
    return file, content


def parse(content: bytes, environ: Mapping[str, str], source: str) -> Loaded:
    """Check the content of a file together with the environment; raise SettingsError with every fault."""
    try:
        written = {} if (tree := read_yaml(content)) is None else tree
    except YamlError as error:
        raise SettingsError(source, (Fault("", str(error)),)) from None
    if not isinstance(written, dict):
        raise SettingsError(source, (Fault("", "expected keys and values, such as cluster: demo"),))

    # An empty section, so that what is missing is told as neo4j.uri, which one can look up.
    merged = {"neo4j": {}, **copy.deepcopy(written)}
    origins: dict[Keys, str] = {}
    faults: tuple[Fault, ...] = ()
    for keys, variable in _variables(environ):
        origin = f"environment {variable}"
        try:
            origins[_put(merged, keys, read_yaml(environ[variable].encode(errors="replace")))] = origin
        except YamlError as error:
            faults += (Fault("", f"{error}; a value with such signs wants quotes inside the variable", origin),)
    try:
        settings = Settings.model_validate_json(json.dumps(merged), strict=True)
    except ValidationError as error:
        raise SettingsError(source, (*faults, *faults_of(error, origins))) from None
    if faults:
        raise SettingsError(source, faults)

    provenance = {".".join(keys): _origin(keys, written, origins) for keys, _ in _leaves(settings)}
    return Loaded(settings, provenance, digest(content), source)


def digest(content: bytes) -> str:
    """Return what tells one content of the file from another."""
    return sha256(content).hexdigest()


def in_force(loaded: Loaded) -> list[Entry]:
    """Return every value in force, in the order of the model, with its origin."""
    paths = ((".".join(keys), value) for keys, value in _leaves(loaded.settings))
    return [Entry(path, value, loaded.provenance.get(path, FROM_DEFAULT)) for path, value in paths]


def _weight(value: object, known: dict[int, int]) -> int:
    """Return about how long a value is written out: aliases of aliases may be a billion laughs, and all the memory."""
    if not isinstance(value, (dict, list)):
        return 1 + len(value) if isinstance(value, str) else 1
    if id(value) not in known:
        known[id(value)] = 1  # a list within itself has no weight, and is refused as JSON
        known[id(value)] += sum(_weight(item, known) for item in (value.values() if isinstance(value, dict) else value))
    return known[id(value)]


def _variables(environ: Mapping[str, str]) -> list[tuple[Keys, str]]:
    """Return the variables that set a key, whole sections before what stands in them.

    A name without `__` that is no key is nobody's: Kubernetes sets BACKUP_AGENT_SERVICE_HOST and its like.
    """
    found = []
    for variable in environ:
        keys = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if variable.startswith(PREFIX) and (len(keys) > 1 or keys[0] in Settings.model_fields):
            found.append((keys, variable))
    return sorted(found, key=lambda item: (len(item[0]), item))


def _put(tree: dict[str, Any], keys: Keys, value: object) -> Keys:
    """Set a value in the tree; return the keys as the tree has them: OFF_SITE is `off-site` where that stands there."""
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


class YamlError(Exception):
    """The text is no YAML that could mean settings. Says where and what, and quotes nothing: it may be a secret."""


class _Loader(yaml.SafeLoader):
    """YAML without dates and without a key twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401  an anchor or None
        """Compose a mapping, refusing keys that are no text or stand there twice."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag not in {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}:
                raise yaml.MarkedYAMLError(
                    problem="a key that is no text: put it in quotes", problem_mark=key.start_mark
                )
            if key.value in seen:
                problem = "a key that stands there already, in the same section"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, shape) for tag, shape in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(content: bytes) -> Any:  # noqa: ANN401  any JSON value
    """Read YAML as JSON would have it; raise YamlError."""
    try:
        value = yaml.load(content, _Loader)  # noqa: S506  it is a SafeLoader
        if _weight(value, {}) > LARGEST_FILE:
            raise YamlError(f"more than {LARGEST_FILE} bytes once its aliases are followed")
        return json.loads(json.dumps(value))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # A quoted word may be from the file (an alias, a tag); `<block end>` and single signs are the parser's own.
        problem = re.sub(r"'(?!<)[^']{4,}'", "(not shown)", error.problem or "not YAML")
        raise YamlError(f"{place}{problem}") from None
    except yaml.reader.ReaderError as error:
        raise YamlError(f"position {error.position}: not text in UTF-8") from None
    except (TypeError, ValueError):  # sets, binary, a list within itself
        raise YamlError("expected only text, numbers, lists and mappings") from None
    except RecursionError:
        raise YamlError("nested too deep") from None
