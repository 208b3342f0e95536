"""Labels: free keys and values of a request. They are part of its answer, its log lines and its artifacts' records."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

MOST = 16
"""Largest number of labels of one request."""

LONGEST_VALUE = 256
KEY = re.compile(r"[a-z0-9][-a-z0-9_.]{0,62}")


def labels(value: object) -> object:
    """Return labels unchanged. Raise ValueError if they are invalid. The message says what is expected and quotes none.

    >>> labels({"ticket": "CHG-42"})
    {'ticket': 'CHG-42'}
    """
    if not isinstance(value, dict):
        raise ValueError('keys and values such as {"ticket": "CHG-42"}')  # noqa: TRY004  pydantic reports ValueError only
    if len(value) > MOST:
        raise ValueError(f"at most {MOST} labels")
    for number, (key, text) in enumerate(value.items(), start=1):
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise ValueError(f"in label {number} a key of at most 63 lower-case letters, digits, '-', '_' and '.'")
        if not isinstance(text, str) or len(text) > LONGEST_VALUE or not text.isprintable():
            raise ValueError(f"in label {number} a value of at most {LONGEST_VALUE} printable characters")
    return value


Labels = Annotated[dict[str, str], BeforeValidator(labels), Field(max_length=MOST)]
