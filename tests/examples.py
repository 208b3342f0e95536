"""The number of examples of a property: all of them in `make test`, a tenth of them in `make test-fast`.

A number in `@settings` takes precedence over the profile, so tests compute it with `examples`.
"""

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

Row = TypeVar("Row")

HOUSE = 100
"""Number of examples of a property that states none: hypothesis' own default."""

FAST = 10


def examples(count: int) -> int:
    """Return the number of examples of a property that has `count` of them in `make test`.

    `settings.default` is the profile in force (tests/conftest.py).
    """
    profile = settings.default
    return max(1, count * (profile.max_examples if profile else HOUSE) // HOUSE)


def some(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows of a table: all of them in a whole run, each tenth in the fast one."""
    return rows[:: HOUSE // examples(HOUSE)]
