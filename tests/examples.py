"""How many cases a law is tried with: all of them in `make test`, a tenth of them in `make test-fast`.

An own number in `@settings` would overrule the profile of the fast run, so it is asked for here.
"""

from hypothesis import settings

HOUSE = 100
"""Cases of a law that asks for no number (hypothesis' own default)."""

FAST = 10


def examples(count: int) -> int:
    """Return the number of cases, given that of a whole run.

    `settings.default` is the profile in force (tests/conftest.py).
    """
    profile = settings.default
    return max(1, count * (profile.max_examples if profile else HOUSE) // HOUSE)
