"""Labels: free keys and values of a request, kept in its answer, its log lines and the records of its artifacts."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

MOST = 16
"""Labels of one request."""

LONGEST_VALUE = 256
KEY = re.compile(r"[a-z0-9][-a-z0-9_.]{0,62}")


def labels(value: object) -> object:
    """Return labels as they are; raise ValueError with what is expected instead, which quotes none of them.

    >>> labels({"ticket": "CHG-42"})
    {'ticket': 'CHG-42'}
    """
    if not isinstance(value, dict):
        raise ValueError('keys and values such as {"ticket": "CHG-42"}')  # noqa: TRY004  told as a fault
    if len(value) > MOST:
        raise ValueError(f"at most {MOST} labels")
    for number, (key, text) in enumerate(value.items(), start=1):
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise ValueError(f"in label {number} a key of at most 63 lower-case letters, digits, '-', '_' and '.'")
        if not isinstance(text, str) or len(text) > LONGEST_VALUE or not text.isprintable():
            raise ValueError(f"in label {number} a value of at most {LONGEST_VALUE} printable characters")
    return value


Labels = Annotated[dict[str, str], BeforeValidator(labels), Field(max_length=MOST)]
