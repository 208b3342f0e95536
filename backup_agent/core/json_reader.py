"""Read JSON from untrusted sources. Its nesting depth is checked before it is parsed.

For deeply nested JSON, Python 3.11 raises RecursionError, and Python 3.14 builds values that fail later. Pydantic's
parser raises ValidationError beyond 200 levels, so `model_validate_json` needs no such check.
"""

import json
import re
from collections.abc import Callable
from typing import Any

DEEPEST = 64
"""Most levels of lists and mappings in a JSON or YAML document. Real documents have about ten."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escape sequence that may be half of a surrogate pair."""

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


class NestingError(ValueError):
    """A document is nested deeper than DEEPEST levels."""

    def __init__(self) -> None:
        super().__init__(f"nested more than {DEEPEST} levels deep")


class SurrogateError(ValueError):
    """A text has half of a surrogate pair: it cannot be written as UTF-8, and pydantic does not accept it as text."""

    def __init__(self) -> None:
        super().__init__("a text has half of a surrogate pair, such as \\ud800")


def read_json(data: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:  # noqa: ANN401  any JSON value
    """Parse JSON in UTF-8. Raise ValueError if it is not valid: NestingError if it is nested too deep, SurrogateError.

    `pairs` is passed to `json.loads` as `object_pairs_hook`.
    """
    if data.count(b"[") + data.count(b"{") > DEEPEST:
        _check_depth(data)
    value = json.loads(data.decode(), object_pairs_hook=pairs)  # noqa: TID251  the only allowed call
    if _SURROGATE.search(data):
        _check_surrogates(value)
    return value


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise SurrogateError from None


def _check_depth(data: bytes) -> None:
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(data):
        first = data[found.start()]
        if first in b"[{":
            depth += 1
            if depth > DEEPEST:
                raise NestingError
        elif first in b"]}":
            depth -= 1
