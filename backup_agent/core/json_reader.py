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

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


class NestingError(ValueError):
    """A document is nested deeper than DEEPEST levels."""

    def __init__(self) -> None:
        super().__init__(f"nested more than {DEEPEST} levels deep")


def read_json(data: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:  # noqa: ANN401  any JSON value
    """Parse JSON in UTF-8. Raise ValueError if it is not valid, or NestingError if it is nested too deep.

    `pairs` is passed to `json.loads` as `object_pairs_hook`.
    """
    if data.count(b"[") + data.count(b"{") > DEEPEST:
        _check_depth(data)
    return json.loads(data.decode(), object_pairs_hook=pairs)  # noqa: TID251  the only allowed call


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
