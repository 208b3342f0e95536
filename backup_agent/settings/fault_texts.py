"""What is wrong in the settings, from the errors of pydantic.

The value that was found may be a secret in the wrong place (`password_file: hunter2`). So it is shown only if neither
the key nor the value looks like a secret, and a list or mapping is never shown.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError

from backup_agent.settings.faults import Fault
from backup_agent.settings.model import Settings
from backup_agent.settings.section import Section

SECRET = re.compile(r"pass|secret|token|credential|key|^notify$", re.IGNORECASE)
"""Keys at and below which no value is shown. The URL of a receiver in `notify` is a secret."""

LONGEST_SHOWN = 60
NOT_SHOWN = "not shown: it may be a secret"
SECRETS_BELONG = (
    "put a password into the file that neo4j.password_file names, and S3 credentials where boto3 looks for them"
)
"""Where secrets belong that a user has put into the settings file."""

EXPECTED = {
    # pydantic's error type (`_expected` splits two) -> what is expected. {…} is filled in from the error's context.
    "value_error": "{error}",
    "string_type": "text",
    "string_unquoted": "text, in quotes",
    "string_too_short": "some text",
    "string_too_long": "at most {max_length} characters",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "date_parsing": "a day, such as 2027-03-31",
    "date_from_datetime_parsing": "a day, such as 2027-03-31",
    "date_from_datetime_inexact": "a day, such as 2027-03-31",
    "date_type": "a day, such as 2027-03-31",
    "tuple_type": "a list, such as [a, b]",
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "section_null": "keys and values; leave it out, or write {{}}",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}",
}

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of the file."""


def faults_of(
    error: ValidationError,
    origins: Mapping[tuple[str, ...], str],
    root: type[Section] = Settings,
    secrets_belong: str = SECRETS_BELONG,
) -> tuple[Fault, ...]:
    """Return pydantic's errors as faults. `origins` maps a path to the environment variable that set it.

    `root` is the model of the whole file, `secrets_belong` is advice on where secrets belong instead.
    """
    return tuple(_fault(dict(details), origins, root, secrets_belong) for details in error.errors(include_url=False))


def dotted(path: KeyPath) -> str:
    """Return a path in the form for messages.

    >>> dotted(("neo4j", "servers", 0))
    'neo4j.servers[0]'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def shown(path: KeyPath, value: object) -> str:
    """Return a value for messages: only its kind if it is a list or mapping, NOT_SHOWN if it may be a secret."""
    if isinstance(value, Mapping | Section):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    if (
        any(SECRET.search(str(part)) for part in path) or text.find("@") > 0
    ):  # `user:pass@host` may be a secret, `@daily` is not
        return NOT_SHOWN
    if len(text) > LONGEST_SHOWN:
        text = text[:LONGEST_SHOWN] + "…"
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text


def _fault(
    details: Mapping[str, Any], origins: Mapping[tuple[str, ...], str], root: type[Section], secrets_belong: str
) -> Fault:
    path = tuple(part for part in details["loc"] if part != "[key]")
    keys = tuple(part for part in path if isinstance(part, str))
    origin = next((origins[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in origins), "")
    if details["type"] == "extra_forbidden":
        return Fault(dotted(path), _unknown(path, root, secrets_belong), origin)
    if details["type"] == "missing":
        return Fault(dotted(path), _required(path, root), origin)
    value = path[-1] if details["loc"][-1:] == ("[key]",) else details["input"]
    found = shown(path, value)
    return Fault(dotted(path), f"expected {_expected(details)} ({'' if found == NOT_SHOWN else 'got '}{found})", origin)


def _expected(details: Mapping[str, Any]) -> str:
    value = details["input"]
    kind = details["type"]
    if kind == "string_type" and isinstance(value, int | float):
        kind = "string_unquoted"
    if kind in {"model_type", "dict_type"} and value is None:
        kind = "section_null"
    context: dict[str, Any] = details.get("ctx", {})
    if kind in {"literal_error", "enum"}:
        return str(context["expected"]).replace("'", "")
    return EXPECTED.get(kind, "something else").format(**context)


def _unknown(path: KeyPath, root: type[Section], secrets_belong: str) -> str:
    *parents, key = path
    section = _section(tuple(parents), root)
    known = sorted(section.model_fields) if section else []
    near = get_close_matches(str(key), known, 1)
    if SECRET.search(str(key)):
        return f"unknown key, and no secret belongs in this file: {secrets_belong}"
    return f"unknown key: did you mean {near[0]}?" if near else f"unknown key: known here are {', '.join(known)}"


def _required(path: KeyPath, root: type[Section]) -> str:
    *parents, key = path
    section = _section(tuple(parents), root)
    examples = section.model_fields[str(key)].examples if section else None
    return "required" + (f", such as {examples[0]}" if examples else "")


def _section(path: KeyPath, root: type[Section]) -> type[Section] | None:
    """Return the model of the section at a path, or None. Follows the annotations of the fields."""
    section: type[Section] | None = root
    steps = iter(path)
    for step in steps:
        field = section.model_fields.get(str(step)) if section else None
        kinds = list(_kinds(field.annotation)) if field else []
        section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
        if dict in kinds:
            next(steps, None)  # skip the name of an entry
    return section


def _kinds(annotation: object) -> Iterator[object]:
    """Yield an annotation and, recursively, its type arguments; also `dict` for each mapping."""
    yield annotation
    if getattr(annotation, "__origin__", None) is dict:
        yield dict
    for part in get_args(annotation):
        yield from _kinds(part)
