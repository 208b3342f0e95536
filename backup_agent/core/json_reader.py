"""Reading JSON that comes from outside, with its depth bounded before any value is built.

Python 3.11 raises RecursionError for deep nesting, 3.14 builds it and fails later. Pydantic's own parser refuses more
than 200 levels with a ValidationError, so `model_validate_json` needs no guard.
"""

import json
import re
from collections.abc import Callable
from typing import Any

DEEPEST = 64
"""Levels of lists and mappings in a document, JSON or YAML. Real documents have about ten."""

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


class NestingError(ValueError):
    """The document is nested deeper than DEEPEST."""

    def __init__(self) -> None:
        super().__init__(f"nested more than {DEEPEST} levels deep")


def read_json(data: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:  # noqa: ANN401  any JSON value
    """Read JSON in UTF-8; raise ValueError if it is not JSON, NestingError if it is nested too deep.

    `pairs` makes each object from its keys and values, as `object_pairs_hook` of `json.loads` does.
    """
    if data.count(b"[") + data.count(b"{") > DEEPEST:
        _check_depth(data)
    return json.loads(data.decode(), object_pairs_hook=pairs)  # noqa: TID251  this is the one


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
